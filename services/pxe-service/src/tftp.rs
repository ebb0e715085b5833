//! TFTP on the provisioning network, with one task and one socket per transfer.

mod clients;

use std::{
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
};

use bytes::Bytes;
use domain::timeline::Amount;
use service_kit::{Host, socket::Datagrams};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep_until},
};
use wire_tftp::{End, FurtherRequest, Limits, Outcome, Output, Refusal, Request, Transfer};

use self::clients::{Admission, Clients};
use crate::{
    Error,
    boot::{self, BootPath},
    config::Pxe,
    context::PxeContext,
    http::{self, ServedFile},
    metrics,
};

/// Size of the receive buffers, in bytes; larger than any request or acknowledgement.
const BUFFER_BYTES: usize = 2048;

/// The socket for requests.
#[derive(Debug)]
pub(crate) struct Tftp {
    socket: Datagrams,
    clients: Clients,
}

impl Tftp {
    pub(crate) fn bind(pxe: &Pxe) -> Result<Self, Error> {
        let address = SocketAddrV4::new(pxe.address, pxe.tftp_port);
        let socket = Datagrams::bind(address, None).map_err(|source| Error::Socket { what: "TFTP", source })?;
        Ok(Self { socket, clients: Clients::default() })
    }

    pub(crate) async fn serve(self, host: Host, context: Arc<PxeContext>) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let arrival = tokio::select! {
                () = host.stopping() => return,
                arrival = self.socket.receive(&mut buffer) => arrival,
            };
            let Ok(arrival) = arrival else { continue };
            match wire_tftp::request(buffer.get(..arrival.size).unwrap_or_default()) {
                Ok(request) => self.begin(&host, Arc::clone(&context), arrival.from, request).await,
                Err(Some(refusal)) => self.refuse(&context, arrival.from, refusal).await,
                Err(None) => metrics::file("tftp", "malformed"),
            }
        }
    }

    async fn refuse(&self, context: &PxeContext, to: SocketAddrV4, refusal: Refusal) {
        metrics::file("tftp", "refused");
        if let Err(error) = self.socket.send(&refusal.encode(), to, context.pxe.address, 0).await {
            tracing::debug!(%error, "cannot send a TFTP error");
        }
    }

    async fn begin(&self, host: &Host, context: Arc<PxeContext>, from: SocketAddrV4, request: Request) {
        if boot::parse_path(&request.file).is_none() {
            return self.refuse(&context, from, Refusal::NotFound).await;
        }
        match self.clients.admit(from, request) {
            Admission::New(requests) => host.spawn(serve_client(context, from, requests, self.clients.clone())),
            Admission::Passed => {}
            Admission::TooMany => metrics::file("tftp", "too many"),
        }
    }
}

/// Serves the requests of one client, one after the other.
async fn serve_client(
    context: Arc<PxeContext>,
    from: SocketAddrV4,
    mut requests: watch::Receiver<Request>,
    clients: Clients,
) {
    while let Some(request) = clients.next_request(from, &mut requests) {
        let Some(path) = boot::parse_path(&request.file) else { continue };
        if let Err(error) = transfer(&context, &clients, from, &request, &path, &mut requests).await {
            tracing::debug!(file = request.file, %error, "TFTP transfer failed");
        }
    }
}

async fn transfer(
    context: &PxeContext,
    clients: &Clients,
    from: SocketAddrV4,
    request: &Request,
    path: &BootPath,
    requests: &mut watch::Receiver<Request>,
) -> std::io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from((context.pxe.address, 0))).await?;
    socket.connect(SocketAddr::V4(from)).await?;
    let served = match http::find_file(context, path, *from.ip()).await {
        Ok(served) => served,
        Err(refused) => {
            metrics::file("tftp", "refused");
            tracing::info!(file = request.file, why = refused.why, "refused a boot file");
            return socket.send(&Refusal::NotFound.encode()).await.map(drop);
        }
    };
    let confirm = || clients.confirm(from);
    match drive(&socket, served.content.clone(), request, requests, confirm).await? {
        Some(outcome) => record_outcome(context, &served, outcome),
        None => metrics::file("tftp", "replaced"),
    }
    Ok(())
}

fn record_outcome(context: &PxeContext, served: &ServedFile, outcome: Outcome) {
    if outcome.is_probe() {
        return http::record_requested(context, served);
    }
    let amount = Amount { done: outcome.bytes_acknowledged, total: outcome.size };
    match outcome.end {
        End::Delivered => {
            metrics::file("tftp", "delivered");
            http::record_delivered(context, served);
        }
        End::Aborted(_) | End::Lost => {
            metrics::file("tftp", "lost");
            http::record_lost(context, served, amount);
        }
    }
}

/// Drives one transfer over a socket that is connected to the client. Contains no decision. `confirm` takes a slot once the
/// client has acknowledged a packet. Returns `None` if a new request of the client takes its place, or if the transfer has
/// no slot.
async fn drive(
    socket: &UdpSocket,
    content: Bytes,
    request: &Request,
    requests: &mut watch::Receiver<Request>,
    confirm: impl Fn() -> bool,
) -> std::io::Result<Option<Outcome>> {
    let mut transfer = Transfer::new(content, request, Limits::default(), Instant::now());
    let mut buffer = [0; BUFFER_BYTES];
    let mut has_slot = false;
    loop {
        if transfer.is_confirmed() && !has_slot {
            has_slot = confirm();
            if !has_slot {
                return Ok(None);
            }
        }
        while let Some(output) = transfer.poll() {
            match output {
                Output::Send(bytes) => drop(socket.send(&bytes).await?),
                Output::Done(outcome) => return Ok(Some(outcome)),
            }
        }
        let deadline = transfer.deadline().unwrap_or_else(Instant::now);
        tokio::select! {
            // A repeated request is older than what the client sends once it has an answer.
            biased;
            changed = requests.changed() => {
                if changed.is_err() {
                    // Another client took the place of this one, which has acknowledged nothing.
                    return Ok(None);
                }
                let further = requests.borrow_and_update().clone();
                match transfer.receive_request(Instant::now(), &further) {
                    FurtherRequest::Retransmission => metrics::file("tftp", "repeated"),
                    FurtherRequest::LateCopy => metrics::file("tftp", "late copy"),
                    FurtherRequest::New => {
                        requests.mark_changed();
                        return Ok(None);
                    }
                }
            }
            got = socket.recv(&mut buffer) => {
                let bytes = buffer.get(..got?).unwrap_or_default();
                if let Err(malformed) = transfer.receive(Instant::now(), bytes) {
                    tracing::debug!(%malformed, "ignored a malformed datagram");
                }
            }
            () = sleep_until(deadline) => transfer.expire(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests;
