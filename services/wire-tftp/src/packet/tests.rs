use proptest::prelude::*;

use super::*;

#[test]
fn the_read_requests_of_real_firmware_are_understood() {
    // Seen on a bridge, QEMU 7.2: iPXE 1.0.0+git-20190125, then OVMF 2022.11 asking for the size and for the file.
    for (bytes, options) in [
        (&b"\0\x01snponly.efi\0octet\0blksize\x001432\0tsize\x000\0"[..], vec![("blksize", "1432"), ("tsize", "0")]),
        (
            b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
            vec![("tsize", "0"), ("blksize", "1468"), ("windowsize", "4")],
        ),
        (
            b"\0\x01snponly.efi\0octet\0blksize\x001468\0windowsize\x004\0",
            vec![("blksize", "1468"), ("windowsize", "4")],
        ),
    ] {
        let asked = request(bytes).unwrap();
        assert_eq!(asked.file, "snponly.efi");
        let asked: Vec<_> = asked.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(asked, options);
    }
}

#[test]
fn writing_mail_and_netascii_are_refused_with_an_error() {
    assert_eq!(request(b"\0\x02x\0octet\0"), Err(Some(Refusal::Write)));
    assert_eq!(request(b"\0\x02"), Err(Some(Refusal::Write)));
    assert_eq!(request(b"\0\x01x\0mail\0"), Err(Some(Refusal::Mode)));
    assert_eq!(request(b"\0\x01x\0netascii\0"), Err(Some(Refusal::Mode)));
    assert_eq!(request(b"\0\x01x\0strange\0"), Err(Some(Refusal::Mode)));
    assert!(request(b"\0\x01x\0OcTeT\0").is_ok());
    assert_eq!(Refusal::Write.encode(), b"\0\x05\0\x02writing is not possible here\0");
}

#[test]
fn a_stray_packet_at_the_door_is_met_with_silence() {
    for bytes in [&b"\0\x05\0\x01no\0"[..], b"\0\x04\0\x01", b"\0\x03\0\x01x", b"\0\x06", b"", b"\0", b"\xff\xff"] {
        assert_eq!(request(bytes), Err(None), "{bytes:?}");
    }
}

#[test]
fn a_broken_or_oversized_request_is_refused() {
    let long = [b"\0\x01".as_slice(), &[b'x'; MAX_FILE_NAME_OCTETS + 1], b"\0octet\0"].concat();
    for bytes in [
        &b"\0\x01"[..],
        b"\0\x01x",
        b"\0\x01x\0",
        b"\0\x01\0octet\0",
        b"\0\x01x\x1b\0octet\0",
        b"\0\x01\xff\0octet\0",
        &long,
    ] {
        assert_eq!(request(bytes), Err(Some(Refusal::Unreadable)), "{bytes:?}");
    }
    assert_eq!(request(&[1; MAX_REQUEST_OCTETS + 1]), Err(None));
    let many = [b"\0\x01x\0octet\0".as_slice(), &b"a\0b\0".repeat(MAX_OPTIONS + 1)].concat();
    assert_eq!(request(&many), Err(Some(Refusal::Unreadable)));
}

#[test]
fn what_firmware_copies_from_behind_option_67_is_not_part_of_the_name() {
    let name = Some("snponly.efi");
    for (source, bytes, file) in [
        ("dnsmasq ends option 67 with a NUL", &b"\0\x01snponly.efi\0\0octet\0"[..], name),
        ("the same with options", b"\0\x01snponly.efi\0\0octet\0tsize\x000\0", name),
        ("a field of the header with its NULs", b"\0\x01snponly.efi\0\0\0\0octet\0", name),
        ("netboot.xyz#1198: END of the options", b"\0\x01snponly.efi\xff\0octet\0", name),
        ("END, and the NULs behind it", b"\0\x01snponly.efi\xff\0\0octet\0blksize\x001432\0", name),
        ("END twice", b"\0\x01snponly.efi\xff\xff\0octet\0", name),
        ("RFC 1350 §5", b"\0\x01snponly.efi\0octet\0", name),
        ("the code of option 97 is a letter", b"\0\x01snponly.efia\0octet\0", Some("snponly.efia")),
        ("nothing but END", b"\0\x01\xff\0octet\0", None),
        ("END within the name", b"\0\x01snp\xffonly.efi\0octet\0", None),
        ("the code of option 3", b"\0\x01snponly.efi\x03\0octet\0", None),
        ("an octet that is not END", b"\0\x01snponly.efi\xfe\0octet\0", None),
        ("no mode", b"\0\x01snponly.efi\0\0\0", None),
    ] {
        let asked = request(bytes);
        match file {
            Some(file) => assert_eq!(asked.unwrap().file, file, "{source}"),
            None => assert_eq!(asked, Err(Some(Refusal::Unreadable)), "{source}"),
        }
    }
}

#[test]
fn padding_after_a_request_does_not_spoil_it() {
    assert_eq!(request(b"\0\x01x\0octet\0blksize\x001024\0\0\0\0\0").unwrap().options.len(), 1);
    assert!(request(b"\0\x01x\0octet\0\0\0").unwrap().options.is_empty());
}

#[test]
fn a_text_with_a_nul_cannot_forge_a_field() {
    let packet = Packet::Error { code: ErrorCode::NotDefined, message: "a\0b".into() };
    assert_eq!(packet.encode(), b"\0\x05\0\0a\0");
}

fn word() -> impl Strategy<Value = String> {
    "[ -~]{1,40}"
}

fn asked() -> impl Strategy<Value = Request> {
    (word(), word(), prop::collection::vec((word(), word()), 0..4)).prop_map(|(file, mode, options)| Request {
        file,
        mode,
        options,
    })
}

fn packet() -> impl Strategy<Value = Packet<'static>> {
    prop_oneof![
        asked().prop_map(Packet::Read),
        asked().prop_map(Packet::Write),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(block, bytes)| Packet::Data { block, payload: bytes.into() }),
        any::<u16>().prop_map(Packet::Ack),
        (any::<u16>(), word())
            .prop_map(|(code, message)| Packet::Error { code: ErrorCode::from_number(code), message }),
        prop::collection::vec((word(), word()), 0..4).prop_map(Packet::OptionAck),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(packet in packet()) {
        let bytes = packet.encode();
        prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(kind in 0u8..8, bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = Packet::decode(&bytes);
        let typed = [&[0, kind], bytes.as_slice()].concat();
        let _ = Packet::decode(&typed);
        let _ = request(&typed);
    }
}
