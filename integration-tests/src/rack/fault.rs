//! What goes wrong in a rack, on purpose: cables, packets, BMCs.

use anyhow::Result;
use rustix::process::Signal;

use super::bmc::Bmc;
use super::{Node, Rack};

/// Whether a node's cable to the provisioning network is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// Plugged in.
    In,
    /// Pulled out, at the switch: the node's card keeps its carrier.
    Out,
}

/// Packets that can be lost between a node and the services, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Those of one UDP port of the services. For TFTP that is only the request: use [`Traffic::AnyUdp`] to
    /// break a transfer that runs (RFC 1350 §4: each transfer has ports of its own).
    Udp(u16),
    /// Those of one TCP port of the services.
    Tcp(u16),
    /// All UDP, DHCP too.
    AnyUdp,
}

/// Plugs or pulls a node's cable.
///
/// # Errors
/// What ip(8) says.
pub fn cable(rack: &Rack, node: &Node, cable: Cable) -> Result<()> {
    let state = if cable == Cable::In { "up" } else { "down" };
    rack.switch().ip(&format!("link set p-{} {state}", node.machine.name)).map(drop)
}

/// Loses these packets of one node, until [`mend`], and those lost already too.
///
/// # Errors
/// What nft(8) says.
pub fn lose(rack: &Rack, node: &Node, traffic: Traffic) -> Result<()> {
    let name = &node.machine.name;
    let switch = rack.switch();
    let chain =
        format!("add table bridge {name}; add chain bridge {name} lose {{ type filter hook forward priority 0; }}");
    switch.run(&["nft", &chain])?;
    let [to, from] = match traffic {
        Traffic::Udp(port) => [format!("udp dport {port}"), format!("udp sport {port}")],
        Traffic::Tcp(port) => [format!("tcp dport {port}"), format!("tcp sport {port}")],
        Traffic::AnyUdp => ["meta l4proto udp".to_owned(), "meta l4proto udp".to_owned()],
    };
    let rules = format!(
        "add rule bridge {name} lose iifname p-{name} {to} drop; add rule bridge {name} lose oifname p-{name} {from} drop"
    );
    switch.run(&["nft", &rules]).map(drop)
}

/// Loses none of a node's packets any more.
///
/// # Errors
/// What nft(8) says.
pub fn mend(rack: &Rack, node: &Node) -> Result<()> {
    let name = &node.machine.name;
    // Added first, so that it is there to be deleted.
    rack.switch().run(&["nft", &format!("add table bridge {name}; delete table bridge {name}")]).map(drop)
}

/// Makes a BMC deaf: its port is open, and nothing answers.
///
/// # Errors
/// It does not run.
pub fn deafen(bmc: &Bmc<'_>) -> Result<()> {
    bmc.signal(Signal::STOP)
}

/// Heals a deaf BMC; it then answers what was sent meanwhile too.
///
/// # Errors
/// It does not run.
pub fn heal(bmc: &Bmc<'_>) -> Result<()> {
    bmc.signal(Signal::CONT)
}

/// Gives a BMC another password than the one in `rack.json`.
///
/// # Errors
/// It does not start again.
pub fn change_password(bmc: &Bmc<'_>, password: &str) -> Result<()> {
    bmc.restart_with_password(password)
}
