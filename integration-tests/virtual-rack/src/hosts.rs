//! Hosts of one or more datacenters, each of them a network namespace of this host.
//!
//! ```text
//! im-TAG-h1        eth0 10.80.1.11 (fd80::1:11)   the datacenter's network; the host's services run here
//!                  eth1 10.81.1.1                 the provisioning network of its first rack
//! im-TAG-net-fra1  br-dc: e0-h1 e0-h2 … wan       the switch of a site: its network, and
//!                  br-r7: e1-h1 …                 the provisioning network of each of its racks
//! im-TAG-wan-fra2  left ── relay ── right         a link to the first site, with delay and loss
//! ```
//!
//! All files are in the state directory, with a folder for each host, and all interfaces in namespaces named `im-TAG-…`.
//! What a program that was killed left behind is removed by [`crate::down_by_tag`], and by [`Hosts::up`]
//! with the same tag.

pub mod fault;
pub mod plan;
pub mod relay;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use self::plan::{HostsPlan, Wan};
use crate::daemon::Daemon;
use crate::namespace::Namespace;
use crate::{down_by_tag, wait};

/// Bridge of a site's network.
pub const BRIDGE: &str = "br-dc";
/// Port of that bridge that leads to another site.
const WAN_PORT: &str = "wan";
/// File with all of it, in the state directory.
const FILE: &str = "hosts.json";
/// Maximum time for a namespace's processes to end or to stop.
const SIGNALED: Duration = Duration::from_secs(10);

/// Hosts that are up, as stored in `hosts.json` in their state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// Part of every name that they have on this host.
    pub tag: String,
    /// Folder of their files.
    pub state: PathBuf,
    /// Program that relays frames between sites: `virtual-rack`.
    pub program: PathBuf,
    /// The sites; the others are connected to the first one.
    pub sites: Vec<Site>,
}

/// Hosts with one network: a datacenter, or a remote part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Name of the namespace of its switch.
    pub network: String,
    /// Names of its racks. The bridge of a rack's provisioning network is `br-RACK`.
    pub racks: Vec<String>,
    /// Its hosts.
    pub hosts: Vec<VirtualHost>,
    /// Its link to the first site. `None` for the first one.
    pub link: Option<Link>,
}

/// A link between a site and the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Name of the namespace in which frames are relayed.
    pub namespace: String,
    /// Its properties.
    #[serde(flatten)]
    pub wan: Wan,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// Name of its network namespace.
    pub namespace: String,
    /// Address on the datacenter's network.
    pub address: Ipv4Addr,
    /// IPv6 address on the same network.
    pub address_v6: Ipv6Addr,
    /// Interfaces on the provisioning networks of its racks.
    pub provisioning: Vec<Provisioning>,
    /// Folder of its files, for `--data`.
    pub data: PathBuf,
}

/// A host's interface on the provisioning network of a rack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioning {
    /// Name of the rack.
    pub rack: String,
    /// Name of the interface.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
}

impl Hosts {
    /// Brings up the hosts of `plan`, after removing what an earlier program left with the same tag. They run nothing.
    ///
    /// # Errors
    /// Not root, an impossible plan, or a program is missing. Partial results are removed.
    pub fn up(plan: &HostsPlan) -> Result<Self> {
        let hosts = plan.hosts()?;
        down_by_tag(&hosts.tag)?;
        fs::create_dir_all(&hosts.state).with_context(|| hosts.state.display().to_string())?;
        // Written first, so that `down` finds the remains of a crash.
        fs::write(hosts.state.join(FILE), serde_json::to_vec_pretty(&hosts)?)?;
        match hosts.build() {
            Ok(()) => Ok(hosts),
            Err(error) => {
                hosts.down()?;
                Err(error)
            }
        }
    }

    /// The hosts in this state directory.
    ///
    /// # Errors
    /// There are none.
    pub fn load(state: &Path) -> Result<Self> {
        let path = state.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Ends every process in their namespaces, and removes the namespaces. The files stay. Can be repeated.
    ///
    /// # Errors
    /// A process could not be ended.
    pub fn down(&self) -> Result<()> {
        for host in self.all() {
            // In order, the services of a host would hand over to others that end at the same time.
            host.kill()?;
        }
        down_by_tag(&self.tag)
    }

    /// All hosts of all sites.
    pub fn all(&self) -> impl Iterator<Item = &VirtualHost> {
        self.sites.iter().flat_map(|site| &site.hosts)
    }

    /// The host with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn host(&self, name: &str) -> Result<&VirtualHost> {
        self.all().find(|host| host.name == name).with_context(|| format!("there is no host {name}"))
    }

    /// Plugs or unplugs a host's cable to the network of its site.
    ///
    /// # Errors
    /// There is no such host, or errors of ip(8).
    pub fn cable(&self, host: &str, is_in: bool) -> Result<()> {
        let has = |site: &&Site| site.hosts.iter().any(|other| other.name == host);
        let site = self.sites.iter().find(has).with_context(|| format!("there is no host {host}"))?;
        let state = if is_in { "up" } else { "down" };
        site.switch().ip(&format!("link set {} {state}", port(0, host))).map(drop)
    }

