//! A mesh between hosts, each of them a network namespace: it is built by the commands that an operator types.

pub mod capture;
pub mod fake;
pub mod keys;
pub mod sockets;
pub mod traffic;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto::api::v1::host_service_client::HostServiceClient;
use proto::api::v1::{Host, HostState, ListHostsRequest};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::fleet::Machines;
use crate::mesh::{Api, beside, program};
use crate::rack::daemon::Daemon;
use crate::rack::hosts::plan::{HostsPlan, SitePlan, Wan};
use crate::rack::hosts::{Hosts, VirtualHost};
use crate::rack::wait;

/// Maximum time for something that takes seconds on an idle machine.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// What a join token begins with.
const TOKEN: &str = "ironmesh-join-1.";
/// Port of the schedulers' API.
pub const API_PORT: u16 = 7390;
/// Port of the authority.
pub const AUTHORITY_PORT: u16 = 7380;
/// Name of the datacenter, of its first site, and of the first host.
pub const DATACENTER: &str = "fra1";

/// Hosts and their mesh. All of it is taken down when it is dropped.
#[derive(Debug)]
pub struct HostMesh {
    hosts: Hosts,
    folder: TempDir,
}

/// Outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether it succeeded.
    pub success: bool,
    /// Its standard output.
    pub output: String,
    /// Its error output.
    pub errors: String,
}

impl HostMesh {
    /// Brings up hosts on which nothing runs. Sites are written as for [`SitePlan::parse`]; the first host of the first
    /// site is `h1` by convention.
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn up(tag: &str, sites: &[&str]) -> Result<Self> {
        Self::up_with(tag, sites, Wan::default())
    }

