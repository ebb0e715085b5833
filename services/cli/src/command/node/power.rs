//! Power, brought where it is wanted.

use std::time::Duration;

use clap::{Args, ValueEnum};
use proto::{
    api::v1::{EnsureNodePowerRequest, GetNodeRequest, Node},
    common::v1::{self as wire, power_target},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    super::answered,
    follow::{Board, Ended, follow},
    show::{parts, power},
    verdict::{Goal, Missed},
};
use crate::{
    call::Api,
    error::Error,
    json,
    output::Screen,
    words::{clean, duration, length},
};

/// Power for a node.
#[derive(Debug, Clone, Args)]
pub struct Power {
    /// Its name or id.
    node: String,
    /// Where power is wanted.
    #[arg(value_enum)]
    target: Target,
    /// Return when it is accepted, without waiting for the BMC.
    #[arg(long)]
    no_wait: bool,
    /// How long to wait at most; the work goes on without us.
    #[arg(long, value_name = "TIME", default_value = "4m", value_parser = duration, conflicts_with = "no_wait")]
    timeout: Duration,
}

/// Where power is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// On; it does not matter since when.
    On,
    /// Off, at once.
    Off,
    /// Asked to shut down by ACPI, then off.
    SoftOff,
    /// On, and booted after this was asked.
    #[value(alias = "reset", alias = "reboot")]
    Cycle,
}

impl Target {
    fn wire(self) -> wire::PowerTarget {
        let target = match self {
            Self::On => power_target::Target::On(power_target::On {}),
            Self::Off => power_target::Target::Off(power_target::Off {}),
            Self::SoftOff => power_target::Target::SoftOff(power_target::SoftOff {}),
            Self::Cycle => power_target::Target::Booted(power_target::Booted { boot: None }),
        };
        wire::PowerTarget { target: Some(target) }
    }

    fn power(self) -> wire::Power {
        match self {
            Self::On | Self::Cycle => wire::Power::On,
            Self::Off | Self::SoftOff => wire::Power::Off,
        }
    }
}

pub(super) async fn run(screen: &Screen, api: &Api, asked: Power) -> Result<(), Error> {
    let request = GetNodeRequest { node: asked.node.clone() };
    let before = answered(api.nodes().get_node(request).await?.into_inner().node)?;
    let request = EnsureNodePowerRequest { node: before.id.clone(), target: Some(asked.target.wire()) };
    let generation = api.nodes().ensure_node_power(request).await?.into_inner().generation;
    let name = before.name.clone();
    if asked.no_wait {
        return screen.show(
            || format!("{name}: asked"),
            || json!({ "name": name, "outcome": "accepted", "generation": generation }),
        );
    }
    let goal = goal(&before, generation, asked.target);
    let begun = Instant::now();
    let mut row = Board::new(screen, std::slice::from_ref(&name)).row(&name);
    let ended = follow(api, &before.id, &goal, begun + asked.timeout, &mut row).await;
    row.end();
    told(screen, &name, ended?, begun.elapsed())
}

fn goal(before: &Node, generation: u64, target: Target) -> Goal {
    let (_, observed) = parts(before);
    Goal::Power {
        generation,
        wanted: target.power(),
        seen_before_ms: observed.power_seen_at_ms,
        failed_before_ms: observed.last_failure.map_or(0, |failure| failure.at_ms),
    }
}

fn told(screen: &Screen, name: &str, ended: Ended, took: Duration) -> Result<(), Error> {
    match ended {
        Ended::Reached(node) => screen.show(
            || format!("{name}: {} after {}", power(parts(&node).1.power()), length(took)),
            || json!({ "name": name, "outcome": "reached", "node": json::node(&node) }),
        ),
        Ended::Missed(_, Missed { cause, text, next }) => {
            screen.note(&clean(&format!("{name}: {cause}: {text}\n  next: {next}")));
            Err(Error::Told)
        }
        Ended::Late(_) => {
            screen.note(&format!(
                "{name}: the BMC had not confirmed it after {}; it goes on: ironmesh node show {name}",
                length(took)
            ));
            Err(Error::Told)
        }
    }
}
