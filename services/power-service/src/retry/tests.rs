use wire_ipmi::{Command, Completion, Reason, Status, app, chassis};

use super::*;
use crate::bmc::BmcError;

const MINUTES: Duration = Duration::from_secs(120);

/// Fails with this verdict until the repeats end, and returns how often, when, and how it ended.
fn repeat(verdict: Verdict, budget: Duration) -> (u32, Duration, Next) {
    let (mut retries, mut elapsed) = (Retries::new(budget), Duration::ZERO);
    for failures in 1.. {
        match retries.next(elapsed, verdict) {
            Next::Ask(after) | Next::Login(after) => elapsed += after,
            ended @ (Next::Fail | Next::GiveUp) => return (failures, elapsed, ended),
        }
    }
    unreachable!("the repeats end")
}

#[test]
fn later_is_heard_until_the_deadline_and_no_is_heard_once() {
    for (verdict, failures, until, ended) in [
        (Verdict::Later, 10..50, MINUTES..MINUTES * 2, Next::GiveUp),
        (Verdict::NewSession, 10..50, MINUTES..MINUTES * 2, Next::GiveUp),
        (Verdict::Doubtful, 3..4, Duration::from_millis(1)..Duration::from_secs(3), Next::Fail),
        (Verdict::Final, 1..2, Duration::ZERO..Duration::from_nanos(1), Next::Fail),
        (Verdict::WrongCredentials, 1..2, Duration::ZERO..Duration::from_nanos(1), Next::Fail),
    ] {
        let (heard, at, how) = repeat(verdict, MINUTES);
        assert!(
            failures.contains(&heard) && until.contains(&at) && how == ended,
            "{verdict:?}: {heard} {at:?} {how:?}"
        );
    }
}

#[test]
fn the_last_repeat_is_made_at_the_deadline_and_never_after_it() {
    let (_, at, ended) = repeat(Verdict::Later, Duration::from_secs(7));
    assert_eq!((at, ended), (Duration::from_secs(7), Next::GiveUp));
    assert_eq!(Retries::new(Duration::ZERO).next(Duration::ZERO, Verdict::Later), Next::GiveUp);
}

#[test]
fn delays_grow_to_a_limit_and_start_anew_after_a_success() {
    let mut retries = Retries::new(MINUTES);
    let mut next = |verdict| retries.next(Duration::ZERO, verdict);
    let delays: Vec<Next> = (0..7).map(|_| next(Verdict::Later)).collect();
    let wanted = [250, 500, 1000, 2000, 4000, 5000, 5000].map(|millis| Next::Ask(Duration::from_millis(millis)));
    assert_eq!(delays, wanted);
    retries.succeeded();
    assert_eq!(retries.next(Duration::ZERO, Verdict::NewSession), Next::Login(Duration::from_secs(1)));
}

#[test]
fn a_doubt_is_forgotten_when_the_bmc_answers_otherwise() {
    let mut retries = Retries::new(MINUTES);
    for _ in 0..4 {
        assert!(matches!(retries.next(Duration::ZERO, Verdict::Doubtful), Next::Ask(_)));
        assert!(matches!(retries.next(Duration::ZERO, Verdict::Later), Next::Ask(_)));
    }
}

#[test]
fn each_completion_code_of_ipmi_is_asked_again_or_not() {
    use Verdict::{Doubtful, Final, Later};
    let (status, control) = (chassis::get_status(), chassis::Control::On.command());
    // Sources: IPMI 2.0 Table 5-2; the first six were seen with real BMCs.
    let table: [(&Command, u8, Verdict); 22] = [
        (&status, 0xc0, Later),
        (&status, 0xc3, Later),
        (&status, 0xd2, Later),
        (&status, 0xff, Later),
        (&control, 0xd5, Later),
        (&status, 0xd4, Doubtful),
        (&status, 0xc1, Final),
        (&status, 0xc2, Final),
        (&status, 0xc4, Later),
        (&status, 0xc5, Later),
        (&status, 0xc6, Later),
        (&control, 0xc7, Final),
        (&control, 0xc9, Final),
        (&control, 0xcb, Final),
        (&control, 0xcc, Final),
        (&status, 0xce, Later),
        (&control, 0xcf, Later),
        (&status, 0xd0, Later),
        (&status, 0xd1, Later),
        (&status, 0xd3, Later),
        (&control, 0xd6, Final),
        (&status, 0x7e, Doubtful),
    ];
    for (command, code, wanted) in table {
        assert_eq!(Verdict::of_ipmi(command.meaning(Completion(code))), wanted, "{code:#04x} to {command:?}");
    }
    assert_eq!(Verdict::of_ipmi(app::get_device_id().meaning(Completion(0xc0))), Later);
}

