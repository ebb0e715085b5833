//! Faults of a rack: cables, packets, BMCs.

use anyhow::Result;
use rustix::process::Signal;

use super::bmc::Bmc;
use super::{Node, Rack};

/// Whether a node's cable to the provisioning network is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// Plugged in.
    In,
    /// Unplugged at the switch: the node's card keeps its carrier.
    Out,
}

/// Packets between a node and the services that can be lost, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Packets of one UDP port of the services. For TFTP that is only the request: use [`Traffic::AnyUdp`] to break a
    /// running transfer (RFC 1350 §4: each transfer has its own ports).
    Udp(u16),
    /// Packets of one TCP port of the services.
    Tcp(u16),
    /// All UDP, DHCP too.
    AnyUdp,
}

/// Plugs or unplugs a node's cable.
///
/// # Errors
/// Errors of ip(8).
pub fn cable(rack: &Rack, node: &Node, cable: Cable) -> Result<()> {
    let state = if cable == Cable::In { "up" } else { "down" };
    rack.switch().ip(&format!("link set p-{} {state}", node.machine.name)).map(drop)
}

/// Loses these packets of one node until [`mend`], in addition to those that are lost already.
///
/// # Errors
/// Errors of nft(8).
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

/// Ends all packet loss of a node.
///
/// # Errors
/// Errors of nft(8).
pub fn mend(rack: &Rack, node: &Node) -> Result<()> {
    let name = &node.machine.name;
    // Added first, so that deleting it does not fail.
    rack.switch().run(&["nft", &format!("add table bridge {name}; delete table bridge {name}")]).map(drop)
}

/// Makes a BMC silent: its port is open, and nothing answers.
///
/// # Errors
/// It does not run.
pub fn deafen(bmc: &Bmc<'_>) -> Result<()> {
    bmc.signal(Signal::STOP)
}

/// Ends the silence of a BMC, which then also responds to requests that it received meanwhile.
///
/// # Errors
/// It does not run.
pub fn heal(bmc: &Bmc<'_>) -> Result<()> {
    bmc.signal(Signal::CONT)
}

/// Changes a BMC's password from the one in `rack.json`.
///
/// # Errors
/// It does not restart.
pub fn change_password(bmc: &Bmc<'_>, password: &str) -> Result<()> {
    bmc.restart_with_password(password)
}
