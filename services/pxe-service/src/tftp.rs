//! TFTP on the provisioning network, with one task and one socket per transfer.

use std::{
    collections::HashMap,
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
};

use domain::timeline::Amount;
use parking_lot::Mutex;
use service_kit::{Host, socket::Datagrams};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use wire_tftp::{End, Limits, Outcome, Output, Refusal, Request, Transfer};

use crate::{
    Error,
    boot::{self, BootPath},
    context::PxeContext,
    http::{self, ServedFile},
    metrics,
};

/// Maximum number of concurrent transfers; firmware retries if none is free.
const MAX_TRANSFERS: usize = 1024;
/// Size of the receive buffers, in bytes; larger than any request or acknowledgement.
const BUFFER_BYTES: usize = 2048;

/// The socket for requests.
#[derive(Debug)]
pub(crate) struct Tftp {
    socket: Datagrams,
    running: Arc<Mutex<HashMap<SocketAddrV4, CancellationToken>>>,
}

impl Tftp {
    pub(crate) fn bind(context: &PxeContext) -> Result<Self, Error> {
        let address = SocketAddrV4::new(context.pxe.address, context.pxe.tftp_port);
        let socket = Datagrams::bind(address, None).map_err(|source| Error::Socket { what: "TFTP", source })?;
        Ok(Self { socket, running: Arc::default() })
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
        let stop = CancellationToken::new();
        {
            let mut running = self.running.lock();
            if running.len() >= MAX_TRANSFERS {
                return metrics::file("tftp", "too many");
            }
            // A new request from the same port means that the previous transfer was abandoned.
            if let Some(before) = running.insert(from, stop.clone()) {
                before.cancel();
            }
        }
        let Some(path) = boot::parse_path(&request.file) else {
            self.end(from, &stop);
            return self.refuse(&context, from, Refusal::NotFound).await;
        };
        let running = Arc::clone(&self.running);
        host.spawn(async move {
            let outcome = transfer(&context, from, &request, &path, &stop).await;
            if let Err(error) = outcome {
                tracing::debug!(file = request.file, %error, "TFTP transfer failed");
            }
            forget(&running, from, &stop);
        });
    }

    fn end(&self, from: SocketAddrV4, stop: &CancellationToken) {
        forget(&self.running, from, stop);
    }
}

fn forget(running: &Mutex<HashMap<SocketAddrV4, CancellationToken>>, from: SocketAddrV4, stop: &CancellationToken) {
    if !stop.is_cancelled() {
        running.lock().remove(&from);
    }
}

async fn transfer(
    context: &PxeContext,
    from: SocketAddrV4,
    request: &Request,
    path: &BootPath,
    stop: &CancellationToken,
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
    let outcome = drive(&socket, &served, request, stop).await?;
    record_outcome(context, &served, outcome);
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

/// Drives one transfer over a socket that is connected to the client. Contains no decision.
async fn drive(
    socket: &UdpSocket,
    served: &ServedFile,
    request: &Request,
    stop: &CancellationToken,
) -> std::io::Result<Outcome> {
    let mut transfer = Transfer::new(served.content.clone(), request, Limits::default(), Instant::now());
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        while let Some(output) = transfer.poll() {
            match output {
                Output::Send(bytes) => drop(socket.send(&bytes).await?),
                Output::Done(outcome) => return Ok(outcome),
            }
        }
        let deadline = transfer.deadline().unwrap_or_else(Instant::now);
        tokio::select! {
            () = stop.cancelled() => return Err(std::io::ErrorKind::Interrupted.into()),
            () = sleep_until(deadline) => transfer.expire(Instant::now()),
            got = socket.recv(&mut buffer) => {
                let bytes = buffer.get(..got?).unwrap_or_default();
                if let Err(malformed) = transfer.receive(Instant::now(), bytes) {
                    tracing::debug!(%malformed, "ignored a malformed datagram");
                }
            }
        }
    }
}
