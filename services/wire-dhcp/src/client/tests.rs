use super::*;
use crate::SimulatedClient;

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
            assert_eq!((request.client, request.mac, request.xid, request.secs), (client, MAC, 7, 3));
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
    assert_eq!(with(1, 32), Err(Malformed::Hardware), "InfiniBand");
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
