//! Hundreds of machines in one process: each has a BMC on a loopback address, with power and nothing else behind it.
//! They do not boot; only their BMCs and power are simulated.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use proto::api::v1::{CreateNodeRequest, ServiceKind};
use service_kit::Host;
use tempfile::TempDir;
use wire_ipmi::chassis::{Control, Power};
use wire_ipmi::responder::Call;
use wire_ipmi::responder::machine::{Answer, Change, Machine as Board};

use crate::bmc::{self, Bmc, PASSWORD, USER};
use crate::check::{Deed, What};
use crate::mesh::{Api, Mesh, Options};
use crate::rack::namespace::Namespace;
use crate::rack::{down_by_tag, prefix};

/// Maximum number of machines, by the available addresses.
const MAX_MACHINES: usize = 4000;
/// Machines per block of addresses: 127.9.0.1 to 127.9.0.250, then 127.9.1.1.
const BLOCK: usize = 250;

/// Machines and a mesh in a namespace of their own. All of it is taken down when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    // The order of the fields is the order in which they end.
    mesh: Mesh,
    machines: Machines,
    place: Namespace,
    tag: String,
    folder: TempDir,
}

/// Machines whose BMCs are served in one namespace. They end when they are dropped.
#[derive(Debug)]
pub struct Machines {
    all: Vec<Machine>,
    host: Host,
    thread: Option<JoinHandle<Result<()>>>,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// Its name, such as `n1`.
    pub name: String,
    /// Address of its BMC.
    pub address: Ipv4Addr,
    /// Its BMC.
    pub bmc: Arc<Bmc>,
    board: Arc<Mutex<Board>>,
    heeds: Arc<AtomicBool>,
}

/// State that a BMC controls.
struct Chassis {
    board: Arc<Mutex<Board>>,
    heeds: Arc<AtomicBool>,
}

impl bmc::Chassis for Chassis {
    async fn carry_out(&mut self, call: &Call) -> Answer {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = board.answer(call);
        // The system shuts down at once when it is asked to, or never.
        if answer.change == Some(Change::Power(Control::Soft)) && self.heeds.load(Ordering::Relaxed) {
            board.set_power(Power::Off);
        }
        answer
    }
}

impl Fleet {
    /// Brings up this many machines, which are off, and a mesh that does not know them.
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn up(tag: &str, count: usize, options: &Options) -> Result<Self> {
        ensure!(count <= MAX_MACHINES, "a fleet has at most {MAX_MACHINES} machines");
        let folder = tempfile::Builder::new().prefix("ironmesh-").tempdir()?;
        down_by_tag(tag)?;
        let place = Namespace::named(&format!("{}svc", prefix(tag)));
        place.create()?;
        let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let address = |number: usize| Ipv4Addr::new(127, 9, octet(number / BLOCK), octet(number % BLOCK + 1));
        let machines = Machines::begin(&place, (0..count).map(address), folder.path())?;
        let mesh = Mesh::up_on_loopback(&place, &folder.path().join("mesh"), options)?;
        Ok(Self { mesh, machines, place, tag: tag.to_owned(), folder })
    }

