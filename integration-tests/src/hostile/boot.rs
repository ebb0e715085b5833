//! The provisioning network: DHCP, TFTP and boot files, for a host that is no node.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use domain::net::MacAddr;
use futures::FutureExt as _;
use keyspace::Store;
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep, timeout},
};
use wire_dhcp::{Architecture, Client, Mac, ServerReply, SimulatedClient};

use super::{
    Attack, Work,
    raw::{self, PATIENCE},
};
use crate::{
    machine::{
        dhcp::{self, Offers},
        tftp,
    },
    mesh::Api,
    rack::namespace::Namespace,
};

/// Address that the stranger gives itself.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 66);
/// Address of the rack's services.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
/// NIC of a machine, and of the stranger.
const NIC: &str = "eth0";
/// How long what a server sends unasked is collected.
const LISTENING: Duration = Duration::from_secs(4);
/// Any prefix of keys: what is asked for is the revision.
const RACKS: &str = "/ironmesh/v1/dc/name/rack/";
/// Where DHCP options begin, behind the magic cookie (RFC 2131 §2).
const OPTIONS: usize = 240;

/// The segment, with a node `n1` and a stranger.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The stranger's namespace.
    pub stranger: Namespace,
    /// MAC of the node's NIC.
    pub mac: MacAddr,
    /// The mesh's API.
    pub api: Api,
    /// The store, as its administrator.
    pub store: Store,
    /// The mesh's folder.
    pub data: PathBuf,
    /// `host:port` at which boot files are served over HTTP.
    pub http: String,
    /// `host:port` at which agents that use Ironic's protocol are answered.
    pub agents: String,
    /// `host:port` of the REST API.
    pub rest: String,
    /// Id of the node, and the token that its agent was given.
    pub node: String,
    /// See `node`.
    pub token: String,
}

/// What is sent, and what must hold.
#[derive(Debug, Clone, Copy)]
pub enum Sent {
    /// Broadcasts of DHCP, after which the node is still answered.
    Dhcp(fn(MacAddr) -> Vec<Vec<u8>>),
    /// One datagram to the TFTP server, and how it is answered.
    Tftp(fn() -> Vec<u8>, Answer),
    /// A request for a boot file, whose status is 4xx or 5xx, and what the response must not have.
    Http(fn(&Segment) -> String, &'static str),
    /// Something else.
    Other(Work<Segment>),
}

/// Answer of the TFTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An ERROR packet (RFC 1350 §5).
    Error,
    /// Nothing, or an ERROR packet.
    Nothing,
    /// At most this many times the size of the request while nothing is acknowledged.
    Times(usize),
}

const fn dhcp(name: &'static str, source: &'static str, packets: fn(MacAddr) -> Vec<Vec<u8>>) -> Attack<Sent> {
    Attack { name, source, how: Sent::Dhcp(packets) }
}

const fn tftp(name: &'static str, source: &'static str, packet: fn() -> Vec<u8>, answer: Answer) -> Attack<Sent> {
    Attack { name, source, how: Sent::Tftp(packet, answer) }
}

const fn http(
    name: &'static str,
    source: &'static str,
    path: fn(&Segment) -> String,
    absent: &'static str,
) -> Attack<Sent> {
    Attack { name, source, how: Sent::Http(path, absent) }
}

