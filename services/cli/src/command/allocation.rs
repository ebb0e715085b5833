//! Allocations: reserve nodes that meet requirements.

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use futures::future::join_all;
use proto::{
    api::v1::{
        Allocation, AllocationSpec, AllocationState, AntiAffinity, CreateAllocationRequest, DeleteAllocationRequest,
        GetAllocationRequest, ListAllocationsRequest, PlacementOrder, PlanAllocationRequest, PlanAllocationResponse,
    },
    convert::time::wire_duration,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::answered;
use crate::{
    call::Api,
    error::Error,
    human::{self, ago, duration, or_dash},
    json,
    once::once,
    output::Screen,
    pages, table, words,
};

/// Interval at which a waiting allocation is read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What can be asked of allocations.
#[derive(Debug, Subcommand)]
pub enum AllocationCommand {
    /// List allocations, oldest first: the node of each, or what it waits for.
    #[command(after_help = "Example:\n  ironmesh allocation list -o name")]
    List,
    /// Show an allocation.
    #[command(after_help = "Example:\n  ironmesh allocation show db-1")]
    Show(Named),
    /// Delete an allocation: release its node, or leave the queue. The node must not be active.
    #[command(after_help = "Example:\n  ironmesh node undeploy n7 --wait && ironmesh allocation delete db-1")]
    Delete(Named),
}

/// Which allocation.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name or id.
    allocation: String,
}

/// Finding a node.
#[derive(Debug, Clone, Args)]
pub struct Allocate {
    /// A name for the allocation; with a count: db becomes db-1, db-2 and so on. A node of that name is taken where it fits.
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
    /// Nodes of this class.
    #[arg(long, value_name = "CLASS", help_heading = "Which node")]
    resource_class: String,
    /// With this trait; may be repeated.
    #[arg(long = "trait", value_name = "TRAIT", help_heading = "Which node")]
    traits: Vec<String>,
    /// With this capability (properties.capabilities); may be repeated.
    #[arg(long, value_name = "NAME:VALUE", value_parser = capability, help_heading = "Which node")]
    capability: Vec<(String, String)>,
    /// One of these nodes, by name or id; may be repeated.
    #[arg(long, value_name = "NODE", help_heading = "Which node")]
    candidate: Vec<String>,
    /// Of this project, or lent to it.
    #[arg(long, value_name = "PROJECT", help_heading = "Which node")]
    owner: Option<String>,
    /// Take it from the rack with the fewest nodes of the group (without one: with the fewest in use), or with the most.
    #[arg(long, value_enum, help_heading = "Where")]
    order: Option<Order>,
    /// Group of allocations that are placed relative to each other.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    group: Option<String>,
    /// What nodes of the group must not share.
    #[arg(long, value_enum, requires = "group", help_heading = "Where")]
    apart: Option<Apart>,
    /// Number of allocations.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// If no node fits, wait in the queue for at most this time; left out: fail at once.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    queue: Option<Duration>,
    /// Return at once while the allocation waits in the queue.
    #[arg(long, requires = "queue")]
    no_wait: bool,
    /// Allocate nothing: show which node would be chosen, and why others would not.
    #[arg(long, conflicts_with_all = ["count", "queue"])]
    dry_run: bool,
}

/// Which rack is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The one with the fewest.
    Spread,
    /// The one with the most.
    Pack,
}

/// What is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Apart {
    /// The rack.
    Rack,
    /// What properties.power_domain says.
    PowerDomain,
}

fn capability(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("write it as NAME:VALUE, such as boot_mode:uefi"),
    }
}

impl Allocate {
    fn spec(&self) -> AllocationSpec {
        let order = match self.order {
            None => PlacementOrder::Unspecified,
            Some(Order::Spread) => PlacementOrder::Spread,
            Some(Order::Pack) => PlacementOrder::Pack,
        };
        let anti_affinity = match self.apart {
            None => AntiAffinity::Unspecified,
            Some(Apart::Rack) => AntiAffinity::Rack,
            Some(Apart::PowerDomain) => AntiAffinity::PowerDomain,
        };
        AllocationSpec {
            resource_class: self.resource_class.clone(),
            traits: self.traits.clone(),
            capabilities: self.capability.iter().cloned().collect(),
            candidates: self.candidate.clone(),
            owner: self.owner.clone().unwrap_or_default(),
            order: order.into(),
            group: self.group.clone().unwrap_or_default(),
            anti_affinity: anti_affinity.into(),
        }
    }

    fn names(&self) -> Vec<String> {
        let number = |number| if self.name.is_empty() { String::new() } else { format!("{}-{number}", self.name) };
        if self.count == 1 { vec![self.name.clone()] } else { (1..=self.count).map(number).collect() }
    }
}

pub(crate) async fn allocate(screen: &Screen, api: &Api, asked: Allocate) -> Result<(), Error> {
    if asked.dry_run {
        let request = PlanAllocationRequest { name: asked.name.clone(), spec: Some(asked.spec()) };
        let plan = api.allocations().plan_allocation(request).await?.into_inner();
        screen.show(|| planned(screen, &plan), || json::plan(&plan))?;
        return if plan.node.is_empty() { Err(Error::Told) } else { Ok(()) };
    }
    let queue_timeout = asked.queue.map(wire_duration);
    let one = async |name: String| {
        let request = CreateAllocationRequest { name, spec: Some(asked.spec()), queue_timeout };
        let answer = once(request, async |request| api.allocations().create_allocation(request).await).await?;
        answered(answer.allocation)
    };
    let made = join_all(asked.names().into_iter().map(one)).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let made = match asked.queue.filter(|_| !asked.no_wait) {
        Some(queue) => wait(screen, api, made, Instant::now() + queue + POLL_INTERVAL).await?,
        None => made,
    };
    screen.show(|| table_of(screen, &made), || made.iter().map(json::allocation).collect::<Value>())?;
    // One that stands in the queue is what was asked for.
    if made.iter().any(|one| one.state() == AllocationState::Error) { Err(Error::Told) } else { Ok(()) }
}

