//! Network namespaces, and the cables between them.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::daemon::Daemon;

/// One network namespace, by its name in ip(8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of this name, whether it exists or not.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Every namespace whose name begins with `prefix`.
    ///
    /// # Errors
    /// ip(8) cannot be run.
    pub fn with_prefix(prefix: &str) -> Result<Vec<Self>> {
        let listed = run("ip", &["netns", "list"])?;
        let names = listed.lines().filter_map(|line| line.split_whitespace().next());
        Ok(names.filter(|name| name.starts_with(prefix)).map(Self::named).collect())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes it, and sets its loopback up.
    ///
    /// # Errors
    /// It exists already, or we are not root.
    pub fn create(&self) -> Result<()> {
        run("ip", &["netns", "add", &self.name])?;
        self.ip("link set lo up")?;
        // Otherwise a link-local address is not ready for its first second, and a router advertisement is not sent.
        self.run(&["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"])?;
        Ok(())
    }

    /// Whether it exists.
    ///
    /// # Errors
    /// ip(8) cannot be run.
    pub fn exists(&self) -> Result<bool> {
        Ok(Self::with_prefix(&self.name)?.contains(self))
    }

    /// Pids of the processes in it.
    ///
    /// # Errors
    /// ip(8) cannot be run, or there is no such namespace.
    pub fn pids(&self) -> Result<Vec<i32>> {
        run("ip", &["netns", "pids", &self.name])?.split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
    }

    /// Ends its processes, and removes it with its interfaces. It is not an error if it does not exist.
    ///
    /// # Errors
    /// A program in it cannot be ended.
    pub fn remove(&self) -> Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        for pid in self.pids()? {
            // A process that has ended meanwhile is fine.
            if let Ok(daemon) = Daemon::of(pid) {
                daemon.end()?;
            }
        }
        run("ip", &["netns", "del", &self.name]).map(drop)
    }

    /// Runs ip(8) in it, with arguments separated by spaces.
    ///
    /// # Errors
    /// Errors of ip(8).
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(words.split_whitespace());
        run("ip", &all)
    }

    /// A command that will run `program` in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command in it, and returns its output.
    ///
    /// # Errors
    /// The command cannot be run, or fails; the error has its error output.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["netns", "exec", &self.name];
        all.extend(words);
        run("ip", &all)
    }

    /// Runs `work` on a thread in it, so that all its sockets are there, with its own tokio runtime. A panic of
    /// `work` is passed to the caller.
    ///
    /// # Errors
    /// It does not exist, or we are not root.
    pub fn enter<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> Result<T> {
        let done = thread::scope(|scope| scope.spawn(|| self.inside(work)).join());
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Starts `work` on such a thread, and returns.
    ///
    /// # Errors
    /// There are too many threads.
    pub fn inhabit(
        &self,
        name: &str,
        work: impl AsyncFnOnce() -> Result<()> + Send + 'static,
    ) -> Result<JoinHandle<Result<()>>> {
        let own = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || own.inside(work)?).context("no thread to be had")
    }

    fn inside<T>(&self, work: impl AsyncFnOnce() -> T) -> Result<T> {
        let path = Path::new("/run/netns").join(&self.name);
        let place = File::open(&path).with_context(|| path.display().to_string())?;
        // The runtime's threads are inside, too: a thread inherits the namespaces of its creator (clone(2)).
        move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("entering {}", path.display()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(work()))
    }

    /// Makes a bridge in it that forwards at once.
    ///
    /// # Errors
    /// Errors of ip(8).
    pub fn bridge(&self, bridge: &str) -> Result<()> {
        self.ip(&format!("link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
        self.ip(&format!("link set {bridge} up")).map(drop)
    }

    /// Connects the interface `here` in this namespace with `there` in another one, where it is added to `bridge`.
    ///
    /// # Errors
    /// Errors of ip(8).
    pub fn cable(&self, here: &str, other: &Self, there: &str, bridge: &str) -> Result<()> {
        let (own, peer) = (&self.name, &other.name);
        run("ip", &["link", "add", here, "netns", own, "type", "veth", "peer", "name", there, "netns", peer])?;
        self.ip(&format!("link set {here} up"))?;
        other.ip(&format!("link set {there} up master {bridge}")).map(drop)
    }
}

/// Runs a program and returns its standard output.
pub(super) fn run(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).output().with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}: {}", words.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
