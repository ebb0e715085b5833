use proptest::prelude::*;

use super::*;
use crate::client::Architecture;
use crate::hardware::{Hardware, InfinibandAddress, Mac};
use crate::malformed::{MAX_MESSAGE, Malformed};
use crate::{BootFile, InvalidBootFile, ServerReply, SimulatedClient};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 11);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 99);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 254);
const REPLICA: Replica =
    Replica { server_identifier: Ipv4Addr::new(10, 77, 1, 1), address: Ipv4Addr::new(10, 77, 1, 2) };

fn reservation(file: &str) -> Reservation {
    Reservation {
        address: ADDRESS,
        prefix: 24,
        router: Some(Ipv4Addr::new(10, 77, 1, 254)),
        dns: vec![Ipv4Addr::new(10, 77, 1, 1)],
        lease_seconds: 3600,
        host_name: Some("n11".to_owned()),
        boot: Some(Boot { next_server: None, file: BootFile::new(file).unwrap() }),
    }
}

fn simulated_client(client: Client) -> SimulatedClient {
    SimulatedClient {
        client,
        mac: Mac([0x52, 0x54, 0, 1, 0, 1]),
        xid: 0x1234_5678,
        secs: 0,
        uuid: Some([7; 16]),
        relay: None,
    }
}

const PXE: Client = Client::Pxe(Architecture::UefiX64);

fn reply(bytes: &[u8]) -> Result<Reply, NoReply> {
    answer(&Request::decode(bytes).unwrap(), &reservation("snponly.efi"), &REPLICA)
}

fn options(reply: &Reply) -> Options {
    Message::decode(&reply.bytes, Direction::Reply).unwrap().options
}

/// What an offer to this client says.
fn offer(client: Client) -> ServerReply {
    ServerReply::decode(&reply(&simulated_client(client).discover()).unwrap().bytes).unwrap()
}

#[test]
fn a_discover_is_offered_the_reserved_address() {
    let reply = reply(&simulated_client(PXE).discover()).unwrap();
    assert_eq!((reply.kind, reply.destination), (Kind::Offer, Destination::Broadcast));
    assert_eq!(reply.destination.socket().to_string(), "255.255.255.255:68");
    let offer = ServerReply::decode(&reply.bytes).unwrap();
    assert_eq!((offer.address, offer.xid, offer.mac), (ADDRESS, 0x1234_5678, simulated_client(PXE).mac));
    assert_eq!(offer.server_identifier, REPLICA.server_identifier);
    assert_eq!(offer.netmask, Some(Ipv4Addr::new(255, 255, 255, 0)));
    assert_eq!(offer.router, Some(Ipv4Addr::new(10, 77, 1, 254)));
    assert_eq!((offer.lease_seconds, offer.host_name.as_deref()), (Some(3600), Some("n11")));
    let options = options(&reply);
    assert_eq!((options.number(58), options.number(59)), (Some(1800), Some(3150)));
    assert_eq!(options.address(28), Some(Ipv4Addr::new(10, 77, 1, 255)));
}

#[test]
fn a_reply_to_pxe_firmware_skips_discovery() {
    let offer = offer(PXE);
    assert_eq!(offer.vendor_class.as_deref(), Some("PXEClient"));
    assert_eq!(offer.discovery_control, Some(8));
    assert_eq!((offer.next_server, offer.file.as_deref()), (REPLICA.address, Some("snponly.efi")));
    assert!(!offer.no_proxy);
}

#[test]
fn a_reply_to_http_boot_has_its_class_and_one_to_ipxe_no_proxy() {
    assert_eq!(offer(Client::Http(Architecture::UefiX64)).vendor_class.as_deref(), Some("HTTPClient"));
    let offer = offer(Client::Ipxe(Architecture::Bios));
    assert!(offer.no_proxy);
    assert_eq!((offer.vendor_class, offer.discovery_control), (None, None));
}

#[test]
fn a_system_gets_an_address_and_nothing_to_boot() {
    let offer = offer(Client::System);
    assert_eq!((offer.address, offer.file), (ADDRESS, None));
    assert_eq!(offer.next_server, offer.server_identifier, "siaddr is empty");
}

