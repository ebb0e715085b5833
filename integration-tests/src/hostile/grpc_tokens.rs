//! Access tokens at the gRPC API that were forged, changed, or meant for others, by callers without a certificate or with
//! one that is not theirs.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use proto::{
    api::v1::{
        CreateRackRequest, ListNodesRequest, node_service_client::NodeServiceClient,
        rack_service_client::RackServiceClient,
    },
    scheduler::v1::{WatchAppliedRequest, scheduler_service_client::SchedulerServiceClient},
};
use service_kit::{
    client::{MeshChannel, anonymous_channel, mesh_channel},
    status::reason,
    tls::ServerTrust,
};
use tokio::time::timeout;
use tonic::{Code, Request, Status};

use super::{
    Attack,
    certificates::{Presented, present},
    raw::PATIENCE,
};

/// What the attacker does.
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// Reads with the token of this name, which `clients/issuer.py` makes, and is not authenticated.
    Forged(&'static str),
    /// Reads with these values of `authorization`, where `TOKEN` stands for an administrator's, and is not authenticated.
    Headers(&'static [&'static str]),
    /// Reads with a token of this many bytes.
    Long(usize),
    /// Reads with the valid token of this name of a user without rights here, and is denied.
    Powerless(&'static str),
    /// Changes something with the valid token of this name of a reader, and is denied.
    Changes(&'static str),
    /// Makes a call between services with the valid token of this name, and is denied.
    ActsAsService(&'static str),
    /// Presents a certificate besides an administrator's token, and can change nothing.
    Beside(Presented),
    /// Calls a service of the rack with an administrator's token, and has no connection.
    OtherService(Service),
}

/// Where the attacks are made.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// The gRPC API.
    pub address: &'p str,
    /// The folder of the rack.
    pub data: &'p Path,
    /// Tokens by name.
    pub tokens: &'p BTreeMap<String, String>,
}

const fn row(name: &'static str, source: &'static str, how: How) -> Attack<How> {
    Attack { name, source, how }
}

/// The attacks.
pub const TABLE: &[Attack<How>] = &[
    row("gRPC: the token has expired", "RFC 7519 §4.1.4", How::Forged("expired")),
    row("gRPC: the token is not valid yet", "RFC 7519 §4.1.5", How::Forged("early")),
    row("gRPC: the token does not expire", "RFC 8725 §3.10", How::Forged("endless")),
    row("gRPC: the token is for another audience", "RFC 7519 §4.1.3", How::Forged("elsewhere")),
    row("gRPC: the token is of another issuer", "RFC 7519 §4.1.1", How::Forged("other issuer")),
    row("gRPC: the token is not signed", "CVE-2015-9235", How::Forged("unsigned")),
    row("gRPC: the algorithm is none in mixed case", "CVE-2020-28042", How::Forged("unsigned in mixed case")),
    row("gRPC: the public key is used as a shared secret", "CVE-2016-5431", How::Forged("public key as secret")),
    row("gRPC: the claims were changed", "RFC 7515 §5.2", How::Forged("changed")),
    row("gRPC: the signature is of zeros", "CVE-2022-21449", How::Forged("zeros")),
    row("gRPC: the token brings its own key", "CVE-2018-0114", How::Forged("own key")),
    row("gRPC: the token has a critical extension", "RFC 7515 §4.1.11", How::Forged("critical")),
    row("gRPC: the user's name would forge a log record", "CWE-117", How::Forged("named by a line")),
    row("gRPC: there are no credentials", "RFC 6750 §3.1", How::Headers(&[])),
    row("gRPC: the credentials are a password", "RFC 7617 §2", How::Headers(&["Basic YW5uOnJpZ2h0"])),
    row("gRPC: a valid token comes with another one", "RFC 9110 §5.3", How::Headers(&["Bearer a", "Bearer TOKEN"])),
    row("gRPC: a valid token has no scheme", "RFC 6750 §2.1", How::Headers(&["TOKEN"])),
    row("gRPC: the token has 20,000 bytes", "RFC 9110 §5.4", How::Long(20_000)),
    row("gRPC: the token has 60,000 bytes", "RFC 9113 §10.5.1", How::Long(60_000)),
    row("gRPC: the user has a role in a project only", "OWASP A01", How::Powerless("member")),
    row("gRPC: the user has a role and no scope", "OWASP A01", How::Powerless("nowhere")),
    row("gRPC: a reader's token changes the rack", "OWASP A01", How::Changes("reader")),
    row("gRPC: the claims name a service", "SPIFFE ID §2.2", How::ActsAsService("named as a service")),
    row("gRPC: an administrator's token calls what services call", "OWASP A01", How::ActsAsService("admin")),
    row("gRPC: a foreign certificate besides a valid token", "RFC 5280 §6.1", How::Beside(Presented::ForeignCa)),
    row("gRPC: an expired certificate besides a valid token", "RFC 5280 §4.1.2.5", How::Beside(Presented::Expired)),
    row(
        "gRPC: a reader's certificate besides an administrator's token",
        "confused deputy, CWE-441",
        How::Beside(Presented::Uris(&["spiffe://ironmesh/dc/default/operator/eve/reader"])),
    ),
    row(
        "gRPC: a certificate without identity besides a valid token",
        "confused deputy, CWE-441",
        How::Beside(Presented::CommonName("admin")),
    ),
    row("gRPC: a valid token at a power-service", "least privilege", How::OtherService(Service::Power)),
    row("gRPC: a valid token at a storage-service", "least privilege", How::OtherService(Service::Storage)),
];

impl Place<'_> {
    fn token(&self, name: &str) -> Result<&str> {
        self.tokens.get(name).map(String::as_str).with_context(|| name.to_owned())
    }

    fn anonymous(&self, address: &str, service: Service) -> Result<MeshChannel> {
        let trust = ServerTrust::load(&self.data.join("certs/ca.pem"))?;
        Ok(anonymous_channel(&trust, address, service, "", Some(PATIENCE))?)
    }

    /// A request with these values of `authorization`.
    fn request<M>(&self, message: M, values: &[&str]) -> Result<Request<M>> {
        let mut request = Request::new(message);
        for value in values {
            let value = value.replace("TOKEN", self.token("admin")?);
            request.metadata_mut().append("authorization", value.parse()?);
        }
        Ok(request)
    }
}

