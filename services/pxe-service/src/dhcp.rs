//! DHCP on the provisioning network. All replicas send the same replies: the node's owner replies first, the others
//! only to a machine that repeats its request. A renewal reaches only one replica, which replies.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use domain::{generation::Generation, net::MacAddr, timeline::Mark};
use keyspace::value::Network;
use service_kit::{
    Host,
    socket::{Arrival, Datagrams},
};
use tokio::time::Instant;
use wire_dhcp::{
    Boot, BootFile, Client, Kind, MAX_MESSAGE, Malformed, MessageType, NoReply, Replica, Reply, Request, Reservation,
    answer,
};

use crate::{Error, boot, config::Pxe, context::PxeContext, metrics, rack::KnownNode, unanswered::UnansweredLog};

/// Maximum number of requests remembered to detect repetitions; the oldest are forgotten.
const MAX_REMEMBERED_REQUESTS: usize = 4096;
/// How long after a request the same request counts as a repetition.
const REPETITION_WINDOW: Duration = Duration::from_secs(60);

/// The DHCP socket and the recent requests.
#[derive(Debug)]
pub(crate) struct Dhcp {
    socket: Datagrams,
    recent: HashMap<(MacAddr, u32, MessageType), Instant>,
    unanswered: UnansweredLog,
}

