//! Random verbs, in random order, with services killed meanwhile: every transition is in the state table, and in the
//! end no node is stuck.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use domain::provision::{Event, NodeFacts, State, Verb, step};
use integration_tests::{
    fault::{draw, tell},
    fleet::Fleet,
    ironic::Rest,
    mesh::Options,
    record::{Recorder, Write},
};
use keyspace::value::Life;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Number of nodes.
const NODES: usize = 6;
/// Maximum time for all nodes to reach a stable state after the last request; a killed service is restarted after a growing
/// pause.
const REST: Duration = Duration::from_secs(60);
/// Verbs, as Ironic's clients send them.
const ASKS: &[&str] = &[
    "manage", "provide", "inspect", "active", "rebuild", "deleted", "abort", "clean", "adopt", "rescue", "unrescue",
    "service", "unhold",
];
/// Services that may be killed.
const MORTALS: [&str; 2] = ["scheduler-service-1", "power-service-1"];

#[test]
fn no_sequence_of_verbs_and_crashes_leaves_a_node_stuck_or_in_a_wrong_state() {
    lives("lives", 0x5eed, 300, 3).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn very_many_verbs_and_crashes_leave_no_node_in_a_wrong_state_1() {
    lives("lives1", 1, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn very_many_verbs_and_crashes_leave_no_node_in_a_wrong_state_2() {
    lives("lives2", 2, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn very_many_verbs_and_crashes_leave_no_node_in_a_wrong_state_3() {
    lives("lives3", 3, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn very_many_verbs_and_crashes_leave_no_node_in_a_wrong_state_4() {
    lives("lives4", 4, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn very_many_verbs_and_crashes_leave_no_node_in_a_wrong_state_5() {
    lives("lives5", 5, 2000, 12).unwrap();
}

/// Sends `asks` requests drawn by `seed`, and kills services `deaths` times in between.
fn lives(tag: &str, mut seed: u64, asks: usize, deaths: usize) -> Result<()> {
    let fleet = Fleet::up(tag, 0, &Options::default())?;
    fleet.run(async |_, fleet| {
        let (rest, recorder) = (Rest::new(fleet.mesh())?, Recorder::begin(&fleet.data()).await?);
        for number in 0..NODES {
            let node = json!({"driver": "fake-hardware", "name": format!("f{number}")});
            rest.ask("POST", "nodes", Some(node)).await?;
        }
        let (may, mut taken, mut refused) = (table().1, 0, 0);
        for ask in 0..asks {
            if deaths > 0 && ask % (asks / deaths) == asks / deaths / 2 {
                let mortal = MORTALS[usize::try_from(draw(&mut seed))? % MORTALS.len()];
                // A service that was killed may not be back yet.
                if let Ok(service) = fleet.mesh().service(mortal) {
                    service.signal(Signal::KILL)?;
                }
            }
            let (node, target) = question(&rest, &may, &mut seed).await?;
            let body = body(&target, &mut seed);
            match rest.status("PUT", &format!("nodes/f{node}/states/provision"), Some(body)).await {
                Ok(202) => taken += 1,
                Ok(400 | 409 | 503) => refused += 1,
                Ok(status) => anyhow::bail!("{target} was answered with {status}"),
                // It was killed, and is restarted.
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
        at_rest(&rest).await?;
        recorder.catches_up().await?;
        let moves = check(&recorder.since(0))?;
        tell(format_args!("{taken} verbs taken, {refused} refused, {moves} moves, each of the table"));
        ensure!(
            taken * 6 > asks && refused > 0 && moves > taken,
            "next to nothing happened: {taken} taken, {moves} moves"
        );
        Ok(())
    })
}

/// The next request: one time in three any verb for any node; otherwise a verb that fits the node's state, every other
/// time for a node without an operation. So however long the work takes, many requests are accepted and many refused.
async fn question(rest: &Rest<'_>, may: &BTreeMap<String, Vec<String>>, seed: &mut u64) -> Result<(usize, String)> {
    let any = |all: &[String], seed: &mut u64| {
        let at = usize::try_from(draw(seed)).unwrap_or_default() % all.len().max(1);
        all.get(at).cloned()
    };
    let how = draw(seed) % 3;
    let idle = if how == 0 { idle(rest, seed).await? } else { None };
    let node = idle.map_or_else(|| usize::try_from(draw(seed)).map(|drawn| drawn % NODES), Ok)?;
    let state = rest.ask("GET", &format!("nodes/f{node}?fields=provision_state"), None).await.unwrap_or_default();
    let fits = state["provision_state"].as_str().and_then(|state| may.get(state)).filter(|_| how < 2);
    let all: Vec<String> = ASKS.iter().map(|ask| (*ask).to_owned()).collect();
    let target = fits.and_then(|fits| any(fits, seed)).or_else(|| any(&all, seed));
    Ok((node, target.unwrap_or_default()))
}

/// A node without an operation, once there is one; `None` if a restart takes too long.
async fn idle(rest: &Rest<'_>, seed: &mut u64) -> Result<Option<usize>> {
    let until = Instant::now() + REST;
    while Instant::now() < until {
        // After many crashes the scheduler is restarted later than the requests need.
        let all = rest.ask("GET", "nodes?fields=target_provision_state,provision_state,reservation", None).await;
        let Ok(all) = all else { continue };
        let all = all["nodes"].as_array().context("no nodes")?;
        let rests = |node: &Value| node["target_provision_state"].is_null() || is_failed(node);
        let idle = all.iter().enumerate().filter(|(_, node)| rests(node) && node["reservation"].is_null());
        let idle: Vec<usize> = idle.map(|(number, _)| number).collect();
        if !idle.is_empty() {
            return Ok(idle.get(usize::try_from(draw(seed))? % idle.len()).copied());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(None)
}

fn body(target: &str, seed: &mut u64) -> Value {
    // One step in four fails, one holds everything after it, and one switches the machine.
    let steps: &[&str] = match draw(seed) % 4 {
        0 => &["unknown_step"],
        1 => &["erase_devices", "hold", "erase_devices"],
        2 => &["power_on", "wait", "erase_devices", "power_off"],
        _ => &["erase_devices"],
    };
    let steps: Vec<Value> = steps.iter().map(|step| json!({"interface": "deploy", "step": step})).collect();
    match target {
        "clean" => json!({"target": target, "clean_steps": steps}),
        "service" => json!({"target": target, "service_steps": steps}),
        "rescue" => json!({"target": target, "rescue_password": "secret"}),
        _ => json!({"target": target}),
    }
}

/// Waits until no node has an operation.
async fn at_rest(rest: &Rest<'_>) -> Result<()> {
    let until = Instant::now() + REST;
    loop {
        let all = rest.ask("GET", "nodes?fields=name,provision_state,target_provision_state,reservation", None).await?;
        let all = all["nodes"].as_array().context("no nodes")?.clone();
        let busy: Vec<_> = all.iter().filter(|node| !node["target_provision_state"].is_null()).collect();
        let moves: Vec<_> = busy.iter().filter(|node| !is_failed(node)).collect();
        if moves.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "stuck: {moves:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// A node that failed or is held still has its target state.
fn is_failed(node: &Value) -> bool {
    let rests = |state: &str| state.ends_with("failed") || state.ends_with("hold") || state == "error";
    node["provision_state"].as_str().is_some_and(rests)
}

/// Counts the transitions; each is in the table.
fn check(writes: &[Write]) -> Result<usize> {
    let edges = table().0;
    let mut moves = 0;
    let paths: BTreeSet<&str> =
        writes.iter().map(|write| write.path.as_str()).filter(|path| path.ends_with("/life")).collect();
    ensure!(paths.len() == NODES, "{} lives", paths.len());
    for path in paths {
        let mut before = State::Enroll;
        for life in writes.iter().filter(|write| write.path == path).filter_map(Write::read::<Life>) {
            let now = life.state;
            ensure!(now == before || edges.contains(&edge(before, now)), "{path} went from {before} to {now}");
            moves += usize::from(now != before);
            before = now;
        }
    }
    Ok(moves)
}

fn edge(from: State, to: State) -> String {
    format!("{from:?} -> {to:?}")
}

/// All transitions of the table, from the initial state; and the verbs of each of Ironic's states.
fn table() -> (BTreeSet<String>, BTreeMap<String, Vec<String>>) {
    let facts = (0..8).map(|bits| NodeFacts {
        cleans_before_use: bits & 1 > 0,
        cleans_after_use: bits & 2 > 0,
        retired: bits & 4 > 0,
        ..NodeFacts::default()
    });
    let facts: Vec<NodeFacts> = facts.collect();
    let (mut edges, mut known, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![State::Enroll]);
    let mut may = BTreeMap::<String, Vec<String>>::new();
    while let Some(from) = open.pop() {
        if !known.insert(format!("{from:?}")) {
            continue;
        }
        may.entry(from.ironic_name().to_owned()).or_default().extend(from.verbs().iter().map(Verb::to_string));
        for event in Event::all() {
            for (to, _) in facts.iter().filter_map(|facts| step(from, event, *facts).ok()) {
                edges.insert(edge(from, to));
                open.push(to);
            }
        }
    }
    (edges, may)
}
