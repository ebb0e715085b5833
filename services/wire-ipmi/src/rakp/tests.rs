use proptest::prelude::*;

use super::*;
use crate::cipher::Keys;
use crate::message::{Request, Response};
use crate::rmcp::{Datagram, Packet, payload};

/// A login and a *power status* between two strangers, with the password they used.
const CAPTURE: &str = include_str!("../golden/ipmitool-ipmi_sim-suite-3.txt");

fn datagrams() -> Vec<Vec<u8>> {
    let octets = |text: &str| {
        let digits = text.as_bytes().as_chunks::<2>().0.iter();
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    CAPTURE.lines().filter_map(|line| line.strip_prefix(['>', '<'])).map(|text| octets(text.trim())).collect()
}

fn packets(datagrams: &[Vec<u8>]) -> Vec<Packet<'_>> {
    // The first exchange, Get Channel Authentication Capabilities, has another header.
    datagrams.iter().filter(|bytes| bytes.get(4) == Some(&6)).map(|bytes| packet(bytes)).collect()
}

fn packet(bytes: &[u8]) -> Packet<'_> {
    match Datagram::decode(bytes) {
        Ok(Datagram::Plus(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

fn of_kind<'a>(packets: &'a [Packet<'_>], kind: u8) -> &'a [u8] {
    packets.iter().find(|packet| packet.kind == kind).unwrap().payload
}

#[test]
fn the_login_of_two_strangers_is_read_written_and_proven_as_they_did() {
    let datagrams = datagrams();
    let packets = packets(&datagrams);
    let password = Secret::new(b"labpass").unwrap();

    let request = OpenRequest::decode(of_kind(&packets, payload::OPEN_REQUEST)).unwrap();
    assert_eq!(request.encode(), of_kind(&packets, payload::OPEN_REQUEST));
    let grant = OpenResponse::decode(of_kind(&packets, payload::OPEN_RESPONSE)).unwrap().granted.unwrap();
    let one = Rakp1::decode(of_kind(&packets, payload::RAKP_1)).unwrap();
    assert_eq!(one.encode(), of_kind(&packets, payload::RAKP_1));
    let two = Reply::<Rakp2>::decode(of_kind(&packets, payload::RAKP_2)).unwrap();
    assert_eq!(two.encode(), of_kind(&packets, payload::RAKP_2));
    let two = two.body.unwrap();
    let transcript = Transcript {
        suite: Suite::of(grant.algorithms).unwrap(),
        console: request.console,
        bmc: grant.bmc,
        console_nonce: one.nonce,
        bmc_nonce: two.nonce,
        guid: two.guid,
        role: one.role,
        name: one.name,
    };
    assert_eq!(transcript.bmc_proof(&password).octets(), two.code);
    let three = Rakp3::decode(of_kind(&packets, payload::RAKP_3)).unwrap();
    assert_eq!(transcript.console_proof(&password).octets(), three.code.unwrap());
    let key = transcript.key(&password);
    let four = Reply::<Rakp4>::decode(of_kind(&packets, payload::RAKP_4)).unwrap();
    assert_eq!(transcript.key_proof(&key).check(Suite::Three), four.body.unwrap().check);

    let keys = Keys::derive(Suite::Three, &key);
    let mut asked = Vec::new();
    let mut answered = Vec::new();
    for packet in packets.iter().filter(|packet| packet.kind == payload::MESSAGE) {
        let message = keys.open(packet).unwrap();
        if packet.session == grant.bmc {
            let command = Request::decode(&message).unwrap().command;
            asked.push((command.netfn, command.command));
        } else {
            let response = Response::decode(&message).unwrap();
            answered.push((response.netfn - 1, response.command));
        }
    }
    // Between raising the privilege and the status ipmitool looks for PICMG and VITA boards (family 0x2c).
    asked.retain(|(family, _)| *family != 0x2c);
    answered.retain(|(family, _)| *family != 0x2c);
    assert_eq!(asked, [(6, 0x3b), (6, 1), (0, 1), (6, 0x3c)]);
    assert_eq!(answered, asked);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = OpenRequest::decode(&bytes);
        let _ = OpenResponse::decode(&bytes);
        let _ = Rakp1::decode(&bytes);
        let _ = Reply::<Rakp2>::decode(&bytes);
        let _ = Rakp3::decode(&bytes);
        let _ = Reply::<Rakp4>::decode(&bytes);
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
    }
}
