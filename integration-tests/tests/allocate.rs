//! Allocations over the gRPC API: waiting ones get nodes that become free, and a group is placed apart.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use integration_tests::{
    fleet::Fleet,
    ironic::Rest,
    mesh::{self, Api, Options},
};
use proto::api::v1::{
    Allocation, AllocationSpec, AllocationState, AntiAffinity, CreateAllocationRequest, DeleteAllocationRequest,
    GetAllocationRequest, PlanAllocationRequest,
};
use proto::convert::time::wire_duration;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// Maximum duration of one step.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

fn two() -> Options {
    Options { schedulers: 2, ..Options::default() }
}

/// Makes fake nodes available: `f1`, `f2` and so on, two in each power domain.
async fn available(fleet: &Fleet, count: usize) -> Result<()> {
    let rest = Rest::new(fleet.mesh())?;
    for number in 1..=count {
        let (name, domain) = (format!("f{number}"), format!("p{}", number.div_ceil(2)));
        let node = json!({
            "driver": "fake-hardware", "name": name, "resource_class": "small", "properties": {"power_domain": domain},
        });
        rest.ask("POST", "nodes", Some(node)).await?;
        for (verb, state) in [("manage", "manageable"), ("provide", "available")] {
            rest.provision(&name, verb).await?;
            rest.reach(&name, state).await?;
        }
    }
    Ok(())
}

async fn allocate(api: &Api, name: &str, spec: AllocationSpec, queue: Duration) -> Result<Allocation> {
    let queue_timeout = Some(wire_duration(queue));
    let request = CreateAllocationRequest { name: name.to_owned(), spec: Some(spec), queue_timeout };
    let answer = api.allocations.clone().create_allocation(request).await?.into_inner();
    answer.allocation.context("no allocation")
}

async fn get(api: &Api, name: &str) -> Result<Allocation> {
    let request = GetAllocationRequest { allocation: name.to_owned() };
    api.allocations.clone().get_allocation(request).await?.into_inner().allocation.context("no allocation")
}

async fn give_back(api: &Api, name: &str) -> Result<()> {
    let request = DeleteAllocationRequest { allocation: name.to_owned(), ..Default::default() };
    Ok(api.allocations.clone().delete_allocation(request).await.map(drop)?)
}

