//! A rack of QEMU machines with real firmware and simulated BMCs, wired through network namespaces of this host.
//!
//! ```text
//! im-TAG-svc    prov 10.77.1.1, 10.77.1.2 (fd77:1::1)      oob 10.77.2.1          the services run here
//! im-TAG-tor    br-prov: p-svc p-n1 p-n2 …                 br-oob: o-svc o-n1 …   the rack's switch
//! im-TAG-n1     eth0 ── br0 ── tap0 (the machine's card)   bmc0 10.77.2.11 (its BMC, UDP 623)
//! ```
//!
//! All files of a rack are in its state directory, and all interfaces in namespaces named `im-TAG-…`; the host's own
//! network is not used. Several racks with different tags can run side by side.

pub mod bmc;
pub mod chassis;
pub mod console;
pub mod daemon;
pub mod fault;
pub mod hosts;
pub mod machine;
pub mod namespace;
pub mod plan;
pub mod qmp;
pub mod wait;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use self::bmc::{Access, Bmc};
use self::daemon::Daemon;
use self::machine::{Behind, Machine};
use self::namespace::Namespace;
pub use self::plan::Plan;

/// A rack, as stored in `rack.json` in its state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rack {
    /// Part of every name that this rack has on its host.
    pub tag: String,
    /// Folder of its files.
    pub state: PathBuf,
    /// Program that `ipmi_sim` runs for power and boot device: `virtual-rack`.
    pub program: PathBuf,
    /// Namespace and addresses of the services.
    pub services: Services,
    /// Its machines, `n1` first.
    pub nodes: Vec<Node>,
}

/// Namespace and addresses of the services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Name of the network namespace.
    pub namespace: String,
    /// Interface on the provisioning network, `prov`.
    pub interface: String,
    /// Its addresses: one for each of two replicas.
    pub addresses: Vec<Ipv4Addr>,
    /// The DHCP server identifier that several replicas share: none of their own addresses.
    pub server_identifier: Ipv4Addr,
    /// Its IPv6 address.
    pub address_v6: Ipv6Addr,
    /// Prefix length in bits, of the network of `addresses` and of that of `oob_address`.
    pub prefix: u8,
    /// Interface on the BMCs' network, `oob`.
    pub oob_interface: String,
    /// Its address.
    pub oob_address: Ipv4Addr,
}

/// One machine with its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The machine; its fields are the node's in `rack.json`.
    #[serde(flatten)]
    pub machine: Machine,
    /// Name of the network namespace.
    pub namespace: String,
    /// Everything that the machine wrote to its serial port.
    pub console: PathBuf,
    /// Its BMC.
    pub bmc: Access,
}

impl Rack {
    /// Brings up the rack of `plan`. Its machines are off.
    ///
    /// # Errors
    /// Not root, a program is missing, or a rack with this tag is up. Partial results are removed.
    pub fn up(plan: &Plan) -> Result<Self> {
        let rack = plan.rack()?;
        anyhow::ensure!(
            Namespace::with_prefix(&prefix(&rack.tag))?.is_empty(),
            "a rack of tag {} is up: take it down first",
            rack.tag
        );
        fs::create_dir_all(&rack.state).with_context(|| rack.state.display().to_string())?;
        // Written first, so that `down` finds the remains of a crash.
        fs::write(rack.state.join(FILE), serde_json::to_vec_pretty(&rack)?)?;
        match rack.build() {
            Ok(()) => Ok(rack),
            Err(error) => {
                rack.down()?;
                Err(error)
            }
        }
    }

    /// The rack in this state directory.
    ///
    /// # Errors
    /// There is none.
    pub fn load(state: &Path) -> Result<Self> {
        let path = state.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Ends every program of the rack and every process in its namespaces, and removes the namespaces. The files stay.
    /// Can be repeated.
    ///
    /// # Errors
    /// Something could not be ended.
    pub fn down(&self) -> Result<()> {
        for node in &self.nodes {
            for record in ["reset.record", "qemu.record", "ipmi_sim.record", "socat.record"] {
                if let Some(daemon) = Daemon::recorded(&node.machine.path(record))? {
                    daemon.end()?;
                }
            }
        }
        down_by_tag(&self.tag)
    }

    /// The services' namespace.
    pub fn services(&self) -> Namespace {
        Namespace::named(&self.services.namespace)
    }

    /// The namespace of the rack's switch, with the bridges `br-prov` and `br-oob`.
    #[must_use]
    pub fn switch(&self) -> Namespace {
        switch(&self.tag)
    }

    /// A node's BMC, if it is `ipmi_sim`.
    pub fn bmc<'n>(&self, node: &'n Node) -> Bmc<'n> {
        Bmc::of(&node.machine, &node.bmc, Namespace::named(&node.namespace), &self.program)
    }

    fn build(&self) -> Result<()> {
        let switch = self.switch();
        self.services.build(&switch)?;
        self.nodes.iter().try_for_each(|node| self.build_node(node, &switch))
    }

    fn build_node(&self, node: &Node, switch: &Namespace) -> Result<()> {
        let own = Namespace::named(&node.namespace);
        let name = &node.machine.name;
        own.create()?;
        own.bridge("br0")?;
        own.cable("eth0", switch, &format!("p-{name}"), "br-prov")?;
        own.ip("link set eth0 master br0")?;
        own.ip("tuntap add tap0 mode tap")?;
        own.ip("link set tap0 up master br0")?;
        own.cable("bmc0", switch, &format!("o-{name}"), "br-oob")?;
        own.ip(&format!("addr add {}/{} dev bmc0", node.bmc.address, self.services.prefix))?;
        own.ip(&format!("route add default via {}", self.services.oob_address))?;
        node.machine.create()?;
        match node.machine.behind {
            Behind::IpmiSim => self.bmc(node).start(),
            Behind::Responder => Ok(()),
        }
    }
}

impl Services {
    /// Makes the services' namespace and the rack's switch, and the cables between the two.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub fn build(&self, switch: &Namespace) -> Result<()> {
        let own = Namespace::named(&self.namespace);
        switch.create()?;
        switch.bridge("br-prov")?;
        switch.bridge("br-oob")?;
        own.create()?;
        let Self { interface, oob_interface, prefix, oob_address, address_v6, .. } = self;
        own.cable(interface, switch, "p-svc", "br-prov")?;
        own.cable(oob_interface, switch, "o-svc", "br-oob")?;
        for address in &self.addresses {
            own.ip(&format!("addr add {address}/{prefix} dev {interface}"))?;
        }
        own.ip(&format!("addr add {address_v6}/64 dev {interface} nodad"))?;
        own.ip(&format!("addr add {oob_address}/{prefix} dev {oob_interface}"))?;
        Ok(())
    }
}

/// Removes the remains of a rack with this tag, except for its state directory.
///
/// # Errors
/// Something could not be ended.
pub fn down_by_tag(tag: &str) -> Result<()> {
    Namespace::with_prefix(&prefix(tag))?.iter().try_for_each(Namespace::remove)
}

const FILE: &str = "rack.json";

/// Prefix of the names of a rack's namespaces.
#[must_use]
pub fn prefix(tag: &str) -> String {
    format!("im-{tag}-")
}

/// The namespace of a rack's switch.
#[must_use]
pub fn switch(tag: &str) -> Namespace {
    Namespace::named(&format!("{}tor", prefix(tag)))
}
