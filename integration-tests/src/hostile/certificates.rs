//! TLS without a certificate, with one of another CA, or with one that was issued for something else.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use proto::api::v1::{
    CreateRackRequest, ListNodesRequest, node_service_client::NodeServiceClient, rack_service_client::RackServiceClient,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use service_kit::{
    client::{MeshChannel, mesh_channel},
    tls::{Files, Tls},
};
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status};

use super::{
    Attack,
    raw::{self, PATIENCE},
};

/// The certificate that the attacker presents.
#[derive(Debug, Clone, Copy)]
pub enum Presented {
    /// One of the mesh's CA with these URIs.
    Uris(&'static [&'static str]),
    /// One of the mesh's CA without a URI, with this common name.
    CommonName(&'static str),
    /// An administrator's whose validity ended.
    Expired,
    /// An administrator's whose validity has not begun.
    Early,
    /// An administrator's for servers only.
    ServerOnly,
    /// An administrator's of another CA with the same name.
    ForeignCa,
    /// An administrator's that is signed by another certificate of the mesh, which is no CA.
    ByLeaf,
    /// An administrator's of etcd's CA.
    EtcdCa,
    /// An existing one of the rack.
    Existing(&'static str),
    /// No certificate: these bytes instead of a handshake.
    Bytes(&'static [u8]),
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// No call is made: the handshake fails.
    NoHandshake,
    /// Calls of operators are denied.
    Denied,
    /// Calls that change something are denied, reads are answered.
    ReadOnly,
}

/// A certificate, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// What is presented.
    pub presented: Presented,
    /// What must hold.
    pub holds: Holds,
}

const ADMIN: &str = "spiffe://ironmesh/dc/default/operator/eve/admin";
/// A ClientHello of TLS 1.0 without extensions (RFC 2246 §7.4.1.2).
const TLS_1_0: &[u8] = b"\x16\x03\x01\0\x2d\x01\0\0\x29\x03\x01\
    0123456789abcdef0123456789abcdef\0\0\x02\0\x2f\x01\0";
/// A ClientHello of SSL 2.0.
const SSL_2: &[u8] = b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10\x01\0\x80\x02\0\x80\x03\0\x80\x04\0\x80\x05\0\x80\x06\0\x40\x07\0\xc00123456789abcdef";

const fn row(name: &'static str, source: &'static str, presented: Presented, holds: Holds) -> Attack<Caller> {
    Attack { name, source, how: Caller { presented, holds } }
}

/// The attacks on the scheduler's gRPC listener.
pub const TABLE: &[Attack<Caller>] = &[
    row(
        "A request in plain HTTP",
        "RFC 8446 §5.1",
        Presented::Bytes(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Holds::NoHandshake,
    ),
    row("The client offers TLS 1.0 only", "RFC 8996, POODLE", Presented::Bytes(TLS_1_0), Holds::NoHandshake),
    row("The client offers SSL 2.0 only", "RFC 6176, DROWN", Presented::Bytes(SSL_2), Holds::NoHandshake),
    row("The certificate is of a CA of the same name", "RFC 5280 §6.1", Presented::ForeignCa, Holds::NoHandshake),
    row(
        "The certificate is signed by a service's",
        "RFC 5280 §4.2.1.9, CVE-2002-0862",
        Presented::ByLeaf,
        Holds::NoHandshake,
    ),
    row("The certificate is of etcd's CA", "ISSUES-SEEN §6", Presented::EtcdCa, Holds::NoHandshake),
    row("The certificate has expired", "RFC 5280 §4.1.2.5", Presented::Expired, Holds::NoHandshake),
    row("The certificate is not valid yet", "RFC 5280 §4.1.2.5", Presented::Early, Holds::NoHandshake),
    row("The certificate is for servers only", "RFC 5280 §4.2.1.12", Presented::ServerOnly, Holds::NoHandshake),
    row("The certificate names two operators", "SPIFFE X.509-SVID §2", Presented::Uris(&[ADMIN, ADMIN]), Holds::Denied),
    row(
        "The certificate's common name is an administrator's",
        "RFC 6125 §6.4.4",
        Presented::CommonName("admin"),
        Holds::Denied,
    ),
    row(
        "The certificate is of another trust domain",
        "SPIFFE ID §2.1",
        Presented::Uris(&["spiffe://evil/dc/default/operator/eve/admin"]),
        Holds::Denied,
    ),
    row(
        "The certificate is of another datacenter",
        "issue 18 item 4",
        Presented::Uris(&["spiffe://ironmesh/dc/other/operator/eve/admin"]),
        Holds::Denied,
    ),
    row(
        "The path of the identity climbs",
        "SPIFFE ID §2.2",
        Presented::Uris(&["spiffe://ironmesh/dc/default/rack/r1/../../operator/eve/admin"]),
        Holds::Denied,
    ),
    row(
        "The rack of a service is named operator",
        "ISSUES-SEEN §6",
        Presented::Uris(&["spiffe://ironmesh/dc/default/rack/operator/service/power-service"]),
        Holds::Denied,
    ),
    row(
        "The role is unknown",
        "issue 18 item 4",
        Presented::Uris(&["spiffe://ironmesh/dc/default/operator/eve/root"]),
        Holds::Denied,
    ),
    row(
        "A service of another rack calls the operators' API",
        "issue 18 item 4",
        Presented::Uris(&["spiffe://ironmesh/dc/default/rack/other/service/inventory-service"]),
        Holds::Denied,
    ),
    row(
        "A leaf calls the operators' API",
        "issue 18 item 4",
        Presented::Existing("default-pxe-service"),
        Holds::Denied,
    ),
    row(
        "A reader changes the rack",
        "OWASP A01",
        Presented::Uris(&["spiffe://ironmesh/dc/default/operator/eve/reader"]),
        Holds::ReadOnly,
    ),
];

/// The TLS settings of a bearer of the rack in this folder, such as `operator`.
///
/// # Errors
/// There is no such certificate.
pub fn of_rack(data: &Path, name: &str) -> Result<Tls> {
    let certs = data.join("certs");
    let file = |ending: &str| certs.join(format!("{name}.{ending}"));
    Ok(Tls::load(Files { ca: certs.join("ca.pem"), certificate: file("pem"), key: file("key") })?)
}

/// TLS settings of an operator of the rack with this role, with a certificate of its CA.
///
/// # Errors
/// The CA's key cannot be read.
pub fn operator(data: &Path, folder: &Path, role: &str) -> Result<Tls> {
    let uri = format!("spiffe://ironmesh/dc/default/operator/eve/{role}");
    issue(data, folder, "ca", &with_uris(&[&uri])?)
}

fn with_uris(uris: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into()?));
    }
    Ok(params)
}

