//! etcd, with certificates that were issued for something else.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use domain::{id::RackId, service::Service};
use service_kit::tls::{Files, Identity, Role, Tls};
use tokio_rustls::rustls::{ClientConnection, Stream, pki_types::ServerName};

use super::{Attack, raw};
use crate::{authority::for_etcd, site::Site};

/// The leaves, which have an etcd user each.
pub const LEAVES: [Service; 4] = [Service::Power, Service::Pxe, Service::Storage, Service::Inventory];
/// Limit of one command, so that a refused handshake is not tried for long.
const LIMIT: &str = "--command-timeout=5s";

/// Words of etcdctl for a call that etcd denied.
const DENIED: &[&str] = &["permission denied"];
/// Words of etcdctl for a handshake that etcd refused, of which it tells no more.
const NO_HANDSHAKE: &[&str] = &["TransientFailure", "handshake"];

/// Whose certificates are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearers {
    /// Each leaf, with its certificate as a user of etcd.
    Leaves,
    /// Operators of every role.
    Operators,
    /// Each service, with its certificate of the mesh.
    MeshServices,
}

/// Commands of etcdctl, and who runs them.
#[derive(Debug, Clone, Copy)]
pub struct Commands {
    /// Whose certificates are used.
    pub bearers: Bearers,
    /// The commands, each of which must be refused.
    pub commands: fn(&Target) -> Vec<String>,
}

/// What a leaf attacks.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its own service.
    pub service: Service,
    /// Keys of its rack.
    pub root: String,
    /// Another service.
    pub foreign: Service,
    /// Keys of another rack.
    pub other: String,
    /// A lease with another service's key.
    pub lease: String,
    /// A file that may be written.
    pub file: String,
}

const fn row(
    name: &'static str,
    source: &'static str,
    bearers: Bearers,
    commands: fn(&Target) -> Vec<String>,
) -> Attack<Commands> {
    Attack { name, source, how: Commands { bearers, commands } }
}

/// A read and a write that every user of etcd with all permissions could do.
fn anything(_: &Target) -> Vec<String> {
    ["get /ironmesh/v1/dc/incarnation", "put /ironmesh/v1/dc/incarnation x"].map(str::to_owned).into()
}

/// The attacks. Commands are words separated by blanks.
pub const TABLE: &[Attack<Commands>] = &[
    row("An operator's certificate is used for etcd", "ISSUES-SEEN §6", Bearers::Operators, anything),
    row("A service's certificate of the mesh is used for etcd", "issue 18 item 4", Bearers::MeshServices, anything),
    row("A leaf writes what belongs to the datacenter", "issue 18 item 4", Bearers::Leaves, |_| {
        let keys = ["incarnation", "name/rack/", "image/1", "scheduler-service/election"];
        keys.map(|key| format!("put /ironmesh/v1/dc/{key} x")).into()
    }),
    row("A leaf writes its nodes' intent, boot and life", "issue 18 item 4", Bearers::Leaves, |target| {
        let keys = ["node/1/intent", "node/1/life", "node/1/boot", "node-spec/1", "port/1"];
        keys.map(|key| format!("put {}/{key} x", target.root)).into()
    }),
    row("A leaf writes another service's claims", "issue 18 item 4", Bearers::Leaves, |target| {
        let Target { root, foreign, .. } = target;
        vec![format!("put {root}/{foreign}/election x"), format!("put {root}/{foreign}/claim/1 x")]
    }),
    row("A leaf writes beside its prefix", "RFC 3986 §6, prefix confusion", Bearers::Leaves, |target| {
        let Target { root, service, other, .. } = target;
        let keys = [format!("{root}/{service}-more"), format!("{other}/{service}/election"), "/elsewhere".to_owned()];
        keys.map(|key| format!("put {key} x")).into()
    }),
    row("A leaf deletes all keys", "issue 18 item 4", Bearers::Leaves, |target| {
        vec![
            "del /ironmesh/v1/dc/incarnation".to_owned(),
            "del --prefix /ironmesh/v1/".to_owned(),
            format!("del --prefix {}/{}/", target.root, target.foreign),
        ]
    }),
    row("A leaf reads all keys, and another rack's", "issue 18 item 4", Bearers::Leaves, |target| {
        vec!["get --prefix /".to_owned(), format!("get {}/node/1/life", target.other)]
    }),
    row("A leaf ends another service's lease", "issue 18 item 4", Bearers::Leaves, |target| {
        vec![format!("lease revoke {}", target.lease)]
    }),
    row("A leaf gives itself a role", "CWE-269", Bearers::Leaves, |target| {
        vec![
            "role add more".to_owned(),
            "role grant-permission scheduler-service readwrite / 0".to_owned(),
            "role delete scheduler-service".to_owned(),
            format!("user grant-role {}.default root", target.service),
        ]
    }),
    row("A leaf makes and removes users", "CWE-269", Bearers::Leaves, |_| {
        vec!["user add --no-password more".to_owned(), "user delete root".to_owned()]
    }),
    row("A leaf turns the checks off", "CWE-269", Bearers::Leaves, |_| vec!["auth disable".to_owned()]),
    row("A leaf takes a copy of the database", "CWE-200", Bearers::Leaves, |target| {
        vec![format!("snapshot save {}", target.file), "defrag".to_owned()]
    }),
    row("A leaf adds a member of its own", "CWE-269", Bearers::Leaves, |_| {
        vec!["member add more --peer-urls=https://127.0.0.1:1".to_owned()]
    }),
];