#[test]
fn the_message_type_comes_first_and_the_relay_option_last() {
    let mut message = Message::decode(&simulated_client(PXE).discover(), Direction::Request).unwrap();
    message.giaddr = RELAY;
    message.options.add(code::RELAY, [1, 2, b'e', b'0', 200, 1, 9]);
    let reply = reply(&message.encode().unwrap()).unwrap();
    assert_eq!(reply.destination, Destination::Relay(RELAY));
    assert_eq!(reply.destination.socket().to_string(), "10.77.1.254:67");
    assert_eq!(reply.bytes.get(240..243), Some([53, 1, 2].as_slice()));
    let end = reply.bytes.iter().rposition(|octet| *octet == 255).unwrap();
    assert_eq!(reply.bytes.get(end - 9..end), Some([82, 7, 1, 2, b'e', b'0', 200, 1, 9].as_slice()));
}

#[test]
fn identifiers_are_repeated() {
    let machine = options(&reply(&simulated_client(PXE).discover()).unwrap());
    assert_eq!(machine.get(97), Some([&[0], [7; 16].as_slice()].concat().as_slice()));
    let system = options(&reply(&simulated_client(Client::System).discover()).unwrap());
    assert_eq!(system.get(61), Some([1, 0x52, 0x54, 0, 1, 0, 1].as_slice()));
}

#[test]
fn a_request_for_the_reserved_address_is_acknowledged_in_every_state() {
    let system = simulated_client(Client::System);
    let taken = reply(&system.request(&offer(Client::System))).unwrap();
    assert_eq!((taken.kind, taken.destination), (Kind::Ack, Destination::Broadcast));
    let rebooted = reply(&system.reboot(ADDRESS)).unwrap();
    assert_eq!((rebooted.kind, rebooted.destination), (Kind::Ack, Destination::Broadcast));
    let renewed = reply(&system.renew(ADDRESS)).unwrap();
    assert_eq!((renewed.kind, renewed.destination), (Kind::Ack, Destination::Unicast(ADDRESS)));
}

#[test]
fn a_request_for_another_address_gets_a_broadcast_nak() {
    for bytes in [simulated_client(Client::System).reboot(OTHER), simulated_client(Client::System).renew(OTHER)] {
        let reply = reply(&bytes).unwrap();
        assert_eq!((reply.kind, reply.destination), (Kind::Nak, Destination::Broadcast));
        let nak = ServerReply::decode(&reply.bytes).unwrap();
        assert_eq!((nak.address, nak.lease_seconds, nak.file), (Ipv4Addr::UNSPECIFIED, None, None));
        assert!(nak.message.is_some());
        assert_eq!(options(&reply).get(61).map(<[u8]>::len), Some(7));
    }
}

#[test]
fn an_infiniband_client_is_answered_by_broadcast_with_its_own_header() {
    let guid = [0x7c, 0xfe, 0x90, 3, 0, 0x29, 0x24, 0x4f];
    let identifier: &[u8] = &[&[255, 0, 0, 0, 0, 0, 2, 0, 0, 2, 0xc9, 0], guid.as_slice()].concat();
    for (source, chaddr, relay) in [
        ("RFC 4390 §2.1: hlen 0", &[][..], None),
        ("a DISCOVER without the broadcast bit, through a relay", &[], Some(RELAY)),
        ("iPXE sends the GUID", &guid, None),
        ("UEFI firmware sends a MAC address", &[0x7c, 0xfe, 0x90, 0x29, 0x24, 0x4f], None),
        ("a length that names no address", &[1; 16], None),
        ("the GUID through a relay", &guid, Some(RELAY)),
    ] {
        let hardware = Hardware::Infiniband(InfinibandAddress::new(chaddr));
        let mut message = Message::new(Direction::Request, 7, hardware);
        message.giaddr = relay.unwrap_or(Ipv4Addr::UNSPECIFIED);
        message.options.add(code::MESSAGE_TYPE, [1]).add(code::CLIENT_IDENTIFIER, identifier);
        let reply = reply(&message.encode().unwrap()).unwrap();
        assert_eq!(reply.destination, relay.map_or(Destination::Broadcast, Destination::Relay), "{source}");
        let header = reply.bytes.get(..44).unwrap();
        assert_eq!(
            header.get(1..3),
            Some([32, u8::try_from(chaddr.len()).unwrap()].as_slice()),
            "{source}: htype, hlen"
        );
        assert_eq!(header.get(10..12), Some([0x80, 0].as_slice()), "{source}: the broadcast bit");
        let mut padded = chaddr.to_vec();
        padded.resize(16, 0);
        assert_eq!(header.get(28..44), Some(&*padded), "{source}: chaddr");
        assert_eq!(options(&reply).get(code::CLIENT_IDENTIFIER), Some(identifier), "{source}: RFC 6842 §3");
    }
}

