//! A scheduler over an in-memory store, for tests. Only dev-dependencies name this crate: no program contains it.
//!
//! [`World::up`] joins one scheduler to the mesh over [`keyspace::testing::MemoryEtcd`]. It runs no loop: what is stored
//! stays as it is until a use case changes it. It needs no root, no etcd and no network. [`World::start`] sets more:
//! another scheduler over the same store, other deadlines, or the address that the scheduler publishes.

use std::{fs, sync::Arc, time::Duration};

use domain::{
    driver::Driver,
    generation::Generation,
    id::{ImageId, NodeId, PortId, RackId},
    image::{Encoding, Image, Purpose},
    kernel_arguments::KernelArguments,
    net::MacAddr,
    plan::Limits,
    provision::State,
    service::Service,
    time::Timestamp,
};
use keyspace::{
    Key,
    key::{self, Scope},
    seal::{KeyFile, RackNames, Sealer},
    testing::{MemoryClient, MemoryEtcd},
    value::{Holder, Intent, Life, NodeSpec, Port, Rack, Stamped},
    view,
};
use mesh::{DataDirLock, Endpoints, HostShare, MemberConfig, Mesh, SafetyParams};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use scheduler_core::AppState;
use serde::Serialize;
use service_kit::{
    Host,
    tls::{Files, Identity, Realm, Tls, dns_name},
};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

/// The rack that every world has; its name is empty.
pub const RACK: RackId = RackId::new(Uuid::from_u128(1));
/// The image that every world has; its name is `disk`.
pub const IMAGE: ImageId = ImageId::new(Uuid::from_u128(2));
/// How long the scheduler may take to join, or to see what was written.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a test cannot begin.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A scheduler, and the store that it is joined to.
#[derive(Debug)]
pub struct World {
    /// The store.
    pub etcd: MemoryEtcd,
    /// The scheduler's connection to the store, whose faults a test sets.
    pub client: MemoryClient,
    /// The scheduler.
    pub app: Arc<AppState>,
    /// Certificate of every service of the rack, and the CA that signed it.
    pub tls: Tls,
    _folder: TempDir,
}

/// How a scheduler starts.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The store that it joins.
    pub etcd: MemoryEtcd,
    /// Its certificate; `None` to make a CA of its own.
    pub tls: Option<Tls>,
    /// Deadlines of the plan.
    pub limits: Limits,
    /// The gRPC address that it publishes.
    pub endpoint: String,
    /// The times and the clock of its membership.
    pub safety: SafetyParams,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            etcd: MemoryEtcd::new(),
            tls: None,
            limits: Limits::default(),
            endpoint: "127.0.0.1:1".to_owned(),
            safety: SafetyParams::default(),
        }
    }
}

/// A node to be written into the store as it is.
#[derive(Debug, Clone)]
pub struct TestNode {
    /// Its id; its name is `n` and the last digit of it.
    pub id: NodeId,
    /// What kind of machine it is.
    pub driver: Driver,
    /// Where its life is.
    pub state: State,
    /// What its users specified of it.
    pub spec: NodeSpec,
    /// Its port, if it has one.
    pub port: Option<Port>,
}

impl TestNode {
    /// A node of `fake-hardware` in a state.
    #[must_use]
    pub fn new(number: u128, state: State) -> Self {
        let (id, driver) = (NodeId::new(Uuid::from_u128(number)), Driver::FakeHardware);
        Self { id, driver, state, spec: NodeSpec::default(), port: None }
    }

    /// The name of the node.
    #[must_use]
    pub fn name(&self) -> String {
        format!("n{}", self.id.uuid().as_u128())
    }

    /// The MAC of its port, if it has one.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        let last = u8::try_from(self.id.uuid().as_u128() & 0xff).unwrap_or_default();
        MacAddr::new([0x52, 0x54, 0, 0, 0, last])
    }

    /// A port of the node; with an address it can be booted from.
    #[must_use]
    pub fn with_port(mut self, address: Option<std::net::Ipv4Addr>) -> Self {
        self.port = Some(Port { id: PortId::new(self.id.uuid()), node: self.id, address, spec: None });
        self
    }
}

impl World {
    /// Starts a scheduler over a store of its own, and waits until it is a member.
    ///
    /// # Errors
    /// Its certificates cannot be made, or it does not join in time.
    pub async fn up() -> Result<Self, Failure> {
        Self::start(Setup::default()).await
    }

