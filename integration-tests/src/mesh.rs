//! The whole mesh as an operator runs it: `ironmesh up` in a rack's namespace for services.

mod api;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

pub use self::api::{Api, Failed, enrolment, purpose, verb};
use crate::rack::Services;
use crate::rack::daemon::Daemon;
use crate::rack::namespace::Namespace;
use crate::rack::wait;

/// `ironmesh up` gives its services a minute to start.
const START: Duration = Duration::from_secs(75);
/// It gives its services 15 s and etcd 10 s to end.
const STOP: Duration = Duration::from_secs(30);

/// Setting with which users may name servers of tests on loopback.
pub const ALLOW_LOOPBACK: &str = "outbound.allow=[\"127.0.0.1\"]";

/// Options of a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Replicas of each rack service: 1 or 2, as many as there are addresses.
    pub replicas: u8,
    /// Number of schedulers.
    pub schedulers: u8,
    /// Folders that images may be read from.
    pub files_from: Vec<PathBuf>,
    /// Settings of the services, such as `scheduler.boot=4s`.
    pub set: Vec<String>,
    /// Log filter.
    pub log: String,
    /// Collector of traces; empty: none.
    pub otlp: String,
    /// Client URLs of an etcd; empty: `up` starts its own.
    pub etcd: Vec<String>,
    /// The rack's name.
    pub rack: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: 1,
            schedulers: 1,
            files_from: vec![],
            set: vec![],
            log: "info".to_owned(),
            otlp: String::new(),
            etcd: vec![],
            rack: String::new(),
        }
    }
}

/// A running mesh. It is taken down when it is dropped.
#[derive(Debug)]
pub struct Mesh {
    data: PathBuf,
    place: Namespace,
    up: Daemon,
}

impl Mesh {
    /// Starts it and waits until it reports that it is ready.
    ///
    /// # Errors
    /// The program is not built, or does not start; the error has its log.
    pub fn up(services: &Services, data: &Path, options: &Options) -> Result<Self> {
        let mut words =
            ["--network", &services.interface, "--range", "10.77.1.100-10.77.1.199"].map(str::to_owned).to_vec();
        for address in services.addresses.iter().take(options.replicas.into()) {
            words.extend(["--address".to_owned(), address.to_string()]);
        }
        if options.replicas > 1 {
            words.extend(["--server-identifier".to_owned(), services.server_identifier.to_string()]);
        }
        Self::begin(Namespace::named(&services.namespace), data, &words, options)
    }

    /// The same without a provisioning network: everything binds to loopback, and machines are not booted.
    ///
    /// # Errors
    /// The errors of [`Self::up`].
    pub fn up_on_loopback(place: &Namespace, data: &Path, options: &Options) -> Result<Self> {
        Self::begin(place.clone(), data, &[], options)
    }

    fn begin(place: Namespace, data: &Path, words: &[String], options: &Options) -> Result<Self> {
        fs::create_dir_all(data).with_context(|| data.display().to_string())?;
        let mut command = place.command(&program()?.display().to_string());
        command.args(["up", "--data"]).arg(data).args(["--replicas", &options.replicas.to_string()]);
        command.args(["--schedulers", &options.schedulers.to_string(), "--log", &options.log]).args(words);
        for folder in &options.files_from {
            command.arg("--files-from").arg(folder);
        }
        for member in &options.etcd {
            command.args(["--etcd", member]);
        }
        command.args(["--rack", &options.rack, "--otlp", &options.otlp, "--rest", "127.0.0.1:0"]);
        for setting in &options.set {
            command.args(["--set", setting]);
        }
        let up = Daemon::spawn(command, &data.join("up.log"), &data.join("up.record"))?;
        let mesh = Self { data: data.to_owned(), place, up };
        wait::until("the mesh to be ready", START, || {
            let said = mesh.log("up")?;
            ensure!(mesh.up.alive(), "ironmesh up ended: {said}");
            Ok(said.lines().any(|line| line.starts_with("ready")).then_some(()))
        })?;
        Ok(mesh)
    }

