//! Enrolling machines and changing what is known of them.

use std::{
    io::{IsTerminal as _, Read as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use domain::net::{BmcAddr, MacAddr};
use proto::{
    api::v1::{CreateNodeRequest, UpdateNodeRequest},
    common::v1 as wire,
};

use super::{super::answered, show};
use crate::{call::Api, error::Error, once::once, output::Screen, words::seconds};

/// A password is at most 20 octets (IPMI 2.0 §22.30); a file that is larger holds something else.
const LARGEST_PASSWORD: u64 = 1024;

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
    /// A MAC that it has no more; may be repeated.
    #[arg(long, value_name = "MAC", num_args = 1..)]
    remove_mac: Vec<MacAddr>,
    #[command(flatten)]
    traits: Traits,
}

/// Where the BMC's password is read from: never from the command line, which others on this machine can see.
#[derive(Debug, Clone, Args)]
pub struct Password {
    /// A file with the BMC's password; one line feed at its end does not count.
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
    /// How long a deployed system may take to show life before the deployment counts as failed; 0s: it need not.
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

impl Password {
    fn read(&self) -> anyhow::Result<Option<String>> {
        let text = match (&self.bmc_password_file, self.bmc_password_stdin) {
            (Some(file), _) => {
                let told = || format!("cannot read the BMC's password from {}", file.display());
                let mut text = String::new();
                let opened = std::fs::File::open(file).with_context(told)?;
                opened.take(LARGEST_PASSWORD).read_to_string(&mut text).with_context(told)?;
                text
            }
            (None, true) if std::io::stdin().is_terminal() => {
                bail!("a terminal would show the password; pipe it in, or write it to a file for --bmc-password-file")
            }
            (None, true) => {
                let mut text = String::new();
                let input = std::io::stdin().lock().take(LARGEST_PASSWORD).read_to_string(&mut text);
                input.context("cannot read the BMC's password from standard input")?;
                text
            }
            (None, false) => return Ok(None),
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
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
        wait_for_life_seconds: create.traits.wait_for_life.unwrap_or(0),
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
        wait_for_life_seconds: set.traits.wait_for_life,
        boot_files_by_tftp: set.traits.tftp,
    };
    let node = answered(once(request, async |request| api.nodes().update_node(request).await).await?.node)?;
    show::shown(screen, &node)
}
