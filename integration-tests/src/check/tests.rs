use domain::{
    generation::{Generation, InstructionVersion},
    id::InstanceId,
};
use keyspace::value::{Claim, Journal, JournalEntry, Outcome, Session};
use uuid::Uuid;

use super::*;

/// The claims of two owners, and the sessions that they opened.
const FIRST: i64 = 10;
const SECOND: i64 = 50;
const OLD: u32 = 0xa;
const NEW: u32 = 0xb;

fn token(claim: i64) -> Token {
    Token::from_number(claim.unsigned_abs())
}

fn claim(revision: i64) -> Revision<Claim> {
    let instance = InstanceId::new(Uuid::from_u128(revision.unsigned_abs().into()));
    let after = (revision == SECOND).then_some(FIRST);
    let value = Some(Claim { instance, since: Timestamp::default(), after, broken: None });
    Revision { revision, not_before: None, not_after: None, value }
}

fn deed(at: i64, session: u32, what: What) -> Deed {
    Deed { at: Timestamp::from_millis(at), session, what }
}

fn command(at: i64, session: u32, words: &str) -> Deed {
    deed(at, session, What::Command { words: words.to_owned(), executed: true })
}

/// The journal at one revision, written at that many milliseconds; its entry was armed at the revision that it names.
fn journal(revision: i64, sessions: &[(u32, i64)], entry: Option<(i64, i64, u32, &str)>) -> Revision<Journal> {
    let sessions =
        sessions.iter().map(|(id, claim)| Session { id: *id, path: String::new(), token: token(*claim) }).collect();
    let version = |claim| InstructionVersion {
        token: token(1),
        generation: Generation::from_number(u64::from(claim == SECOND) + 1),
    };
    let entry = entry.map(|(armed, claim, session, command)| JournalEntry {
        version: version(claim),
        token: token(claim),
        session,
        command: command.to_owned(),
        at: Timestamp::from_millis(armed),
        outcome: None,
    });
    let value = Some(Journal { highest: InstructionVersion::default(), sessions, entry });
    let at = Some(Timestamp::from_millis(revision));
    Revision { revision, not_before: at, not_after: at, value }
}

/// The first owner switches off and on, the second one off; each revision was written at that many milliseconds.
fn clean() -> History {
    History {
        node: NodeId::new(Uuid::from_u128(7)),
        bmc: vec![
            deed(11, OLD, What::Login),
            deed(13, OLD, What::Read),
            command(21, OLD, "power off"),
            command(22, OLD, "power off"),
            command(31, OLD, "boot Pxe Once bios"),
            command(41, OLD, "power on"),
            deed(51, NEW, What::Login),
            deed(52, OLD, What::Close),
            deed(53, NEW, What::Read),
            deed(54, OLD, What::Command { words: "power on".to_owned(), executed: false }),
            command(61, NEW, "power off"),
            deed(62, 0xc, What::Read),
        ],
        claims: vec![claim(FIRST), claim(SECOND)],
        journal: vec![
            journal(12, &[(OLD, FIRST)], None),
            journal(20, &[(OLD, FIRST)], Some((20, FIRST, OLD, "power off"))),
            journal(30, &[(OLD, FIRST)], Some((30, FIRST, OLD, "boot Pxe Once bios, step 1"))),
            journal(40, &[(OLD, FIRST)], Some((40, FIRST, OLD, "power on"))),
            journal(52, &[(OLD, FIRST), (NEW, SECOND)], Some((40, FIRST, OLD, "power on"))),
            journal(60, &[(NEW, SECOND)], Some((60, SECOND, NEW, "power off"))),
        ],
        end: Some(End {
            asked: Generation::from_number(2),
            ended: Generation::from_number(2),
            failure: None,
            wanted: Power::Off,
            is: Power::Off,
        }),
    }
}

fn broken(change: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = clean();
    change(&mut history);
    check([&history])
}

