//! The authority's side of the API: decides by [`crate::admission`], signs by [`crate::signing`], and
//! registers hosts in the store.

mod members;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use keyspace::{
    Change, Expect, Store,
    access::{host_role, rack_roles, scheduler_role, steps},
    key,
    store::Versioned,
    value::{Host as Record, JoinToken},
};
use proto::{
    authority::v1::{
        CertificateRequest, Cluster, GetJoinTokenRequest, GetJoinTokenResponse, JoinRequest, JoinResponse,
        RenewCertificatesRequest, RenewCertificatesResponse, SignedCertificate, WatchHostFilesRequest,
        WatchHostFilesResponse,
        authority_service_server::{AuthorityService, AuthorityServiceServer},
    },
    convert::time::{time, wire_time},
};
use service_kit::{
    Host,
    listener::{BodyBudget, HttpLimits, ListenerKind},
    ports::SCHEDULER_PORT,
    serve::{self, GrpcListener, PeerCertificate, Rule},
    status,
    tls::{Identity, KeyDigest, PublicKey, Realm, Tls},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

use crate::{
    admission::{Admitted, Applicant, Datacenter, Refusal, admit, check_token},
    client::REMOVED,
    purpose::{Purpose, Roles},
    signing::{self, Bearer},
};

/// How often it is checked whether a host needs other files.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// How often a request is tried again whose records changed meanwhile.
const MAX_ATTEMPTS: u32 = 5;

/// Callers without a certificate, which have a token.
fn anyone(_: Option<&Identity>, _: &str) -> bool {
    true
}

fn hosts(caller: Option<&Identity>, _: &str) -> bool {
    matches!(caller, Some(Identity::Host { .. }))
}

/// Who may call what.
const RULES: &[Rule] = &[
    Rule::new("/ironmesh.authority.v1.AuthorityService/GetJoinToken", anyone),
    Rule::new("/ironmesh.authority.v1.AuthorityService/Join", anyone),
    Rule::new("/ironmesh.authority.v1.AuthorityService/RenewCertificates", hosts),
    Rule::new("/ironmesh.authority.v1.AuthorityService/WatchHostFiles", hosts),
];

/// The authority of a datacenter.
#[derive(Clone)]
pub struct Authority {
    /// The data directory of the host with the CAs.
    pub data: PathBuf,
    /// The realm of the identities.
    pub realm: Realm,
    /// etcd, as its administrator.
    pub store: Store,
    /// Members of etcd, if it is one of the operator's own; `None` for the built-in one.
    pub own_etcd: Option<Vec<String>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// Serves the API until the host stops.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(authority: Authority, address: SocketAddr, tls: Tls, host: Host) -> std::io::Result<()> {
    let socket = TcpListener::bind(address).await?;
    let limits = HttpLimits::default();
    let (revocations, realm) = (tls.revocations().clone(), tls.realm());
    let listener = GrpcListener {
        name: "authority",
        purpose: ListenerKind::Grpc,
        tls: Arc::new(move || tls.server_for_tokens()),
        revocations: Some(revocations),
        realm,
        tokens: None,
        routes: Routes::new(AuthorityServiceServer::new(authority)).prepare(),
        rules: RULES.into(),
        rack: "".into(),
        budget: BodyBudget::new(&limits),
        limits,
    };
    serve::accept(host, socket, listener).await;
    Ok(())
}

/// Turns a refusal into a status.
fn refused(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownToken | Refusal::Expired { .. } | Refusal::Used { .. } => Status::unauthenticated(text),
        Refusal::NameTaken(_) | Refusal::AddressTaken { .. } => Status::already_exists(text),
        Refusal::Rack { .. } | Refusal::Services { .. } | Refusal::Role { .. } => Status::permission_denied(text),
        Refusal::Clock { .. }
        | Refusal::AddressChanged { .. }
        | Refusal::Removed(_)
        | Refusal::NoRack(_)
        | Refusal::TooManyRacks { .. }
        | Refusal::OwnEtcd => Status::failed_precondition(text),
        Refusal::Name(_) | Refusal::Address(_) | Refusal::Nothing | Refusal::Weight(_) => {
            Status::invalid_argument(text)
        }
    }
}

fn of_store(error: &keyspace::Error) -> Status {
    Status::unavailable(format!("the authority cannot use etcd: {}; try again", status::chain(error)))
}