async fn gets_a_node(api: &Api, name: &str) -> Result<Allocation> {
    let waiting = async {
        loop {
            match get(api, name).await {
                Ok(one) if one.state() == AllocationState::Active => return one,
                Ok(_) | Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    };
    timeout(WAIT_TIMEOUT, waiting).await.with_context(|| format!("{name} gets no node"))
}

fn small() -> AllocationSpec {
    AllocationSpec { resource_class: "small".to_owned(), ..AllocationSpec::default() }
}

#[test]
fn the_oldest_waiting_allocation_gets_a_free_node_although_the_leader_is_killed() {
    let fleet = Fleet::up("aqueue", 0, &two()).unwrap();
    let waited = fleet.run(async |mut api, fleet| {
        available(fleet, 1).await?;
        let held = allocate(&api, "held", small(), Duration::ZERO).await?;
        ensure!(held.state() == AllocationState::Active && held.node_name == "f1", "{held:#?}");
        let long = Duration::from_secs(3600);
        let (first, second) =
            (allocate(&api, "first", small(), long).await?, allocate(&api, "second", small(), long).await?);
        ensure!((first.state(), first.place_in_queue) == (AllocationState::Allocating, 1), "{first:#?}");
        ensure!(second.place_in_queue == 2 && second.reason.contains("no available nodes"), "{second:#?}");
        // An allocation that does not wait is refused at once, as Ironic refuses it.
        let rest = Rest::new(fleet.mesh())?;
        let refused = rest.ask("POST", "allocations", Some(json!({"resource_class": "small", "name": "now"}))).await?;
        ensure!(refused["state"] == "allocating" && refused.get("placement").is_none(), "{refused}");
        let refused = rest.ask("GET", "allocations/now", None).await?;
        ensure!(refused["state"] == "error", "{refused}");
        let name = fleet.leading_scheduler(&mut api).await?;
        let other = fleet.mesh().api_of(if name.ends_with('1') { 2 } else { 1 })?;
        fleet.mesh().service(&name)?.signal(Signal::KILL)?;
        give_back(&other, "held").await?;
        let first = gets_a_node(&other, "first").await?;
        ensure!(first.node_name == "f1" && first.place_in_queue == 0, "{first:#?}");
        let second = get(&other, "second").await?;
        ensure!((second.state(), second.place_in_queue) == (AllocationState::Allocating, 1), "{second:#?}");
        let short = allocate(&other, "short", small(), Duration::from_millis(300)).await?;
        // The call may take longer than the allocation may wait.
        let waits = short.state() == AllocationState::Allocating && short.place_in_queue == 2;
        ensure!(waits || short.state() == AllocationState::Error, "{short:#?}");
        give_back(&other, "first").await?;
        gets_a_node(&other, "second").await?;
        let failing = async {
            while get(&other, "short").await?.state() != AllocationState::Error {
                sleep(POLL_INTERVAL).await;
            }
            anyhow::Ok(())
        };
        timeout(WAIT_TIMEOUT, failing).await.context("it waits for ever")?
    });
    waited.unwrap();
}

#[test]
fn a_group_is_placed_apart_although_all_are_requested_at_once() {
    let fleet = Fleet::up("aapart", 0, &two()).unwrap();
    let kept = fleet.run(async |api, fleet| {
        available(fleet, 4).await?;
        let (first, second) = (fleet.mesh().api_of(1)?, fleet.mesh().api_of(2)?);
        let spec =
            AllocationSpec { group: "db".to_owned(), anti_affinity: AntiAffinity::PowerDomain.into(), ..small() };
        let asked = (0..6).map(|number| {
            let (api, spec) = (if number % 2 == 0 { &first } else { &second }, spec.clone());
            async move { allocate(api, &format!("db-{number}"), spec, Duration::ZERO).await }
        });
        let all = join_all(asked).await.into_iter().collect::<Result<Vec<_>>>()?;
        let mut nodes = Vec::new();
        for one in &all {
            let now = get(&api, &one.name).await?;
            match now.state() {
                AllocationState::Active => nodes.push(now.node_name),
                AllocationState::Error => ensure!(now.reason.contains("apart from those of the group db"), "{now:#?}"),
                AllocationState::Allocating | AllocationState::Unspecified => ensure!(false, "{now:#?}"),
            }
        }
        let domain = |name: &String| name.trim_start_matches('f').parse::<usize>().map(|number| number.div_ceil(2));
        let mut domains = nodes.iter().map(domain).collect::<Result<Vec<_>, _>>()?;
        domains.sort_unstable();
        ensure!(domains == [1, 2], "{nodes:?}");
        let request = PlanAllocationRequest { spec: Some(spec.clone()), ..Default::default() };
        let plan = api.allocations.clone().plan_allocation(request).await?.into_inner();
        ensure!(plan.node.is_empty() && plan.fitting == 0 && plan.verdicts.len() == 4, "{plan:#?}");
        let whys: Vec<_> = plan.reasons.iter().map(|one| (one.nodes, one.why_not.as_str())).collect();
        ensure!(whys.first() == Some(&(2, "it has an instance")), "{whys:?}");
        ensure!(whys.iter().any(|(_, why)| why.contains("in its power domain, p1")), "{whys:?}");
        // The same from the command line; an allocation outside the group fits.
        let dry = |words: &[&str]| {
            let context = fleet.data().join("client.toml");
            let mut command = std::process::Command::new(mesh::program()?);
            command.arg("--context").arg(context).args(["allocate", "--resource-class", "small", "--dry-run"]);
            let ended = command.args(words).args(["-o", "json"]).stdin(Stdio::null()).output()?;
            let plan: Value = serde_json::from_slice(&ended.stdout)?;
            anyhow::Ok((ended.status.code(), plan))
        };
        let (code, plan) = dry(&["--group", "db", "--apart", "power-domain"])?;
        ensure!(code == Some(1) && plan["node"].is_null() && plan["fitting"] == 0, "{plan}");
        let (code, plan) = dry(&[])?;
        ensure!(code == Some(0) && plan["fitting"] == 2 && plan["node"].is_string(), "{plan}");
        // After the group's nodes are released, it can be placed again.
        for one in &all {
            give_back(&api, &one.name).await?;
        }
        let again = allocate(&api, "db", spec, Duration::ZERO).await?;
        ensure!(again.state() == AllocationState::Active, "{again:#?}");
        Ok(())
    });
    kept.unwrap();
}
