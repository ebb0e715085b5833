//! Allowed dependencies between crates. This table is the architecture; services/ARCHITECTURE.md explains it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::say;

/// A crate, and the crates of ours that it may use as a normal, dev or build dependency, renamed or not.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("durable-file", &[]),
    ("wire-dhcp", &[]),
    ("wire-tftp", &[]),
    ("wire-ipmi", &[]),
    ("wire-ironic", &[]),
    ("wire-config-drive", &[]),
    ("driver-info", &["domain", "keyspace", "wire-ironic"]),
    ("proto", &["domain"]),
    ("keyspace", &["domain", "durable-file"]),
    ("service-kit", &["domain"]),
    ("mesh", &["domain", "durable-file", "keyspace", "service-kit"]),
    ("power-service", &["domain", "proto", "keyspace", "mesh", "service-kit", "wire-ipmi"]),
    ("pxe-service", &["domain", "durable-file", "proto", "keyspace", "mesh", "service-kit", "wire-dhcp", "wire-tftp"]),
    ("storage-service", &["domain", "durable-file", "proto", "keyspace", "mesh", "service-kit"]),
    ("inventory-service", &["domain", "proto", "keyspace", "mesh", "service-kit", "wire-ironic", "wire-config-drive"]),
    ("api-auth", &["domain", "service-kit", "proto"]),
    (
        "scheduler-core",
        &[
            "domain",
            "driver-info",
            "proto",
            "keyspace",
            "mesh",
            "service-kit",
            "wire-ironic",
            "wire-config-drive",
            "scheduler-testing",
        ],
    ),
    ("scheduler-testing", &["domain", "keyspace", "mesh", "service-kit", "scheduler-core"]),
    ("fleet", &["domain", "proto", "keyspace", "mesh", "service-kit", "scheduler-core", "scheduler-testing"]),
    (
        "ironic-api",
        &[
            "domain",
            "driver-info",
            "proto",
            "keyspace",
            "mesh",
            "service-kit",
            "scheduler-core",
            "api-auth",
            "wire-ironic",
            "wire-config-drive",
        ],
    ),
    (
        "scheduler-service",
        &[
            "domain",
            "proto",
            "keyspace",
            "mesh",
            "service-kit",
            "scheduler-core",
            "fleet",
            "api-auth",
            "ironic-api",
            "wire-ironic",
            "scheduler-testing",
        ],
    ),
    ("authority", &["domain", "durable-file", "proto", "keyspace", "service-kit"]),
    ("agent", &["domain", "proto", "service-kit", "wire-config-drive"]),
    ("cli", &["domain", "durable-file", "proto", "service-kit"]),
    (
        "ironmesh",
        &[
            "authority",
            "domain",
            "durable-file",
            "keyspace",
            "mesh",
            "proto",
            "service-kit",
            "cli",
            "power-service",
            "pxe-service",
            "storage-service",
            "inventory-service",
            "scheduler-service",
        ],
    ),
    (
        "integration-tests",
        &[
            "domain",
            "proto",
            "keyspace",
            "mesh",
            "service-kit",
            "wire-dhcp",
            "wire-tftp",
            "wire-ipmi",
            "wire-ironic",
            "cli",
            "agent",
            "power-service",
            "pxe-service",
            "storage-service",
            "inventory-service",
            "scheduler-service",
            "virtual-rack",
        ],
    ),
    ("virtual-rack", &[]),
    ("xtask", &[]),
];

/// Crates without I/O.
const PURE: &[&str] = &["domain", "wire-dhcp", "wire-tftp", "wire-ipmi", "wire-ironic", "wire-config-drive"];
/// Crates that no pure crate may use directly.
const IMPURE: &[&str] = &["tokio", "tonic", "etcd-client", "rand", "getrandom", "socket2", "rustix", "nix", "reqwest"];
/// Crates that only dev-dependencies may name, so that no program contains them.
const FOR_TESTS: &[&str] = &["scheduler-testing", "integration-tests"];
/// Crates that may use etcd's client.
const ETCD: &[&str] = &["keyspace", "integration-tests"];