fn internal(error: &anyhow::Error) -> Status {
    tracing::error!(error = format!("{error:#}"), "the authority cannot do what a host asked for");
    Status::internal(format!("the authority cannot do it: {error:#}"))
}

/// A request with the certificates that it asks for.
struct Asked {
    purposes: Vec<Purpose>,
    requests: Vec<CertificateRequest>,
}

impl Asked {
    fn of(requests: Vec<CertificateRequest>) -> Result<Self, Status> {
        let mut purposes = Vec::new();
        for request in &requests {
            let purpose = request.purpose.as_ref().and_then(Purpose::from_wire);
            let purpose = purpose.ok_or_else(|| {
                Status::invalid_argument(
                    "a certificate is for an unknown purpose; use the same version of ironmesh on both hosts",
                )
            })?;
            if purposes.contains(&purpose) {
                let name = purpose.file_name();
                return Err(Status::invalid_argument(format!("certificate {name} is asked for twice")));
            }
            purposes.push(purpose);
        }
        Ok(Self { purposes, requests })
    }

    /// Refuses requests that are malformed or not signed by their own key.
    fn check_requests(&self) -> Result<(), Status> {
        for (purpose, request) in self.purposes.iter().zip(&self.requests) {
            let name = purpose.file_name();
            PublicKey::of_csr(&request.csr)
                .map_err(|error| Status::invalid_argument(format!("certificate {name}: {error}")))?;
        }
        Ok(())
    }

    /// The digest of the host's own key, if its certificate is asked for.
    fn own_key(&self) -> Option<KeyDigest> {
        let own = self.purposes.iter().zip(&self.requests).find(|(purpose, _)| **purpose == Purpose::Host);
        Some(PublicKey::of_csr(&own?.1.csr).ok()?.digest().clone())
    }

    /// Refuses what a host with these roles does not run.
    fn check(&self, roles: &Roles) -> Result<(), Status> {
        let allowed = roles.purposes();
        match self.purposes.iter().find(|purpose| !allowed.contains(purpose)) {
            None => Ok(()),
            Some(purpose) => {
                let name = purpose.file_name();
                Err(Status::permission_denied(format!("the host does not run what certificate {name} is for")))
            }
        }
    }
}

impl Authority {
    async fn token(&self, id: &str, secret: &[u8]) -> Result<(Uuid, Versioned<JoinToken>), Status> {
        let unknown = || refused(&Refusal::UnknownToken);
        let id: Uuid = id.parse().map_err(|_| unknown())?;
        let token = self.store.get(&key::join_token(id)).await.map_err(|error| of_store(&error))?;
        let digest = hex::encode(Sha256::digest(secret));
        let token = token.filter(|token| token.value.digest.as_bytes().ct_eq(digest.as_bytes()).into());
        Ok((id, token.ok_or_else(unknown)?))
    }

    async fn hosts(&self) -> Result<Vec<Versioned<Record>>, keyspace::Error> {
        Ok(self.store.list(&key::hosts()).await?.into_iter().map(|(_, host)| host).collect())
    }

    /// Admits a host, and registers it with the use of the token in one transaction.
    async fn register(&self, request: &JoinRequest, roles: &Roles, key: &str, asked: &Asked) -> Result<Record, Status> {
        let advertise = request.advertise.parse::<IpAddr>().map(|address| address.to_canonical());
        let advertise = advertise.map_err(|_| {
            Status::invalid_argument(format!("advertise: {:?} is no IP address, such as 10.0.0.12", request.advertise))
        })?;
        let sent = request.time.map(|sent| time("time", sent)).transpose();
        let sent = sent.map_err(|error| Status::invalid_argument(error.to_string()))?;
        for _ in 0..MAX_ATTEMPTS {
            let (id, token) = self.token(&request.id, &request.secret).await?;
            let hosts = self.hosts().await.map_err(|error| of_store(&error))?;
            let racks = self.store.list(&key::racks()).await.map_err(|error| of_store(&error))?;
            let racks: BTreeSet<_> = racks.into_iter().map(|(_, rack)| rack.value.name).collect();
            let records: Vec<_> = hosts.iter().map(|host| host.value.clone()).collect();
            let now = service_kit::clock::now();
            let applicant = Applicant {
                name: &request.host,
                advertise,
                key,
                roles,
                weight: request.weight,
                time: sent.unwrap_or(now),
            };
            let datacenter = Datacenter { hosts: &records, racks: &racks, built_in_etcd: self.own_etcd.is_none(), now };
            let Admitted { host, token: used } =
                admit(&token.value, &applicant, &datacenter).map_err(|why| refused(&why))?;
            asked.check(&Roles::of_host(&host))?;
            let before = hosts.iter().find(|present| present.value.name == host.name);
            let change = Change::new()
                .put(&key::host(&host.name), &host, Expect::same(before))
                .and_then(|change| change.put(&key::join_token(id), &used, Expect::same(Some(&token))));
            match self.store.commit(change.map_err(|error| of_store(&error))?).await {
                Ok(_) => return Ok(host),
                Err(keyspace::Error::Conflict) => {}
                Err(error) => return Err(of_store(&error)),
            }
        }
        Err(Status::unavailable("other hosts join at the same time; try again"))
    }