/// Until each has its node or has failed.
async fn wait(screen: &Screen, api: &Api, mut all: Vec<Allocation>, until: Instant) -> Result<Vec<Allocation>, Error> {
    let mut said = String::new();
    loop {
        let waiting: Vec<_> = all.iter().filter(|one| one.state() == AllocationState::Allocating).collect();
        let Some(first) = waiting.first() else { return Ok(all) };
        let (place, reason) = (first.place_in_queue, &first.reason);
        let words = format!("{} of {} wait, the first at place {place}: {reason}", waiting.len(), all.len());
        if words != said {
            screen.note(&words);
            said = words;
        }
        if Instant::now() >= until {
            return Err(anyhow!("the allocations are still waiting for nodes; see: ironmesh allocation list").into());
        }
        sleep(POLL_INTERVAL).await;
        for one in all.iter_mut().filter(|one| one.state() == AllocationState::Allocating) {
            *one = get(api, one.id.clone()).await?;
        }
    }
}

async fn get(api: &Api, allocation: String) -> Result<Allocation, Error> {
    answered(api.allocations().get_allocation(GetAllocationRequest { allocation }).await?.into_inner().allocation)
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: AllocationCommand) -> Result<(), Error> {
    match command {
        AllocationCommand::List => {
            let page = async |page_token| {
                let request = ListAllocationsRequest { page_token, ..Default::default() };
                let answer = api.allocations().list_allocations(request).await?.into_inner();
                Ok((answer.allocations, answer.next_page_token))
            };
            let all = pages::all(page).await?;
            screen.show(|| table_of(screen, &all), || all.iter().map(json::allocation).collect::<Value>())
        }
        AllocationCommand::Show(Named { allocation }) => {
            let one = get(api, allocation).await?;
            screen.show(|| shown(screen, &one), || json::allocation(&one))
        }
        AllocationCommand::Delete(Named { allocation }) => {
            let request = DeleteAllocationRequest { allocation: allocation.clone(), ..Default::default() };
            once(request, async |request| api.allocations().delete_allocation(request).await).await?;
            let told = serde_json::json!({ "allocation": allocation, "deleted": true });
            screen.show(|| format!("{allocation}: deleted"), || told)
        }
    }
}

fn table_of(screen: &Screen, all: &[Allocation]) -> String {
    let heading = ["ALLOCATION", "CLASS", "STATE", "NODE", "RACK", "SINCE", "WAITS FOR, OR FAILED"];
    let row = |one: &Allocation| {
        let name = if one.name.is_empty() { one.id.clone() } else { one.name.clone() };
        let spec = one.spec.clone().unwrap_or_default();
        vec![
            name,
            spec.resource_class,
            standing(one),
            one.node_name.clone(),
            if one.node.is_empty() { String::new() } else { human::rack(&one.rack) },
            ago(screen.now(), one.create_time),
            one.reason.clone(),
        ]
    };
    table::list(screen, &heading, all.iter().map(row))
}

fn standing(one: &Allocation) -> String {
    match one.place_in_queue {
        0 => words::allocation_state(one.state()).to_owned(),
        place => format!("waits, place {place}"),
    }
}

fn shown(screen: &Screen, one: &Allocation) -> String {
    let spec = one.spec.clone().unwrap_or_default();
    let capabilities: Vec<_> = spec.capabilities.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let facts = vec![
        ("allocation", one.id.clone()),
        ("name", one.name.clone()),
        ("stands", standing(one)),
        ("because", one.reason.clone()),
        ("node", one.node_name.clone()),
        ("node id", one.node.clone()),
        ("rack", if one.node.is_empty() { String::new() } else { human::rack(&one.rack) }),
        ("wants", spec.resource_class),
        ("traits", spec.traits.join(", ")),
        ("capabilities", capabilities.join(", ")),
        ("group", spec.group),
        ("owner", spec.owner),
        ("since", human::moment(screen.now(), one.create_time)),
        ("waits until", human::at(one.queue_expire_time).map(human::second).unwrap_or_default()),
    ];
    table::facts(screen, facts)
}

fn planned(screen: &Screen, plan: &PlanAllocationResponse) -> String {
    let node = plan.verdicts.iter().find(|verdict| verdict.node == plan.node);
    let named = node.map(|node| or_dash(&node.node_name));
    let facts = vec![
        ("it would be", named.map(|name| format!("{name} ({})", plan.node)).unwrap_or_default()),
        ("it would be none", plan.refusal.clone()),
        ("nodes that fit", plan.fitting.to_string()),
    ];
    let reasons = plan.reasons.iter().map(|one| vec![one.nodes.to_string(), one.why_not.clone()]);
    let reasons = table::list(screen, &["NODES", "WHY NOT"], reasons);
    format!("{}\n\n{reasons}", table::facts(screen, facts))
}