async fn read(place: &Place<'_>, channel: MeshChannel, values: &[&str]) -> Result<Result<(), Status>> {
    let request = place.request(ListNodesRequest::default(), values)?;
    let mut nodes = NodeServiceClient::new(channel);
    Ok(timeout(PATIENCE, nodes.list_nodes(request)).await.context("no answer")?.map(drop))
}

async fn change(place: &Place<'_>, channel: MeshChannel, values: &[&str]) -> Result<Result<(), Status>> {
    let message = CreateRackRequest { name: "eve".to_owned(), ..CreateRackRequest::default() };
    let request = place.request(message, values)?;
    let mut racks = RackServiceClient::new(channel);
    Ok(timeout(PATIENCE, racks.create_rack(request)).await.context("no answer")?.map(drop))
}

/// Returns what was observed if the call ended with this code.
fn ended(outcome: Result<(), Status>, code: Code) -> Result<String> {
    let status = outcome.err().context("the call succeeded")?;
    ensure!(status.code() == code, "{status:?}");
    Ok(reason(&status).unwrap_or_else(|| format!("{code:?}")))
}

/// Carries out an attack.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(place: &Place<'_>, how: How) -> Result<String> {
    let anonymous = || place.anonymous(place.address, Service::Scheduler);
    let bearer = |name| Ok::<_, anyhow::Error>(format!("Bearer {}", place.token(name)?));
    match how {
        How::Forged(name) => ended(read(place, anonymous()?, &[&bearer(name)?]).await?, Code::Unauthenticated),
        How::Headers(values) => ended(read(place, anonymous()?, values).await?, Code::Unauthenticated),
        How::Long(size) => {
            let value = format!("Bearer {}", "a".repeat(size));
            let status = read(place, anonymous()?, &[&value]).await?.err().context("the call succeeded")?;
            Ok(format!("{:?}", status.code()))
        }
        How::Powerless(name) => ended(read(place, anonymous()?, &[&bearer(name)?]).await?, Code::PermissionDenied),
        How::Changes(name) => {
            let value = bearer(name)?;
            read(place, anonymous()?, &[&value]).await?.context("a reader cannot read")?;
            ended(change(place, anonymous()?, &[&value]).await?, Code::PermissionDenied)
        }
        How::ActsAsService(name) => {
            let request = place.request(WatchAppliedRequest::default(), &[&bearer(name)?])?;
            let mut schedulers = SchedulerServiceClient::new(anonymous()?);
            let outcome = timeout(PATIENCE, schedulers.watch_applied(request)).await.context("no answer")?;
            ended(outcome.map(drop), Code::PermissionDenied)
        }
        How::Beside(presented) => {
            let folder = tempfile::tempdir()?;
            let tls = present(presented, place.data, folder.path())?;
            let channel = mesh_channel(&tls, place.address, Service::Scheduler, "", Some(PATIENCE))?;
            let status = change(place, channel, &["Bearer TOKEN"]).await?.err().context("the change was made")?;
            Ok(format!("{:?}", status.code()))
        }
        How::OtherService(service) => {
            let file = place.data.join(format!("{service}-1/grpc.address"));
            let address = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let channel = place.anonymous(address.trim(), service)?;
            let status = read(place, channel, &["Bearer TOKEN"]).await?.err().context("the call succeeded")?;
            // Without an answer of the service there is no reason, and none of its own codes.
            let is_cut = matches!(status.code(), Code::Unavailable | Code::Unknown) && reason(&status).is_none();
            ensure!(is_cut, "{status:?}");
            Ok("no handshake".to_owned())
        }
    }
}

/// A valid token is accepted, so that the others are refused for what they are.
///
/// # Errors
/// It is not.
pub async fn control(place: &Place<'_>) -> Result<()> {
    let channel = place.anonymous(place.address, Service::Scheduler)?;
    read(place, channel, &["Bearer TOKEN"]).await?.context("a valid token is refused")
}