/// Exactly one thing is wrong, and its words name the node.
fn one(change: impl FnOnce(&mut History)) -> Violation {
    let mut wrong = broken(change);
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    assert!(wrong[0].to_string().contains("node 00000000-0000-0000-0000-000000000007"), "{}", wrong[0]);
    wrong.remove(0)
}

#[test]
fn a_clean_history_passes_and_survives_json() {
    assert_eq!(broken(|_| ()), []);
    let text = serde_json::to_string(&clean()).unwrap();
    assert_eq!(serde_json::from_str::<History>(&text).unwrap(), clean());
}

#[test]
fn a_claim_takes_the_place_of_the_one_that_its_writer_has_read() {
    let wrong = one(|history| {
        if let Some(claim) = &mut history.claims[1].value {
            claim.after = None;
        }
    });
    assert!(
        matches!(wrong, Violation::ClaimUnread { revision: SECOND, read: None, was: Some(FIRST), .. }),
        "{wrong:?}"
    );
}

#[test]
fn an_outcome_that_is_noted_is_no_new_entry() {
    let noted = broken(|history| {
        let mut done = history.journal[3].clone();
        done.revision = 45;
        let entry = done.value.as_mut().and_then(|journal| journal.entry.as_mut()).unwrap();
        entry.outcome = Some(Outcome::Done);
        history.journal[4].value.as_mut().unwrap().entry = Some(entry.clone());
        history.journal.insert(4, done);
    });
    assert_eq!(noted, []);
}

#[test]
fn revisions_that_do_not_grow_are_told() {
    let wrong = broken(|history| history.claims.swap(0, 1));
    assert!(matches!(wrong[0], Violation::Disordered { before: SECOND, revision: FIRST, .. }), "{wrong:?}");
}

#[test]
fn a_journal_without_a_claim_is_told() {
    let wrong = broken(|history| drop(history.claims.remove(1)));
    assert!(matches!(wrong[0], Violation::NoSuchClaim { revision: 52, .. }), "{wrong:?}");
}

#[test]
fn a_journal_written_after_its_claim_passed_is_told() {
    let wrong = one(|history| {
        history.journal.insert(5, journal(55, &[(OLD, FIRST), (NEW, SECOND)], Some((55, FIRST, OLD, "soft off"))));
    });
    assert!(matches!(wrong, Violation::ClaimHadPassed { revision: 55, newer: SECOND, .. }), "{wrong}");
}

#[test]
fn a_session_of_two_owners_is_told() {
    let wrong = broken(|history| {
        history.journal[5] = journal(60, &[(OLD, SECOND)], Some((60, SECOND, OLD, "power off")));
        history.bmc[10].session = OLD;
    });
    assert!(wrong.iter().any(|wrong| matches!(wrong, Violation::SessionOfTwo { session: OLD, .. })), "{wrong:?}");
}

#[test]
fn a_command_through_a_session_that_was_forgotten_is_told() {
    let wrong = broken(|history| {
        history.journal[3] = journal(40, &[], Some((40, FIRST, OLD, "power on")));
        history.journal[4] = journal(52, &[(NEW, SECOND)], Some((40, FIRST, OLD, "power on")));
    });
    assert!(matches!(wrong[..], [Violation::SessionForgotten { session: OLD, revision: 40, .. }]), "{wrong:?}");
    // It is unknown whether the command came before that revision.
    let right = broken(|history| {
        history.journal[3] = journal(40, &[], Some((40, FIRST, OLD, "power on")));
        history.journal[4] = journal(52, &[(NEW, SECOND)], Some((40, FIRST, OLD, "power on")));
        history.journal[3].not_after = None;
    });
    assert_eq!(right, []);
}

#[test]
fn a_command_without_a_journal_entry_is_reported() {
    let wrong = one(|history| history.bmc.insert(6, command(42, OLD, "reset")));
    assert!(matches!(wrong, Violation::Unjournalled { session: OLD, .. }), "{wrong}");
    let wrong = one(|history| history.bmc[5].session = 0xd);
    assert!(matches!(wrong, Violation::Unjournalled { session: 0xd, .. }), "{wrong}");
}

