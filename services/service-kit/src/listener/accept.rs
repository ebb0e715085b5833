//! The accept loop. It never stops accepting: a peer that is turned away is told so, or makes room itself.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{
    Listener, Peer, Refusal, Shared,
    connection::{self, Accepted},
    limits::AddressKey,
    metrics::Reason,
    state::ConnectionState,
    table::Full,
};
use crate::Host;

/// File descriptors that a process needs for other things than connections of its listeners.
const OTHER_DESCRIPTORS: u64 = 256;
/// Number of descriptors that a process asks for, if the operating system lets it.
const WANTED_DESCRIPTORS: u64 = 65_536;
/// Pause after an accept failed, so that an error that lasts does not keep a processor busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Maximum number of turned-away peers of a listener to which the reason is being sent.
const MAX_FAREWELLS: usize = 64;
/// How long a turned-away peer may take to read the reason.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Raises the limit of file descriptors of the process as far as the operating system allows, up to 65,536.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED_DESCRIPTORS, |maximum| maximum.min(WANTED_DESCRIPTORS));
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, wanted, "cannot raise the limit of open files");
    }
}

/// Number of listeners of a process that may have many connections: inventory-service has three, for gRPC and for agents
/// of both kinds.
const LARGE_LISTENERS: u64 = 3;

/// Returns how many connections one listener may have: the large ones share the descriptors of a process.
fn within_descriptors(connections: usize, descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else { return connections };
    let open = usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS) / LARGE_LISTENERS).unwrap_or(usize::MAX);
    connections.min(open.max(16))
}

/// Accepts connections and serves them until the host stops, then waits a short time for requests in progress.
///
/// `service` makes the service of one connection. Each request has its [`Peer`] as an extension.
pub async fn serve<S, B>(
    host: Host,
    socket: TcpListener,
    mut listener: Listener,
    service: impl Fn(&Peer) -> S + Send + Sync + 'static,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limits = &mut listener.limits;
    let connections = within_descriptors(limits.connections, getrlimit(Resource::Nofile).current);
    limits.reserved = limits.reserved.min(connections / 8);
    limits.connections = connections;
    let shared = Arc::new(Shared::new(listener));
    let (service, farewells) = (Arc::new(service), Arc::new(Semaphore::new(MAX_FAREWELLS)));
    loop {
        let (stream, address) = tokio::select! {
            () = host.stopping() => return,
            accepted = socket.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    failed(&shared, &error).await;
                    continue;
                }
            },
        };
        match admit(&shared, address) {
            Ok((id, state, is_on_probation)) => {
                let accepted = Accepted { id, address, state, is_on_probation, shared: Arc::clone(&shared) };
                host.spawn(connection::run(host.clone(), stream, accepted, Arc::clone(&service)));
            }
            Err(full) => {
                shared.meter.refused(reason(full));
                // Before the handshake nothing can be said over TLS.
                let is_plain = shared.listener.tls.is_none();
                if let Some(slot) = is_plain.then(|| Arc::clone(&farewells).try_acquire_owned().ok()).flatten() {
                    let text = farewell(&shared.listener, full);
                    host.spawn(async move {
                        let _slot = slot;
                        // The peer is turned away in any case.
                        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, turn_away(stream, &text)).await;
                    });
                }
            }
        }
    }
}

const fn reason(full: Full) -> Reason {
    match full {
        Full::Listener => Reason::Connections,
        Full::Address => Reason::AddressConnections,
        Full::Identity => Reason::IdentityConnections,
    }
}

/// Admits a connection, if need be in place of an idle one.
fn admit(shared: &Shared, address: SocketAddr) -> Result<(u64, Arc<ConnectionState>, bool), Full> {
    let state = Arc::new(ConnectionState::new(shared.epoch));
    let mut table = shared.table.lock();
    let admitted = table.admit(AddressKey::of(address.ip()), Arc::clone(&state))?;
    shared.meter.connections(table.len());
    drop(table);
    if let Some((idle, full)) = admitted.evicted {
        idle.evict(reason(full));
    }
    Ok((admitted.id, state, admitted.is_on_probation))
}

/// Handles an error of `accept`. Most errors concern one connection; without descriptors, an idle one makes room.
async fn failed(shared: &Shared, error: &io::Error) {
    let is_exhausted = error.raw_os_error().is_some_and(|code| {
        let exhausted = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOMEM];
        exhausted.iter().any(|errno| errno.raw_os_error() == code)
    });
    if !is_exhausted {
        tracing::debug!(listener = shared.listener.purpose.word(), %error, "cannot accept a connection");
    } else {
        shared.meter.refused(Reason::FileDescriptors);
        let idle = shared.table.lock().evict_any();
        if let Some(idle) = idle {
            idle.evict(Reason::FileDescriptors);
        }
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// The response to a peer that is turned away, as an HTTP/1 message.
fn farewell(listener: &Listener, full: Full) -> String {
    let why = match full {
        Full::Address | Full::Identity => "too many connections from this address are open; close some, or reuse one",
        Full::Listener => "the service has as many connections as it can serve; repeat the request later",
    };
    let status = match full {
        Full::Address | Full::Identity => "429 Too Many Requests",
        Full::Listener => "503 Service Unavailable",
    };
    let (kind, body) = (listener.encode_refusal)(why);
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a response and reads what the peer sent, as with unread data the kernel would discard the response.
async fn turn_away(mut stream: TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        match full {
            Full::Listener => Self::Connections,
            Full::Address | Full::Identity => Self::IdentityConnections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_leaves_descriptors_for_others() {
        for (connections, descriptors, expected) in [
            (4096, None, 4096),
            (4096, Some(65_536), 4096),
            (4096, Some(8192), 2645),
            (4096, Some(1024), 256),
            (64, Some(1024), 64),
            (4096, Some(100), 16),
        ] {
            assert_eq!(within_descriptors(connections, descriptors), expected, "{descriptors:?}");
        }
    }
}
