//! DHCP on the provisioning network: every replica answers alike; the node's owner answers first, the others answer a
//! machine that repeats itself. A renewal, which only one replica hears, is answered by whoever hears it.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use domain::{generation::Generation, net::MacAddr, timeline::Mark};
use service_kit::{
    Host,
    socket::{Arrival, Datagrams},
};
use tokio::time::Instant;
use wire_dhcp::{Boot, BootFile, Client, Kind, MAX_MESSAGE, Replica, Reply, Request, Reservation, Verb, answer};

use crate::{
    Error, boot, metrics,
    rack::{Doors, Known},
};

/// Requests remembered, to know a repetition; the oldest make room.
const REMEMBERED: usize = 4096;
/// A repetition later than this is a new beginning.
const REPETITION: Duration = Duration::from_secs(60);

/// The socket, and what was asked lately.
#[derive(Debug)]
pub(crate) struct Dhcp {
    socket: Datagrams,
    asked: HashMap<(MacAddr, u32, Verb), Instant>,
}

impl Dhcp {
    pub(crate) fn bind(doors: &Doors) -> Result<Self, Error> {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, doors.pxe.dhcp_port);
        let socket = Datagrams::bind(address, Some(&doors.pxe.device))
            .map_err(|source| Error::Socket { what: "DHCP", source })?;
        Ok(Self { socket, asked: HashMap::new() })
    }

    pub(crate) async fn serve(mut self, host: Host, doors: Arc<Doors>) {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let arrival = tokio::select! {
                () = host.stopping() => return,
                arrival = self.socket.receive(&mut buffer) => arrival,
            };
            match arrival {
                Ok(arrival) => {
                    let bytes = buffer.get(..arrival.size).unwrap_or_default();
                    self.one(&doors, arrival, bytes).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot receive DHCP");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn one(&mut self, doors: &Doors, arrival: Arrival, bytes: &[u8]) {
        let request = match Request::decode(bytes) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(from = %arrival.from, %error, "ignored a datagram");
                return metrics::dhcp("malformed");
            }
        };
        let mac = MacAddr::new(request.mac.0);
        let Some(network) = doors.rack.network() else { return metrics::dhcp("no network") };
        if request.relay.is_some() {
            // Nobody told us of a relay: whoever sends this has an address of its own choice answered.
            return metrics::dhcp("relayed");
        }
        let Some(known) = doors.rack.known(mac) else {
            if doors.rack.has_port(mac) {
                return metrics::dhcp("no address");
            }
            doors.seen.unknown(mac, boot::words(request.client));
            return metrics::dhcp("unknown");
        };
        let repeated = self.is_repeated(&request, mac);
        // A renewal is addressed to us alone: no other replica hears it.
        if doors.rack.mesh.rank(known.node) != Some(0) && !repeated && !arrival.is_unicast {
            return metrics::dhcp("left to its owner");
        }
        note_asked(doors, &request, &known, repeated);
        let http = doors.http.to_string();
        let file = boot::boot_file(request.client, mac, known.decision.as_ref(), &http);
        let reservation = Reservation {
            address: known.address,
            prefix: network.subnet.prefix(),
            router: network.router,
            dns: network.name_servers.clone(),
            lease_seconds: u32::try_from(doors.pxe.lease.as_secs()).unwrap_or(u32::MAX),
            host_name: Some(known.name.clone()),
            boot: file.and_then(|file| BootFile::new(file).ok()).map(|file| Boot { next_server: None, file }),
        };
        let replica = Replica { server_identifier: network.server_identifier, address: doors.pxe.address };
        let Some(reply) = answer(&request, &reservation, &replica) else { return metrics::dhcp("not for us") };
        self.send(doors, &reply, &arrival).await;
        note_answered(doors, &request, &known, &reply);
    }

    async fn send(&self, doors: &Doors, reply: &Reply, arrival: &Arrival) {
        let source = if arrival.is_unicast { arrival.to } else { doors.pxe.address };
        let sent = self.socket.send(&reply.bytes, reply.destination.socket(), source, arrival.interface);
        if let Err(error) = sent.await {
            tracing::warn!(%error, "cannot answer DHCP");
        }
    }

    /// Whether the machine asked this before, and nobody answered it.
    fn is_repeated(&mut self, request: &Request, mac: MacAddr) -> bool {
        let now = Instant::now();
        if self.asked.len() >= REMEMBERED {
            self.asked.retain(|_, at| now.duration_since(*at) < REPETITION);
            if self.asked.len() >= REMEMBERED {
                self.asked.clear();
            }
        }
        let before = self.asked.insert((mac, request.xid, request.verb), now);
        before.is_some_and(|at| now.duration_since(at) < REPETITION)
    }
}

/// Only who answers notes that it was asked: one machine's question is one entry, however many replicas heard it.
fn note_asked(doors: &Doors, request: &Request, known: &Known, repeated: bool) {
    let Some(decision) = &known.decision else { return };
    if request.verb == Verb::Discover && request.client != Client::System && !repeated {
        let words = boot::words(request.client);
        doors.timeline.note(known.node, decision.generation, Mark::DhcpDiscover, words);
    }
}

fn note_answered(doors: &Doors, request: &Request, known: &Known, reply: &Reply) {
    let words = boot::words(request.client);
    let note = |generation: Generation, mark, subject: String| {
        doors.timeline.note(known.node, generation, mark, subject);
    };
    let Some(decision) = &known.decision else {
        metrics::dhcp("answered");
        // Nothing of ours is booting, and power was brought to where the deployment wanted it: this is the deployed
        // system.
        if reply.kind == Kind::Ack && request.client == Client::System && known.is_powered {
            doors.seen.lives(known.node, known.generation, &format!("{} asked for its address", known.address));
        }
        return;
    };
    metrics::dhcp("answered");
    match reply.kind {
        Kind::Offer => note(decision.generation, Mark::DhcpOffer, format!("{} to {words}", known.address)),
        Kind::Ack => {
            if request.client != Client::System {
                note(decision.generation, Mark::DhcpAck, format!("{} ({words})", known.address));
            }
            doors.seen.exchanged(known.node, decision.generation);
        }
        Kind::Nak => note(decision.generation, Mark::DhcpNak, words),
    }
}
