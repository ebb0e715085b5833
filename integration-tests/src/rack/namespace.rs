//! Network namespaces, and the cables between them.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::daemon::Daemon;

/// One network namespace, known to ip(8) by its name.
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

    /// Makes it, with its loopback up.
    ///
    /// # Errors
    /// It exists already, or we are not root.
    pub fn create(&self) -> Result<()> {
        run("ip", &["netns", "add", &self.name])?;
        self.ip("link set lo up")?;
        // Without it a link-local address is not ready for its first second, and a router advertisement is not sent.
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

    /// Ends whatever runs in it, and removes it with its interfaces. That it is gone already is well.
    ///
    /// # Errors
    /// A program in it cannot be ended.
    pub fn remove(&self) -> Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        for pid in run("ip", &["netns", "pids", &self.name])?.split_whitespace() {
            // One that ended meanwhile is what we want.
            if let Ok(daemon) = Daemon::of(pid.parse()?) {
                daemon.end()?;
            }
        }
        run("ip", &["netns", "del", &self.name]).map(drop)
    }

    /// Runs ip(8) on it; the words of its command are separated by blanks.
    ///
    /// # Errors
    /// What ip(8) says.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(words.split_whitespace());
        run("ip", &all)
    }

    /// A command that will run `program` inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command inside and returns what it printed.
    ///
    /// # Errors
    /// It cannot be run, or it failed: then what it printed to standard error.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["netns", "exec", &self.name];
        all.extend(words);
        run("ip", &all)
    }

    /// Makes a bridge in it that forwards at once.
    ///
    /// # Errors
    /// What ip(8) says.
    pub fn bridge(&self, bridge: &str) -> Result<()> {
        self.ip(&format!("link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
        self.ip(&format!("link set {bridge} up")).map(drop)
    }

    /// Lays a cable from the interface `here` in this namespace to `there` in another, where it is plugged into `bridge`.
    ///
    /// # Errors
    /// What ip(8) says.
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