/// The attacks.
pub const TABLE: &[Attack<Sent>] = &[
    Attack {
        name: "4,000 unknown MACs ask for an address",
        source: "ISSUES-SEEN §6",
        how: Sent::Other(|segment| unknown_macs(segment).boxed_local()),
    },
    dhcp("A DHCP option runs past the end", "RFC 2132 §2, CVE-2018-5732", |mac| {
        vec![with_options(mac, &[53, 1, 1, 82, 255, 1])]
    }),
    dhcp("DHCP options do not end", "RFC 2132 §3.2", |mac| vec![with_options(mac, &[53, 1, 1, 0, 0, 0])]),
    dhcp("A DHCP option has no length", "RFC 2132 §2", |mac| vec![with_options(mac, &[53])]),
    dhcp("A DHCP message has no type", "RFC 2131 §3", |mac| vec![with_options(mac, &[255])]),
    dhcp("A hardware address is 255 octets long", "RFC 2131 §2", |mac| vec![changed(mac, 2, &[255])]),
    dhcp("DHCP options overload the fields with more overload", "RFC 2132 §9.3", |mac| {
        let mut packet = with_options(mac, &[53, 1, 1, 52, 1, 3, 255]);
        for at in [44, 108] {
            packet.splice(at..at + 4, [52, 1, 3, 255]);
        }
        vec![packet]
    }),
    dhcp("A relay is at an address of ourselves or of all", "RFC 2131 §4.1, reflection", |mac| {
        let relays = [[127, 0, 0, 1], [255, 255, 255, 255], SERVER.octets(), [224, 0, 0, 1]];
        relays.map(|relay| changed(mac, 24, &relay)).into()
    }),
    dhcp("A DHCP message is cut at each octet", "RFC 2131 §2", |mac| {
        let whole = client(mac).discover();
        (0..whole.len()).filter_map(|end| Some(whole.get(..end)?.to_vec())).collect()
    }),
    dhcp("A DHCP message has 60,000 octets", "RFC 2131 §2", |mac| {
        vec![with_options(mac, &[&[53, 1, 1][..], &[224, 255].repeat(30_000)].concat())]
    }),
    dhcp("A reply is sent to the server", "RFC 2131 §4.3", |mac| vec![changed(mac, 0, &[2])]),
    dhcp("A stranger declines and releases the node's address", "RFC 2131 §4.3.3, starvation", |mac| {
        let guessed = guessed_reply(mac).into_iter();
        guessed.flat_map(|ack| [client(mac).decline(&ack), client(mac).release(&ack)]).collect()
    }),
    tftp(
        "A TFTP path climbs",
        "CWE-22, CVE-2002-2353",
        || read("../../../../../etc/passwd", "octet", &[]),
        Answer::Error,
    ),
    tftp("A TFTP path is absolute", "CWE-36", || read("/etc/passwd", "octet", &[]), Answer::Error),
    tftp(
        "A TFTP path climbs with backslashes",
        "CWE-29",
        || read("..\\..\\..\\etc\\passwd", "octet", &[]),
        Answer::Error,
    ),
    tftp(
        "A TFTP path climbs below a MAC",
        "CWE-22",
        || read("boot/52:54:00:02:00:01/../../secret", "octet", &[]),
        Answer::Error,
    ),
    tftp(
        "A stranger reads the node's boot token by TFTP",
        "ISSUES-SEEN §6",
        || read("boot/52:54:00:02:00:01/token.cpio", "octet", &[]),
        Answer::Error,
    ),
    tftp(
        "A file is written by TFTP",
        "RFC 1350 §4",
        || [&[0, 2][..], b"undionly.kpxe\0octet\0"].concat(),
        Answer::Error,
    ),
    tftp(
        "A TFTP request has no zero at its end",
        "RFC 1350 §5",
        || [&[0, 1][..], &[b'a'; 1400]].concat(),
        Answer::Nothing,
    ),
    tftp("A TFTP acknowledgement belongs to no transfer", "RFC 1350 §4", || vec![0, 4, 0, 1], Answer::Nothing),
    tftp(
        "A TFTP error answers nothing",
        "RFC 1350 §7, error loops",
        || [&[0, 5, 0, 0][..], b"x\0"].concat(),
        Answer::Nothing,
    ),
    tftp(
        "A forged TFTP request makes the server send",
        "CVE-2013-2566, amplification",
        || read("undionly.kpxe", "octet", &[]),
        Answer::Times(80),
    ),
    tftp(
        "A TFTP request asks for the largest blocks",
        "RFC 2348, amplification",
        || read("undionly.kpxe", "octet", &[("blksize", "65464"), ("windowsize", "65535")]),
        Answer::Times(20),
    ),
    tftp(
        "A TFTP request asks for blocks of nothing",
        "RFC 2348",
        || read("undionly.kpxe", "octet", &[("blksize", "0"), ("windowsize", "0")]),
        Answer::Times(80),
    ),
    Attack {
        name: "1,100 TFTP requests ask for a long timeout",
        source: "ISSUES-SEEN §6, RFC 2349",
        how: Sent::Other(|segment| many_transfers(segment).boxed_local()),
    },
    http(
        "A stranger reads the node's boot script",
        "ISSUES-SEEN §6",
        |segment| format!("/boot/{}/script.ipxe", segment.mac),
        "#!ipxe",
    ),
    http(
        "A stranger reads the node's boot token",
        "ISSUES-SEEN §6",
        |segment| format!("/boot/{}/token.cpio", segment.mac),
        "070701",
    ),
    http("A path of a boot file climbs", "CWE-22", |_| "/../../../../etc/passwd".to_owned(), "root:"),
    http(
        "A path of a boot file climbs in percent-encoding",
        "CWE-22",
        |_| "/boot/%2e%2e/%2e%2e/%2e%2e/etc/passwd".to_owned(),
        "root:",
    ),
    http(
        "A path of a boot file is a loader's with more behind it",
        "CWE-22",
        |_| "/undionly.kpxe/../../../etc/passwd".to_owned(),
        "root:",
    ),
    Attack {
        name: "A stranger phones home for the node",
        source: "issue 18 item 5",
        how: Sent::Other(|segment| phones_home(segment).boxed_local()),
    },
];