    /// Runs `work` in the mesh's namespace with its API.
    ///
    /// # Errors
    /// Errors of `work`.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce(Api, &Self) -> Result<T> + Send) -> Result<T> {
        self.place.enter(async || work(self.mesh.api()?, self).await)?
    }

    /// The mesh's namespace.
    #[must_use]
    pub fn place(&self) -> &Namespace {
        &self.place
    }

    /// All machines, `n1` first.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        self.machines.all()
    }

    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The mesh's folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("mesh")
    }

    /// Name of the leading scheduler-service, such as `scheduler-service-1`.
    ///
    /// # Errors
    /// Errors of the API, or no scheduler leads.
    pub async fn leading_scheduler(&self, api: &mut Api) -> Result<String> {
        let replicas = api.rack().await?.replicas.into_iter();
        let mut leading = replicas.filter(|replica| replica.service() == ServiceKind::Scheduler && replica.leader);
        let endpoint = leading.next().context("no scheduler leads")?.endpoint;
        for number in 1..=2 {
            let name = format!("scheduler-service-{number}");
            let address = fs::read_to_string(self.data().join(&name).join("grpc.address")).unwrap_or_default();
            if address.trim() == endpoint {
                return Ok(name);
            }
        }
        anyhow::bail!("who leads at {endpoint} is none of ours")
    }

    /// Writes every command of every BMC with its session and time to one file, for the analysis of a failure.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn log(&self) -> Result<PathBuf> {
        let mut text = String::new();
        for machine in self.machines() {
            for Deed { at, session, what } in machine.bmc.deeds() {
                let words = match what {
                    What::Login => "login".to_owned(),
                    What::Close => "close".to_owned(),
                    What::Read => "read".to_owned(),
                    What::Command { words, .. } => words,
                };
                // Writing to memory does not fail.
                let _ = writeln!(text, "{at} {} {session:08x} {words}", machine.name);
            }
        }
        let path = self.folder.path().join("fleet.log");
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Machines {
    /// Serves a BMC at each of these addresses, which are the namespace's. The machines are off.
    ///
    /// # Errors
    /// There is no such namespace.
    pub fn begin(place: &Namespace, addresses: impl Iterator<Item = Ipv4Addr>, folder: &Path) -> Result<Self> {
        let all: Vec<_> = (1..).zip(addresses).map(|(number, address)| Machine::new(number, address, folder)).collect();
        let host = Host::default();
        let chassis = |of: &Machine| Chassis { board: of.board.clone(), heeds: of.heeds.clone() };
        let served: Vec<_> =
            all.iter().map(|machine| (machine.address, machine.bmc.clone(), chassis(machine))).collect();
        let inner = host.clone();
        let thread = place.inhabit("fleet", async move || {
            for (address, bmc, chassis) in served {
                let host = inner.clone();
                inner.spawn(async move {
                    if let Err(error) = bmc.serve(chassis, address, host).await {
                        eprintln!("the BMC at {address}: {error:#}");
                    }
                });
            }
            inner.stopping().await;
            Ok(())
        })?;
        Ok(Self { all, host, thread: Some(thread) })
    }

    /// All of them, `n1` first.
    #[must_use]
    pub fn all(&self) -> &[Machine] {
        &self.all
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.host.stop();
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => eprintln!("the fleet: {error:#}"),
            Some(Err(_)) => eprintln!("the fleet panicked"),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Err(error) = down_by_tag(&self.tag) {
            eprintln!("the fleet stays up: {error:#}");
        }
    }
}

impl Machine {
    fn new(number: usize, address: Ipv4Addr, folder: &Path) -> Self {
        let name = format!("n{number}");
        let bmc = Bmc::new(PASSWORD, folder.join(format!("{name}.log")));
        Self { name, address, bmc: Arc::new(bmc), board: Arc::default(), heeds: Arc::new(AtomicBool::new(true)) }
    }

    /// Whether its system shuts down from now on when it is asked to.
    pub fn heeds(&self, heeds: bool) {
        self.heeds.store(heeds, Ordering::Relaxed);
    }

    /// Whether it has power.
    #[must_use]
    pub fn power(&self) -> Power {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).power()
    }

    /// The request that enrolls it under its own name.
    #[must_use]
    pub fn enrolment(&self) -> CreateNodeRequest {
        let [.., block, number] = self.address.octets();
        CreateNodeRequest {
            name: self.name.clone(),
            bmc_address: self.address.to_string(),
            bmc_user: USER.to_owned(),
            bmc_password: self.bmc.password(),
            boot_mode: proto::common::v1::BootMode::Bios.into(),
            macs: vec![format!("52:54:00:09:{block:02x}:{number:02x}")],
            ..Default::default()
        }
    }
}
