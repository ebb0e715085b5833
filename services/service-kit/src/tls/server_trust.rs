//! TLS for clients that have no certificate.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, client::Resumption};

use super::{Error, install_provider, pem, read, roots};

/// The CA of the servers, for a client that has no certificate and proves who it is in another way.
#[derive(Debug, Clone)]
pub struct ServerTrust {
    client: Arc<ClientConfig>,
}

impl ServerTrust {
    /// Reads the CA certificate (PEM).
    ///
    /// # Errors
    /// [`Error`] names the file and what is wrong with it.
    pub fn load(ca: &Path) -> Result<Self, Error> {
        install_provider();
        let roots = roots(ca, &read(ca)?)?;
        if roots.is_empty() {
            return Err(pem(ca, &"it contains no certificate"));
        }
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self { client: Arc::new(client) })
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}
