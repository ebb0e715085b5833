//! Who calls whom at run time: every use of a generated gRPC client, held against `services/calls.txt`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::say;

/// The approved list.
const GOLDEN: &str = "services/calls.txt";
/// Which crate answers a package's services.
const ANSWERS: &[(&str, &str)] = &[
    ("ironmesh.power.v1", "power-service"),
    ("ironmesh.pxe.v1", "pxe-service"),
    ("ironmesh.storage.v1", "storage-service"),
    ("ironmesh.inventory.v1", "inventory-service"),
    ("ironmesh.agent.v1", "inventory-service"),
    ("ironmesh.scheduler.v1", "scheduler-service"),
    ("ironmesh.api.v1", "scheduler-service"),
];

/// A crate, and the service that it calls.
type Call = (String, String);

/// Checks that the calls are those that were approved, or approves those that there are.
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
        bail!("{lines}\nwhere that is right, say why in services/ARCHITECTURE.md, and: cargo xtask calls --approve");
    }
    say(&format!("calls: {} edges, as {GOLDEN} has them", calls.len()));
    Ok(())
}

/// The module that tonic generates a service's client in, and the service's full name.
fn services(protos: &Path) -> Result<BTreeMap<String, String>> {
    let mut services = BTreeMap::new();
    for file in files(protos, "proto")? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let package =
            text.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';')).unwrap_or_default();
        for name in text.lines().filter_map(|line| line.strip_prefix("service ")?.split_whitespace().next()) {
            services.insert(format!("{}_client", snake(name)), format!("{package}.{name}"));
        }
    }
    Ok(services)
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

fn calls(crates: &Path, services: &BTreeMap<String, String>) -> Result<BTreeSet<Call>> {
    let mut calls = BTreeSet::new();
    for folder in fs::read_dir(crates).context("services")? {
        let folder = folder?;
        let source = folder.path().join("src");
        if !source.is_dir() {
            continue;
        }
        for file in files(&source, "rs")? {
            // What a crate's own tests call is no part of the system.
            if file.iter().any(|part| part == "tests" || part == "tests.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let from = folder.file_name().to_string_lossy().into_owned();
            calls.extend(words.filter_map(|word| Some((from.clone(), services.get(word)?.clone()))));
        }
    }
    Ok(calls)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Replicas of one service may call each other; beyond that nobody is called back, whatever the way.
fn acyclic(calls: &BTreeSet<Call>) -> Result<()> {
    let answers = |service: &str| {
        let package = service.rsplit_once('.').map(|(package, _)| package);
        ANSWERS.iter().find(|(known, _)| Some(*known) == package).map(|(_, answers)| (*answers).to_owned())
    };
    let mut edges: BTreeSet<(String, String)> = BTreeSet::new();
    for (from, service) in calls {
        let to = answers(service).with_context(|| format!("nobody is said to answer {service}"))?;
        if *from != to {
            edges.insert((from.clone(), to));
        }
    }
    // Whoever calls nobody that is left is taken away; on a circle somebody always calls somebody.
    loop {
        let callers: BTreeSet<String> = edges.iter().map(|(from, _)| from.clone()).collect();
        let before = edges.len();
        edges.retain(|(_, to)| callers.contains(to));
        if edges.is_empty() {
            return Ok(());
        }
        if edges.len() == before {
            bail!("these call each other in a circle: {edges:?}");
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
    fn a_leaf_that_calls_back_is_a_circle_and_replicas_that_talk_are_none() {
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
