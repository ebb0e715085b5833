//! TFTP on the provisioning network: one task and one socket per transfer.

use std::{
    collections::HashMap,
    net::{SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, PoisonError},
};

use domain::timeline::Amount;
use service_kit::{Host, socket::Datagrams};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use wire_tftp::{End, Limits, Outcome, Output, Refusal, Request, Transfer, request};

use crate::{
    Error,
    boot::{self, Path},
    http::{self, Served},
    metrics,
    rack::Doors,
};

/// Transfers at once; firmware that finds none free asks again.
const MOST: usize = 1024;
/// More than any request or acknowledgement.
const BUFFER: usize = 2048;

/// The socket of requests.
#[derive(Debug)]
pub(crate) struct Tftp {
    socket: Datagrams,
    running: Arc<Mutex<HashMap<SocketAddrV4, CancellationToken>>>,
}

impl Tftp {
    pub(crate) fn bind(doors: &Doors) -> Result<Self, Error> {
        let address = SocketAddrV4::new(doors.pxe.address, doors.pxe.tftp_port);
        let socket = Datagrams::bind(address, None).map_err(|source| Error::Socket { what: "TFTP", source })?;
        Ok(Self { socket, running: Arc::default() })
    }

    pub(crate) async fn serve(self, host: Host, doors: Arc<Doors>) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let arrival = tokio::select! {
                () = host.stopping() => return,
                arrival = self.socket.receive(&mut buffer) => arrival,
            };
            let Ok(arrival) = arrival else { continue };
            match request(buffer.get(..arrival.size).unwrap_or_default()) {
                Ok(asked) => self.begin(&host, Arc::clone(&doors), arrival.from, asked).await,
                Err(Some(refusal)) => self.refuse(&doors, arrival.from, refusal).await,
                Err(None) => metrics::file("tftp", "malformed"),
            }
        }
    }

    async fn refuse(&self, doors: &Doors, to: SocketAddrV4, refusal: Refusal) {
        metrics::file("tftp", "refused");
        if let Err(error) = self.socket.send(&refusal.encode(), to, doors.pxe.address, 0).await {
            tracing::debug!(%error, "cannot refuse a TFTP request");
        }
    }

    async fn begin(&self, host: &Host, doors: Arc<Doors>, from: SocketAddrV4, asked: Request) {
        let stop = CancellationToken::new();
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if running.len() >= MOST {
                return metrics::file("tftp", "too many");
            }
            // The same port asks again: it has given the transfer before up.
            if let Some(before) = running.insert(from, stop.clone()) {
                before.cancel();
            }
        }
        let Some(path) = boot::path(&asked.file) else {
            self.end(from, &stop);
            return self.refuse(&doors, from, Refusal::NotFound).await;
        };
        let running = Arc::clone(&self.running);
        host.spawn(async move {
            let outcome = transfer(&doors, from, &asked, &path, &stop).await;
            if let Err(error) = outcome {
                tracing::debug!(file = asked.file, %error, "a TFTP transfer ended");
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
        running.lock().unwrap_or_else(PoisonError::into_inner).remove(&from);
    }
}

async fn transfer(
    doors: &Doors,
    from: SocketAddrV4,
    asked: &Request,
    path: &Path,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from((doors.pxe.address, 0))).await?;
    socket.connect(SocketAddr::V4(from)).await?;
    let served = match http::find(doors, path, *from.ip()).await {
        Ok(served) => served,
        Err(refused) => {
            metrics::file("tftp", "refused");
            tracing::info!(file = asked.file, why = refused.why, "refused a boot file");
            return socket.send(&Refusal::NotFound.encode()).await.map(drop);
        }
    };
    let outcome = drive(&socket, &served, asked, stop).await?;
    note(doors, &served, outcome);
    Ok(())
}

fn note(doors: &Doors, served: &Served, outcome: Outcome) {
    if outcome.is_probe() {
        return http::note_begun(doors, served);
    }
    let amount = Amount { done: outcome.bytes_acknowledged, total: outcome.size };
    match outcome.end {
        End::Delivered => {
            metrics::file("tftp", "delivered");
            http::note_delivered(doors, served);
        }
        End::Aborted(_) | End::Lost => {
            metrics::file("tftp", "lost");
            http::note_lost(doors, served, amount);
        }
    }
}

/// Carries one transfer over a socket that is connected to the client. Contains no decision.
async fn drive(
    socket: &UdpSocket,
    served: &Served,
    asked: &Request,
    stop: &CancellationToken,
) -> std::io::Result<Outcome> {
    let mut transfer = Transfer::new(served.content.clone(), asked, Limits::default(), Instant::now());
    let mut buffer = [0; BUFFER];
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
                    tracing::debug!(%malformed, "ignored a datagram");
                }
            }
        }
    }
}
