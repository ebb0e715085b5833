use super::*;
use crate::SimulatedClient;
use crate::hardware::{InfinibandAddress, Mac};

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 0, 1]);

fn simulated_client(client: Client) -> SimulatedClient {
    SimulatedClient { client, mac: MAC, xid: 7, secs: 3, uuid: Some([7; 16]), relay: None }
}

/// Returns a DISCOVER with only these options.
fn discover(more: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = Message::new(Direction::Request, 7, MAC);
    message.options.add(code::MESSAGE_TYPE, [1]);
    for (code, octets) in more {
        message.options.add(*code, octets);
    }
    message.encode().unwrap()
}

fn client_of(more: &[(u8, &[u8])]) -> Client {
    Request::decode(&discover(more)).unwrap().client
}

#[test]
fn the_kind_of_a_simulated_client_is_identified() {
    for machine in [Architecture::Bios, Architecture::UefiX64, Architecture::UefiArm64, Architecture::Other(6)] {
        for client in [Client::Pxe(machine), Client::Http(machine), Client::Ipxe(machine), Client::System] {
            let request = Request::decode(&simulated_client(client).discover()).unwrap();
            assert_eq!((request.client, request.hardware, request.xid, request.secs), (client, MAC.into(), 7, 3));
            assert_eq!(request.uuid.is_some(), client != Client::System);
        }
    }
}

#[test]
fn the_first_architecture_is_used_and_a_missing_one_is_a_bios() {
    assert_eq!(client_of(&[(60, b"PXEClient"), (93, &[0, 11, 0, 7])]), Client::Pxe(Architecture::UefiArm64));
    assert_eq!(client_of(&[(60, b"PXEClient")]), Client::Pxe(Architecture::Bios));
    assert_eq!(client_of(&[(60, b"PXEClient"), (93, &[7])]), Client::Pxe(Architecture::Bios));
    assert_eq!(client_of(&[(60, b"PXEClient"), (93, &[0, 9])]), Client::Pxe(Architecture::UefiX64));
}

#[test]
fn every_architecture_is_kept_and_the_running_one_comes_first() {
    use Architecture::{Bios, Other, UefiArm64, UefiX64};
    for (source, class, list, expected) in [
        ("RFC 4578 §2.1: two architectures", &b"PXEClient"[..], &[0, 0, 0, 7][..], &[Bios, UefiX64][..]),
        ("the first has no boot loader", b"PXEClient", &[0, 6, 0, 7], &[Other(6), UefiX64]),
        ("three, in the client's order", b"PXEClient", &[0, 11, 0, 6, 0, 0], &[UefiArm64, Other(6), Bios]),
        ("PXE 2.1 §2.2: it runs as UEFI", b"PXEClient:Arch:00007:UNDI:003016", &[0, 0, 0, 7], &[UefiX64, Bios]),
        ("it runs as BIOS", b"PXEClient:Arch:00000:UNDI:002001", &[0, 7, 0, 0], &[Bios, UefiX64]),
        ("the class names one that is not in the list", b"PXEClient:Arch:00009:UNDI:003016", &[0, 6], &[Other(6)]),
        ("HTTP boot and PXE in one list", b"HTTPClient:Arch:00016:UNDI:003001", &[0, 7, 0, 16], &[UefiX64, UefiX64]),
        ("half an architecture at the end", b"PXEClient", &[0, 7, 0], &[UefiX64]),
        ("no list, but a class", b"PXEClient:Arch:00007:UNDI:003016", &[], &[UefiX64]),
        ("a class that names no number", b"PXEClient:Arch:x:UNDI", &[0, 7], &[UefiX64]),
        ("nothing", b"PXEClient", &[], &[]),
    ] {
        let request = Request::decode(&discover(&[(60, class), (93, list)])).unwrap();
        assert_eq!(request.architectures, expected, "{source}");
        let first = request.client.with_architecture(expected.first().copied().unwrap_or(Bios));
        assert_eq!(request.client, first, "{source}");
    }
}

