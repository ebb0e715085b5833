//! The hosts themselves, without a mesh: a fault does what its name says, and nothing is left. Needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use integration_tests::hosts::capture::Capture;
use integration_tests::hosts::sockets::listening;
use integration_tests::hosts::{HostMesh, WAIT_TIMEOUT};
use integration_tests::rack::daemon::Daemon;
use integration_tests::rack::down_by_tag;
use integration_tests::rack::hosts::Hosts;
use integration_tests::rack::hosts::VirtualHost;
use integration_tests::rack::hosts::fault::HostFault;
use integration_tests::rack::hosts::plan::Wan;
use integration_tests::rack::namespace::Namespace;
use integration_tests::rack::wait::{timed, until};

/// The port of every server here.
const PORT: u16 = 7390;
/// How long a connection may take that is not answered.
const UNANSWERED: Duration = Duration::from_millis(500);

fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

/// A socket on a host stays there, whatever thread uses it.
fn udp(host: &VirtualHost, address: IpAddr) -> UdpSocket {
    let socket = host.place().enter(async || UdpSocket::bind((address, PORT)).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn listener(host: &VirtualHost, port: u16) -> TcpListener {
    let address = host.address;
    host.place().enter(async || TcpListener::bind((address, port)).unwrap()).unwrap()
}

fn connect(from: &VirtualHost, to: &VirtualHost, port: u16) -> std::io::Result<TcpStream> {
    let to = SocketAddr::from((to.address, port));
    from.place().enter(async || TcpStream::connect_timeout(&to, UNANSWERED)).unwrap()
}

/// Number of datagrams that have arrived and are from `from`.
fn arrived(socket: &UdpSocket, from: IpAddr) -> usize {
    let mut count = 0;
    loop {
        match socket.recv_from(&mut [0; 64]) {
            Ok((_, sender)) => count += usize::from(sender.ip() == from),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Whether a datagram of the first socket arrives at the second. One of a third socket, which is sent later and does
/// arrive, says when to stop waiting.
fn arrives(from: &UdpSocket, to: &UdpSocket, later: &UdpSocket) -> bool {
    let at = to.local_addr().unwrap();
    let [from_address, later_address] = [from, later].map(|socket| socket.local_addr().unwrap().ip());
    from.send_to(b"first", at).unwrap();
    let mut seen = 0;
    until("the later datagram", WAIT_TIMEOUT, || {
        later.send_to(b"later", at)?;
        let mut has_later = false;
        while let Ok((_, sender)) = to.recv_from(&mut [0; 64]) {
            seen += usize::from(sender.ip() == from_address);
            has_later |= sender.ip() == later_address;
        }
        Ok(has_later.then_some(()))
    })
    .unwrap();
    seen > 0
}

#[test]
fn a_cut_cuts_in_the_directions_that_it_names_and_ends() {
    let mesh = HostMesh::up("thcut", &["fra1=h1,h2,h3"]).unwrap();
    let host = |name| mesh.host(name).unwrap();
    let one_way = HostFault::CutOneWay { from: names("h1"), to: names("h2") };
    let into = HostFault::CutOneWay { from: vec![], to: names("h1") };
    let both = HostFault::Cut { left: names("h1"), right: names("h2") };
    let alone = HostFault::Cut { left: names("h1"), right: vec![] };
    let group = HostFault::Cut { left: names("h1 h2"), right: vec![] };
    // For both protocols, fault, and whether datagrams arrive from h1 at h2, from h2 at h1, from h1 at h3.
    let addresses: [fn(&VirtualHost) -> IpAddr; 2] = [|host| host.address.into(), |host| host.address_v6.into()];
    for address in addresses {
        let [h1, h2, h3] = ["h1", "h2", "h3"].map(|name| udp(host(name), address(host(name))));
        for (fault, wanted) in [
            (None, [true, true, true]),
            (Some(&one_way), [false, true, true]),
            (Some(&both), [false, false, true]),
            (Some(&into), [true, false, true]),
            (Some(&alone), [false, false, false]),
            (Some(&group), [true, true, false]),
            (None, [true, true, true]),
        ] {
            if let Some(fault) = fault {
                mesh.hosts().inflict("cut", fault).unwrap();
            }
            // A host always reaches itself.
            let is = [arrives(&h1, &h2, &h2), arrives(&h2, &h1, &h1), arrives(&h1, &h3, &h3)];
            assert_eq!(is, wanted, "{fault:?}");
            mesh.hosts().mend("cut").unwrap();
        }
    }
}

#[test]
fn a_blocked_port_is_not_answered_and_the_others_are() {
    let mesh = HostMesh::up("thport", &["fra1=h1,h2"]).unwrap();
    let [h1, h2] = ["h1", "h2"].map(|name| mesh.host(name).unwrap());
    let _listeners = [listener(h1, PORT), listener(h1, PORT + 1)];
    mesh.hosts().inflict("port", &HostFault::BlockedPort { hosts: names("h1"), port: PORT }).unwrap();
    assert_eq!(connect(h2, h1, PORT).unwrap_err().kind(), ErrorKind::TimedOut);
    until("the other port", WAIT_TIMEOUT, || Ok(connect(h2, h1, PORT + 1).ok())).unwrap();
    mesh.hosts().mend("port").unwrap();
    until("the port", WAIT_TIMEOUT, || Ok(connect(h2, h1, PORT).ok())).unwrap();

    mesh.hosts().cable("h1", false).unwrap();
    connect(h2, h1, PORT).unwrap_err();
    mesh.hosts().cable("h1", true).unwrap();
    until("the cable", WAIT_TIMEOUT, || Ok(connect(h2, h1, PORT).ok())).unwrap();
}

#[test]
fn a_loss_loses_the_share_that_it_names() {
    let mesh = HostMesh::up("thloss", &["fra1=h1,h2"]).unwrap();
    let [h1, h2] = ["h1", "h2"].map(|name| mesh.host(name).unwrap());
    let (from, to) = (udp(h1, h1.address.into()), udp(h2, h2.address.into()));
    let at = to.local_addr().unwrap();
    // So that what is sent next does not wait for an address.
    assert!(arrives(&from, &to, &to));
    for (percent, least, most) in [(20_u8, 700, 900), (50, 400, 600)] {
        mesh.hosts().inflict("loss", &HostFault::Loss { hosts: names("h2"), percent }).unwrap();
        let mut count = 0;
        for _ in 0..1000 {
            from.send_to(b"datagram", at).unwrap();
            count += arrived(&to, h1.address.into());
        }
        mesh.hosts().mend("loss").unwrap();
        // A last one arrives after all others.
        until("a datagram after the loss", WAIT_TIMEOUT, || {
            from.send_to(b"datagram", at)?;
            let more = arrived(&to, h1.address.into());
            count += more;
            Ok((more > 0).then_some(()))
        })
        .unwrap();
        assert!((least..=most).contains(&count), "{percent} %: {count} of 1,000 arrived");
    }
}

#[test]
fn a_link_between_sites_delays_and_carries_all_that_is_sent() {
    let mesh = HostMesh::up_with("thwan", &["fra1=h1", "fra2=h2@50ms"], Wan { loss_percent: 1, ..Wan::default() });
    let mesh = mesh.unwrap();
    let [h1, h2] = ["h1", "h2"].map(|name| mesh.host(name).unwrap());
    let accepts = listener(h2, PORT);
    let far = || Ok(connect(h1, h2, PORT).ok());
    let mut line = until("a connection to the other site", WAIT_TIMEOUT, far).unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (received, took) = timed(|| {
        std::thread::scope(|scope| {
            let received = scope.spawn(|| {
                // A connection of an earlier attempt has nothing to say.
                loop {
                    let mut bytes = Vec::new();
                    accepts.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
                    if !bytes.is_empty() {
                        return bytes;
                    }
                }
            });
            line.write_all(&sent).unwrap();
            line.shutdown(std::net::Shutdown::Both).unwrap();
            Ok(received.join().unwrap())
        })
    })
    .unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert!(took >= Duration::from_millis(50), "{took:?}");

    mesh.hosts().wan_cable("fra2", false).unwrap();
    connect(h1, h2, PORT).unwrap_err();
    mesh.hosts().wan_cable("fra2", true).unwrap();
    until("the link", WAIT_TIMEOUT, far).unwrap();
}

fn state(of: &Daemon) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", of.pid())).unwrap();
    text.rsplit(')').next().unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn all_processes_of_a_host_stop_continue_and_are_killed_and_those_of_others_are_not() {
    let mesh = HostMesh::up("thproc", &["fra1=h1,h2"]).unwrap();
    let sleeps = |name: &str, number: u8| {
        let mut command = mesh.host(name).unwrap().command("sleep");
        command.arg("1000");
        let file = |kind: &str| mesh.folder().join(format!("{name}-{number}.{kind}"));
        Daemon::spawn(command, &file("log"), &file("record")).unwrap()
    };
    let own = [sleeps("h1", 1), sleeps("h1", 2)];
    let other = sleeps("h2", 1);
    let h1 = mesh.host("h1").unwrap();
    until("both to be in the namespace", WAIT_TIMEOUT, || Ok((h1.processes()?.len() == 2).then_some(()))).unwrap();
    h1.stop().unwrap();
    assert_eq!(own.each_ref().map(state), ["T", "T"]);
    assert_ne!(state(&other), "T");
    h1.resume().unwrap();
    assert!(own.each_ref().map(state).iter().all(|state| state != "T"));
    h1.kill().unwrap();
    assert_eq!(h1.processes().unwrap(), []);
    assert!(own.iter().all(|daemon| !daemon.alive()));
    assert!(other.alive());
}

#[test]
fn a_capture_finds_what_is_in_clear_between_hosts() {
    let mesh = HostMesh::up("thcap", &["fra1=h1:r7,h2:r7"]).unwrap();
    let [h1, h2] = ["h1", "h2"].map(|name| mesh.host(name).unwrap());
    let site = mesh.hosts().sites.first().unwrap();
    let capture = Capture::begin(site).unwrap();
    let _listeners = [listener(h1, PORT), listener(h1, PORT + 1)];
    assert!(listening(h1).unwrap().iter().any(|one| one.at == SocketAddr::from((h1.address, PORT)) && one.is_tcp));
    // A record of TLS to one port, and HTTP to the other.
    let mut lines = [PORT, PORT + 1].map(|port| until("a connection", WAIT_TIMEOUT, || Ok(connect(h2, h1, port).ok())));
    let [tls, clear] = lines.each_mut().map(|line| line.as_mut().unwrap());
    tls.write_all(&[0x16, 0x03, 0x01, 0x00, 0x02, 0x01, 0x00]).unwrap();
    clear.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    until("both streams", WAIT_TIMEOUT, || {
        Ok(capture.look(|seen| seen.tls_streams() == 1 && !seen.findings().is_empty()).then_some(()))
    })
    .unwrap();
    let traffic = capture.end().unwrap();
    let found: Vec<&String> = traffic.findings().iter().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found.iter().all(|found| found.contains("10.80.1.11:7391: not TLS: 474554202f")), "{found:?}");
    assert_eq!(traffic.incomplete_streams(), 0);
}

#[test]
fn nothing_is_left_of_hosts_that_ended_and_of_hosts_whose_test_was_killed() {
    let left = || Namespace::with_prefix("im-thleft-").unwrap();
    let up = || HostMesh::up("thleft", &["fra1=h1:r7", "fra2=h2@1ms"]).unwrap();
    let mesh = up();
    let folder = mesh.folder().to_owned();
    let relay = || Daemon::recorded(&folder.join("im-thleft-wan-fra2.record")).unwrap().unwrap();
    assert!(relay().alive());
    assert_eq!(left().len(), 5);
    // A program that was killed drops nothing, and its folder stays.
    let hosts = mesh.hosts().clone();
    std::mem::forget(mesh);
    assert_eq!(Hosts::load(&folder).unwrap(), hosts);
    let again = up();
    assert!(!relay().alive());
    drop(again);
    assert_eq!(left(), []);
    down_by_tag("thleft").unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
