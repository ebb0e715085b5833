//! Whatever is asked of nodes, in whatever order, and whoever is killed meanwhile: every move of every life is one that
//! the table has, and in the end nobody is stuck.

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

/// Nodes that are asked for things side by side.
const NODES: usize = 6;
/// How long all may take to come to rest when nobody asks for anything any more; a killed service is started again after
/// a pause that grows.
const REST: Duration = Duration::from_secs(60);
/// What can be asked, as Ironic's clients say it.
const ASKS: &[&str] = &[
    "manage", "provide", "inspect", "active", "rebuild", "deleted", "abort", "clean", "adopt", "rescue", "unrescue",
    "service", "unhold",
];
/// Who may die.
const MORTALS: [&str; 2] = ["scheduler-service-1", "power-service-1"];

#[test]
fn no_order_of_verbs_and_no_death_leads_a_node_astray_or_leaves_it_stuck() {
    lives("lives", 0x5eed, 300, 3).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_order_of_very_many_verbs_and_deaths_leads_a_node_astray_1() {
    lives("lives1", 1, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_order_of_very_many_verbs_and_deaths_leads_a_node_astray_2() {
    lives("lives2", 2, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_order_of_very_many_verbs_and_deaths_leads_a_node_astray_3() {
    lives("lives3", 3, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_order_of_very_many_verbs_and_deaths_leads_a_node_astray_4() {
    lives("lives4", 4, 2000, 12).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_order_of_very_many_verbs_and_deaths_leads_a_node_astray_5() {
    lives("lives5", 5, 2000, 12).unwrap();
}

/// Asks for `asks` things drawn by `seed`, and kills somebody `deaths` times in between.
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
                // Who has just died may not be back yet.
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
                // It died, and is started again.
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

/// What is asked of whom: one time in three anything of anybody; otherwise what a node can be asked for where it is, and
/// every other time of those of one that nobody is at work on. However long the work takes, much is taken and much refused.
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

/// One that nobody is at work on, once there is one; nothing where a death takes long to be made good.
async fn idle(rest: &Rest<'_>, seed: &mut u64) -> Result<Option<usize>> {
    let until = Instant::now() + REST;
    while Instant::now() < until {
        // After many deaths the scheduler is started again later than is asked for.
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
    // One in four can not be made and fails, one holds all after it, and one has the machine switched.
    let steps: &[&str] = match draw(seed) % 4 {
        0 => &["nobody_knows"],
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

/// Waits until nobody is at work.
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

/// A node that failed, or that a person holds, still has the state in view that it was to come to.
fn is_failed(node: &Value) -> bool {
    let rests = |state: &str| state.ends_with("failed") || state.ends_with("hold") || state == "error";
    node["provision_state"].as_str().is_some_and(rests)
}

/// How often a life moved; each time as the table has it.
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

/// Every move that the table has, from where every life begins; and what may be asked in each of Ironic's states.
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