#[test]
fn an_infiniband_client_is_identified_by_its_client_identifier_or_guid() {
    let identifier = [255, 0, 0, 0, 0, 0, 2, 0, 0, 2, 0xc9, 0, 0x7c, 0xfe, 0x90, 3, 0, 0x29, 0x24, 0x4f];
    let guid = [0x7c, 0xfe, 0x90, 3, 0, 0x29, 0x24, 0x4f];
    let mac = Mac([0x7c, 0xfe, 0x90, 0x29, 0x24, 0x4f]);
    let missing = Err(Malformed::ClientIdentifier);
    for (source, chaddr, client_identifier, expected) in [
        ("RFC 4390 §2.1: hlen 0, chaddr 0", &[][..], Some(&identifier[..]), Ok((None, Some(identifier.to_vec())))),
        ("RFC 4361 §6.1: any identifier of type 255", &[], Some(&[255, 1]), Ok((None, Some(vec![255, 1])))),
        ("cloud-init#2043: type 32 and the GUID", &[], Some(&[32, 1]), Ok((None, Some(vec![32, 1])))),
        ("iPXE: the GUID", &guid, Some(&identifier), Ok((Some(mac), Some(identifier.to_vec())))),
        ("warewulf3#312: the GUID alone", &guid, None, Ok((Some(mac), None))),
        ("xcat-core#7418: a MAC address alone", &mac.0, None, Ok((Some(mac), None))),
        ("no identifier", &[], None, missing.clone()),
        ("an empty identifier", &[], Some(&[]), missing.clone()),
        ("a GUID of zeros", &[0; 8], None, missing.clone()),
        ("a length that is no GUID's", &[1; 16], None, missing),
    ] {
        let hardware = Hardware::Infiniband(InfinibandAddress::new(chaddr));
        let mut message = Message::new(Direction::Request, 7, hardware);
        message.options.add(code::MESSAGE_TYPE, [1]);
        if let Some(octets) = client_identifier {
            message.options.add(code::CLIENT_IDENTIFIER, octets);
        }
        let request = Request::decode(&message.encode().unwrap());
        let found = request.clone().map(|request| (request.hardware.mac(), request.client_identifier));
        assert_eq!(found, expected, "{source}");
        assert!(request.is_err() || request.is_ok_and(|request| request.wants_broadcast), "{source}");
    }
}

/// Returns a DISCOVER whose type, class and architecture are where `overload` says, with these fields.
fn overloaded(overload: &[u8], options: &[u8], file: &[u8], sname: &[u8]) -> Vec<u8> {
    let mut bytes = Message::new(Direction::Request, 7, MAC).encode().unwrap();
    let mut all = vec![52, u8::try_from(overload.len()).unwrap()];
    all.extend([overload, options, &[255]].concat());
    bytes.splice(44..44 + sname.len(), sname.iter().copied());
    bytes.splice(108..108 + file.len(), file.iter().copied());
    bytes.splice(240..240 + all.len(), all);
    bytes
}

#[test]
fn options_in_file_and_sname_are_read_where_option_52_says_so() {
    const TYPE: &[u8] = &[53, 1, 1];
    const CLASS: &[u8] = &[60, 9, b'P', b'X', b'E', b'C', b'l', b'i', b'e', b'n', b't'];
    const X64: &[u8] = &[93, 2, 0, 7];
    let all = [TYPE, CLASS, X64].concat();
    let ended = |parts: &[&[u8]]| [&parts.concat(), [255].as_slice()].concat();
    let (pxe, system) = (Ok(Client::Pxe(Architecture::UefiX64)), Ok(Client::System));
    for (source, bytes, expected) in [
        ("RFC 2132 §9.3: 1, file", overloaded(&[1], &[], &ended(&[&all]), &[]), pxe),
        ("RFC 2132 §9.3: 2, sname", overloaded(&[2], &[], &[], &ended(&[&all])), pxe),
        ("RFC 2132 §9.3: 3, both", overloaded(&[3], TYPE, &ended(&[CLASS]), &ended(&[X64])), pxe),
        ("pads before and between", overloaded(&[1], &[0], &ended(&[&[0, 0], TYPE, &[0], CLASS, X64]), &[]), pxe),
        (
            "RFC 3396: an option that continues in file and sname",
            overloaded(
                &[3],
                &[TYPE, &[60, 3, b'P', b'X', b'E'], X64].concat(),
                &ended(&[&[60, 3, b'C', b'l', b'i']]),
                &ended(&[&[60, 3, b'e', b'n', b't']]),
            ),
            pxe,
        ),
        (
            "a field that is full has no end",
            overloaded(&[2], &[], &[], &[&all[..], &[12, 44], &[b'x'; 44]].concat()),
            pxe,
        ),
        ("1: sname is a server's name", overloaded(&[1], TYPE, &ended(&[]), &ended(&[CLASS, X64])), system),
        ("2: file is a file's name", overloaded(&[2], TYPE, &ended(&[CLASS, X64]), &ended(&[])), system),
        ("0 has no meaning", overloaded(&[0], TYPE, &ended(&[CLASS, X64]), &[]), system),
        ("4 has no meaning", overloaded(&[4], TYPE, &ended(&[CLASS, X64]), &[]), system),
        ("two octets have none either", overloaded(&[1, 1], TYPE, &ended(&[CLASS, X64]), &[]), system),
        (
            "option 52 within file overloads nothing",
            overloaded(&[1], TYPE, &ended(&[&[52, 1, 3]]), &ended(&[CLASS])),
            system,
        ),
        (
            "an option that is truncated",
            overloaded(&[2], TYPE, &[], &[&[0; 62][..], &[12, 1]].concat()),
            Err(Malformed::Short),
        ),
        ("the type is nowhere", overloaded(&[3], &[], &ended(&[CLASS]), &ended(&[X64])), Err(Malformed::Type)),
    ] {
        assert_eq!(Request::decode(&bytes).map(|request| request.client), expected, "{source}");
    }
}