    /// Starts a scheduler, and waits until it is a member. The first one over a store writes the rack and the image.
    ///
    /// # Errors
    /// Its certificates cannot be made, or it does not join in time.
    pub async fn start(setup: Setup) -> Result<Self, Failure> {
        let Setup { etcd, tls, limits, endpoint, safety } = setup;
        let (client, folder, host) = (etcd.client(), tempfile::tempdir()?, Host::default());
        let store = client.store();
        let prefixes = key::followed(Scope::Datacenter, Service::Scheduler);
        let view = view::open(&store, &prefixes, &folder.path().join("view.zst")).await?;
        let (service, scope) = (Service::Scheduler, Scope::Datacenter);
        let endpoints = Endpoints { endpoint, ..Endpoints::default() };
        let sealer = Sealer::new(KeyFile::for_tests(), RackNames::View(view.clone()));
        let share = HostShare::default();
        let config = MemberConfig { service, scope, endpoints, safety, sealer: Some(sealer.clone()), share };
        let mesh = Mesh::new(config, store.clone(), view.clone());
        let lock = DataDirLock::take(folder.path())?;
        let (followed, member, stop) = (view.clone(), mesh.clone(), host.clone());
        host.spawn(async move { followed.follow(store, prefixes, None, std::future::pending()).await });
        host.spawn(async move { member.live(stop, lock).await });
        timeout(WAIT_TIMEOUT, mesh.wait_until_joined()).await?;
        let tls = match tls {
            Some(tls) => tls,
            None => certificates(&folder)?,
        };
        let app = Arc::new(AppState::assemble(mesh, sealer, tls.clone(), limits, host));
        let world = Self { etcd, client, app, tls, _folder: folder };
        if world.etcd.pair(key::rack(RACK).path()).is_none() {
            world.furnish().await?;
        }
        Ok(world)
    }

    async fn furnish(&self) -> Result<(), Failure> {
        let rack = Rack {
            id: RACK,
            name: String::new(),
            network: None,
            kernel: None,
            ramdisk: None,
            kernel_arguments: KernelArguments::default(),
        };
        let digest = format!("sha256:{}", "0".repeat(64)).parse()?;
        let (name, url) = ("disk".to_owned(), "http://images/disk".to_owned());
        let (encoding, purpose, unpacked_size) = (Encoding::Plain, Purpose::Disk, None);
        let image = Image { id: IMAGE, name, url, digest, encoding, purpose, unpacked_size };
        let holder = |kind: &str, id: Uuid, name: &str| Holder { kind: kind.to_owned(), id, name: name.to_owned() };
        self.write(&key::rack(RACK), &rack)?;
        self.write(&key::rack_name(""), &holder("rack", RACK.uuid(), ""))?;
        self.write(&key::image(IMAGE), &image)?;
        let last = self.write(&key::image_name("disk"), &holder("image", IMAGE.uuid(), "disk"))?;
        self.sees(last).await
    }

    /// Writes a value past every rule.
    ///
    /// # Errors
    /// The store is full or stopped.
    pub fn write<V: Serialize>(&self, key: &Key<V>, value: &V) -> Result<i64, Failure> {
        Ok(self.etcd.put_json(key, value)?)
    }

    /// Waits until the scheduler's view is as new as a revision.
    ///
    /// # Errors
    /// It is not in time.
    pub async fn sees(&self, revision: i64) -> Result<(), Failure> {
        Ok(timeout(WAIT_TIMEOUT, self.app.registry.view().reaches(revision)).await?)
    }

    /// Writes a node as it is, whatever it was, and waits until the scheduler sees it.
    ///
    /// # Errors
    /// The store is full or stopped.
    pub async fn put(&self, node: &TestNode) -> Result<(), Failure> {
        let (id, now) = (node.id, Timestamp::from_millis(1000));
        let intent = Intent::new(node.name(), node.driver, now);
        let life = Life { state: node.state, generation: Generation::from_number(1), ..Life::newborn(now) };
        let spec = Stamped::created(node.spec.clone(), now);
        self.etcd.delete(key::operation(RACK, id).path());
        self.etcd.delete(key::boot(RACK, id).path());
        match &node.port {
            Some(port) => drop(self.write(&key::port(RACK, node.mac()), port)?),
            None => self.etcd.delete(key::port(RACK, node.mac()).path()),
        }
        let holder = Holder { kind: "node".to_owned(), id: id.uuid(), name: node.name() };
        self.write(&key::node_name(&node.name()), &holder)?;
        self.write(&key::intent(RACK, id), &intent)?;
        self.write(&key::node_spec(RACK, id), &spec)?;
        let last = self.write(&key::life(RACK, id), &life)?;
        self.sees(last).await
    }

    /// Where a node's life is.
    #[must_use]
    pub fn state(&self, node: NodeId) -> Option<State> {
        let life = self.etcd.pair(key::life(RACK, node).path())?;
        life.read::<Life>().ok().map(|life| life.value.state)
    }
}

/// A CA, and a certificate by which a test answers as any service of the rack and calls as its scheduler.
fn certificates(folder: &TempDir) -> Result<Tls, Failure> {
    let (ca_key, own_key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key)?;
    let names: Vec<String> = Service::ALL.iter().map(|service| dns_name(*service, "")).collect();
    let mut own = CertificateParams::new(names)?;
    let scheduler = Identity::Service { service: Service::Scheduler, rack: String::new() };
    own.subject_alt_names.push(SanType::URI(scheduler.uri(&Realm::default()).try_into()?));
    let certificate = own.signed_by(&own_key, &Issuer::from_params(&ca, &ca_key))?;
    let path = |name: &str| folder.path().join(name);
    let files = Files { ca: path("ca.pem"), certificate: path("own.pem"), key: path("own.key") };
    fs::write(&files.ca, ca_certificate.pem())?;
    fs::write(&files.certificate, certificate.pem())?;
    fs::write(&files.key, own_key.serialize_pem())?;
    Ok(Tls::load(files)?)
}