    /// Gives etcd the users and roles of a host and of what it runs.
    async fn ensure_access(&self, host: &Record) -> Result<(), keyspace::Error> {
        let mut wanted = vec![scheduler_role(), host_role(&host.name)];
        for (_, rack) in self.store.list(&key::racks()).await? {
            if host.racks.iter().any(|of_host| of_host.rack == rack.value.name) {
                wanted.extend(rack_roles(rack.value.id, &rack.value.name));
            }
        }
        let present = self.store.access().await?;
        self.store.change_access(&steps(&present, &wanted, false), &present).await
    }

    async fn sign(&self, host: &Record, asked: Asked) -> Result<Vec<SignedCertificate>, Status> {
        let (data, bearer) = (self.data.clone(), Bearer { host: host.name.clone(), advertise: host.advertise });
        let signing = tokio::task::spawn_blocking(move || {
            let requests: Vec<_> = asked.purposes.into_iter().zip(&asked.requests).collect();
            signing::sign(&data, &bearer, &requests)
        });
        signing.await.map_err(|_| Status::internal("signing ended early"))?.map_err(|error| internal(&error))
    }

    async fn files(&self, host: &Record) -> Result<WatchHostFilesResponse, Status> {
        let (data, roles, name) = (self.data.clone(), Roles::of_host(host), host.name.clone());
        let read = tokio::task::spawn_blocking(move || {
            anyhow::Ok((signing::files(&data, &roles)?, signing::revoked_names(&data, &name)?))
        });
        let read = read.await.map_err(|_| Status::internal("reading ended early"))?;
        let (files, revoked) = read.map_err(|error| internal(&error))?;
        let cluster = self.cluster().await.map_err(|error| of_store(&error))?;
        Ok(WatchHostFilesResponse { files, cluster: Some(cluster), revoked })
    }

    /// Returns where etcd and the schedulers are.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn cluster(&self) -> Result<Cluster, keyspace::Error> {
        let hosts = self.hosts().await?;
        let schedulers = hosts.iter().filter(|host| host.value.scheduler && host.value.removal.is_none());
        let schedulers = schedulers.map(|host| SocketAddr::new(host.value.advertise, SCHEDULER_PORT).to_string());
        let etcd = match &self.own_etcd {
            Some(own) => own.clone(),
            None => members::client_urls(&self.store.cluster_members().await?, &hosts),
        };
        Ok(Cluster { etcd, schedulers: schedulers.collect(), built_in_etcd: self.own_etcd.is_none() })
    }

    /// The record of the host that calls.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Record, Status> {
        let Some(Identity::Host { name }) = request.extensions().get::<Identity>() else {
            return Err(Status::permission_denied("only hosts may call this"));
        };
        let record = self.registered(name).await?;
        let certificate = request.extensions().get::<PeerCertificate>();
        let key = certificate.and_then(|certificate| KeyDigest::of_certificate(&certificate.0));
        // An earlier host may have had the name.
        if key.is_none_or(|key| key.as_str() != record.key) {
            return Err(Status::permission_denied(format!("another host has the name {name:?} now")));
        }
        Ok(record)
    }

    async fn registered(&self, name: &str) -> Result<Record, Status> {
        let record = self.store.get(&key::host(name)).await.map_err(|error| of_store(&error))?;
        let record = record.map(|record| record.value);
        let record = record.ok_or_else(|| Status::permission_denied(format!("host {name:?} is not registered")))?;
        match &record.removal {
            Some(removal) => Err(Status::failed_precondition(format!("{REMOVED}{} at {}", removal.by, removal.at))),
            None => Ok(record),
        }
    }
}

