//! The agents' door at the inventory-service: which replica to call, over TLS with a key made for this boot.

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

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// A peer that is silent for this long is asked whether it lives; and again this long later it is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The pause after the first try that failed; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Replicas that may send us on to one another before we pause.
const HOPS: u32 = 3;

/// How we call: who must answer, and with which key.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Door {
    /// Makes a key and a certificate that no CA has signed: the mesh binds the key to the boot token.
    pub(crate) fn new(boot: &BootFile) -> Result<Self, Error> {
        let wrong = |why: &dyn std::fmt::Display| Error::Tls(why.to_string());
        tls::install_provider();
        // rcgen's default is ECDSA with P-256 and SHA-256.
        let key = rcgen::KeyPair::generate().map_err(|why| wrong(&why))?;
        let certificate = rcgen::CertificateParams::new(vec![])
            .and_then(|parameters| parameters.self_signed(&key))
            .map_err(|why| wrong(&why))?;
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots(&boot.ca)?)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .map_err(|why| wrong(&why))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A connection that is resumed proves no key of its own.
        config.resumption = rustls::client::Resumption::disabled();
        let name = tls::server_name(Service::Inventory, &boot.rack)
            .ok_or_else(|| Error::Tls(format!("{:?} can not be a rack's name", boot.rack)))?;
        Ok(Self { config: Arc::new(config), name })
    }

    /// A client for images, which trusts the same CA where a URL says https.
    pub(crate) fn image_client(&self, boot: &BootFile) -> Result<reqwest::Client, Error> {
        let config = ClientConfig::builder().with_root_certificates(roots(&boot.ca)?).with_no_client_auth();
        let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT).tls_backend_preconfigured(config);
        client.build().map_err(|why| Error::Tls(status::chain(&why)))
    }

    /// Connects to a replica.
    pub(crate) async fn connect(&self, endpoint: &str) -> Result<Channel, Status> {
        let (address, door) = (endpoint.to_owned(), self.clone());
        // The scheme is http as far as tonic is concerned: TLS is ours.
        let connector = tower::service_fn(move |_: http::Uri| {
            let (address, door) = (address.clone(), door.clone());
            async move {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                let tls = TlsConnector::from(Arc::clone(&door.config)).connect(door.name, stream).await?;
                Ok::<_, io::Error>(TokioIo::new(tls))
            }
        });
        Endpoint::from_shared(format!("http://{endpoint}"))
            .map_err(|_| Status::unavailable(format!("{endpoint:?} is not host:port")))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|error| Status::unavailable(status::chain(&error)))
    }
}

fn roots(ca: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|why| Error::Tls(format!("the CA is not PEM: {why}")))?;
        roots.add(certificate).map_err(|why| Error::Tls(format!("the CA can not be used: {why}")))?;
    }
    if roots.is_empty() { Err(Error::Tls("the CA holds no certificate".to_owned())) } else { Ok(roots) }
}

/// Which replica to call next, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replicas {
    known: VecDeque<String>,
    sent_on: Option<String>,
    hops: u32,
    failures: u32,
}

/// What a status means for the next call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Call after this pause.
    After(Duration),
    /// Do not call again.
    Never {
        /// The word for programs.
        reason: String,
        /// In words.
        message: String,
    },
}

impl Replicas {
    pub(crate) fn new(known: &[String]) -> Self {
        Self { known: known.iter().cloned().collect(), sent_on: None, hops: 0, failures: 0 }
    }

    /// Where to call.
    pub(crate) fn endpoint(&self) -> &str {
        self.sent_on.as_deref().or_else(|| self.known.front().map(String::as_str)).unwrap_or_default()
    }

    /// A call was answered as it should be.
    pub(crate) const fn answered(&mut self) {
        (self.hops, self.failures) = (0, 0);
    }

    /// A call, or the stream, ended with this status.
    pub(crate) fn ended(&mut self, ended: &Status) -> Next {
        let reason = status::reason(ended).unwrap_or_default();
        if ended.code() == Code::PermissionDenied {
            return Next::Never { reason, message: ended.message().to_owned() };
        }
        if ended.code() == Code::Aborted
            && reason == "NOT_OWNER"
            && let Some(owner) = status::fact(ended, "endpoint").filter(|owner| !owner.is_empty())
        {
            self.sent_on = Some(owner);
            self.hops = self.hops.saturating_add(1);
            // Replicas that disagree, for as long as a handover takes, must not make us spin.
            return Next::After(if self.hops <= HOPS { Duration::ZERO } else { self.pause() });
        }
        if self.sent_on.take().is_none() {
            self.known.rotate_left(1.min(self.known.len()));
        }
        Next::After(self.pause())
    }

    fn pause(&mut self) -> Duration {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        pause
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
        let mut pauses = vec![];
        for turn in 0..40 {
            assert_eq!(replicas.endpoint(), if turn % 2 == 0 { "a:1" } else { "b:1" });
            let Next::After(pause) = replicas.ended(&island) else { panic!("gave up") };
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses[..7], [200, 400, 800, 1600, 3200, 5000, 5000]);
        replicas.answered();
        assert_eq!(replicas.ended(&island), Next::After(PAUSE));
    }

    #[test]
    fn the_owner_is_called_at_once_and_forgotten_when_it_is_gone() {
        let mut replicas = Replicas::new(&["a:1".to_owned(), "b:1".to_owned()]);
        assert_eq!(replicas.ended(&status(Code::Aborted, "NOT_OWNER", "c:1")), Next::After(Duration::ZERO));
        assert_eq!(replicas.endpoint(), "c:1");
        replicas.ended(&Status::unavailable("gone"));
        assert_eq!(replicas.endpoint(), "a:1");
    }

    #[test]
    fn replicas_that_send_us_round_in_circles_do_not_make_us_spin() {
        let mut replicas = Replicas::new(&["a:1".to_owned()]);
        let pauses: Vec<_> = ["b:1", "a:1", "b:1", "a:1", "b:1"]
            .map(|owner| replicas.ended(&status(Code::Aborted, "NOT_OWNER", owner)))
            .into();
        let pause = |millis| Next::After(Duration::from_millis(millis));
        assert_eq!(pauses, [pause(0), pause(0), pause(0), pause(200), pause(400)]);
    }

    #[test]
    fn an_agent_that_may_not_is_told_so_and_stops() {
        let mut replicas = Replicas::new(&["a:1".to_owned()]);
        let never = Next::Never { reason: "TWO_MACHINES".to_owned(), message: "words".to_owned() };
        assert_eq!(replicas.ended(&status(Code::PermissionDenied, "TWO_MACHINES", "")), never);
    }
}
