use super::*;

/// The first bytes of a client's handshake, as curl 7.88 sent them: a record of 6 bytes.
const HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x00, 0x06, 0x01, 0x00, 0x00, 0x02, 0x03, 0x03];
/// A server's record with 3 bytes of data.
const DATA: &[u8] = &[0x17, 0x03, 0x03, 0x00, 0x03, 0xde, 0xad, 0xbe];
/// A server refuses a handshake: fatal, unknown CA.
const ALERT: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x30];
/// HTTP/2 begins with this (RFC 9113 §3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const ARP: &[u8] = &[
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x01, 0x00, 0x01, 0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 0x06,
    0x04, 0x00, 0x01,
];
const LLDP: &[u8] = &[0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e, 0x52, 0x54, 0x00, 0x01, 0x00, 0x01, 0x88, 0xcc, 0x02];
const H1: &str = "10.80.1.11:40000";
const H2: &str = "10.80.1.12:7390";

fn ipv4(protocol: u8, from: &str, to: &str, transport: &[u8]) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let address = |end: SocketAddr| if let IpAddr::V4(address) = end.ip() { address.octets() } else { [0; 4] };
    let length = u16::try_from(20 + transport.len()).unwrap().to_be_bytes();
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(address(from));
    frame.extend(address(to));
    frame.extend(transport);
    // Short frames are padded (IEEE 802.3 §4.2.3.3), and the padding is no payload.
    frame.resize(frame.len().max(60), 0);
    frame
}

fn ports(from: &str, to: &str) -> Vec<u8> {
    let port = |end: &str| end.parse::<SocketAddr>().unwrap().port().to_be_bytes();
    [port(from), port(to)].concat()
}

fn udp(from: &str, to: &str) -> Vec<u8> {
    ipv4(17, from, to, &[ports(from, to), vec![0, 8, 0, 0]].concat())
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn tcp(from: &str, to: &str, number: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let header = [&ports(from, to)[..], &number.to_be_bytes(), &[0; 4], &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat();
    ipv4(6, from, to, &[&header, payload].concat())
}

fn icmpv6() -> Vec<u8> {
    let mut frame = vec![0; 12];
    // A report of multicast listeners behind hop-by-hop options.
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 0, 1]);
    frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
    frame.extend([58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0]);
    frame
}

/// A connection of which one direction has these segments, each with its distance from the first byte.
fn connection(segments: &[(u32, &[u8])]) -> Traffic {
    let mut traffic = Traffic::default();
    // The numbers wrap within the first segment.
    let first = u32::MAX - 2;
    traffic.frame(Network::Datacenter, &tcp(H1, H2, first.wrapping_sub(1), SYN, &[]));
    for (at, payload) in segments {
        traffic.frame(Network::Datacenter, &tcp(H1, H2, first.wrapping_add(*at), ACK, payload));
    }
    traffic
}

#[test]
fn a_stream_is_tls_if_all_of_it_is_records() {
    let twice = [HELLO, DATA].concat();
    let late = [HELLO, HTTP2].concat();
    let cut = &HELLO[..7];
    // Segments, the number of TLS streams, and what is found.
    type Case<'c> = (&'static str, &'c [(u32, &'c [u8])], usize, Option<&'static str>);
    let cases: [Case<'_>; 13] = [
        ("a handshake", &[(0, HELLO)], 1, None),
        ("a handshake and data", &[(0, &twice)], 1, None),
        ("the same in two segments", &[(0, HELLO), (11, DATA)], 1, None),
        ("the same, the second first", &[(11, DATA), (0, HELLO)], 1, None),
        ("a header in two segments", &[(0, &HELLO[..3]), (3, &HELLO[3..])], 1, None),
        ("a segment twice", &[(0, HELLO), (0, HELLO), (11, DATA)], 1, None),
        ("a segment that overlaps", &[(0, HELLO), (5, &twice[5..])], 1, None),
        ("a refused handshake", &[(0, ALERT)], 1, None),
        ("a record that is not complete", &[(0, cut)], 0, None),
        ("HTTP/2 in clear", &[(0, HTTP2)], 0, Some("50524920")),
        ("HTTP/2 in clear after a record", &[(0, &late)], 1, Some("50524920")),
        ("data without a handshake", &[(0, DATA)], 0, Some("17")),
        ("a record of SSL 2", &[(0, &[0x16, 0x02, 0x00, 0x00, 0x01, 0x00])], 0, Some("1602")),
    ];
    for (name, segments, tls, found) in cases {
        let traffic = connection(segments);
        assert_eq!(traffic.tls_streams(), tls, "{name}");
        assert_eq!(traffic.incomplete_streams(), 0, "{name}");
        let findings: Vec<_> = traffic.findings().iter().collect();
        assert_eq!(findings.len(), usize::from(found.is_some()), "{name}: {findings:?}");
        if let (Some(finding), Some(bytes)) = (findings.first(), found) {
            let wanted = format!("10.80.1.11 > {H2}: not TLS: {bytes}");
            assert!(finding.contains(&wanted), "{name}: {finding}");
        }
    }
}

