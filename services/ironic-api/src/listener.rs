//! Listener of the REST API: HTTPS if a certificate is configured, otherwise HTTP. Reloads a replaced certificate.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::Router;
use rustls::{
    ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use service_kit::{
    Host,
    listener::{self, Limits, Listener},
    status::chain,
};
use tokio::net::TcpListener;
use wire_ironic::error::Class;

use crate::config::RestTls;

/// Interval at which the certificate files are read.
const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Open listener of the REST API.
#[derive(Debug)]
pub struct RestListener {
    socket: TcpListener,
    listener: Listener,
    tls: Option<Tls>,
}

/// Reason that the REST API cannot be served with the configured certificate.
#[derive(Debug, thiserror::Error)]
pub enum RestTlsError {
    /// The listener has no address.
    #[error("cannot read the address of the REST API")]
    Address(#[source] io::Error),
    /// A file cannot be read.
    #[error("scheduler.rest_tls: cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("scheduler.rest_tls: {} is invalid", path.display())]
    Pem {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: pem::Error,
    },
    /// A file has no certificate.
    #[error("scheduler.rest_tls: {}: it holds no certificate", path.display())]
    NoCertificate {
        /// Path of the file.
        path: PathBuf,
    },
    /// Certificate and key cannot be used together.
    #[error("scheduler.rest_tls: {} cannot be used with its key", path.display())]
    Pair {
        /// Path of the certificate.
        path: PathBuf,
        /// Cause.
        source: rustls::Error,
    },
}

/// Certificate and key in use.
#[derive(Debug)]
struct Tls {
    files: RestTls,
    text: [Vec<u8>; 2],
    config: Arc<ArcSwap<ServerConfig>>,
}

impl RestListener {
    /// Reads the certificate and prepares the listener. `listener` has the limits.
    ///
    /// # Errors
    /// [`RestTlsError`] if the certificate or its key is missing or invalid.
    pub fn open(socket: TcpListener, listener: Listener, files: RestTls) -> Result<Self, RestTlsError> {
        let listener = Listener { encode_refusal, ..listener };
        let address = socket.local_addr().map_err(RestTlsError::Address)?;
        let is_private = address.ip().is_loopback();
        if !files.is_on() {
            if !is_private {
                tracing::warn!(
                    %address,
                    "the REST API is answered over plain HTTP: passwords and tokens can be read on the way; name a \
                     certificate in scheduler.rest_tls, or put a proxy in front"
                );
            }
            return Ok(Self { socket, listener, tls: None });
        }
        let text = read(&files)?;
        let config = Arc::new(ArcSwap::from_pointee(server_config(&files, &text)?));
        let current = Arc::clone(&config);
        let listener = Listener { tls: Some(Arc::new(move || current.load_full())), ..listener };
        Ok(Self { socket, listener, tls: Some(Tls { files, text, config }) })
    }

    /// URL scheme of the API.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Limits of the listener.
    pub(super) const fn limits(&self) -> &Limits {
        &self.listener.limits
    }

    /// Serves requests until the host stops, then lets calls in flight end.
    pub(super) async fn serve(self, host: Host, routes: Router) {
        if let Some(tls) = self.tls {
            host.spawn(reload_certificate(host.clone(), tls));
        }
        listener::serve(host, self.socket, self.listener, move |_| routes.clone()).await;
    }
}

/// Body of a response to a client that is turned away before its request is read.
fn encode_refusal(why: &str) -> (&'static str, String) {
    ("application/json", Class::Unavailable.error(why).body().to_string())
}

/// Reloads a replaced certificate. An invalid one is logged, and the previous one stays in use.
async fn reload_certificate(host: Host, mut tls: Tls) {
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(CERTIFICATE_POLL_INTERVAL) => {}
        }
        // If only one of the two files was replaced so far, they may not match; the next poll reads both.
        let Ok(text) = read(&tls.files) else { continue };
        if text == tls.text {
            continue;
        }
        match server_config(&tls.files, &text) {
            Ok(config) => {
                tls.config.store(Arc::new(config));
                tracing::info!("reloaded the certificate of the REST API");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "ignoring the invalid certificate of the REST API, keeping the previous one")
            }
        }
        tls.text = text;
    }
}

fn read(files: &RestTls) -> Result<[Vec<u8>; 2], RestTlsError> {
    let read = |path: &PathBuf| fs::read(path).map_err(|source| RestTlsError::Read { path: path.clone(), source });
    Ok([read(&files.certificate)?, read(&files.key)?])
}

fn server_config(files: &RestTls, [certificate, key]: &[Vec<u8>; 2]) -> Result<ServerConfig, RestTlsError> {
    let not_pem = |path: &PathBuf| {
        let path = path.clone();
        |source| RestTlsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(not_pem(&files.certificate))?;
    if chain.is_empty() {
        return Err(RestTlsError::NoCertificate { path: files.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(not_pem(&files.key))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(|source| RestTlsError::Pair { path: files.certificate.clone(), source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use service_kit::listener::{BodyBudget, HttpLimits, ListenerKind};

    use super::*;

    #[tokio::test]
    async fn an_invalid_certificate_is_reported_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = RestTls { certificate: folder.path().join("a.pem"), key: folder.path().join("a.key") };
        let open = async |files: &RestTls| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let limits = HttpLimits::default();
            let limits = Listener::new(ListenerKind::Rest, &limits, BodyBudget::new(&limits));
            RestListener::open(listener, limits, files.clone()).map(|listener| listener.scheme())
        };
        let refused = async |files: &RestTls| open(files).await.unwrap_err().to_string();
        assert!(refused(&files).await.contains("cannot read"));
        fs::write(&files.certificate, "").unwrap();
        fs::write(&files.key, "").unwrap();
        assert!(refused(&files).await.contains("a.pem: it holds no certificate"));
        assert_eq!(open(&RestTls::default()).await.unwrap(), "http");
    }
}