impl Dhcp {
    pub(crate) fn bind(pxe: &Pxe) -> Result<Self, Error> {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, pxe.dhcp_port);
        let socket =
            Datagrams::bind(address, Some(&pxe.device)).map_err(|source| Error::Socket { what: "DHCP", source })?;
        Ok(Self { socket, recent: HashMap::new(), unanswered: UnansweredLog::default() })
    }

    pub(crate) async fn serve(mut self, host: Host, context: Arc<PxeContext>) {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let arrival = tokio::select! {
                () = host.stopping() => return,
                arrival = self.socket.receive(&mut buffer) => arrival,
            };
            match arrival {
                Ok(arrival) => {
                    let bytes = buffer.get(..arrival.size).unwrap_or_default();
                    self.handle(&context, arrival, bytes).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot receive from the DHCP socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn handle(&mut self, context: &PxeContext, arrival: Arrival, bytes: &[u8]) {
        let mut request = match Request::decode(bytes) {
            Ok(request) => request,
            Err(Malformed::ClientIdentifier) => {
                self.unanswered.log(&arrival.from, &Malformed::ClientIdentifier);
                return metrics::dhcp("no client identifier");
            }
            Err(error) => {
                tracing::debug!(from = %arrival.from, %error, "ignored a malformed datagram");
                return metrics::dhcp("malformed");
            }
        };
        request.client = boot::bootable_client(&request);
        let Some(network) = context.rack.network() else { return metrics::dhcp("no network") };
        let identifier = request.client_identifier.as_deref();
        let Some(mac) = context.rack.port_of(&request.hardware, identifier) else {
            return self.leave_identifier_unanswered(identifier.unwrap_or_default());
        };
        if let Some(relay) = request.relay.filter(|relay| !network.subnet.contains(relay.link)) {
            // The MAC address, known or not, says nothing about a machine on another link.
            return self.leave_unanswered(mac, NoReply::OtherLink(relay));
        }
        let Some(known) = context.rack.known(mac) else {
            if context.rack.has_port(mac) {
                self.unanswered
                    .log(&mac, &"no address is reserved for this port; the range of the rack may be used up");
                return metrics::dhcp("no address");
            }
            context.unknown_macs.record(mac, &boot::describe(request.client));
            return metrics::dhcp("unknown");
        };
        let repeated = self.is_repeated(&request, mac);
        // A unicast renewal reaches only this replica.
        if context.rack.mesh.rank(known.node) != Some(0) && !repeated && !arrival.is_unicast {
            return metrics::dhcp("left to its owner");
        }
        record_request(context, &request, &known, repeated);
        let reservation = reservation(context, &network, &known, request.client);
        let replica = Replica { server_identifier: network.server_identifier, address: context.pxe.address };
        match answer(&request, &reservation, &replica) {
            Ok(reply) => {
                self.send(context, &reply, &arrival).await;
                self.count_answer(mac, &request, known.decision.is_some() && reservation.boot.is_none());
                record_reply(context, &request, &known, &reply);
            }
            Err(reason) => self.leave_unanswered(mac, reason),
        }
    }

    /// Counts an answer, and logs if firmware that is to boot gets no boot file.
    fn count_answer(&mut self, mac: MacAddr, request: &Request, lacks_boot_file: bool) {
        if !lacks_boot_file || request.client == Client::System {
            return metrics::dhcp("answered");
        }
        let client = boot::describe(request.client);
        self.unanswered.log(&mac, &format_args!("an address, but no boot file: there is no boot loader for {client}"));
        metrics::dhcp("answered without a boot loader");
    }

    /// Counts and logs a message of an InfiniBand interface that no port has.
    fn leave_identifier_unanswered(&mut self, identifier: &[u8]) {
        let text: Vec<String> = identifier.iter().map(|octet| format!("{octet:02x}")).collect();
        let text = text.join(":");
        let set = format!("baremetal port set PORT --extra client-id={text}");
        let reason = format!("no port has this client identifier; set it with: {set}");
        self.unanswered.log(&"InfiniBand interface", &reason);
        metrics::dhcp("unknown client identifier");
    }

    /// Counts a message without a reply, and logs the reason if an operator can change it.
    fn leave_unanswered(&mut self, mac: MacAddr, reason: NoReply) {
        let outcome = match reason {
            NoReply::NotDue => return metrics::dhcp("no reply due"),
            NoReply::OtherServer(_) => return metrics::dhcp("not for us"),
            NoReply::NoAddress => "no address requested",
            NoReply::OtherNetwork(_) => "other network",
            NoReply::OtherLink(_) => "relayed from another network",
            NoReply::OtherSubnet(_) => "other subnet selected",
            NoReply::TooLong(_) => "too long",
        };
        metrics::dhcp(outcome);
        self.unanswered.log(&mac, &reason);
    }

    async fn send(&self, context: &PxeContext, reply: &Reply, arrival: &Arrival) {
        let source = if arrival.is_unicast { arrival.to } else { context.pxe.address };
        let sent = self.socket.send(&reply.bytes, reply.destination.socket(), source, arrival.interface);
        if let Err(error) = sent.await {
            tracing::warn!(%error, "cannot send a DHCP reply");
        }
    }

    /// Returns whether the machine repeats a recent request.
    fn is_repeated(&mut self, request: &Request, mac: MacAddr) -> bool {
        let now = Instant::now();
        if self.recent.len() >= MAX_REMEMBERED_REQUESTS {
            self.recent.retain(|_, at| now.duration_since(*at) < REPETITION_WINDOW);
            if self.recent.len() >= MAX_REMEMBERED_REQUESTS {
                self.recent.clear();
            }
        }
        let before = self.recent.insert((mac, request.xid, request.message_type), now);
        before.is_some_and(|at| now.duration_since(at) < REPETITION_WINDOW)
    }
}

fn reservation(context: &PxeContext, network: &Network, known: &KnownNode, client: Client) -> Reservation {
    let file = boot::boot_file(client, known.mac, known.decision.as_ref(), &context.http.to_string());
    Reservation {
        address: known.address,
        prefix: network.subnet.prefix(),
        router: network.router,
        dns: network.name_servers.clone(),
        lease_seconds: u32::try_from(context.pxe.lease.as_secs()).unwrap_or(u32::MAX),
        host_name: Some(known.name.clone()),
        boot: file.and_then(|file| BootFile::new(file).ok()).map(|file| Boot { next_server: None, file }),
    }
}

/// Records a request on the timeline. Only the replica that replies does so, so that a request that all replicas
/// receive is recorded once.
fn record_request(context: &PxeContext, request: &Request, known: &KnownNode, repeated: bool) {
    let Some(decision) = &known.decision else { return };
    if request.message_type == MessageType::Discover && request.client != Client::System && !repeated {
        let client = boot::describe(request.client);
        context.timeline.note(known.node, decision.generation, Mark::DhcpDiscover, client);
    }
}

fn record_reply(context: &PxeContext, request: &Request, known: &KnownNode, reply: &Reply) {
    let client = boot::describe(request.client);
    let note = |generation: Generation, mark, subject: String| {
        context.timeline.note(known.node, generation, mark, subject);
    };
    let Some(decision) = &known.decision else {
        // No boot of ours is pending, and power has reached what the deployment requires: this is the deployed system.
        if reply.kind == Kind::Ack && request.client == Client::System && known.is_powered {
            context.observations.record_alive(
                known.node,
                known.generation,
                &format!("{} recent for its address", known.address),
            );
        }
        return;
    };
    match reply.kind {
        Kind::Offer => note(decision.generation, Mark::DhcpOffer, format!("{} to {client}", known.address)),
        Kind::Ack => {
            if request.client != Client::System {
                note(decision.generation, Mark::DhcpAck, format!("{} ({client})", known.address));
            }
            context.observations.record_exchange(known.node, decision.generation);
        }
        Kind::Nak => note(decision.generation, Mark::DhcpNak, client),
    }
}