#[test]
fn a_request_that_takes_another_servers_offer_gets_no_reply() {
    let offer = ServerReply { server_identifier: OTHER, ..offer(PXE) };
    assert_eq!(reply(&simulated_client(PXE).request(&offer)), Err(NoReply::OtherServer(OTHER)));
}

#[test]
fn any_replica_acknowledges_what_another_offered() {
    let offer = offer(PXE);
    let second = Replica { address: Ipv4Addr::new(10, 77, 1, 3), ..REPLICA };
    let request = Request::decode(&simulated_client(PXE).request(&offer)).unwrap();
    let reply = answer(&request, &reservation("snponly.efi"), &second).unwrap();
    let ack = ServerReply::decode(&reply.bytes).unwrap();
    assert_eq!(
        (ack.kind, ack.server_identifier, ack.next_server),
        (Kind::Ack, offer.server_identifier, second.address)
    );
}

#[test]
fn declines_and_releases_get_no_reply() {
    let offer = offer(Client::System);
    let declined = simulated_client(Client::System).decline(&offer);
    assert_eq!(reply(&declined), Err(NoReply::NotDue));
    let seen = Request::decode(&declined).unwrap();
    assert_eq!((seen.message_type, seen.requested), (MessageType::Decline, Some(ADDRESS)));
    assert_eq!(reply(&simulated_client(Client::System).release(&offer)), Err(NoReply::NotDue));
}

#[test]
fn an_inform_gets_options_without_an_address_and_only_inside_the_network() {
    let reply_inside = reply(&simulated_client(Client::System).inform(OTHER)).unwrap();
    assert_eq!((reply_inside.kind, reply_inside.destination), (Kind::Ack, Destination::Unicast(OTHER)));
    let ack = ServerReply::decode(&reply_inside.bytes).unwrap();
    assert_eq!((ack.address, ack.lease_seconds), (Ipv4Addr::UNSPECIFIED, None));
    assert!(ack.netmask.is_some());
    let outside = Ipv4Addr::new(8, 8, 8, 8);
    let informed = reply(&simulated_client(Client::System).inform(outside));
    assert_eq!(informed, Err(NoReply::OtherNetwork(outside)));
}

#[test]
fn an_ack_is_never_sent_to_a_forged_address() {
    let mut message = Message::decode(&simulated_client(PXE).reboot(ADDRESS), Direction::Request).unwrap();
    message.ciaddr = Ipv4Addr::new(8, 8, 8, 8);
    assert_eq!(reply(&message.encode().unwrap()).unwrap().kind, Kind::Nak);
}

#[test]
fn a_reply_is_not_a_request() {
    let reply = reply(&simulated_client(PXE).discover()).unwrap();
    assert_eq!(Request::decode(&reply.bytes), Err(Malformed::Direction));
}

#[test]
fn a_reply_has_at_least_300_octets() {
    let bare = Reservation { router: None, dns: vec![], host_name: None, boot: None, ..reservation("x") };
    let request = Request::decode(&simulated_client(Client::System).discover()).unwrap();
    assert_eq!(answer(&request, &bare, &REPLICA).unwrap().bytes.len(), 300);
}

#[test]
fn a_long_url_is_in_its_option_and_not_in_the_field() {
    let request = Request::decode(&simulated_client(Client::Http(Architecture::UefiX64)).discover()).unwrap();
    for length in [1, 127, 128, 255] {
        let url = "u".repeat(length);
        let reply = answer(&request, &reservation(&url), &REPLICA).unwrap();
        assert_eq!(options(&reply).text(67), Some(url.clone()));
        let field = reply.bytes.get(108..236).unwrap();
        assert_eq!(field.starts_with(url.as_bytes()), length < 128);
        assert_eq!(field.last(), Some(&0), "the field ends with a NUL");
    }
}

/// Reads a text option as lenient firmware does: up to a NUL, beyond the option's length.
fn read_up_to_nul(reply: &Reply, wanted: u8) -> Option<String> {
    let mut rest = reply.bytes.get(240..)?;
    while let [code, after @ ..] = rest {
        rest = after;
        if *code == 0 {
            continue;
        }
        let (&length, value) = rest.split_first()?;
        if *code == wanted {
            let text: Vec<u8> = value.iter().copied().take_while(|octet| *octet != 0).collect();
            return String::from_utf8(text).ok();
        }
        rest = value.get(length.into()..)?;
    }
    None
}