/// Writes a certificate of the CA with this name, and loads it.
fn issue(data: &Path, folder: &Path, ca: &str, params: &CertificateParams) -> Result<Tls> {
    let read = |file: String| fs::read_to_string(data.join("certs").join(&file)).context(file);
    let (certificate, key) = (read(format!("{ca}.pem"))?, read(format!("{ca}.key"))?);
    sign(data, folder, params, &Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&key)?)?)
}

fn sign(data: &Path, folder: &Path, params: &CertificateParams, by: &Issuer<'_, KeyPair>) -> Result<Tls> {
    let key = KeyPair::generate()?;
    let file = |name: &str| folder.join(name);
    let files = Files { ca: data.join("certs/ca.pem"), certificate: file("eve.pem"), key: file("eve.key") };
    fs::write(&files.certificate, params.signed_by(&key, by)?.pem())?;
    fs::write(&files.key, key.serialize_pem())?;
    Ok(Tls::load(files)?)
}

pub(super) fn present(presented: Presented, data: &Path, folder: &Path) -> Result<Tls> {
    let admin = || with_uris(&[ADMIN]);
    match presented {
        Presented::Uris(uris) => issue(data, folder, "ca", &with_uris(uris)?),
        Presented::CommonName(name) => {
            let mut params = with_uris(&[])?;
            params.distinguished_name.push(DnType::CommonName, name);
            issue(data, folder, "ca", &params)
        }
        Presented::Expired => {
            let mut params = admin()?;
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
            issue(data, folder, "ca", &params)
        }
        Presented::Early => {
            let mut params = admin()?;
            params.not_before = rcgen::date_time_ymd(4000, 1, 1);
            issue(data, folder, "ca", &params)
        }
        Presented::ServerOnly => {
            let mut params = admin()?;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            issue(data, folder, "ca", &params)
        }
        Presented::ForeignCa => {
            let real = fs::read_to_string(data.join("certs/ca.pem"))?;
            let real = Issuer::from_ca_cert_pem(&real, KeyPair::generate()?)?;
            // An issuer with the name of the real CA and a key of its own.
            sign(data, folder, &admin()?, &real)
        }
        Presented::ByLeaf => {
            let mut leaf = with_uris(&["spiffe://ironmesh/dc/default/rack/default/service/power-service"])?;
            leaf.is_ca = IsCa::ExplicitNoCa;
            let key = KeyPair::generate()?;
            let read = |file: &str| fs::read_to_string(data.join("certs").join(file));
            let ca = Issuer::from_ca_cert_pem(&read("ca.pem")?, KeyPair::from_pem(&read("ca.key")?)?)?;
            let leaf_pem = leaf.signed_by(&key, &ca)?.pem();
            sign(data, folder, &admin()?, &Issuer::new(leaf, key))?;
            // The client sends the chain.
            let chain = fs::read_to_string(folder.join("eve.pem"))? + &leaf_pem;
            fs::write(folder.join("eve.pem"), chain)?;
            let file = |name: &str| folder.join(name);
            Ok(Tls::load(Files { ca: data.join("certs/ca.pem"), certificate: file("eve.pem"), key: file("eve.key") })?)
        }
        Presented::EtcdCa => issue(data, folder, "etcd-ca", &admin()?),
        Presented::Existing(name) => of_rack(data, name),
        Presented::Bytes(_) => anyhow::bail!("bytes are no certificate"),
    }
}

