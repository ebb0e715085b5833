//! Power, brought where it is wanted.

use std::time::Duration;

use clap::{Args, ValueEnum};
use proto::{
    api::v1::{EnsureNodePowerRequest, GetNodeRequest, Node},
    common::v1::{self as wire, power_target},
};
use tokio::time::Instant;

use super::{
    super::answered,
    follow::{Board, follow},
    outcome::{Outcome, Telling},
    show::{parts, power},
    verdict::Goal,
};
use crate::{call::Api, error::Error, human::duration, once::once, output::Screen};

/// Power for a node.
#[derive(Debug, Clone, Args)]
pub struct Power {
    /// Its name or id.
    node: String,
    /// Where power is wanted.
    #[arg(value_enum)]
    target: Target,
    #[command(flatten)]
    wait: Wait,
}

/// How long a command to the BMC is waited for.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Wait {
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
    /// Asked to shut down by ACPI; switched off where it does not in the rack's time.
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
            Self::SoftOff => power_target::Target::SoftOff(power_target::SoftOff { expire_time: None }),
            Self::Cycle => power_target::Target::Booted(power_target::Booted { boot: None }),
        };
        wire::PowerTarget { target: Some(target) }
    }
}

pub(super) async fn run(screen: &Screen, api: &Api, asked: Power) -> Result<(), Error> {
    let request = GetNodeRequest { node: asked.node.clone() };
    let before = answered(api.nodes().get_node(request).await?.into_inner().node)?;
    let request = EnsureNodePowerRequest { node: before.id.clone(), target: Some(asked.target.wire()) };
    let generation = once(request, async |request| api.nodes().ensure_node_power(request).await).await?.generation;
    await_power(screen, api, before, generation, asked.wait).await
}

/// Waits until the instruction of this generation has ended, and shows its outcome. `before` is the node as it was.
pub(super) async fn await_power(
    screen: &Screen,
    api: &Api,
    before: Node,
    generation: u64,
    wait: Wait,
) -> Result<(), Error> {
    let (name, begun) = (before.name.clone(), Instant::now());
    let outcome = if wait.no_wait {
        Outcome::Accepted(before)
    } else {
        let goal = Goal::Power { generation };
        let mut row = Board::new(screen, std::slice::from_ref(&name)).row(&name);
        let ended = follow(api, &before.id, &goal, begun + wait.timeout, &mut row).await;
        row.end();
        Outcome::of(ended, begun.elapsed())
    };
    let telling = Telling { api, state: word, timeout: wait.timeout };
    telling.tell(screen, &[(name, outcome)])
}

fn word(node: &Node) -> String {
    match power(parts(node).1.power()) {
        "" => "power not known".to_owned(),
        word => word.to_owned(),
    }
}