#[tonic::async_trait]
impl AuthorityService for Authority {
    async fn get_join_token(
        &self,
        request: Request<GetJoinTokenRequest>,
    ) -> Result<Response<GetJoinTokenResponse>, Status> {
        let GetJoinTokenRequest { id, secret } = request.into_inner();
        let (_, token) = self.token(&id, &secret).await?;
        let (token, now) = (token.value, service_kit::clock::now());
        // A host that repeats its request says who it is when it joins.
        match check_token(&token, None, now) {
            Ok(()) | Err(Refusal::Used { .. }) => {}
            Err(why) => return Err(refused(&why)),
        }
        let racks = token.rack.iter().map(|rack| keyspace::value::HostRack {
            rack: rack.clone(),
            services: token.services.clone(),
            slot: 0,
        });
        let allowed = Roles { racks: racks.collect(), store: token.store, scheduler: token.scheduler };
        Ok(Response::new(GetJoinTokenResponse {
            datacenter: self.realm.datacenter().to_owned(),
            trust_domain: self.realm.trust_domain().to_owned(),
            allowed: Some(allowed.to_wire()),
            time: Some(wire_time(now)),
            expire_time: Some(wire_time(token.expires)),
        }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let mut request = request.into_inner();
        let roles = Roles::from_wire(&request.roles.clone().unwrap_or_default());
        let roles = roles.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let asked = Asked::of(std::mem::take(&mut request.certificates))?;
        asked.check_requests()?;
        let own = asked.own_key();
        let own = own.ok_or_else(|| Status::invalid_argument("there is no request for the host's own certificate"))?;
        let host = self.register(&request, &roles, own.as_str(), &asked).await?;
        tracing::info!(host = host.name, address = %host.advertise, "a host joins");
        let run = Roles::of_host(&host);
        self.ensure_access(&host).await.map_err(|error| of_store(&error))?;
        let initial_cluster = if roles.store { members::add(&self.store, &host).await? } else { String::new() };
        let certificates = self.sign(&host, asked).await?;
        let WatchHostFilesResponse { files, cluster, .. } = self.files(&host).await?;
        Ok(Response::new(JoinResponse { certificates, files, roles: Some(run.to_wire()), cluster, initial_cluster }))
    }

    async fn renew_certificates(
        &self,
        request: Request<RenewCertificatesRequest>,
    ) -> Result<Response<RenewCertificatesResponse>, Status> {
        let host = self.caller(&request).await?;
        let asked = Asked::of(request.into_inner().certificates)?;
        asked.check(&Roles::of_host(&host))?;
        asked.check_requests()?;
        if asked.own_key().is_some_and(|key| key.as_str() != host.key) {
            return Err(Status::permission_denied("a host keeps its key, by which the authority knows it"));
        }
        Ok(Response::new(RenewCertificatesResponse { certificates: self.sign(&host, asked).await? }))
    }

    type WatchHostFilesStream = BoxStream<'static, Result<WatchHostFilesResponse, Status>>;

    async fn watch_host_files(
        &self,
        request: Request<WatchHostFilesRequest>,
    ) -> Result<Response<Self::WatchHostFilesStream>, Status> {
        let host = self.caller(&request).await?;
        let watch = FileWatch { authority: self.clone(), host, sent: None };
        let stream = futures::stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            let news = watch.next().await;
            // After an error it ends.
            let rest = news.is_ok().then_some(watch);
            Some((news, rest))
        });
        Ok(Response::new(stream.boxed()))
    }
}

/// Watches what a host needs.
struct FileWatch {
    authority: Authority,
    host: Record,
    /// What the host has.
    sent: Option<WatchHostFilesResponse>,
}

impl FileWatch {
    /// Waits until the host needs something else than it has. The error says that the host was removed.
    async fn next(&mut self) -> Result<WatchHostFilesResponse, Status> {
        loop {
            match self.authority.files(&self.host).await {
                Ok(files) if self.sent.as_ref() != Some(&files) => {
                    self.sent = Some(files.clone());
                    return Ok(files);
                }
                Ok(_) => {}
                // etcd may be away: the host keeps what it has.
                Err(status) => tracing::debug!(%status, host = self.host.name, "cannot tell what a host needs"),
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
            match self.authority.registered(&self.host.name).await {
                Ok(record) => self.host = record,
                Err(status) if status.code() != tonic::Code::Unavailable => return Err(status),
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