#[test]
fn each_end_of_an_ipmi_session_is_asked_again_or_not() {
    use Verdict::{Doubtful, Final, Later, WrongCredentials};
    // Sources: IPMI 2.0 Table 13-15, §22.18.
    for (reason, wanted) in [
        (Reason::WrongPassword, WrongCredentials),
        (Reason::UnknownUser, WrongCredentials),
        (Reason::WrongKey, WrongCredentials),
        (Reason::NoSlot, Later),
        (Reason::NoSuite, Final),
        (Reason::NoPrivilege, Doubtful),
        (Reason::Silent, Later),
        (Reason::Forged, Later),
        (Reason::Refused(Status(0x01)), Later),
        (Reason::Refused(Status(0x02)), Later),
        (Reason::Refused(Status(0x08)), Later),
        (Reason::Refused(Status(0x0d)), WrongCredentials),
        (Reason::Refused(Status(0x0e)), Final),
        (Reason::Refused(Status(0x12)), Final),
        (Reason::Refused(Status(0x77)), Doubtful),
        (Reason::Unraised(Completion(0xc0)), Later),
        (Reason::Unraised(Completion(0xd4)), Doubtful),
        (Reason::Unraised(Completion(0x81)), Doubtful),
        (Reason::Unraised(Completion(0xc1)), Final),
    ] {
        assert_eq!(Verdict::of_ipmi(reason.meaning()), wanted, "{reason:?}");
    }
}

#[test]
fn each_status_of_redfish_is_asked_again_or_not() {
    use Verdict::{Final, Later, WrongCredentials};
    // Sources: RFC 9110 §15, RFC 6585, RFC 4918, DSP0266 §8.5.
    for (status, wanted) in [
        (301, Final),
        (400, Final),
        (401, WrongCredentials),
        (403, Final),
        (404, Final),
        (405, Final),
        (406, Final),
        (408, Later),
        (409, Later),
        (410, Final),
        (412, Later),
        (413, Final),
        (415, Final),
        (423, Later),
        (425, Later),
        (428, Later),
        (429, Later),
        (500, Later),
        (501, Final),
        (502, Later),
        (503, Later),
        (504, Later),
        (505, Final),
        (507, Later),
        (511, Final),
        (520, Later),
        (599, Later),
    ] {
        assert_eq!(Verdict::of_http(status), wanted, "{status}");
    }
}

#[test]
fn each_failure_of_a_bmc_has_one_verdict() {
    let (address, why) = (|| "h".to_owned(), || "w".to_owned());
    let refused = || BmcError::Refused { address: address(), why: why() };
    let privilege = BmcError::Privilege { address: address(), user: "u".to_owned(), level: "OPERATOR", why: why() };
    for (error, wanted) in [
        (BmcError::Silent(address()), Verdict::NewSession),
        (BmcError::Unknown(address()), Verdict::NewSession),
        (BmcError::NotPermitted, Verdict::NewSession),
        (BmcError::NoSlot(address()), Verdict::NewSession),
        (BmcError::SessionLost { address: address(), why: why() }, Verdict::NewSession),
        (BmcError::Busy { address: address(), why: why() }, Verdict::Later),
        (BmcError::Password(address()), Verdict::WrongCredentials),
        (BmcError::WrongKey(address()), Verdict::WrongCredentials),
        (privilege.clone(), Verdict::Final),
        (refused(), Verdict::Final),
        (BmcError::Doubtful(Box::new(privilege.clone())), Verdict::Doubtful),
    ] {
        assert_eq!(error.verdict(), wanted, "{error}");
    }
    assert_eq!(BmcError::Doubtful(Box::new(refused())).believed(), refused());
    let text = privilege.to_string();
    assert!(text.contains("OPERATOR") && text.contains("ipmi_priv_level") && !text.contains("password"), "{text}");
}
