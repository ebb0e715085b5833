use super::*;

const LOOPBACK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 254);

/// Sub-options of option 82: a circuit id and a remote id, which no server understands, before the given ones.
fn relay_information(more: &[u8]) -> Vec<u8> {
    [&[1, 4, b'e', b't', b'h', 255, 2, 2, 0, 9], more].concat()
}

/// A relayed request, and the reply that it gets.
struct Relayed {
    source: &'static str,
    request: Vec<u8>,
    giaddr: Ipv4Addr,
    /// Sub-options of option 82, if it is there.
    more: Option<&'static [u8]>,
    /// Type and server identifier of the reply.
    expected: Result<(Kind, Ipv4Addr), NoReply>,
}

impl Relayed {
    fn check(&self) {
        let Self { source, giaddr, expected, .. } = self;
        let mut message = Message::decode(&self.request, Direction::Request).unwrap();
        message.giaddr = *giaddr;
        let information = self.more.map(relay_information);
        if let Some(information) = &information {
            message.options.add(code::RELAY, information);
        }
        let reply = reply(&message.encode().unwrap());
        let read = reply.clone().map(|reply| ServerReply::decode(&reply.bytes).unwrap());
        let found = read.clone().map(|read| (read.kind, read.server_identifier));
        assert_eq!(found, *expected, "{source}");
        let (Ok(reply), Ok(read)) = (reply, read) else { return };
        assert_eq!(reply.destination.socket(), SocketAddrV4::new(*giaddr, 67), "{source}");
        assert_eq!(Message::decode(&reply.bytes, Direction::Reply).unwrap().giaddr, *giaddr, "{source}");
        assert_eq!(read.address, if read.kind == Kind::Nak { Ipv4Addr::UNSPECIFIED } else { ADDRESS }, "{source}");
        assert_eq!(options(&reply).get(code::RELAY), information.as_deref(), "{source}");
        if let Some(information) = information {
            let end = reply.bytes.iter().rposition(|octet| *octet == 255).unwrap();
            assert_eq!(reply.bytes.get(end - information.len()..end), Some(&*information), "{source}: the last option");
        }
    }
}

fn other_link(address: Ipv4Addr, link: Ipv4Addr) -> Result<(Kind, Ipv4Addr), NoReply> {
    Err(NoReply::OtherLink(Relay { address, link, server_identifier: None }))
}

#[test]
fn a_relayed_request_is_answered_to_its_relay() {
    let client = simulated_client(PXE);
    let (discover, ours, reboot) = (client.discover(), client.request(&offer(PXE)), client.reboot(ADDRESS));
    let (renew, wrong) = (client.renew(ADDRESS), client.reboot(OTHER));
    let (offered, acknowledged) =
        (Ok((Kind::Offer, REPLICA.server_identifier)), Ok((Kind::Ack, REPLICA.server_identifier)));
    let refused = Ok((Kind::Nak, REPLICA.server_identifier));
    for (source, request, giaddr, more, expected) in [
        ("RFC 2131 §4.1: DISCOVER", &discover, RELAY, None, offered),
        ("RFC 2131 §4.1: SELECTING", &ours, RELAY, None, acknowledged),
        ("RFC 3046 §2.2: option 82", &discover, RELAY, Some(&[][..]), offered),
        ("INIT-REBOOT", &reboot, RELAY, Some(&[]), acknowledged),
        ("a renewal through the relay (RFC 5107)", &renew, RELAY, Some(&[]), acknowledged),
        ("RFC 2131 §4.3.2: a NAK", &wrong, RELAY, Some(&[]), refused),
        ("RFC 2131 §4.3.1: another network", &discover, FOREIGN, None, other_link(FOREIGN, FOREIGN)),
        ("another network with option 82", &discover, FOREIGN, Some(&[]), other_link(FOREIGN, FOREIGN)),
    ] {
        Relayed { source, request: request.clone(), giaddr, more, expected }.check();
    }
}

#[test]
fn a_relay_may_select_the_link() {
    let offered = Ok((Kind::Offer, REPLICA.server_identifier));
    let network = Ipv4Addr::new(10, 78, 1, 0);
    for (source, giaddr, more, expected) in [
        ("RFC 3527: giaddr is a loopback interface", LOOPBACK, &[5, 4, 10, 77, 1, 254][..], offered),
        ("RFC 3527: the link is named by its network", LOOPBACK, &[5, 4, 10, 77, 1, 0], offered),
        ("giaddr is in the network, the link is not", RELAY, &[5, 4, 10, 78, 1, 0], other_link(RELAY, network)),
        ("a link of three octets", RELAY, &[5, 3, 10, 78, 1], offered),
        ("a link of 0.0.0.0", RELAY, &[5, 4, 0, 0, 0, 0], offered),
        ("a truncated sub-option", RELAY, &[5, 4, 10], offered),
        ("no sub-option for the link of a loopback interface", LOOPBACK, &[], other_link(LOOPBACK, LOOPBACK)),
    ] {
        Relayed { source, request: simulated_client(PXE).discover(), giaddr, more: Some(more), expected }.check();
    }
}

