//! Calls to an agent, over TLS with the certificate that its heartbeat brought, and with no other.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use reqwest::{Client, Url, redirect};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use wire_ironic::agent::{Command, Commands, commands_url};

use super::talk::Peer;

/// An answer of an agent may take as long; steps that take longer are asked after.
const ANSWER: Duration = Duration::from_secs(60);
/// The octets of an answer that are read.
const MOST: usize = 4 << 20;

/// Why an agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unheard {
    /// It gave no certificate, or one that can not be read.
    #[error("the certificate that the agent sent can not be used: {0}")]
    Certificate(String),
    /// It does not answer.
    #[error("the agent does not answer at {0}: {1}")]
    Silent(String, String),
    /// It answers with this.
    #[error("the agent answers with {status} to {what}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// What it was asked.
        what: String,
        /// Its words.
        text: String,
    },
    /// Nobody can read it.
    #[error("the agent's answer to {0} can not be read")]
    Unreadable(String),
}

/// Where an agent answers.
#[derive(Debug, Clone)]
pub(super) struct Line {
    client: Client,
    url: String,
    token: String,
}

/// The host of a URL that names it by an IPv4 address.
pub(super) fn host(url: &str) -> Option<Ipv4Addr> {
    Url::parse(url).ok()?.host_str()?.parse().ok()
}

impl Line {
    pub(super) fn new(peer: &Peer, token: String) -> Result<Self, Unheard> {
        let wrong = |error: &dyn std::fmt::Display| Unheard::Certificate(error.to_string());
        let builder = Client::builder().timeout(ANSWER).redirect(redirect::Policy::none()).no_proxy();
        let builder = match &peer.certificate {
            None => builder,
            Some(pem) => builder.tls_backend_preconfigured(only(pem)?),
        };
        Ok(Self { client: builder.build().map_err(|error| wrong(&error))?, url: peer.url.clone(), token })
    }

    /// All that the agent was told, and what became of it.
    pub(super) async fn commands(&self) -> Result<Commands, Unheard> {
        let what = "the list of commands";
        let url = commands_url(&self.url, false, &self.token);
        let octets = self.call(self.client.get(url), what).await?;
        serde_json::from_slice(&octets).map_err(|_| Unheard::Unreadable(what.to_owned()))
    }

    /// Tells it a command. What becomes of it is in the list.
    pub(super) async fn tell(&self, command: &Command) -> Result<(), Unheard> {
        let body = serde_json::to_vec(command).map_err(|_| Unheard::Unreadable(command.name.clone()))?;
        let request = self.client.post(commands_url(&self.url, false, &self.token));
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        self.call(request, &command.name).await.map(drop)
    }

    async fn call(&self, request: reqwest::RequestBuilder, what: &str) -> Result<Vec<u8>, Unheard> {
        // The address has the token in it.
        let silent =
            |error: reqwest::Error| Unheard::Silent(self.url.clone(), service_kit::status::chain(&error.without_url()));
        let mut response = request.send().await.map_err(silent)?;
        let status = response.status();
        let mut octets = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(silent)? {
            if octets.len() + piece.len() > MOST {
                return Err(Unheard::Unreadable(what.to_owned()));
            }
            octets.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(octets);
        }
        let text = String::from_utf8_lossy(&octets).chars().filter(|c| !c.is_control()).take(300).collect();
        Err(Unheard::Refused { status: status.as_u16(), what: what.to_owned(), text })
    }
}

/// A configuration that lets in who has this certificate, and nobody else: the agent made it itself, so that no
/// authority vouches for it, and it may say of itself that it is one.
fn only(pem: &str) -> Result<ClientConfig, Unheard> {
    let wrong = |error: &dyn std::fmt::Display| Unheard::Certificate(error.to_string());
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(&error))?;
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.ok_or_else(|| wrong(&"no cryptography is installed"))?;
    let verifier = Arc::new(Only { certificate, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&error))?.dangerous();
    Ok(builder.with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Lets one certificate in.
#[derive(Debug)]
struct Only {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(TlsError::General("it is not the certificate that the agent's heartbeat brought".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_called_by_ipv4_address_alone() {
        let host = |url| host(url).map(|host| host.to_string());
        assert_eq!(host("https://10.77.1.11:9999").as_deref(), Some("10.77.1.11"));
        for wrong in ["https://metadata.internal:9999", "https://[fd00::1]:9999", "nonsense", "http://h.10.0.0.1/"] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