    /// Plugs or unplugs the link of a site to the first one.
    ///
    /// # Errors
    /// The site has no such link, or errors of ip(8).
    pub fn wan_cable(&self, site: &str, is_in: bool) -> Result<()> {
        let found = self.sites.iter().find(|other| other.name == site && other.link.is_some());
        let site = found.with_context(|| format!("the site {site} has no link"))?;
        let state = if is_in { "up" } else { "down" };
        site.switch().ip(&format!("link set {WAN_PORT} {state}")).map(drop)
    }

    fn build(&self) -> Result<()> {
        for site in &self.sites {
            let switch = site.switch();
            switch.create()?;
            switch.bridge(BRIDGE)?;
            site.racks.iter().try_for_each(|rack| switch.bridge(&bridge(rack)))?;
            site.hosts.iter().try_for_each(|host| host.build(&switch))?;
        }
        let Some((first, others)) = self.sites.split_first() else { return Ok(()) };
        others.iter().try_for_each(|site| self.connect(first, site))
    }

    fn connect(&self, first: &Site, site: &Site) -> Result<()> {
        let Some(link) = &site.link else { return Ok(()) };
        let relay = Namespace::named(&link.namespace);
        relay.create()?;
        // Only the relay sends here.
        relay.run(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])?;
        for (here, other, there) in
            [("left", first, format!("{WAN_PORT}-{}", site.name)), ("right", site, WAN_PORT.to_owned())]
        {
            relay.cable(here, &other.switch(), &there, BRIDGE)?;
            // Otherwise the relay would receive packets that are longer than a frame, and without a checksum.
            let off = ["ethtool", "-K", &there, "tx", "off", "sg", "off", "tso", "off", "gso", "off"];
            other.switch().run(&off)?;
        }
        let mut command = relay.command(&self.program.display().to_string());
        command.args(["relay", "--left", "left", "--right", "right"]).args(link.wan.words());
        let file = |name: &str| self.state.join(format!("{}.{name}", link.namespace));
        Daemon::spawn(command, &file("log"), &file("record")).map(drop)
    }
}

impl Site {
    /// The namespace of its switch.
    #[must_use]
    pub fn switch(&self) -> Namespace {
        Namespace::named(&self.network)
    }
}

impl VirtualHost {
    /// Its namespace.
    #[must_use]
    pub fn place(&self) -> Namespace {
        Namespace::named(&self.namespace)
    }

    /// A command that will run `program` on it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.place().command(program)
    }

    /// The processes on it. Zombies do not count.
    ///
    /// # Errors
    /// ip(8) cannot be run, or the host does not exist.
    pub fn processes(&self) -> Result<Vec<Daemon>> {
        Ok(self.place().pids()?.into_iter().filter_map(|pid| Daemon::of(pid).ok()).collect())
    }

    /// Kills all of its processes, as the loss of its power does.
    ///
    /// # Errors
    /// A process does not end.
    pub fn kill(&self) -> Result<()> {
        if !self.place().exists()? {
            return Ok(());
        }
        wait::until(&format!("the end of all processes of {}", self.name), SIGNALED, || {
            // A process that was begun meanwhile is killed in the next round.
            Ok((self.signal_all(Signal::KILL)? == 0).then_some(()))
        })
    }

    /// Stops all of its processes: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// ip(8) cannot be run.
    pub fn stop(&self) -> Result<()> {
        let count = self.signal_all(Signal::STOP)?;
        // Again, for those that were begun meanwhile.
        ensure!(self.signal_all(Signal::STOP)? >= count, "a process of {} ended instead of stopping", self.name);
        Ok(())
    }

    /// Lets stopped processes continue.
    ///
    /// # Errors
    /// ip(8) cannot be run.
    pub fn resume(&self) -> Result<()> {
        self.signal_all(Signal::CONT).map(drop)
    }

    /// Returns the number of processes that there were.
    fn signal_all(&self, signal: Signal) -> Result<usize> {
        let processes = self.processes()?;
        for process in &processes {
            // A process that has ended meanwhile is fine.
            drop(process.signal(signal));
        }
        Ok(processes.len())
    }

    fn build(&self, switch: &Namespace) -> Result<()> {
        let own = self.place();
        own.create()?;
        own.cable("eth0", switch, &port(0, &self.name), BRIDGE)?;
        own.ip(&format!("addr add {}/16 dev eth0", self.address))?;
        own.ip(&format!("addr add {}/64 dev eth0 nodad", self.address_v6))?;
        for (number, Provisioning { rack, interface, address, prefix }) in (1..).zip(&self.provisioning) {
            own.cable(interface, switch, &port(number, &self.name), &bridge(rack))?;
            own.ip(&format!("addr add {address}/{prefix} dev {interface}"))?;
        }
        fs::create_dir_all(&self.data).with_context(|| self.data.display().to_string())
    }
}

/// Port of a switch to which a host's interface number `number` is connected.
fn port(number: usize, host: &str) -> String {
    format!("e{number}-{host}")
}

/// Bridge of a rack's provisioning network.
#[must_use]
pub fn bridge(rack: &str) -> String {
    format!("br-{rack}")
}