    /// The same, with this loss and this rate of the links between sites.
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn up_with(tag: &str, sites: &[&str], wan: Wan) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ironmesh-").tempdir()?;
        let site = |text: &&str| {
            let site = SitePlan::parse(text)?;
            let delay_ms = site.wan.delay_ms;
            Ok(SitePlan { wan: Wan { delay_ms, ..wan }, ..site })
        };
        let sites = sites.iter().map(site).collect::<Result<_>>()?;
        let state = folder.path().to_owned();
        let hosts = Hosts::up(&HostsPlan { tag: tag.to_owned(), state, program: beside("virtual-rack")?, sites })?;
        Ok(Self { hosts, folder })
    }

    /// The hosts.
    #[must_use]
    pub const fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Folder of all files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One host.
    ///
    /// # Errors
    /// There is none with this name.
    pub fn host(&self, name: &str) -> Result<&VirtualHost> {
        self.hosts.host(name)
    }

    /// A host's data directory, as an argument.
    ///
    /// # Errors
    /// There is no such host.
    pub fn data(&self, host: &str) -> Result<String> {
        Ok(self.host(host)?.data.display().to_string())
    }

    /// A command `ironmesh WORDS` on a host, with the administrator's context if the host has one.
    ///
    /// # Errors
    /// There is no such host, or the program is not built.
    pub fn invocation(&self, host: &str, words: &[&str]) -> Result<Command> {
        let host = self.host(host)?;
        let mut command = host.command(&program()?.display().to_string());
        command.env("IRONMESH_CONTEXT", host.data.join("client.toml")).env_remove("NO_COLOR").args(words);
        Ok(command)
    }

    /// Runs `ironmesh WORDS` on a host to its end.
    ///
    /// # Errors
    /// There is no such host, or the program is not built.
    pub fn tell(&self, host: &str, words: &[&str]) -> Result<Told> {
        let output = self.invocation(host, words)?.output()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Told { success: output.status.success(), output: text(output.stdout), errors: text(output.stderr) })
    }

    /// Runs `ironmesh WORDS` on a host. Returns its output.
    ///
    /// # Errors
    /// It fails.
    pub fn ironmesh(&self, host: &str, words: &[&str]) -> Result<String> {
        let told = self.tell(host, words)?;
        ensure!(told.success, "on {host}: ironmesh {}: {}{}", words.join(" "), told.errors, told.output);
        Ok(told.output)
    }

    /// Runs `ironmesh WORDS` on a host, which is refused. Returns its error output.
    ///
    /// # Errors
    /// It succeeds.
    pub fn refused(&self, host: &str, words: &[&str]) -> Result<String> {
        let told = self.tell(host, words)?;
        ensure!(!told.success, "on {host}: ironmesh {} was not refused: {}", words.join(" "), told.output);
        Ok(told.errors)
    }

    /// Makes `host` the first one of a datacenter of this name, with these racks.
    ///
    /// # Errors
    /// The command fails.
    pub fn init(&self, host: &str, datacenter: &str, more: &[&str]) -> Result<String> {
        let (data, address) = (self.data(host)?, self.host(host)?.address.to_string());
        let words = ["init", "--datacenter", datacenter, "--name", host, "--advertise", &address, "--data", &data];
        self.ironmesh(host, &[&words, more].concat())
    }

    /// Creates a join token on a host with the administrator's context. Returns its text.
    ///
    /// # Errors
    /// The command fails.
    pub fn token(&self, host: &str, more: &[&str]) -> Result<String> {
        let output = self.ironmesh(host, &[&["token", "create"], more].concat())?;
        let word = output.split_whitespace().find_map(|word| word.find(TOKEN).and_then(|at| word.get(at..)));
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let token = word.with_context(|| format!("no token in: {output}"))?;
        Ok(token.chars().take_while(|letter| is_part(*letter)).collect())
    }

    /// Arguments of `ironmesh join` for a host that joins through `at` with this token: its name, data directory,
    /// address, and the interface of its first rack.
    ///
    /// # Errors
    /// There is no such host.
    pub fn join_words(&self, host: &str, at: &str, token: &str, more: &[&str]) -> Result<Vec<String>> {
        let (own, at) = (self.host(host)?, self.host(at)?.address.to_string());
        let mut words = ["join", &at, "--token", token, "--name", host, "--data"].map(str::to_owned).to_vec();
        words.extend([own.data.display().to_string(), "--advertise".to_owned(), own.address.to_string()]);
        if let Some(rack) = own.provisioning.first() {
            words.extend(["--interface".to_owned(), rack.interface.clone()]);
            words.extend(["--address".to_owned(), rack.address.to_string()]);
        }
        words.extend(more.iter().map(|&word| word.to_owned()));
        Ok(words)
    }

    /// Lets a host join through `at`.
    ///
    /// # Errors
    /// The command fails.
    pub fn join(&self, host: &str, at: &str, token: &str, more: &[&str]) -> Result<String> {
        let words = self.join_words(host, at, token, more)?;
        self.ironmesh(host, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same for a join that is refused. Returns its error output.
    ///
    /// # Errors
    /// The command succeeds.
    pub fn join_refused(&self, host: &str, at: &str, token: &str, more: &[&str]) -> Result<String> {
        let words = self.join_words(host, at, token, more)?;
        self.refused(host, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts `ironmesh host run` on a host, as its systemd unit does.
    ///
    /// # Errors
    /// The program is not built.
    pub fn start(&self, host: &str) -> Result<Daemon> {
        let data = self.data(host)?;
        let command = self.invocation(host, &["host", "run", "--data", &data])?;
        Daemon::spawn(command, &self.log_file(host), &self.folder.path().join(format!("{host}.record")))
    }

    /// Ends a host's supervisor in order, and waits for the end of everything on the host.
    ///
    /// # Errors
    /// It does not run, or leaves a process.
    pub fn end(&self, host: &str) -> Result<()> {
        let record = self.folder.path().join(format!("{host}.record"));
        Daemon::recorded(&record)?.with_context(|| format!("{host} was not started"))?.signal(Signal::TERM)?;
        let own = self.host(host)?;
        wait::until(&format!("{host} to end"), WAIT_TIMEOUT, || Ok(own.processes()?.is_empty().then_some(())))
    }

    /// Output of a host's supervisor.
    ///
    /// # Errors
    /// It was not started.
    pub fn log(&self, host: &str) -> Result<String> {
        let path = self.log_file(host);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    fn log_file(&self, host: &str) -> PathBuf {
        self.folder.path().join(format!("{host}.log"))
    }

    /// The API of the scheduler on a host, as the administrator of `of`. To be used on a host: inside
    /// [`crate::rack::namespace::Namespace::enter`].
    ///
    /// # Errors
    /// `of` has no administrator's certificate.
    pub fn api(&self, of: &str, scheduler: &str) -> Result<Api> {
        let (context, endpoint) = (self.host(of)?.data.join("client.toml"), self.endpoint(scheduler)?);
        Api::open(&context, Some(&endpoint))
    }

    fn endpoint(&self, scheduler: &str) -> Result<String> {
        Ok(format!("{}:{API_PORT}", self.host(scheduler)?.address))
    }

    /// Machines whose BMCs have addresses on a host's interface to the datacenter's network. A fault between hosts does
    /// not concern them.
    ///
    /// # Errors
    /// There is no such host.
    pub fn machines(&self, host: &str, count: u8) -> Result<Machines> {
        let place = self.host(host)?.place();
        let addresses = (1..=count).map(|number| Ipv4Addr::new(10, 80, 100, number));
        for address in addresses.clone() {
            place.ip(&format!("addr add {address}/16 dev eth0"))?;
        }
        Machines::begin(&place, addresses, self.folder.path())
    }

    /// All hosts, according to the scheduler on a host, asked from that host with the administrator's context of `of`.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub fn list(&self, of: &str, scheduler: &str) -> Result<Vec<Host>> {
        let (context, endpoint) = (self.host(of)?.data.join("client.toml"), self.endpoint(scheduler)?);
        self.host(scheduler)?.place().enter(async || list(&context, &endpoint).await)?
    }

    /// Waits until all of these hosts are in a state, according to the scheduler on `scheduler`.
    ///
    /// # Errors
    /// They are not in time; the error has the list of hosts.
    pub fn until(&self, scheduler: &str, hosts: &[&str], state: HostState) -> Result<()> {
        let mut last = String::new();
        let have = || {
            let listed = self.list("h1", scheduler);
            last = format!("{listed:#?}");
            let Ok(listed) = listed else { return Ok(None) };
            let has = |name: &&str| listed.iter().any(|host| host.name == **name && host.state() == state);
            Ok(hosts.iter().all(has).then_some(()))
        };
        let waited = wait::until(&format!("{hosts:?} to be {state:?}"), WAIT_TIMEOUT, have);
        waited.with_context(|| format!("{last}\n{}", self.complaints()))
    }

    /// The last lines of every host's supervisor, for the analysis of a failure.
    #[must_use]
    pub fn complaints(&self) -> String {
        let tail = |host: &VirtualHost| {
            let log = self.log(&host.name).ok()?;
            let lines: Vec<_> = log.lines().collect();
            Some(format!("{}: {}", host.name, lines.get(lines.len().saturating_sub(8)..)?.join("\n    ")))
        };
        self.hosts.all().filter_map(tail).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for HostMesh {
    fn drop(&mut self) {
        if let Err(error) = self.hosts.down() {
            say(&error);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that cannot clean up reports that")]
fn say(error: &anyhow::Error) {
    eprintln!("the hosts stay up: {error:#}");
}

async fn list(context: &Path, endpoint: &str) -> Result<Vec<Host>> {
    let mut client = HostServiceClient::new(Api::channel(context, Some(endpoint))?);
    Ok(client.list_hosts(ListHostsRequest {}).await?.into_inner().hosts)
}
