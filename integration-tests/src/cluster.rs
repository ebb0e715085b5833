//! An etcd of three members, each in its own namespace at a rack's switch. One can be killed, stopped, or cut off
//! from the others while clients reach it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde::Deserialize;

use crate::authority::Authority;
use crate::etcd::init_words;
use crate::mesh::program;
use crate::rack::daemon::Daemon;
use crate::rack::namespace::Namespace;
use crate::rack::{prefix, switch, wait};

/// Number of members; two of them are a quorum.
const MEMBERS: u8 = 3;
/// Ports for clients and for members.
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
/// Maximum time for the members to elect a leader.
const START: Duration = Duration::from_secs(30);

/// The cluster. It is taken down when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
}

/// One member.
#[derive(Debug)]
pub struct Member {
    /// Its name, such as `e1`.
    pub name: String,
    place: Namespace,
    address: Ipv4Addr,
    folder: PathBuf,
    process: Daemon,
}

/// A fault of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL.
    Killed,
    /// SIGSTOP: its connections stay open, and it does not answer.
    Stopped,
    /// It and the other members do not reach each other; clients reach it.
    CutOff,
}

/// Output of `etcdctl endpoint status`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Status {
    header: Header,
    #[serde(default)]
    leader: u64,
}

#[derive(Debug, Deserialize)]
struct Header {
    member_id: u64,
}

impl Cluster {
    /// Starts the cluster at the switch of the rack with this tag, with certificates of this CA.
    ///
    /// # Errors
    /// A member does not start, or no leader is elected.
    pub fn up(tag: &str, state: &Path, authority: &Authority) -> Result<Self> {
        let addresses: Vec<_> =
            (1..=MEMBERS).map(|number| (format!("e{number}"), Ipv4Addr::new(10, 77, 2, 240 + number))).collect();
        let all: Vec<_> = addresses.iter().map(|(name, address)| format!("{name}=https://{address}:{PEERS}")).collect();
        let mut cluster = Self { members: vec![] };
        for (name, address) in addresses {
            let place = Namespace::named(&format!("{}{name}", prefix(tag)));
            place.create()?;
            place.cable("eth0", &switch(tag), &format!("o-{name}"), "br-oob")?;
            place.ip(&format!("address add {address}/24 dev eth0"))?;
            let folder = state.join(&name);
            authority.issue_for_member(&folder, address)?;
            let process = start(&name, &place, address, &folder, &all.join(","))?;
            cluster.members.push(Member { name, place, address, folder, process });
        }
        wait::until("a leader of etcd", START, || Ok(cluster.leader().is_ok().then_some(())))?;
        let first = cluster.members.first().context("no member")?;
        let words = init_words(&first.folder, &cluster.urls())?;
        let output = first.place.command(&program()?.display().to_string()).args(words).output()?;
        ensure!(output.status.success(), "ironmesh store init: {}", String::from_utf8_lossy(&output.stderr));
        Ok(cluster)
    }

    /// The members' client URLs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(Member::url).collect()
    }

    /// The leader, according to the members.
    ///
    /// # Errors
    /// No member leads.
    pub fn leader(&self) -> Result<&Member> {
        self.members.iter().find(|member| member.leads().unwrap_or(false)).context("no member of etcd leads")
    }

    /// A member that does not lead.
    ///
    /// # Errors
    /// No member leads.
    pub fn follower(&self) -> Result<&Member> {
        let leader = &self.leader()?.name;
        self.members.iter().find(|member| member.name != *leader).context("there is one member only")
    }

    /// Runs etcdctl against all members and returns its output.
    ///
    /// # Errors
    /// The command fails.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        let first = self.members.first().context("no member")?;
        first.ctl(&self.urls().join(","), words)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &self.members {
            // A stopped process would not handle the signal; the namespace is removed with the rack.
            drop(member.process.signal(Signal::CONT));
            drop(member.process.end());
        }
    }
}

impl Member {
    fn url(&self) -> String {
        format!("https://{}:{CLIENTS}", self.address)
    }

    /// Whether it leads.
    ///
    /// # Errors
    /// It does not answer.
    pub fn leads(&self) -> Result<bool> {
        let text = self.ctl(&self.url(), &["endpoint", "status", "--write-out=json", "--command-timeout=2s"])?;
        let answers: Vec<Answer> = serde_json::from_str(&text)?;
        let status = &answers.first().context("no answer")?.status;
        Ok(status.leader == status.header.member_id)
    }

    /// Applies a fault.
    ///
    /// # Errors
    /// The member has ended.
    pub fn suffer(&self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Killed => self.process.signal(Signal::KILL),
            Blow::Stopped => self.process.signal(Signal::STOP),
            Blow::CutOff => {
                let chain = |hook: &str| {
                    format!(
                        "add chain ip cut {hook} {{ type filter hook {hook} priority 0; }}; \
                         add rule ip cut {hook} tcp dport {PEERS} drop; add rule ip cut {hook} tcp sport {PEERS} drop"
                    )
                };
                let rules = format!("add table ip cut; {}; {}", chain("input"), chain("output"));
                self.place.run(&["nft", &rules]).map(drop)
            }
        }
    }

    /// Ends a stop or a cut.
    ///
    /// # Errors
    /// The member has ended.
    pub fn recover(&self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Killed => Ok(()),
            Blow::Stopped => self.process.signal(Signal::CONT),
            Blow::CutOff => self.place.run(&["nft", "delete table ip cut"]).map(drop),
        }
    }

    fn ctl(&self, endpoints: &str, words: &[&str]) -> Result<String> {
        let mut command = self.place.command("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={endpoints}"));
        for (option, file) in [("cacert", "ca.pem"), ("cert", "root.pem"), ("key", "root.key")] {
            command.arg(format!("--{option}={}", self.folder.join(file).display()));
        }
        let output = command.args(words).output()?;
        ensure!(output.status.success(), "etcdctl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn start(name: &str, place: &Namespace, address: Ipv4Addr, folder: &Path, all: &str) -> Result<Daemon> {
    let (clients, peers) = (format!("https://{address}:{CLIENTS}"), format!("https://{address}:{PEERS}"));
    let mut command: Command = place.command("etcd");
    for (option, value) in [
        ("name", name),
        ("listen-client-urls", &clients),
        ("advertise-client-urls", &clients),
        ("listen-peer-urls", &peers),
        ("initial-advertise-peer-urls", &peers),
        ("initial-cluster", all),
        ("data-dir", &folder.join("data").display().to_string()),
    ] {
        command.arg(format!("--{option}={value}"));
    }
    for (option, file) in [("cert-file", "own.pem"), ("key-file", "own.key"), ("trusted-ca-file", "ca.pem")] {
        let path = folder.join(file).display().to_string();
        command.arg(format!("--{option}={path}")).arg(format!("--peer-{option}={path}"));
    }
    command.args(["--client-cert-auth", "--peer-client-cert-auth"]);
    fs::create_dir_all(folder)?;
    Daemon::spawn(command, &folder.join("log"), &folder.join("record"))
}
