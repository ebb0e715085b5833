//! Where clients come in: plain HTTP, or HTTPS where there is a certificate. One that is replaced is taken while it runs.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener as Listener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use service_kit::Host;
use tokio::net::TcpListener;

use crate::config::RestTls;

/// How often the certificate is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long calls in flight may take to end when the process stops.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// An open door.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    tls: Option<Shown>,
}

/// What is shown to clients.
#[derive(Debug)]
struct Shown {
    files: RestTls,
    text: [Vec<u8>; 2],
    config: RustlsConfig,
}

impl Door {
    /// Opens it.
    ///
    /// # Errors
    /// What is wrong with the certificate, in words.
    pub fn open(listener: TcpListener, files: RestTls) -> Result<Self, String> {
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let is_private = address.ip().is_loopback();
        if !files.is_on() {
            if !is_private {
                tracing::warn!(
                    %address,
                    "the REST API is answered over plain HTTP: passwords and tokens can be read on the way; name a \
                     certificate in scheduler.rest_tls, or put a proxy in front"
                );
            }
            return Ok(Self { listener, tls: None });
        }
        let text = read(&files)?;
        let config = RustlsConfig::from_config(Arc::new(server(&files, &text)?));
        Ok(Self { listener, tls: Some(Shown { files, text, config }) })
    }

    /// What addresses of it begin with.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Answers until the host stops, and lets calls in flight end.
    pub(super) async fn serve(self, host: Host, routes: Router) -> io::Result<()> {
        let service = routes.into_make_service_with_connect_info::<SocketAddr>();
        let Some(shown) = self.tls else {
            let stop = host.clone();
            let serving = axum::serve(self.listener, service);
            return serving.with_graceful_shutdown(async move { stop.stopping().await }).await;
        };
        let (handle, config) = (Handle::new(), shown.config.clone());
        let (closing, stop) = (handle.clone(), host.clone());
        host.spawn(async move {
            stop.stopping().await;
            closing.graceful_shutdown(Some(LAST_CALLS));
        });
        host.spawn(renew(host.clone(), shown));
        let listener: Listener = self.listener.into_std()?;
        let acceptor = RustlsAcceptor::new(config).handshake_timeout(HANDSHAKE);
        axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle).serve(service).await
    }
}

/// Takes a certificate that was replaced. One that can not be taken is told of, and the old one goes on.
async fn renew(host: Host, mut shown: Shown) {
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        // While one of two files is new they may not fit: the next look sees both.
        let Ok(text) = read(&shown.files) else { continue };
        if text == shown.text {
            continue;
        }
        match server(&shown.files, &text) {
            Ok(config) => {
                shown.config.reload_from_config(Arc::new(config));
                tracing::info!("the REST API shows a new certificate");
            }
            Err(error) => tracing::warn!(error, "the REST API's new certificate is not taken"),
        }
        shown.text = text;
    }
}

fn read(files: &RestTls) -> Result<[Vec<u8>; 2], String> {
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|error| format!("scheduler.rest_tls: cannot read {}: {error}", path.display()))
    };
    Ok([read(&files.certificate)?, read(&files.key)?])
}

fn server(files: &RestTls, [certificate, key]: &[Vec<u8>; 2]) -> Result<ServerConfig, String> {
    let wrong = |path: &PathBuf, why: String| format!("scheduler.rest_tls: {}: {why}", path.display());
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| wrong(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, "it holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(&files.key, error.to_string()))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(|error| wrong(&files.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_certificate_that_can_not_be_used_is_named_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = RestTls { certificate: folder.path().join("a.pem"), key: folder.path().join("a.key") };
        let open = async |files: &RestTls| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            Door::open(listener, files.clone()).map(|door| door.scheme())
        };
        assert!(open(&files).await.unwrap_err().contains("cannot read"));
        fs::write(&files.certificate, "").unwrap();
        fs::write(&files.key, "").unwrap();
        assert!(open(&files).await.unwrap_err().contains("a.pem: it holds no certificate"));
        assert_eq!(open(&RestTls::default()).await, Ok("http"));
    }
}
