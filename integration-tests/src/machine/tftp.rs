//! Reads a file by TFTP, as firmware does.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};
use wire_tftp::{Fetch, FetchEnd, Fetched, RequestedOptions};

/// Maximum size of a boot file.
const LARGEST: usize = 256 << 20;
/// Block size in octets, as PXE firmware requests it.
const BLOCK: u16 = 1432;
const PORT: u16 = 69;

/// Requests a file's size and aborts, as PXE firmware does before the download.
///
/// # Errors
/// The server is silent or has no such file.
pub async fn probe(server: Ipv4Addr, file: &str) -> Result<()> {
    let mut fetch = Fetch::probe(file, Instant::now());
    let end = drive(server, &mut fetch, None).await?;
    ensure!(end == FetchEnd::Probed, "tftp://{server}/{file}: {end:?}");
    Ok(())
}

/// Downloads a file. After `silent_after` datagrams of the server it sends nothing more and never returns.
///
/// # Errors
/// The server is silent or has no such file.
pub async fn fetch(server: Ipv4Addr, file: &str, silent_after: Option<u32>) -> Result<Vec<u8>> {
    let requested = RequestedOptions { block_size: Some(BLOCK), size: Some(0), ..RequestedOptions::default() };
    let mut fetch = Fetch::new(file, requested, LARGEST, Instant::now());
    let end = drive(server, &mut fetch, silent_after).await?;
    ensure!(end == FetchEnd::Complete, "tftp://{server}/{file}: {end:?}");
    Ok(fetch.content().to_vec())
}

async fn drive(server: Ipv4Addr, fetch: &mut Fetch<Instant>, silent_after: Option<u32>) -> Result<FetchEnd> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let mut peer = SocketAddr::from((server, PORT));
    let (mut buffer, mut heard) = ([0; 2048], 0_u32);
    loop {
        while let Some(fetched) = fetch.poll() {
            match fetched {
                Fetched::Send(bytes) => drop(socket.send_to(&bytes, peer).await?),
                Fetched::Done(end) => return Ok(end),
            }
        }
        let deadline = fetch.deadline().unwrap_or_else(Instant::now);
        tokio::select! {
            () = sleep_until(deadline) => fetch.expire(Instant::now()),
            got = socket.recv_from(&mut buffer) => {
                let (size, from) = got?;
                // The first answer comes from the port that the transfer uses from then on (RFC 1350 §4).
                if peer.port() == PORT && from.ip() == peer.ip() {
                    peer = from;
                }
                if from != peer {
                    continue;
                }
                if silent_after.is_some_and(|most| heard >= most) {
                    std::future::pending::<()>().await;
                }
                heard += 1;
                let _malformed = fetch.receive(Instant::now(), buffer.get(..size).unwrap_or_default());
            }
        }
    }
}
