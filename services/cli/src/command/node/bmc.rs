//! Commands for the BMC itself.

use std::path::PathBuf;

use clap::Args;
use domain::raw_command::RawCommand;
use proto::{
    api::v1::{GetNodeRequest, ResetNodeBmcRequest, SendNodeRawCommandRequest},
    common::v1::BmcResetKind,
};

use super::{
    super::answered,
    power::{Wait, await_power},
};
use crate::{call::Api, command::secret::Source, error::Error, once::once, output::Screen};

/// Maximum size of a file with a raw command, in bytes.
const MAX_RAW_BYTES: u64 = 4096;

/// A restart of a BMC.
#[derive(Debug, Clone, Args)]
pub struct Reset {
    /// Its name or id.
    node: String,
    /// Restart it with its present settings. This is the default.
    #[arg(long)]
    warm: bool,
    /// Restart it with its initial settings, as after power was applied.
    #[arg(long, conflicts_with = "warm")]
    cold: bool,
    #[command(flatten)]
    wait: Wait,
}

/// A raw command for a BMC.
#[derive(Debug, Clone, Args)]
pub struct Raw {
    /// Its name or id.
    node: String,
    /// Network function, number of the command and data, as for ipmitool raw: 0x1f, 037 or 31.
    #[arg(required_unless_present_any = ["file", "stdin"], conflicts_with_all = ["file", "stdin"])]
    bytes: Vec<String>,
    /// A file with the bytes, for a command that has a password in its data.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the bytes from standard input.
    #[arg(long, conflicts_with = "file")]
    stdin: bool,
    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn reset(screen: &Screen, api: &Api, asked: Reset) -> Result<(), Error> {
    let request = GetNodeRequest { node: asked.node };
    let before = answered(api.nodes().get_node(request).await?.into_inner().node)?;
    let kind = if asked.cold { BmcResetKind::Cold } else { BmcResetKind::Warm };
    let request = ResetNodeBmcRequest { node: before.id.clone(), kind: kind.into() };
    let generation = once(request, async |request| api.nodes().reset_node_bmc(request).await).await?.generation;
    await_power(screen, api, before, generation, asked.wait).await
}

pub(super) async fn raw(screen: &Screen, api: &Api, asked: Raw) -> Result<(), Error> {
    let source = Source { what: "the raw command", option: "--file", most: MAX_RAW_BYTES };
    let words = source.read(asked.file.as_deref(), asked.stdin)?.unwrap_or_else(|| asked.bytes.join(" "));
    let raw = RawCommand::parse(&words).map_err(|why| anyhow::anyhow!("the raw command is invalid: {why}"))?;
    let request = GetNodeRequest { node: asked.node };
    let before = answered(api.nodes().get_node(request).await?.into_inner().node)?;
    let request = SendNodeRawCommandRequest {
        node: before.id.clone(),
        netfn: raw.netfn().into(),
        command: raw.command().into(),
        data: raw.data().expose().to_vec(),
    };
    let sent = once(request, async |request| api.nodes().send_node_raw_command(request).await).await?;
    await_power(screen, api, before, sent.generation, asked.wait).await
}
