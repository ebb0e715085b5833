#![expect(clippy::indexing_slicing, reason = "a test may fail")]

use super::*;
use crate::rmcp;

fn responder(slots: usize) -> Responder<u8, Duration> {
    let identity = Identity {
        guid: [1; 16],
        users: vec![],
        bmc_key: None,
        suites: vec![Suite::Three],
        slots,
        closing: Closing::Any,
    };
    Responder::new(identity, [3; 32])
}

fn open(tag: u8) -> Vec<u8> {
    let request =
        crate::rakp::OpenRequest { tag, privilege: 4, console: u32::from(tag), algorithms: Suite::Three.algorithms() };
    rmcp::plain(payload::OPEN_REQUEST, &request.encode())
}

fn status(responder: &mut Responder<u8, Duration>, bytes: &[u8], now: Duration) -> u8 {
    responder.receive(now, 0, bytes).unwrap();
    let Some(Output::Send { bytes, .. }) = responder.poll() else { panic!("no answer") };
    bytes[17]
}

#[test]
fn slots_are_limited_a_repeated_message_uses_none_and_half_open_ones_expire() {
    let mut responder = responder(2);
    let now = Duration::ZERO;
    let answers = [1, 1, 2, 3].map(|tag| status(&mut responder, &open(tag), now));
    assert_eq!(answers, [0, 0, 0, 1]);
    assert_eq!(status(&mut responder, &open(3), now + HANDSHAKE_TIMEOUT), 0);
}

#[test]
fn a_pong_has_the_tag_of_its_ping() {
    let mut responder = responder(1);
    responder.receive(Duration::ZERO, 9, &rmcp::presence_ping(0x42)).unwrap();
    let Some(Output::Send { to: 9, bytes }) = responder.poll() else { panic!("no answer") };
    assert_eq!((bytes[8], bytes[9], bytes.len()), (0x40, 0x42, 28));
}

#[test]
fn a_weaker_suite_is_refused() {
    let mut responder = responder(1);
    let request = crate::rakp::OpenRequest { tag: 1, privilege: 4, console: 1, algorithms: [1, 1, 0] };
    let bytes = rmcp::plain(payload::OPEN_REQUEST, &request.encode());
    assert_eq!(status(&mut responder, &bytes, Duration::ZERO), 0x11);
}