fn client(mac: MacAddr) -> SimulatedClient {
    let client = Client::Pxe(Architecture::Bios);
    SimulatedClient { client, mac: Mac(mac.octets()), xid: 0x0bad_cafe, secs: 0, uuid: None, relay: None }
}

/// A DISCOVER with other options.
fn with_options(mac: MacAddr, options: &[u8]) -> Vec<u8> {
    let mut packet = client(mac).discover();
    packet.truncate(OPTIONS);
    packet.extend_from_slice(options);
    packet
}

/// A DISCOVER with other octets at this place.
fn changed(mac: MacAddr, at: usize, octets: &[u8]) -> Vec<u8> {
    let mut packet = client(mac).discover();
    packet.splice(at..at + octets.len(), octets.iter().copied());
    packet
}

/// What a stranger guesses that the node was answered.
fn guessed_reply(mac: MacAddr) -> Option<ServerReply> {
    let mut reply = client(mac).discover();
    // An answer (op 2), yiaddr 10.77.1.100, and an ACK with a server identifier.
    reply.splice(0..1, [2]);
    reply.splice(16..20, [10, 77, 1, 100]);
    reply.truncate(OPTIONS);
    reply.extend_from_slice(&[53, 1, 5, 54, 4, 10, 77, 1, 1, 255]);
    ServerReply::decode(&reply).ok()
}

