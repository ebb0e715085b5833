//! Connections to the inventory-service, over TLS with a key generated for this boot, and the choice of a replica.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use domain::service::Service;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
};
use service_kit::{status, tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{config::BootFile, error::Error};

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval of HTTP/2 pings on an idle connection, and how long to wait for the reply.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Delay after the first failure; it doubles with each further failure.
const INITIAL_DELAY: Duration = Duration::from_millis(200);
/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(5);
/// Number of immediate redirects between replicas before a delay.
const MAX_IMMEDIATE_REDIRECTS: u32 = 3;

/// Connects to the inventory-service and authenticates with a key of this boot.
#[derive(Debug, Clone)]
pub(crate) struct InventoryClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl InventoryClient {
    /// Generates a key and a self-signed certificate: the mesh binds the key to the boot token.
    pub(crate) fn new(boot: &BootFile) -> Result<Self, Error> {
        let unusable = |why: &dyn std::fmt::Display| Error::Tls(why.to_string());
        tls::install_provider();
        // rcgen's default is ECDSA with P-256 and SHA-256.
        let key = rcgen::KeyPair::generate().map_err(|why| unusable(&why))?;
        let certificate = rcgen::CertificateParams::new(vec![])
            .and_then(|parameters| parameters.self_signed(&key))
            .map_err(|why| unusable(&why))?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots(&boot.ca)?)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .map_err(|why| unusable(&why))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed connection would not prove possession of the key.
        config.resumption = rustls::client::Resumption::disabled();
        let name = tls::server_name(Service::Inventory, &boot.rack)
            .ok_or_else(|| Error::Tls(format!("{:?} is not a valid rack name", boot.rack)))?;
        Ok(Self { config: Arc::new(config), name })
    }

    /// Returns a client for downloading images, which trusts the same CA for https URLs.
    pub(crate) fn image_client(&self, boot: &BootFile) -> Result<reqwest::Client, Error> {
        let config = ClientConfig::builder().with_root_certificates(roots(&boot.ca)?).with_no_client_auth();
        let client =
            reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).tls_backend_preconfigured(config);
        client.build().map_err(|why| Error::Tls(status::chain(&why)))
    }

    /// Connects to a replica.
    pub(crate) async fn connect(&self, endpoint: &str) -> Result<Channel, Status> {
        let (address, client) = (endpoint.to_owned(), self.clone());
        // For tonic the scheme is http: the connector does TLS itself.
        let connector = tower::service_fn(move |_: http::Uri| {
            let (address, client) = (address.clone(), client.clone());
            async move {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                let tls = TlsConnector::from(Arc::clone(&client.config)).connect(client.name, stream).await?;
                Ok::<_, io::Error>(TokioIo::new(tls))
            }
        });
        Endpoint::from_shared(format!("http://{endpoint}"))
            .map_err(|_| Status::unavailable(format!("{endpoint:?} is not host:port")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_INTERVAL)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|error| Status::unavailable(status::chain(&error)))
    }
}

fn roots(ca: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|why| Error::Tls(format!("the CA is not valid PEM: {why}")))?;
        roots.add(certificate).map_err(|why| Error::Tls(format!("the CA cannot be used: {why}")))?;
    }
    if roots.is_empty() { Err(Error::Tls("the CA file contains no certificate".to_owned())) } else { Ok(roots) }
}

/// Decides which replica to call next, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replicas {
    known: VecDeque<String>,
    redirected_to: Option<String>,
    redirects: u32,
    failures: u32,
}

/// What to do after a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextCall {
    /// Call after this delay.
    After(Duration),
    /// Do not call again.
    Never {
        /// Stable identifier.
        reason: String,
        /// The message of the service.
        message: String,
    },
}

impl Replicas {
    pub(crate) fn new(known: &[String]) -> Self {
        Self { known: known.iter().cloned().collect(), redirected_to: None, redirects: 0, failures: 0 }
    }

    /// Returns the endpoint to call.
    pub(crate) fn endpoint(&self) -> &str {
        self.redirected_to.as_deref().or_else(|| self.known.front().map(String::as_str)).unwrap_or_default()
    }

