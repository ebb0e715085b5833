//! Calls between services: every use of a generated gRPC client, compared with `services/calls.txt`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use crate::{files, say};

/// The approved list.
pub(crate) const GOLDEN: &str = "services/calls.txt";
/// The crate that answers a package's services.
const ANSWERS: &[(&str, &str)] = &[
    ("ironmesh.power.v1", "power-service"),
    ("ironmesh.pxe.v1", "pxe-service"),
    ("ironmesh.storage.v1", "storage-service"),
    ("ironmesh.inventory.v1", "inventory-service"),
    ("ironmesh.agent.v1", "inventory-service"),
    ("ironmesh.scheduler.v1", "scheduler-service"),
    ("ironmesh.api.v1", "scheduler-service"),
    ("ironmesh.authority.v1", "ironmesh"),
];

/// Libraries that are parts of one process, and that process.
const PARTS: &[(&str, &str)] =
    &[("scheduler-core", "scheduler-service"), ("ironic-api", "scheduler-service"), ("authority", "ironmesh")];

/// A process, and a service that it calls.
type Call = (String, String);

/// Fails if the calls differ from the approved ones; with `approve`, approves the present ones.
pub(crate) fn check(approve: bool) -> Result<()> {
    let services = services(Path::new("proto/ironmesh"))?;
    let calls = calls(Path::new("services"), &services)?;
    acyclic(&calls)?;
    let text: String = calls.iter().map(|(from, to)| format!("{from} -> {to}\n")).collect();
    if approve {
        fs::write(GOLDEN, &text).context(GOLDEN)?;
    }
    let approved = fs::read_to_string(GOLDEN).with_context(|| format!("{GOLDEN}: cargo xtask calls --approve"))?;
    let (now, before): (BTreeSet<_>, BTreeSet<_>) = (text.lines().collect(), approved.lines().collect());
    let new: Vec<_> = now.difference(&before).map(|line| format!("new: {line}")).collect();
    let gone: Vec<_> = before.difference(&now).map(|line| format!("gone: {line}")).collect();
    if !new.is_empty() || !gone.is_empty() {
        let lines = [new, gone].concat().join("\n");
        bail!("{lines}\nif this is right, add a decision to services/decisions/ and run: cargo xtask calls --approve");
    }
    say(&format!("calls: {} edges, as {GOLDEN} has them", calls.len()));
    Ok(())
}

/// Full names of the services, by the module that tonic generates the client in.
fn services(protos: &Path) -> Result<BTreeMap<String, String>> {
    let mut services = BTreeMap::new();
    for file in files::below(protos, &["proto"])? {
        let text = files::read(&file)?;
        let package = package(&text);
        for name in text.lines().filter_map(|line| line.strip_prefix("service ")?.split_whitespace().next()) {
            services.insert(format!("{}_client", snake(name)), format!("{package}.{name}"));
        }
    }
    Ok(services)
}

/// The package of a proto file.
pub(crate) fn package(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';')).unwrap_or_default()
}

/// The packages whose services a crate answers.
pub(crate) fn packages(answers: &str) -> Vec<&'static str> {
    ANSWERS.iter().filter(|(_, known)| *known == answers).map(|(package, _)| *package).collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The process that a crate is part of: itself, unless it is a library of one.
fn process(name: &str) -> &str {
    PARTS.iter().find(|(part, _)| *part == name).map_or(name, |(_, process)| process)
}

fn calls(crates: &Path, services: &BTreeMap<String, String>) -> Result<BTreeSet<Call>> {
    let mut calls = BTreeSet::new();
    for folder in fs::read_dir(crates).context("services")? {
        let folder = folder?;
        let source = folder.path().join("src");
        if !source.is_dir() {
            continue;
        }
        for file in files::below(&source, &["rs"])? {
            // Calls of a crate's own tests are not part of the system.
            if file.iter().any(|part| part == "tests" || part == "tests.rs") {
                continue;
            }
            let text = files::read(&file)?;
            let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let from = process(&folder.file_name().to_string_lossy()).to_owned();
            calls.extend(words.filter_map(|word| Some((from.clone(), services.get(word)?.clone()))));
        }
    }
    Ok(calls)
}

/// Fails if crates call each other in a circle. Replicas of one service may call each other.
fn acyclic(calls: &BTreeSet<Call>) -> Result<()> {
    let answers = |service: &str| {
        let package = service.rsplit_once('.').map(|(package, _)| package);
        ANSWERS.iter().find(|(known, _)| Some(*known) == package).map(|(_, answers)| (*answers).to_owned())
    };
    let mut edges: BTreeSet<(String, String)> = BTreeSet::new();
    for (from, service) in calls {
        let to = answers(service).with_context(|| format!("no crate is known to answer {service}"))?;
        if *from != to {
            edges.insert((from.clone(), to));
        }
    }
    // Repeatedly removes edges to crates that call nothing. The edges of a circle are never removed.
    loop {
        let callers: BTreeSet<String> = edges.iter().map(|(from, _)| from.clone()).collect();
        let before = edges.len();
        edges.retain(|(_, to)| callers.contains(to));
        if edges.is_empty() {
            return Ok(());
        }
        if edges.len() == before {
            bail!("these crates call each other in a circle: {edges:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Call {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn a_client_is_found_by_its_generated_modules_name() {
        assert_eq!(snake("InventoryService"), "inventory_service");
    }

    #[test]
    fn a_leaf_that_calls_back_is_a_circle_and_replicas_that_call_each_other_are_not() {
        let mut calls = BTreeSet::from([
            edge("cli", "ironmesh.api.v1.NodeService"),
            edge("scheduler-service", "ironmesh.power.v1.PowerService"),
            edge("scheduler-service", "ironmesh.scheduler.v1.SchedulerService"),
        ]);
        acyclic(&calls).unwrap();
        calls.insert(edge("power-service", "ironmesh.api.v1.NodeService"));
        assert!(acyclic(&calls).unwrap_err().to_string().contains("circle"));
    }
}