/// A TFTP read request (RFC 1350 §5, RFC 2347 §2).
fn read(file: &str, mode: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = vec![0, 1];
    for word in [file, mode].into_iter().chain(options.iter().flat_map(|(name, value)| [*name, *value])) {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

/// Carries out a row.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(segment: &Segment, sent: &Sent) -> Result<String> {
    match sent {
        Sent::Dhcp(packets) => {
            let packets = packets(segment.mac);
            segment.stranger.enter(async || broadcast(&packets).await)??;
            is_answered(segment).context("the node is not answered")?;
            Ok(format!("{} packets, and the node is answered", packets.len()))
        }
        Sent::Tftp(packet, answer) => {
            let packet = packet();
            let listening = if *answer == Answer::Error { PATIENCE } else { LISTENING };
            let got =
                segment.stranger.enter(async || datagrams(&packet, listening, *answer == Answer::Error).await)??;
            let size: usize = got.iter().map(Vec::len).sum();
            let is_error = |packet: &Vec<u8>| packet.starts_with(&[0, 5]);
            let holds = match answer {
                Answer::Error => got.first().is_some_and(is_error),
                Answer::Nothing => got.iter().all(is_error) && got.len() <= 1,
                Answer::Times(most) => size <= most * packet.len(),
            };
            ensure!(holds, "{} octets in {} datagrams for {}", size, got.len(), packet.len());
            Ok(format!("{size} octets for {}", packet.len()))
        }
        Sent::Http(path, absent) => {
            let request = format!("GET {} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", path(segment));
            let address = segment.http.clone();
            let answer = segment.stranger.enter(async || raw::exchange(&address, request.as_bytes()).await)??;
            let is_refused = matches!(answer.statuses.as_slice(), [400..=599]);
            ensure!(is_refused && !answer.text.contains(absent), "{}", answer.text);
            Ok(format!("{:?}", answer.statuses))
        }
        Sent::Other(work) => work(segment).await,
    }
}

async fn broadcast(packets: &[Vec<u8>]) -> Result<()> {
    let socket = dhcp::socket(NIC)?;
    for packet in packets {
        // Some are larger than what an interface sends.
        let _ = socket.send_to(packet, SocketAddr::from((Ipv4Addr::BROADCAST, 67))).await;
    }
    Ok(())
}

/// The node's firmware asks for an address, and gets one.
fn is_answered(segment: &Segment) -> Result<()> {
    let mac = segment.mac;
    let lease = segment.stranger.enter(async || dhcp::lease(NIC, &mut client(mac), Offers::Take).await)??;
    lease.map(drop).context("no offer")
}

/// Sends a datagram to the TFTP server, and collects what comes back to its port: one datagram, or all for a time.
async fn datagrams(packet: &[u8], listening: Duration, first_only: bool) -> Result<Vec<Vec<u8>>> {
    let socket = UdpSocket::bind((STRANGER, 0)).await?;
    socket.send_to(packet, (SERVER, 69)).await?;
    let (mut got, mut buffer, until) = (Vec::new(), vec![0; 65_536], Instant::now() + listening);
    while let Ok(size) = tokio::time::timeout_at(until, socket.recv(&mut buffer)).await {
        got.push(buffer.get(..size?).unwrap_or_default().to_vec());
        if first_only {
            break;
        }
    }
    Ok(got)
}

/// The number of writes to the store so far: its revision (etcd API, `ResponseHeader`).
async fn writes(segment: &Segment) -> Result<i64> {
    Ok(segment.store.list_pairs(RACKS).await?.1)
}

async fn unknown_macs(segment: &Segment) -> Result<String> {
    let mac = |number: u16| {
        let [high, low] = number.to_be_bytes();
        MacAddr::new([0x52, 0x54, 0, 0x77, high, low])
    };
    let discover = |mac| client(mac).discover();
    let before = writes(segment).await?;
    let flood: Vec<_> = (0..4000).map(|number| discover(mac(number))).collect();
    segment.stranger.enter(async || broadcast(&flood).await)??;
    // A machine that repeats its request, as firmware does, is noted although the flood goes on.
    let machine = MacAddr::new([0x52, 0x54, 0, 0x78, 0, 1]);
    let until = Instant::now() + PATIENCE;
    loop {
        let more: Vec<_> = (4000..4020).map(|number| discover(mac(number))).collect();
        let all: Vec<_> = more.into_iter().chain([discover(machine)]).collect();
        segment.stranger.enter(async || broadcast(&all).await)??;
        let known = segment.api.clone().rack().await?.unknown_macs;
        if known.iter().any(|known| known.mac == machine.to_string()) {
            break;
        }
        ensure!(Instant::now() < until, "the machine is not noted among {} MACs", known.len());
        sleep(Duration::from_secs(1)).await;
    }
    let wrote = writes(segment).await? - before;
    ensure!(wrote < 400, "{wrote} writes to etcd");
    is_answered(segment)?;
    Ok(format!("{wrote} writes to etcd, and a machine that repeats its request is noted"))
}

async fn many_transfers(segment: &Segment) -> Result<String> {
    let options = [("timeout", "60"), ("blksize", "1468"), ("windowsize", "64")];
    let request = read("undionly.kpxe", "octet", &options);
    let size = segment.stranger.enter(async || {
        let mut sockets = Vec::new();
        for _ in 0..1100 {
            let socket = UdpSocket::bind((STRANGER, 0)).await?;
            socket.send_to(&request, (SERVER, 69)).await?;
            sockets.push(socket);
        }
        let file = timeout(PATIENCE, tftp::fetch(SERVER, "undionly.kpxe", None)).await;
        drop(sockets);
        anyhow::Ok(file.context("TFTP does not serve others")??.len())
    })??;
    Ok(format!("another one reads {size} octets"))
}

async fn phones_home(segment: &Segment) -> Result<String> {
    let mut statuses = Vec::new();
    for key in ["", "0", &"0".repeat(64), "..%2f..", &"a".repeat(5000)] {
        let path = format!("/life/{}/{key}", segment.node);
        let request = format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let address = segment.http.clone();
        let answer = segment.stranger.enter(async || raw::exchange(&address, request.as_bytes()).await)??;
        ensure!(matches!(answer.statuses.as_slice(), [400..=599]), "{path}: {}", answer.text);
        statuses.extend(answer.statuses);
    }
    Ok(format!("{statuses:?}"))
}
