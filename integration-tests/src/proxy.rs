//! A network between a process and its etcd that can be slow and can be cut.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use service_kit::Host;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// Size of one read in octets.
const PIECE: usize = 64 << 10;
/// Maximum number of reads in flight in one direction.
const UNDER_WAY: usize = 1024;

/// A TCP proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    host: Host,
}

impl Proxy {
    /// Starts a proxy on a loopback port for `url`, with this delay on data from there.
    ///
    /// # Errors
    /// The URL has no address.
    pub async fn begin(url: &str, held_back: Duration) -> Result<Self> {
        let to: SocketAddr = url.trim_start_matches("https://").parse().with_context(|| url.to_owned())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (host, is_cut) = (Host::default(), watch::Sender::new(false));
        let proxy = Self { address: listener.local_addr()?, is_cut: is_cut.clone(), host: host.clone() };
        let inner = host.clone();
        host.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = inner.stopping() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((near, _)) = accepted else { continue };
                let (stopping, cut) = (inner.clone(), is_cut.subscribe());
                inner.spawn(async move {
                    tokio::select! {
                        () = stopping.stopping() => {}
                        () = carry(near, to, held_back, cut) => {}
                    }
                });
            }
        });
        Ok(proxy)
    }

    /// Its own URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Loses everything from now on in both directions, like a cut cable: neither side is notified.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Forwards again. Lost data is lost: connections from before the cut have ended.
    pub fn heal(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.host.stop();
    }
}

async fn carry(near: TcpStream, to: SocketAddr, held_back: Duration, mut cut: watch::Receiver<bool>) {
    // Across a cut nothing is answered, not even with a refusal.
    until(&mut cut, false).await;
    let Ok(far) = TcpStream::connect(to).await else { return };
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let both = async {
        tokio::select! {
            () = one_way(from_near, to_far, Duration::ZERO) => {}
            () = one_way(from_far, to_near, held_back) => {}
        }
    };
    tokio::select! {
        () = both => {}
        // The connections stay open and silent until the network is back, and are closed then.
        () = async {
            until(&mut cut, true).await;
            until(&mut cut, false).await;
        } => {}
    }
}

async fn until(cut: &mut watch::Receiver<bool>, is: bool) {
    // The proxy lives as long as its connections.
    let _proxy_has_ended = cut.wait_for(|is_cut| *is_cut == is).await.is_err();
}

async fn one_way(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, held_back: Duration) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async {
        let mut piece = vec![0; PIECE];
        while let Ok(size @ 1..) = from.read(&mut piece).await {
            let content = piece.get(..size).unwrap_or_default().to_vec();
            if sender.send((Instant::now() + held_back, content)).await.is_err() {
                return;
            }
        }
        // Data in flight is delivered before the end of the stream.
        sender.closed().await;
    };
    let write = async {
        while let Some((at, content)) = receiver.recv().await {
            sleep_until(at).await;
            if to.write_all(&content).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