#[test]
fn a_client_may_select_its_subnet() {
    let selected = |option: &[u8], relay: Option<Ipv4Addr>, information: Option<&[u8]>| {
        let simulated = SimulatedClient { relay, ..simulated_client(PXE) };
        let mut message = Message::decode(&simulated.discover(), Direction::Request).unwrap();
        message.options.add(code::SUBNET_SELECTION, option);
        if let Some(information) = information {
            message.options.add(code::RELAY, relay_information(information));
        }
        reply(&message.encode().unwrap())
    };
    let own = &[10, 77, 1, 0][..];
    let foreign = &[10, 78, 1, 0][..];
    let network = Ipv4Addr::new(10, 78, 1, 0);
    for (source, option, relay, information, refused) in [
        ("RFC 3011: the own subnet", own, None, None, None),
        ("RFC 3011: another subnet", foreign, None, None, Some(NoReply::OtherSubnet(network))),
        ("RFC 3011: instead of giaddr", own, Some(LOOPBACK), None, None),
        ("RFC 3011: another subnet than giaddr", foreign, Some(RELAY), None, other_link(RELAY, network).err()),
        ("RFC 3527: the relay's link has precedence", foreign, Some(RELAY), Some(&[5, 4, 10, 77, 1, 0][..]), None),
        ("three octets", &[10, 78, 1], None, None, None),
        ("0.0.0.0", &[0, 0, 0, 0], None, None, None),
    ] {
        let reply = selected(option, relay, information);
        assert_eq!(reply.as_ref().err(), refused.as_ref(), "{source}");
        if let Ok(reply) = reply {
            assert_eq!(options(&reply).get(code::SUBNET_SELECTION), Some(option), "{source}: it is repeated");
        }
    }
}

#[test]
fn a_relay_may_override_the_server_identifier() {
    let client = simulated_client(PXE);
    let offer = offer(PXE);
    let overridden = ServerReply { server_identifier: RELAY, ..offer.clone() };
    let (discover, ours, theirs) = (client.discover(), client.request(&offer), client.request(&overridden));
    let offered = Ok((Kind::Offer, REPLICA.server_identifier));
    let other = &[11, 4, 10, 77, 1, 254][..];
    let both = &[5, 4, 10, 77, 1, 0, 11, 4, 192, 0, 2, 1][..];
    for (source, request, giaddr, more, expected) in [
        ("RFC 5107: another identifier", &discover, RELAY, Some(other), Ok((Kind::Offer, RELAY))),
        ("RFC 5107: its offer is taken", &theirs, RELAY, Some(other), Ok((Kind::Ack, RELAY))),
        ("the client still knows our identifier", &ours, RELAY, Some(other), Ok((Kind::Ack, RELAY))),
        ("the relay overrides no longer", &theirs, RELAY, None, Err(NoReply::OtherServer(RELAY))),
        ("both (RFC 3527, RFC 5107)", &discover, LOOPBACK, Some(both), Ok((Kind::Offer, LOOPBACK))),
        ("an identifier of a group", &discover, RELAY, Some(&[11, 4, 224, 0, 0, 1]), offered),
    ] {
        Relayed { source, request: request.clone(), giaddr, more, expected }.check();
    }
}

#[test]
fn a_relayed_nak_has_the_broadcast_bit() {
    let system = SimulatedClient { relay: Some(RELAY), ..simulated_client(Client::System) };
    let reply = reply(&system.reboot(OTHER)).unwrap();
    assert_eq!((reply.kind, reply.destination), (Kind::Nak, Destination::Relay(RELAY)));
    assert_eq!(reply.bytes.get(10..12), Some([0x80, 0].as_slice()));
}

#[test]
fn option_82_without_a_relay_is_repeated_and_changes_nothing_else() {
    let mut message = Message::decode(&simulated_client(PXE).discover(), Direction::Request).unwrap();
    let information = relay_information(&[5, 4, 10, 78, 1, 0, 11, 4, 10, 78, 1, 1]);
    message.options.add(code::RELAY, &information);
    let reply = reply(&message.encode().unwrap()).unwrap();
    assert_eq!(reply.destination, Destination::Broadcast);
    assert_eq!(ServerReply::decode(&reply.bytes).unwrap().server_identifier, REPLICA.server_identifier);
    assert_eq!(options(&reply).get(code::RELAY), Some(&*information));
}

#[test]
fn a_relays_option_is_repeated_whatever_its_length_or_there_is_no_reply() {
    let discover = |length| {
        let mut message = Message::decode(&simulated_client(PXE).discover(), Direction::Request).unwrap();
        message.giaddr = RELAY;
        message.options.add(code::RELAY, vec![200; length]);
        message
    };
    let long = reply(&discover(1000).encode().unwrap()).unwrap();
    assert_eq!(options(&long).get(code::RELAY).map(<[u8]>::len), Some(1000));
    let mut small_client = discover(300);
    small_client.options.remove(code::MAX_SIZE);
    assert_eq!(reply(&small_client.encode().unwrap()), Err(NoReply::TooLong(548)));
}