/// Checks every edge of the workspace.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cannot read the workspace")?;
    let wrongs = wrongs(&metadata);
    if !wrongs.is_empty() {
        bail!("{}", wrongs.join("\n"));
    }
    say(&format!("arrows: {} crates, all edges allowed", metadata.packages.len()));
    Ok(())
}

fn wrongs(metadata: &Metadata) -> Vec<String> {
    let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrongs = Vec::new();
    for package in &metadata.packages {
        match table.get(package.name.as_str()) {
            None => wrongs.push(format!("{} has no row in the table of arrows", package.name)),
            Some(allowed) => wrongs.extend(edges(package, allowed, &table)),
        }
        wrongs.extend(lints(package));
    }
    wrongs
}

fn edges(package: &Package, allowed: &[&str], table: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    let user = package.name.as_str();
    // `name` is the name of the package, also if the dependency is renamed.
    let used = package.dependencies.iter().map(|dependency| (dependency.name.as_str(), dependency.kind));
    used.filter(|(used, kind)| {
        // A crate may name itself as a dev-dependency, as keyspace does to test with its feature `testing`.
        let ours = table.contains_key(used) && !allowed.contains(used) && *used != user;
        let impure = PURE.contains(&user) && IMPURE.contains(used);
        let etcd = *used == "etcd-client" && !ETCD.contains(&user);
        let ships = FOR_TESTS.contains(used) && *kind != DependencyKind::Development;
        ours || impure || etcd || ships
    })
    .map(|(used, _)| format!("{user} must not use {used}"))
    .collect()
}

/// Names a crate that does not inherit the workspace's lints.
fn lints(package: &Package) -> Option<String> {
    let manifest = std::fs::read_to_string(&package.manifest_path).unwrap_or_default();
    let inherits = manifest.contains("[lints]\nworkspace = true");
    (!inherits).then(|| format!("{} has no `lints.workspace = true`", package.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependency: &str, kind: &str) -> Package {
        let manifest = format!("{}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_value(serde_json::json!({
            "name": name, "version": "0.1.0", "id": name, "targets": [], "features": {}, "manifest_path": manifest,
            "dependencies": [dependency_of(dependency, kind)],
        }))
        .unwrap()
    }

    fn dependency_of(name: &str, kind: &str) -> serde_json::Value {
        serde_json::json!({
            "name": name, "req": "*", "kind": kind, "optional": false, "uses_default_features": true,
            "features": [], "rename": "innocent",
        })
    }

    fn found(name: &str, dependency: &str, kind: &str) -> Vec<String> {
        let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
        edges(&package(name, dependency, kind), table.get(name).copied().unwrap_or_default(), &table)
    }

    #[test]
    fn a_forbidden_edge_is_found_in_dev_dependencies_and_under_another_name() {
        assert_eq!(found("wire-tftp", "tokio", "dev"), ["wire-tftp must not use tokio"]);
        assert_eq!(found("power-service", "pxe-service", "dev"), ["power-service must not use pxe-service"]);
        assert_eq!(found("cli", "keyspace", "dev"), ["cli must not use keyspace"]);
        assert_eq!(found("mesh", "etcd-client", "dev"), ["mesh must not use etcd-client"]);
        assert_eq!(found("mesh", "keyspace", "dev"), [] as [String; 0]);
    }

    #[test]
    fn a_crate_for_tests_is_only_a_dev_dependency() {
        assert_eq!(found("scheduler-service", "scheduler-testing", "dev"), [] as [String; 0]);
        assert_eq!(found("scheduler-core", "scheduler-testing", "dev"), [] as [String; 0]);
        let refused = ["scheduler-service must not use scheduler-testing"];
        assert_eq!(found("scheduler-service", "scheduler-testing", "normal"), refused);
        assert_eq!(found("scheduler-service", "scheduler-testing", "build"), refused);
    }
}
