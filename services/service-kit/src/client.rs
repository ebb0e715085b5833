//! The calling end of every gRPC call: over mutual TLS, to the service and rack that is meant, with a deadline and the
//! present trace.

use std::{io, time::Duration};

use domain::service::Service;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    telemetry,
    tls::{self, Tls},
};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// An idle connection is asked whether it lives; a peer that is silent for this long is called anew.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A channel whose calls carry the present trace and a deadline.
pub type Line = InterceptedService<Channel, Caller>;

/// Puts the deadline and the present trace on each call.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    deadline: Option<Duration>,
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        telemetry::hand_on(request.metadata_mut());
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline);
        }
        Ok(request)
    }
}

/// An endpoint that can not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} can not be called: it must be host:port, or several with commas between them")]
pub struct NotAnEndpoint(String);

/// A line to a rack's service at `endpoint` (`host:port`), connected when it is first used and again when it breaks.
/// Where any of several replicas will do, `endpoint` names them with commas in between: the first that answers is taken.
///
/// `deadline` holds for each call; `None` for streams.
///
/// # Errors
/// [`NotAnEndpoint`]
pub fn line(
    tls: &Tls,
    endpoint: &str,
    service: Service,
    rack: &str,
    deadline: Option<Duration>,
) -> Result<Line, NotAnEndpoint> {
    let wrong = || NotAnEndpoint(endpoint.to_owned());
    let name = tls::server_name(service, rack).ok_or_else(wrong)?;
    let channel = channel(tls.clone(), endpoint, name).ok_or_else(wrong)?;
    Ok(InterceptedService::new(channel, Caller { deadline }))
}

fn channel(tls: Tls, endpoint: &str, name: ServerName<'static>) -> Option<Channel> {
    let addresses: Vec<String> = endpoint.split(',').map(|address| address.trim().to_owned()).collect();
    let first = addresses.first()?.clone();
    let patience = CONNECT / u32::try_from(addresses.len()).ok()?;
    // The scheme is http as far as tonic is concerned: TLS is ours, so that certificates may change.
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, addresses, name) = (tls.clone(), addresses.clone(), name.clone());
        async move {
            let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
            for address in &addresses {
                outcome = match timeout(patience, connect(&tls, address, name.clone())).await {
                    Ok(Ok(stream)) => return Ok(TokioIo::new(stream)),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                };
            }
            outcome
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{first}"))
        .ok()?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    Some(endpoint.connect_with_connector_lazy(connector))
}

async fn connect(tls: &Tls, address: &str, name: ServerName<'static>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(tls.client()).connect(name, stream).await
}
