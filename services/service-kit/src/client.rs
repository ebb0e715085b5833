//! The calling end of every gRPC call: over mutual TLS, to the service and rack that is meant, with a deadline and the
//! present trace.

use std::{io, time::Duration};

use domain::service::Service;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
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
#[error("{0:?} can not be called: it must be host:port")]
pub struct NotAnEndpoint(String);

/// A line to a rack's service at `endpoint` (`host:port`), connected when it is first used and again when it breaks.
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
    let address = endpoint.to_owned();
    // The scheme is http as far as tonic is concerned: TLS is ours, so that certificates may change.
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, address, name) = (tls.clone(), address.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(TlsConnector::from(tls.client()).connect(name, stream).await?))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}"))
        .ok()?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    Some(endpoint.connect_with_connector_lazy(connector))
}