/// A call that reads, and one that changes something.
async fn calls(channel: MeshChannel) -> Result<[Result<(), Status>; 2]> {
    let mut nodes = NodeServiceClient::new(channel.clone());
    let read = timeout(PATIENCE, nodes.list_nodes(ListNodesRequest::default()));
    let read = read.await.context("no answer")?.map(drop);
    let mut racks = RackServiceClient::new(channel);
    let change = CreateRackRequest { name: "eve".to_owned(), ..CreateRackRequest::default() };
    let changed = timeout(PATIENCE, racks.create_rack(change)).await.context("no answer")?.map(drop);
    Ok([read, changed])
}

/// Presents the certificate of a row at this gRPC listener.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(address: &str, data: &Path, caller: &Caller) -> Result<String> {
    if let Presented::Bytes(bytes) = caller.presented {
        let stream = TcpStream::connect(address).await?;
        let answer = raw::over(stream, bytes).await?;
        // A handshake record (22) with a ServerHello would be an agreement.
        ensure!(!answer.text.starts_with('\u{16}') && answer.statuses.is_empty(), "answered with {:?}", answer.text);
        return Ok(if answer.text.is_empty() { "closed" } else { "an alert" }.to_owned());
    }
    let folder = tempfile::tempdir()?;
    let tls = present(caller.presented, data, folder.path())?;
    let [read, changed] = calls(mesh_channel(&tls, address, Service::Scheduler, "", Some(PATIENCE))?).await?;
    let is_denied = |result: &Result<(), Status>| {
        result.as_ref().is_err_and(|status| matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated))
    };
    let is_cut = |result: &Result<(), Status>| {
        result.as_ref().is_err_and(|status| matches!(status.code(), Code::Unavailable | Code::Unknown))
    };
    let holds = match caller.holds {
        Holds::NoHandshake => is_cut(&read) && is_cut(&changed),
        Holds::Denied => is_denied(&read) && is_denied(&changed),
        Holds::ReadOnly => read.is_ok() && is_denied(&changed),
    };
    ensure!(holds, "{:?} for a read, {changed:?} for a change", read);
    let words = changed.err().map(|status| status.message().to_owned()).unwrap_or_default();
    Ok(words.lines().next().unwrap_or_default().to_owned())
}