#[test]
fn a_command_before_its_entry_is_told() {
    let wrong = one(|history| history.bmc[5].at = Timestamp::from_millis(39));
    assert!(matches!(wrong, Violation::BeforeItsEntry { revision: 40, .. }), "{wrong}");
}

#[test]
fn a_command_of_an_older_owner_after_one_of_a_newer_is_told() {
    let wrong = broken(|history| history.bmc.push(command(70, OLD, "power on")));
    assert!(wrong.iter().any(|wrong| matches!(wrong, Violation::OlderToken { newer: 60, .. })), "{wrong:?}");
}

#[test]
fn a_command_of_an_older_owner_after_the_deciding_read_is_told() {
    let wrong = broken(|history| history.bmc.insert(9, command(53, OLD, "power on")));
    assert!(matches!(wrong[0], Violation::AfterDecidingRead { reader: NEW, .. }), "{wrong:?}");
}

#[test]
fn a_command_of_ones_own_older_session_after_the_deciding_read_is_told() {
    let wrong = broken(|history| {
        history.journal.insert(4, journal(42, &[(OLD, FIRST), (0xe, FIRST)], Some((42, FIRST, OLD, "power on"))));
        history.journal[4].value.as_mut().unwrap().entry = history.journal[3].value.clone().unwrap().entry;
        history.bmc.splice(6..6, [deed(43, 0xe, What::Read), command(44, OLD, "power on")]);
    });
    assert!(wrong.iter().any(|wrong| matches!(wrong, Violation::AfterDecidingRead { reader: 0xe, .. })), "{wrong:?}");
}

#[test]
fn a_command_that_is_repeated_after_a_later_one_is_told() {
    let wrong = one(|history| history.bmc.insert(6, command(42, OLD, "power off")));
    assert!(matches!(wrong, Violation::LateRepeat { revision: 20, newer: 40, .. }), "{wrong}");
}

#[test]
fn a_reset_is_carried_out_once_and_armed_once() {
    let keep = |history: &mut History, number: usize| {
        let entry = history.journal[number].value.clone().unwrap().entry;
        history.journal[number + 1].value.as_mut().unwrap().entry = entry;
    };
    let reset = |history: &mut History| {
        history.journal[3] = journal(40, &[(OLD, FIRST)], Some((40, FIRST, OLD, "reset")));
        keep(history, 3);
        history.bmc[5] = command(41, OLD, "reset");
    };
    assert_eq!(broken(|history| reset(history)), []);
    let wrong = one(|history| {
        reset(history);
        history.bmc.insert(6, command(42, OLD, "reset"));
    });
    assert!(matches!(wrong, Violation::Twice { revision: 40, .. }), "{wrong}");
    let wrong = one(|history| {
        reset(history);
        history.journal.insert(4, journal(45, &[(OLD, FIRST)], Some((45, FIRST, OLD, "reset"))));
        keep(history, 4);
    });
    assert!(matches!(wrong, Violation::ArmedTwice { first: 40, second: 45, .. }), "{wrong}");
}

#[test]
fn what_never_ended_or_does_not_stand_as_wanted_is_told() {
    let end = |change: fn(&mut End)| one(move |history| change(history.end.as_mut().unwrap()));
    let wrong = end(|end| end.asked = Generation::from_number(3));
    assert!(matches!(wrong, Violation::NotEnded { .. }), "{wrong}");
    let wrong = end(|end| end.is = Power::On);
    assert!(matches!(wrong, Violation::NotAsWanted { is: Power::On, .. }), "{wrong}");
}

#[test]
fn a_simulated_bmcs_log_has_the_journals_words() {
    use wire_ipmi::{
        chassis::{Control, boot},
        responder::machine::Change,
    };
    let choice = boot::Choice {
        device: boot::Device::Network,
        persistence: boot::Persistence::Once,
        firmware: boot::Firmware::Bios,
    };
    assert_eq!(done(Timestamp::from_millis(3), 9, Change::Boot(choice)), command(3, 9, "boot Pxe Once bios"));
    assert_eq!(words(Change::Power(Control::Off)), "power off");
}
