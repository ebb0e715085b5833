//! Enrolls machines and changes their records.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use domain::net::{BmcAddr, MacAddr};
use proto::{
    api::v1::{CreateNodeRequest, UpdateNodeRequest},
    common::v1 as wire,
    convert::time::{WireDuration, wire_duration},
};

use super::{
    super::{answered, secret::Source},
    show,
};
use crate::{
    call::Api,
    error::Error,
    human::{clean, seconds},
    json,
    once::once,
    output::Screen,
};

/// A password is at most 20 octets (IPMI 2.0 §22.30); a file that is larger holds something else.
const MAX_PASSWORD_BYTES: u64 = 1024;

/// A new node.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name, unique; letters, digits, '-', '.', '_', '~'.
    name: String,
    /// Its BMC's address.
    #[arg(long, value_name = "HOST[:PORT]")]
    bmc: BmcAddr,
    /// The user at the BMC.
    #[arg(long, value_name = "USER")]
    bmc_user: String,
    #[command(flatten)]
    password: Password,
    /// The MAC of a NIC that it boots from; may be repeated.
    #[arg(long, value_name = "MAC", required = true, num_args = 1..)]
    mac: Vec<MacAddr>,
    /// Its rack; left out: the rack whose name is empty.
    #[arg(long, default_value = "", hide_default_value = true)]
    rack: String,
    #[command(flatten)]
    traits: Traits,
}

/// Changes to a node.
#[derive(Debug, Clone, Args)]
pub struct Set {
    /// Its name or id.
    node: String,
    /// Its new name.
    #[arg(long)]
    name: Option<String>,
    /// Its BMC's address.
    #[arg(long, value_name = "HOST[:PORT]")]
    bmc: Option<BmcAddr>,
    /// The user at the BMC.
    #[arg(long, value_name = "USER")]
    bmc_user: Option<String>,
    #[command(flatten)]
    password: Password,
    /// The MAC of a further NIC that it boots from; may be repeated.
    #[arg(long, value_name = "MAC", num_args = 1..)]
    add_mac: Vec<MacAddr>,
    /// The MAC of a NIC to remove; may be repeated.
    #[arg(long, value_name = "MAC", num_args = 1..)]
    remove_mac: Vec<MacAddr>,
    /// The name or id of the rack that it was carried to. It keeps what it is, and its ports get addresses there; nothing
    /// else is changed with it.
    #[arg(long, value_name = "RACK")]
    rack: Option<String>,
    #[command(flatten)]
    traits: Traits,
}

/// Where the BMC's password is read from: never from the command line, which others on this machine can see.
#[derive(Debug, Clone, Args)]
pub struct Password {
    /// A file with the BMC's password; a line feed at its end is ignored.
    #[arg(long, value_name = "FILE")]
    bmc_password_file: Option<PathBuf>,
    /// Read the BMC's password from standard input.
    #[arg(long, conflicts_with = "bmc_password_file")]
    bmc_password_stdin: bool,
}

/// How the machine boots.
#[derive(Debug, Clone, Args)]
pub struct Traits {
    /// The firmware interface that it boots with.
    #[arg(long, value_enum)]
    boot_mode: Option<BootMode>,
    /// How long a deployed system may take to show life before the deployment counts as failed; 0s: none is required.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    wait_for_life: Option<u32>,
    /// Boot files over TFTP rather than HTTP, for firmware that lacks it.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tftp: Option<bool>,
}

/// A firmware interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BootMode {
    /// The PC's BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

impl Traits {
    fn boot_mode(&self) -> wire::BootMode {
        match self.boot_mode {
            None => wire::BootMode::Unspecified,
            Some(BootMode::Bios) => wire::BootMode::Bios,
            Some(BootMode::Uefi) => wire::BootMode::Uefi,
        }
    }
}

impl Traits {
    fn sign_of_life_timeout(&self) -> Option<WireDuration> {
        self.wait_for_life.map(|seconds| wire_duration(Duration::from_secs(seconds.into())))
    }
}

impl Password {
    fn read(&self) -> anyhow::Result<Option<String>> {
        let source = Source { what: "the BMC's password", option: "--bmc-password-file", most: MAX_PASSWORD_BYTES };
        source.read(self.bmc_password_file.as_deref(), self.bmc_password_stdin)
    }
}

fn macs(macs: &[MacAddr]) -> Vec<String> {
    macs.iter().map(MacAddr::to_string).collect()
}

pub(super) async fn create(screen: &Screen, api: &Api, create: Create) -> Result<(), Error> {
    let Some(bmc_password) = create.password.read()? else {
        let text = "the BMC's password is missing; name its file with --bmc-password-file, or pipe it in with \
                    --bmc-password-stdin";
        return Err(Error::Usage(anyhow::anyhow!(text)));
    };
    let request = CreateNodeRequest {
        name: create.name,
        rack: create.rack,
        bmc_address: create.bmc.to_string(),
        bmc_user: create.bmc_user,
        bmc_password,
        boot_mode: create.traits.boot_mode().into(),
        macs: macs(&create.mac),
        sign_of_life_timeout: create.traits.sign_of_life_timeout(),
        boot_files_by_tftp: create.traits.tftp.unwrap_or(false),
    };
    let node = answered(once(request, async |request| api.nodes().create_node(request).await).await?.node)?;
    show::shown(screen, &node)
}

pub(super) async fn set(screen: &Screen, api: &Api, set: Set) -> Result<(), Error> {
    let request = UpdateNodeRequest {
        node: set.node,
        name: set.name,
        bmc_address: set.bmc.map(|bmc| bmc.to_string()),
        bmc_user: set.bmc_user,
        bmc_password: set.password.read()?,
        boot_mode: set.traits.boot_mode().into(),
        add_macs: macs(&set.add_mac),
        remove_macs: macs(&set.remove_mac),
        sign_of_life_timeout: set.traits.sign_of_life_timeout(),
        boot_files_by_tftp: set.traits.tftp,
        rack: set.rack,
        ..Default::default()
    };
    let node = answered(once(request, async |request| api.nodes().update_node(request).await).await?.node)?;
    show::shown(screen, &node)
}

/// Starts or ends maintenance.
#[derive(Debug, Clone, Args)]
pub struct Maintenance {
    /// on, or off.
    #[arg(value_enum)]
    is: Switch,
    /// Names or ids of nodes.
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// Why, for others to read.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Operators work on the machines by hand.
    On,
    /// Operators no longer work on the machines.
    Off,
}

pub(super) async fn maintain(screen: &Screen, api: &Api, asked: Maintenance) -> Result<(), Error> {
    let is_on = asked.is == Switch::On;
    if !is_on && asked.reason.is_some() {
        return Err(Error::Usage(anyhow::anyhow!("--reason is for maintenance that begins; leave it out with off")));
    }
    let maintenance_reason = asked.reason.unwrap_or_default();
    let mut nodes = Vec::new();
    for node in asked.nodes {
        let (maintenance, maintenance_reason) = (Some(is_on), Some(maintenance_reason.clone()));
        let request = UpdateNodeRequest { node, maintenance, maintenance_reason, ..Default::default() };
        nodes.push(answered(once(request, async |request| api.nodes().update_node(request).await).await?.node)?);
    }
    let word = if is_on { "in maintenance" } else { "no longer in maintenance" };
    let lines = || nodes.iter().map(|node| format!("{}: {word}\n", clean(&node.name))).collect();
    screen.show(lines, || nodes.iter().map(json::node).collect())
}
