//! Tests of BMCs that refuse for a moment, or do not answer to what they do not know.

use super::super::*;
use super::bed::{Bed, Side, at_once, config, identity};
use super::opened;
use crate::rakp::OpenRequest;
use crate::responder::Identity;
use crate::{Completion, Privilege, Suite, Suites};

/// Returns the suite that a datagram to the BMC proposes, if it does.
fn proposed(bytes: &[u8]) -> Option<Suite> {
    let Datagram::Plus(packet) = Datagram::decode(bytes).ok()? else { return None };
    let request = (packet.kind == payload::OPEN_REQUEST).then(|| OpenRequest::decode(packet.payload))?;
    Suite::of(request.ok()?.algorithms)
}

/// Returns the suite of the open session.
fn used(bed: &Bed<'_>) -> Option<Suite> {
    bed.told.iter().find_map(|told| if let Output::Opened { suite, .. } = told { Some(*suite) } else { None })
}

/// Loses proposals of this suite.
fn deaf_to(lost: Suite) -> impl FnMut(Side, &[u8]) -> Vec<(Duration, Vec<u8>)> {
    move |side, bytes| {
        if side == Side::ToBmc && proposed(bytes) == Some(lost) { Vec::new() } else { at_once(side, bytes) }
    }
}

#[test]
fn a_bmc_that_is_silent_to_suite_17_is_spoken_to_with_suite_3() {
    let only_3 = || Identity { suites: vec![Suite::Three], ..identity() };
    let mut bed = Bed::new(config(), only_3()).faulty(deaf_to(Suite::Seventeen));
    bed.until(opened);
    assert_eq!(used(&bed), Some(Suite::Three));
    assert!(bed.now < Duration::from_secs(5), "{:?}", bed.now);
    // It accepts the suite, and is silent afterwards.
    let mut suite = None;
    let mut bed = Bed::good().faulty(move |side, bytes| {
        suite = proposed(bytes).or(suite);
        let is_rakp = bytes.get(5).is_some_and(|kind| [payload::RAKP_2, payload::RAKP_4].contains(kind));
        if side == Side::ToConsole && is_rakp && suite == Some(Suite::Seventeen) {
            return Vec::new();
        }
        at_once(side, bytes)
    });
    bed.until(opened);
    assert_eq!(used(&bed), Some(Suite::Three));
}

#[test]
fn a_suite_that_the_record_names_is_not_left_for_another() {
    let pinned = Config { suites: Suites::Only(Suite::Seventeen), ..config() };
    let mut bed = Bed::new(pinned.clone(), identity()).faulty(deaf_to(Suite::Seventeen));
    assert_eq!(bed.failure(), Reason::Silent);
    assert_eq!(bed.now, Duration::from_secs(8));
    let mut bed = Bed::new(pinned, Identity { suites: vec![Suite::Three], ..identity() });
    assert_eq!(bed.failure(), Reason::NoSuite);
}

#[test]
fn lost_proposals_of_suite_17_do_not_lead_to_a_suite_that_the_bmc_refuses() {
    let mut lost = 0;
    let mut bed = Bed::new(config(), Identity { suites: vec![Suite::Seventeen], ..identity() });
    bed = bed.faulty(move |side, bytes| {
        if side == Side::ToBmc && proposed(bytes) == Some(Suite::Seventeen) && lost < 4 {
            lost += 1;
            return Vec::new();
        }
        at_once(side, bytes)
    });
    bed.until(opened);
    assert_eq!(used(&bed), Some(Suite::Seventeen));
}

#[test]
fn a_bmc_that_answers_to_suite_17_after_five_seconds_is_not_silent() {
    let mut bed = Bed::good().faulty(|side, bytes| {
        let is_open = bytes.get(5) == Some(&payload::OPEN_RESPONSE);
        let slow = side == Side::ToConsole && is_open;
        vec![(Duration::from_millis(if slow { 5_500 } else { 1 }), bytes.to_vec())]
    });
    bed.until(opened);
    assert_eq!(used(&bed), Some(Suite::Seventeen));
}

#[test]
fn a_bmc_without_a_word_for_suite_17_is_spoken_to_with_suite_3() {
    let mut refused = false;
    let mut bed = Bed::new(config(), Identity { suites: vec![Suite::Three], ..identity() });
    bed = bed.faulty(move |side, bytes| {
        let mut bytes = bytes.to_vec();
        if side == Side::ToConsole && bytes[5] == payload::OPEN_RESPONSE && !refused {
            refused = true;
            bytes[17] = 0x12;
        }
        at_once(side, &bytes)
    });
    bed.until(opened);
    assert_eq!(used(&bed), Some(Suite::Three));
}

#[test]
fn a_privilege_that_is_refused_for_a_moment_is_requested_again() {
    // Inputs: completion code, and how often it is answered. IPMI 2.0 Table 5-2, §22.18.
    for (code, times) in [(0xd4, 1), (0xc0, 2), (0xc3, 4), (0xd2, 3), (0xff, 1), (0x81, 1), (0xd5, 2), (0xc1, 0)] {
        let mut bed = Bed::good();
        bed.responder.script(&app::set_session_privilege(Privilege::Administrator), vec![Completion(code); times]);
        bed.until(|told| matches!(told, Output::Opened { .. } | Output::Failed(_)));
        assert!(bed.told.iter().any(opened), "{code:#04x} {times} times: {:?}", bed.told);
    }
}

#[test]
fn a_privilege_that_is_refused_for_good_is_told_with_its_code() {
    for (code, most) in [(0xd4, 3), (0x81, 3), (0x80, 3), (0xc0, 3), (0x0f, 3), (0xc1, 1)] {
        let mut bed = Bed::good();
        bed.responder.script(&app::set_session_privilege(Privilege::Administrator), vec![Completion(code); 99]);
        assert_eq!(bed.failure(), Reason::Unraised(Completion(code)));
        assert!(bed.now < Duration::from_secs(most), "{code:#04x}: {:?}", bed.now);
    }
}

#[test]
fn a_session_that_is_closed_while_its_privilege_is_refused_ends() {
    let mut bed = Bed::good();
    bed.responder.script(&app::set_session_privilege(Privilege::Administrator), vec![Completion::BUSY; 2]);
    while bed.step(Duration::from_millis(300)) {}
    bed.session.close(bed.now);
    bed.until(|told| *told == Output::Closed);
    assert_eq!(bed.responder.sessions().count(), 0);
}

#[test]
fn a_proof_that_the_bmc_does_not_accept_is_offered_three_times_and_not_six() {
    let mut offered = 0;
    let mut bed = Bed::good().faulty(|side, bytes| {
        let mut bytes = bytes.to_vec();
        if side == Side::ToBmc && bytes[5] == payload::RAKP_3 && bytes.get(17) == Some(&0) {
            offered += 1;
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
        }
        at_once(side, &bytes)
    });
    let reason = bed.failure();
    drop(bed);
    assert_eq!((reason, offered), (Reason::WrongPassword, 3));
}