    /// Its API. To be called and used in the services' namespace: the scheduler listens on loopback there.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn api(&self) -> Result<Api> {
        Api::open(&self.data.join("client.toml"), None)
    }

    /// URL at which a replica of the inventory-service answers agents that speak Ironic's protocol:
    /// `http://address:port`.
    ///
    /// # Errors
    /// The replica has not written it yet.
    pub fn ironic_door(&self, number: u8) -> Result<String> {
        let file = self.data.join(format!("inventory-service-{number}/ironic.address"));
        let address = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(format!("http://{}", address.trim()))
    }

    /// URL of a scheduler's REST API: `http://address:port`.
    ///
    /// # Errors
    /// There is no scheduler with that number.
    pub fn rest(&self, number: u8) -> Result<String> {
        let file = self.data.join(format!("scheduler-service-{number}/rest.address"));
        let address = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(format!("http://{}", address.trim()))
    }

    /// The API of one scheduler.
    ///
    /// # Errors
    /// There is no scheduler with that number.
    pub fn api_of(&self, number: u8) -> Result<Api> {
        let file = self.data.join(format!("scheduler-service-{number}/grpc.address"));
        let endpoint = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        self.api_at(endpoint.trim())
    }

    /// The API at this endpoint.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn api_at(&self, endpoint: &str) -> Result<Api> {
        Api::open(&self.data.join("client.toml"), Some(endpoint))
    }

    /// Starts a service beside those of `up`: a program with its arguments and the `config.toml` in its folder. It ends
    /// with the mesh.
    ///
    /// # Errors
    /// The program does not exist.
    pub fn start(&self, words: &[String], folder: &Path) -> Result<Daemon> {
        let (program, words) = words.split_first().context("no program")?;
        let mut command = self.place.command(program);
        command.args(words).arg("--config").arg(folder.join("config.toml"));
        Daemon::spawn(command, &folder.join("log"), &folder.join("record"))
    }

    /// The log of `up` or of a service such as `power-service-1`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self, name: &str) -> Result<String> {
        let path = match name {
            "up" | "etcd" => self.data.join(format!("{name}.log")),
            service => self.data.join(service).join("log"),
        };
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Pids of all its processes.
    ///
    /// # Errors
    /// ip(8) cannot be run.
    pub fn pids(&self) -> Result<Vec<i32>> {
        // ip(8) lists itself when called from inside; processes that have ended by now do not count.
        Ok(self.place.pids()?.into_iter().filter(|pid| Daemon::of(*pid).is_ok()).collect())
    }

    /// The process of a service such as `power-service-1`, to be killed or stopped.
    ///
    /// # Errors
    /// It does not run.
    pub fn service(&self, name: &str) -> Result<Daemon> {
        let config = self.data.join(name).join("config.toml");
        let is_it = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|octet| *octet == 0).any(|word| word == config.as_os_str().as_encoded_bytes())
        };
        let pid = self.place.pids()?.into_iter().find(is_it).with_context(|| format!("{name} does not run"))?;
        Daemon::of(pid)
    }

    /// Starts another rack of the same datacenter: over this one's etcd, with its CAs and its sealing keys.
    ///
    /// # Errors
    /// The errors of [`Self::up`].
    pub fn with_rack(&self, rack: &str, data: &Path, options: &Options) -> Result<Self> {
        let (from, to) = (self.data.join("certs"), data.join("certs"));
        fs::create_dir_all(&to)?;
        for file in ["ca.pem", "ca.key", "etcd-ca.pem", "etcd-ca.key", "sealing.keys"] {
            fs::copy(from.join(file), to.join(file)).with_context(|| file.to_owned())?;
        }
        let config = fs::read_to_string(self.data.join("power-service-1").join("config.toml"))?;
        let members = config.lines().find_map(|line| line.strip_prefix("etcd = ")).context("no etcd is configured")?;
        let etcd = serde_json::from_str(members).with_context(|| members.to_owned())?;
        Self::begin(self.place.clone(), data, &[], &Options { etcd, rack: rack.to_owned(), ..options.clone() })
    }

    /// Ends it as an operator would, with SIGTERM, and checks that no process is left.
    ///
    /// # Errors
    /// It does not end in time, or leaves a process.
    pub fn down(&self) -> Result<()> {
        if self.up.alive() {
            self.up.signal(Signal::TERM)?;
        }
        wait::until("the mesh to end", STOP, || Ok((!self.up.alive()).then_some(())))?;
        self.up.end()?;
        let left = self.pids()?;
        ensure!(left.is_empty(), "the mesh left running: {left:?}");
        Ok(())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if !self.up.alive() {
            return;
        }
        // It is not ended in order here: without its etcd that takes ten seconds.
        for daemon in self.pids().unwrap_or_default().into_iter().filter_map(|pid| Daemon::of(pid).ok()) {
            drop(daemon.signal(Signal::KILL));
        }
        drop(self.up.end());
    }
}

/// The binary `ironmesh` beside the test's own, or the one that `IRONMESH_PROGRAM` names: long runs use a release
/// build, which starts in a fifth of the time.
///
/// # Errors
/// It is not built.
pub fn program() -> Result<PathBuf> {
    match std::env::var_os("IRONMESH_PROGRAM") {
        Some(named) => {
            let named = PathBuf::from(named);
            ensure!(named.exists(), "IRONMESH_PROGRAM: {} is not there", named.display());
            Ok(named)
        }
        None => beside("ironmesh"),
    }
}

/// One of our binaries beside the test's own.
///
/// # Errors
/// It is not built.
pub fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let profile = own.ancestors().find(|folder| folder.ends_with("deps")).and_then(Path::parent);
    let program = profile.or_else(|| own.parent()).context("this program is nowhere")?.join(name);
    if !program.exists() {
        // Packages have the names of their programs. The default ones are not all of them.
        bail!("{} is not there; build it with: cargo build -p {name}", program.display());
    }
    Ok(program)
}
