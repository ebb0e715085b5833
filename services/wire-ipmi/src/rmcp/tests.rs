use proptest::prelude::*;

use super::*;

#[test]
fn the_consoles_id_is_found_in_the_handshake_and_in_the_session() {
    let reply = plain(payload::OPEN_RESPONSE, &[9, 0, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(console_session_id(&reply), Some(0x0403_0201));
    assert_eq!(console_session_id(&sealed(0x0a0b_0c0d, 1, &[0; 32])), Some(0x0a0b_0c0d));
    assert_eq!(console_session_id(&pong(1)), None);
}

#[test]
fn a_refusal_of_ipmi_sim_without_an_id_belongs_to_no_session() {
    // OpenIPMI ipmi_sim 2.0.33 on Debian 12, answering Open Session for suite 17 with status 4.
    let bytes = [6, 0, 0xff, 7, 6, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 9, 4];
    assert_eq!(console_session_id(&bytes), None);
    assert!(matches!(Datagram::decode(&bytes), Ok(Datagram::Plus(packet)) if packet.payload == [9, 4]));
}

#[test]
fn the_signed_part_is_a_multiple_of_four_octets() {
    for length in 0..40 {
        let bytes = sealed(1, 1, &vec![0; length]);
        assert_eq!((bytes.len() - HEADER) % 4, 0);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Datagram::decode(&bytes);
        let _ = console_session_id(&bytes);
    }
}