#[test]
fn firmware_that_reads_beyond_a_boot_option_reads_a_nul() {
    let http = Client::Http(Architecture::UefiX64);
    for (source, client, file) in [
        ("option 97 follows: `snponly.efia`", PXE, "snponly.efi"),
        ("netboot.xyz#1198: END follows", Client::Pxe(Architecture::Bios), "undionly.kpxe"),
        ("a name of one octet", PXE, "x"),
        ("the longest name that fits into the header", PXE, &"u".repeat(127)),
        ("a name that is only in the option", PXE, &"u".repeat(128)),
        ("a URL that fills the option", http, &"u".repeat(255)),
        ("a URL of HTTP boot", http, "http://10.77.1.2:8080/ipxe.efi"),
        ("a script of iPXE", Client::Ipxe(Architecture::Bios), "http://10.77.1.2/boot/52:54:00:01:00:01/script.ipxe"),
    ] {
        for uuid in [Some([7; 16]), None] {
            let mut message =
                Message::decode(&SimulatedClient { uuid, ..simulated_client(client) }.discover(), Direction::Request)
                    .unwrap();
            if uuid.is_none() {
                message.options.remove(code::MACHINE_IDENTIFIER);
            }
            let request = Request::decode(&message.encode().unwrap()).unwrap();
            let reply = answer(&request, &reservation(file), &REPLICA).unwrap();
            assert_eq!(read_up_to_nul(&reply, 67).as_deref(), Some(file), "{source}");
            assert_eq!(read_up_to_nul(&reply, 66).as_deref(), Some("10.77.1.2"), "{source}");
            let options = options(&reply);
            assert_eq!(options.get(67), Some(file.as_bytes()), "{source}: the NUL is not in the option");
            assert_eq!(options.get(66), Some(b"10.77.1.2".as_slice()), "raspberrypi/firmware#871: {source}");
        }
    }
}

#[test]
fn a_boot_file_that_firmware_cannot_read_is_invalid() {
    assert_eq!(BootFile::new(""), Err(InvalidBootFile::Empty));
    assert_eq!(BootFile::new("x".repeat(256)), Err(InvalidBootFile::TooLong(256)));
    for name in ["a b", "a\0", "ä"] {
        assert_eq!(BootFile::new(name), Err(InvalidBootFile::InvalidCharacter));
    }
}

#[test]
fn a_reply_leaves_out_options_to_fit_the_clients_maximum_size() {
    let mut message = Message::decode(&simulated_client(PXE).discover(), Direction::Request).unwrap();
    message.options.remove(code::MAX_SIZE);
    message.options.add(code::CLIENT_IDENTIFIER, [1; 180]);
    let request = Request::decode(&message.encode().unwrap()).unwrap();
    let reply = answer(&request, &reservation(&"u".repeat(40)), &REPLICA).unwrap();
    assert!(reply.bytes.len() <= 548);
    let options = options(&reply);
    assert_eq!(options.get(code::HOST_NAME), None);
    assert!(options.get(67).is_some() && options.get(61).is_some());
}

#[test]
fn every_prefix_has_a_netmask() {
    let mask = |prefix| Reservation { prefix, ..reservation("x") }.netmask().to_string();
    assert_eq!(
        [mask(0), mask(9), mask(32), mask(255)],
        ["0.0.0.0", "255.128.0.0", "255.255.255.255", "255.255.255.255"]
    );
}

proptest! {
    #[test]
    fn any_datagram_is_parsed_or_rejected_and_any_reply_is_valid(
        head in prop::collection::vec(any::<u8>(), 240), tail in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        verb in 0u8..10, cut in 0usize..1472,
    ) {
        let mut bytes = head;
        bytes.splice(..3, [1, 1, 6]);
        bytes.splice(28..29, [0x52]);
        bytes.splice(236.., [99, 130, 83, 99, 53, 1, verb]);
        for (code, octets) in &tail {
            bytes.extend([*code, u8::try_from(octets.len()).unwrap()]);
            bytes.extend(octets);
        }
        for bytes in [bytes.as_slice(), bytes.get(..cut).unwrap_or(&bytes)] {
            let _ = ServerReply::decode(bytes);
            let Ok(request) = Request::decode(bytes) else { continue };
            if let Ok(reply) = answer(&request, &reservation("http://10.77.1.2/boot.ipxe"), &REPLICA) {
                prop_assert!((300..=MAX_MESSAGE).contains(&reply.bytes.len()) && reply.bytes.len() <= request.max_octets);
                let read = ServerReply::decode(&reply.bytes).unwrap();
                prop_assert_eq!((read.kind, read.xid, Some(read.mac)), (reply.kind, request.xid, request.hardware.mac()));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..1600)) {
        let _ = Request::decode(&bytes);
        let _ = ServerReply::decode(&bytes);
    }
}

mod relayed;