#[test]
fn ipxe_is_identified_by_user_class_or_option_175() {
    let pxe = (60, b"PXEClient".as_slice());
    assert_eq!(client_of(&[pxe, (77, b"iPXE")]), Client::Ipxe(Architecture::Bios));
    assert_eq!(client_of(&[pxe, (77, b"\x04iPXE")]), Client::Ipxe(Architecture::Bios));
    assert_eq!(client_of(&[pxe, (175, &[1]), (93, &[0, 7])]), Client::Ipxe(Architecture::UefiX64));
    assert_eq!(client_of(&[pxe, (77, b"other")]), Client::Pxe(Architecture::Bios));
}

#[test]
fn a_boot_loader_without_vendor_class_is_not_a_system() {
    assert_eq!(client_of(&[(93, &[0, 7])]), Client::Pxe(Architecture::UefiX64));
    assert_eq!(client_of(&[(60, b"udhcp 1.35.0")]), Client::System);
    assert_eq!(client_of(&[]), Client::System);
}

#[test]
fn a_uuid_of_zeros_or_ones_is_ignored() {
    for octets in [[0; 17].as_slice(), &[1; 17], &[0; 16], &[[0].as_slice(), &[0xff; 16]].concat()] {
        assert_eq!(Request::decode(&discover(&[(97, octets)])).unwrap().uuid, None);
    }
}

#[test]
fn text_for_display_is_truncated_and_printable() {
    let long = [b'x'; 200];
    let request = Request::decode(&discover(&[(12, b"a\x1b[2Jb\n"), (60, &long), (77, b"")])).unwrap();
    assert_eq!(request.host_name.as_deref(), Some("a[2Jb"));
    assert_eq!(request.vendor_class.unwrap().len(), MAX_TEXT_OCTETS);
    assert_eq!(request.user_class, None);
}

#[test]
fn an_invalid_request_is_malformed() {
    let good = discover(&[]);
    let with = |at: usize, octet: u8| {
        let mut bytes = good.clone();
        *bytes.get_mut(at).unwrap() = octet;
        Request::decode(&bytes)
    };
    assert!(Request::decode(&good).is_ok());
    assert_eq!(with(0, 2), Err(Malformed::Direction));
    assert_eq!(with(0, 3), Err(Malformed::Direction));
    assert_eq!(with(1, 6), Err(Malformed::Hardware), "IEEE 802 other than Ethernet");
    assert_eq!(with(2, 17), Err(Malformed::Hardware), "a length above 16 made dhcproto panic");
    assert_eq!(with(28, 0x53), Err(Malformed::Hardware), "a group address");
    assert_eq!(with(24, 224), Err(Malformed::Relay(Ipv4Addr::new(224, 0, 0, 0))));
    assert_eq!(with(24, 127), Err(Malformed::Relay(Ipv4Addr::new(127, 0, 0, 0))));
    assert_eq!(with(236, 0), Err(Malformed::Magic));
    assert_eq!(with(242, 2), Err(Malformed::Type), "an OFFER");
    assert_eq!(with(241, 200), Err(Malformed::Short));
    assert_eq!(with(240, 54), Err(Malformed::Type), "plain BOOTP");
    assert_eq!(Request::decode(&[1; 1473]), Err(Malformed::Long));
}

#[test]
fn a_truncated_message_is_malformed() {
    let bytes = simulated_client(Client::Ipxe(Architecture::Bios)).discover();
    let end = bytes.iter().rposition(|octet| *octet == 255).unwrap();
    let options_start = 240;
    for length in 0..end {
        let cut = Request::decode(bytes.get(..length).unwrap());
        // A cut between two options cannot be seen; the message is then whole as far as it goes.
        assert!(cut.is_err() || length >= options_start + 3, "{length}");
    }
}

#[test]
fn an_identifier_longer_than_one_option_is_not_repeated() {
    let long = [1; 600];
    assert_eq!(Request::decode(&discover(&[(61, &long)])).unwrap().echoed_options.get(61), None);
    assert_eq!(Request::decode(&discover(&[(61, b"id")])).unwrap().echoed_options.get(61), Some(b"id".as_slice()));
}