#[test]
fn a_connection_that_is_older_than_the_capture_is_counted() {
    let mut traffic = Traffic::default();
    traffic.frame(Network::Datacenter, &tcp(H1, H2, 9, ACK, DATA));
    assert_eq!((traffic.incomplete_streams(), traffic.findings().len()), (1, 0));
    // A new connection with the same ports is read from its beginning.
    traffic.frame(Network::Datacenter, &tcp(H1, H2, 700, SYN, &[]));
    traffic.frame(Network::Datacenter, &tcp(H1, H2, 701, ACK, HTTP2));
    assert_eq!(traffic.findings().len(), 1);
}

#[test]
fn what_is_not_tcp_is_expected_by_name_or_found() {
    use Network::{Datacenter, Provisioning};
    let fragment = {
        let mut frame = udp(H1, H2);
        frame[20] = 0x20;
        frame
    };
    // Frame, network, and a part of the finding.
    for (frame, network, found) in [
        (ARP.to_vec(), Datacenter, None),
        (icmpv6(), Datacenter, None),
        (ipv4(1, H1, H2, &[8, 0, 0, 0]), Datacenter, None),
        (LLDP.to_vec(), Datacenter, Some("EtherType 0x88cc")),
        (udp("0.0.0.0:68", "255.255.255.255:67"), Provisioning, None),
        (udp("0.0.0.0:68", "255.255.255.255:67"), Datacenter, Some("UDP 0.0.0.0:68 > 255.255.255.255:67")),
        (udp(H1, "10.80.1.12:53"), Provisioning, Some("UDP 10.80.1.11:40000 > 10.80.1.12:53")),
        (udp("10.81.1.50:2070", "10.81.1.1:69"), Provisioning, None),
        (tcp("10.81.1.50:40000", "10.81.1.1:8080", 5, ACK, b"GET / HTTP/1.1\r\n"), Provisioning, None),
        (fragment, Datacenter, Some("IP protocol 255")),
        (ipv4(132, H1, H2, &[0; 4]), Datacenter, Some("IP protocol 132")),
        (udp(H1, H2)[..30].to_vec(), Datacenter, Some("malformed")),
    ] {
        let mut traffic = Traffic::default();
        traffic.frame(network, &frame);
        let findings = traffic.findings();
        assert_eq!(findings.len(), usize::from(found.is_some()), "{frame:02x?}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.contains(found.unwrap_or_default())), "{findings:?}");
    }
}

#[test]
fn a_tftp_transfer_is_recognized_by_its_request() {
    let (client, server) = ("10.81.1.50:2070", "10.81.1.1:50000");
    let mut traffic = Traffic::default();
    traffic.frame(Network::Provisioning, &udp(server, client));
    assert_eq!(traffic.findings().len(), 1);
    let mut traffic = Traffic::default();
    traffic.frame(Network::Provisioning, &udp(client, "10.81.1.1:69"));
    traffic.frame(Network::Provisioning, &udp(server, client));
    traffic.frame(Network::Provisioning, &udp(client, server));
    assert_eq!((traffic.findings().len(), traffic.boot_frames()), (0, 3));
}