    /// Records that a call succeeded.
    pub(crate) const fn answered(&mut self) {
        (self.redirects, self.failures) = (0, 0);
    }

    /// Records that a call or the stream ended with this status, and returns what to do.
    pub(crate) fn ended(&mut self, ended: &Status) -> NextCall {
        let reason = status::reason(ended).unwrap_or_default();
        if ended.code() == Code::PermissionDenied {
            return NextCall::Never { reason, message: ended.message().to_owned() };
        }
        if ended.code() == Code::Aborted
            && reason == "NOT_OWNER"
            && let Some(owner) = status::fact(ended, "endpoint").filter(|owner| !owner.is_empty())
        {
            self.redirected_to = Some(owner);
            self.redirects = self.redirects.saturating_add(1);
            // During a handover replicas may redirect to each other: do not loop without a delay.
            return NextCall::After(if self.redirects <= MAX_IMMEDIATE_REDIRECTS {
                Duration::ZERO
            } else {
                self.delay()
            });
        }
        if self.redirected_to.take().is_none() {
            self.known.rotate_left(1.min(self.known.len()));
        }
        NextCall::After(self.delay())
    }

    fn delay(&mut self) -> Duration {
        let delay = INITIAL_DELAY.saturating_mul(1 << self.failures.min(16)).min(MAX_DELAY);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn status(code: Code, reason: &str, endpoint: &str) -> Status {
        let facts: std::collections::HashMap<_, _> = [("endpoint".to_owned(), endpoint.to_owned())].into();
        Status::with_error_details(code, "words", ErrorDetails::with_error_info(reason, status::DOMAIN, facts))
    }

    #[test]
    fn replicas_are_called_in_turn_with_growing_pauses_and_without_end() {
        let mut replicas = Replicas::new(&["a:1".to_owned(), "b:1".to_owned()]);
        let island = status(Code::Unavailable, "ISLAND", "");
        let mut delays = vec![];
        for turn in 0..40 {
            assert_eq!(replicas.endpoint(), if turn % 2 == 0 { "a:1" } else { "b:1" });
            let NextCall::After(delay) = replicas.ended(&island) else { panic!("does not retry") };
            delays.push(delay.as_millis());
        }
        assert_eq!(delays[..7], [200, 400, 800, 1600, 3200, 5000, 5000]);
        replicas.answered();
        assert_eq!(replicas.ended(&island), NextCall::After(INITIAL_DELAY));
    }

    #[test]
    fn the_owner_is_called_at_once_and_forgotten_when_it_is_gone() {
        let mut replicas = Replicas::new(&["a:1".to_owned(), "b:1".to_owned()]);
        assert_eq!(replicas.ended(&status(Code::Aborted, "NOT_OWNER", "c:1")), NextCall::After(Duration::ZERO));
        assert_eq!(replicas.endpoint(), "c:1");
        replicas.ended(&Status::unavailable("gone"));
        assert_eq!(replicas.endpoint(), "a:1");
    }

    #[test]
    fn replicas_that_send_us_round_in_circles_do_not_make_us_spin() {
        let mut replicas = Replicas::new(&["a:1".to_owned()]);
        let delays: Vec<_> = ["b:1", "a:1", "b:1", "a:1", "b:1"]
            .map(|owner| replicas.ended(&status(Code::Aborted, "NOT_OWNER", owner)))
            .into();
        let delay = |millis| NextCall::After(Duration::from_millis(millis));
        assert_eq!(delays, [delay(0), delay(0), delay(0), delay(200), delay(400)]);
    }

    #[test]
    fn an_agent_that_may_not_is_told_so_and_stops() {
        let mut replicas = Replicas::new(&["a:1".to_owned()]);
        let never = NextCall::Never { reason: "TWO_MACHINES".to_owned(), message: "words".to_owned() };
        assert_eq!(replicas.ended(&status(Code::PermissionDenied, "TWO_MACHINES", "")), never);
    }
}
