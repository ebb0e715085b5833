//! Client for calls to an agent, over TLS with exactly the certificate of its heartbeat.

use std::{net::Ipv4Addr, sync::Arc};

use reqwest::{Url, header::CONTENT_TYPE};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use service_kit::outbound_http::{Outbound, OutboundClient, OutboundError, OutboundRequest, Purpose, Trust};
use wire_ironic::agent::{Command, Commands, commands_url};

/// Address and certificate of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Base URL of its API.
    pub(crate) url: String,
    /// Its certificate (PEM); `None` if it sent none.
    pub(crate) certificate: Option<String>,
    /// Whether it is a stand-in for the agent of a node without a machine.
    pub(crate) is_stand_in: bool,
}

impl Peer {
    /// Returns what calls to it are for, which decides where they may go.
    pub(super) const fn purpose(&self) -> Purpose {
        if self.is_stand_in { Purpose::StandInCallback } else { Purpose::AgentCallback }
    }

    /// Returns whether the agent is called over TLS and has sent the certificate for it.
    pub(super) fn is_over_tls(&self) -> bool {
        Url::parse(&self.url).is_ok_and(|url| url.scheme() == "https") && self.certificate.is_some()
    }
}

/// Why a call to an agent failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentClientError {
    /// The certificate of the heartbeat cannot be used.
    #[error("the certificate of the agent cannot be used: {0}")]
    Certificate(String),
    /// The agent does not respond.
    #[error("the agent does not respond")]
    Silent(#[from] OutboundError),
    /// The agent responded with an error.
    #[error("the agent responded to {what} with status {status}: {text}")]
    Refused {
        /// The status code.
        status: u16,
        /// The call.
        what: String,
        /// The response body.
        text: String,
    },
    /// The response is malformed.
    #[error("the agent's response to {0} is malformed")]
    Unreadable(String),
}

/// A client for one agent.
#[derive(Debug, Clone)]
pub(super) struct AgentClient {
    client: OutboundClient,
    url: String,
    token: String,
}

/// Returns host and port of a URL if the host is an IPv4 address.
pub(super) fn host(url: &str) -> Option<(Ipv4Addr, u16)> {
    let url = Url::parse(url).ok()?;
    Some((url.host_str()?.parse().ok()?, url.port_or_known_default()?))
}

/// Returns whether a URL has no user, query or fragment, so that a path can be appended to its text.
pub(super) fn is_plain(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        !has_user && url.query().is_none() && url.fragment().is_none()
    })
}

impl AgentClient {
    pub(super) fn new(outbound: &Outbound, peer: &Peer, token: String) -> Result<Self, AgentClientError> {
        let trust = match &peer.certificate {
            None => Trust::System,
            Some(pem) => Trust::Tls(Box::new(pinned_config(pem)?)),
        };
        Ok(Self { client: outbound.client(peer.purpose(), &trust)?, url: peer.url.clone(), token })
    }

    /// Returns all commands of the agent, with their state.
    pub(super) async fn commands(&self) -> Result<Commands, AgentClientError> {
        let what = "the list of commands";
        let url = commands_url(&self.url, false, &self.token);
        let bytes = self.call(OutboundRequest::get(&url)?, what).await?;
        serde_json::from_slice(&bytes).map_err(|_| AgentClientError::Unreadable(what.to_owned()))
    }

    /// Sends a command. Its result appears in the list of commands.
    pub(super) async fn send(&self, command: &Command) -> Result<(), AgentClientError> {
        let body = serde_json::to_vec(command).map_err(|_| AgentClientError::Unreadable(command.name.clone()))?;
        let request = OutboundRequest::post(&commands_url(&self.url, false, &self.token), body)?;
        self.call(request.header(CONTENT_TYPE, "application/json"), &command.name).await.map(drop)
    }

    async fn call(&self, request: OutboundRequest, what: &str) -> Result<Vec<u8>, AgentClientError> {
        let response = self.client.send(request).await?;
        let status = response.status();
        let bytes = response.body().await?;
        if status.is_success() {
            return Ok(bytes);
        }
        let text = String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(300).collect();
        Err(AgentClientError::Refused { status: status.as_u16(), what: what.to_owned(), text })
    }
}

/// Returns a TLS configuration that accepts only this certificate. It is self-signed by the agent and may be marked as
/// a CA, so that standard verification cannot be used.
fn pinned_config(pem: &str) -> Result<ClientConfig, AgentClientError> {
    let wrong = |error: &dyn std::fmt::Display| AgentClientError::Certificate(error.to_string());
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(&error))?;
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.ok_or_else(|| wrong(&"no cryptography provider is installed"))?;
    let verifier = Arc::new(PinnedCertificate { certificate, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&error))?.dangerous();
    Ok(builder.with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Accepts exactly one certificate.
#[derive(Debug)]
struct PinnedCertificate {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
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
        Err(TlsError::General("not the certificate of the agent's heartbeat".to_owned()))
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
        let host = |url| host(url).map(|(host, port)| format!("{host}:{port}"));
        assert_eq!(host("https://10.77.1.11:9999").as_deref(), Some("10.77.1.11:9999"));
        for wrong in ["https://metadata.internal:9999", "https://[fd00::1]:9999", "nonsense", "http://h.10.0.0.1/"] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