/// Runs commands with a certificate, all at the same time. Returns the output of each.
///
/// # Errors
/// etcdctl cannot be run.
pub fn outcomes(site: &Site, files: &Files, commands: &[String]) -> Vec<Result<String, String>> {
    std::thread::scope(|scope| {
        let run = |command: &str| {
            let words: Vec<_> = command.split_whitespace().chain([LIMIT]).collect();
            site.etcd.ctl_as(files, &words).map_err(|error| error.to_string())
        };
        let running: Vec<_> = commands.iter().map(|command| scope.spawn(move || run(command))).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|outcome| outcome.unwrap_or_else(|_| Ok("a panic".to_owned()))).collect()
    })
}

/// Names and certificates of the bearers.
fn bearers(site: &Site, bearers: Bearers) -> Result<Vec<(Service, Files)>> {
    let identities: Vec<Identity> = match bearers {
        Bearers::Leaves => return Ok(LEAVES.map(|leaf| (leaf, for_etcd(&site.path(leaf.name())))).into()),
        Bearers::Operators => Role::ALL.map(|role| Identity::Operator { name: "ann".to_owned(), role }).into(),
        Bearers::MeshServices => Service::ALL.map(Site::identity).into(),
    };
    let issued = identities.iter().enumerate();
    issued.map(|(at, who)| Ok((Service::Power, site.issue(&format!("{bearers:?}-{at}"), who)?))).collect()
}

/// Does a TLS handshake with etcd with this certificate. Returns the error with which it ends.
fn alert(site: &Site, files: &Files) -> Result<String> {
    let etcd = Files { ca: for_etcd(&site.path(Service::Power.name())).ca, ..files.clone() };
    let endpoint = site.etcd.endpoint();
    let address = endpoint.trim_start_matches("https://");
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(raw::PATIENCE))?;
    let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut session = ClientConnection::new(Tls::load(etcd)?.client(), name)?;
    let mut stream = Stream::new(&mut session, &mut socket);
    // In TLS 1.3 the client's handshake is over before the server has seen its certificate (RFC 8446 §4.4.2).
    let refused = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").and_then(|()| stream.read_exact(&mut [0; 64]));
    Ok(refused.err().context("the handshake succeeds")?.to_string())
}

/// Runs the commands of a row with each of its certificates, all at the same time: a client whose handshake is refused
/// tries again until its limit.
///
/// # Errors
/// A command succeeds, or fails for another reason than that etcd refuses it.
pub fn carry_out(site: &Site, rack: RackId, lease: &str, how: &Commands) -> Result<String> {
    let target = |service: Service| {
        anyhow::Ok(Target {
            service,
            root: format!("/ironmesh/v1/{rack}"),
            foreign: Service::ALL.into_iter().find(|foreign| *foreign != service).context("one service")?,
            other: format!("/ironmesh/v1/{}", RackId::new(uuid::Uuid::from_u128(7))),
            lease: lease.to_owned(),
            file: site.path("stolen").display().to_string(),
        })
    };
    let bearers = bearers(site, how.bearers)?;
    let of_bearer = |(service, files): &(Service, Files)| {
        let commands = (how.commands)(&target(*service)?);
        let outcomes = outcomes(site, files, &commands);
        anyhow::Ok(commands.into_iter().zip(outcomes).collect::<Vec<_>>())
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let of_bearer = &of_bearer;
        let running: Vec<_> = bearers.iter().map(|bearer| scope.spawn(move || of_bearer(bearer))).collect();
        running.into_iter().map(|thread| thread.join()).collect()
    });
    let expected = if how.bearers == Bearers::Leaves { DENIED } else { NO_HANDSHAKE };
    for (_, files) in bearers.iter().filter(|_| how.bearers != Bearers::Leaves) {
        let alert = alert(site, files)?;
        ensure!(alert.contains("received fatal alert"), "etcd does not refuse the handshake: {alert}");
    }
    let mut count = 0;
    for (outcomes, (service, _)) in all.into_iter().zip(&bearers) {
        for (command, outcome) in outcomes.map_err(|_| anyhow::anyhow!("a panic"))?? {
            let error = outcome.err().with_context(|| format!("{service} may {command}"))?;
            ensure!(expected.iter().any(|words| error.contains(words)), "{command} of {service}: not refused: {error}");
            count += 1;
        }
    }
    Ok(format!("{count} commands were refused"))
}
