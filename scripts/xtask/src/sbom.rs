//! Software bill of materials of the shipped programs, in CycloneDX 1.6 (ECMA-424, JSON).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

use crate::{files, say};

/// Packages of the programs that are shipped.
const PROGRAMS: [&str; 2] = ["ironmesh", "agent"];
/// The platform that they are built for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Prints the bill of materials. The output depends on the sources and `Cargo.lock` alone.
pub(crate) fn print() -> Result<()> {
    let options = ["--locked", "--filter-platform", PLATFORM].map(str::to_owned);
    let metadata = MetadataCommand::new().other_options(options).exec().context("cannot read the workspace")?;
    let bill = bill(&metadata, &checksums(&files::read("Cargo.lock")?))?;
    say(&serde_json::to_string_pretty(&bill)?);
    Ok(())
}

fn bill(metadata: &Metadata, checksums: &BTreeMap<(String, String), String>) -> Result<Value> {
    let edges = edges(metadata)?;
    let packages: BTreeMap<&PackageId, &Package> = metadata.packages.iter().map(|one| (&one.id, one)).collect();
    let mut used = BTreeSet::new();
    let roots = metadata.packages.iter().filter(|package| PROGRAMS.contains(&package.name.as_str()));
    let mut due: Vec<&PackageId> = roots.map(|package| &package.id).collect();
    while let Some(id) = due.pop() {
        if used.insert(id) {
            due.extend(edges.get(id).into_iter().flatten());
        }
    }
    let of = |id: &PackageId| packages.get(id).copied().with_context(|| format!("no package {id}"));
    let (mut components, mut dependencies) = (BTreeMap::new(), BTreeMap::new());
    for id in used {
        let package = of(id)?;
        let needs = edges.get(id).into_iter().flatten().map(|needed| of(needed).map(reference));
        let needs = needs.collect::<Result<BTreeSet<_>>>()?;
        dependencies.insert(reference(package), json!({"ref": reference(package), "dependsOn": needs}));
        components.insert(reference(package), component(package, checksums));
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "application", "bom-ref": "ironmesh", "name": "ironmesh", "version": env!("CARGO_PKG_VERSION"),
        }},
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies.into_values().collect::<Vec<_>>(),
    }))
}

/// The packages that each package needs at run time or for its build.
fn edges(metadata: &Metadata) -> Result<BTreeMap<&PackageId, BTreeSet<&PackageId>>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved no dependencies")?;
    let is_shipped = |kind: DependencyKind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
    let edges = resolve.nodes.iter().map(|node| {
        let needed = node.deps.iter().filter(|needed| needed.dep_kinds.iter().any(|info| is_shipped(info.kind)));
        (&node.id, needed.map(|needed| &needed.pkg).collect())
    });
    Ok(edges.collect())
}

/// Package URL of a crate (purl specification, type `cargo`).
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, checksums: &BTreeMap<(String, String), String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name.as_str(),
        "version": package.version.to_string(),
        "purl": reference(package),
    });
    if let Some(license) = &package.license {
        // Old manifests separate alternatives by a slash (Cargo reference, `package.license`).
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(checksum) = checksums.get(&(package.name.to_string(), package.version.to_string())) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

/// The SHA-256 of each package of a lock file.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
        line.strip_suffix('"').map(str::to_owned)
    };
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .filter_map(|block| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_has_what_is_shipped_with_checksums_and_nothing_of_the_tests() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut command = MetadataCommand::new();
        command
            .current_dir(root)
            .other_options(["--locked", "--offline", "--filter-platform", PLATFORM].map(str::to_owned));
        let lock = std::fs::read_to_string(format!("{root}/Cargo.lock")).unwrap();
        let bill = bill(&command.exec().unwrap(), &checksums(&lock)).unwrap();
        let components = bill["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|component| component["name"] == name);
        let tokio = named("tokio").unwrap();
        assert_eq!(tokio["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert_eq!(tokio["licenses"][0]["expression"], "MIT");
        assert!(named("ironmesh").is_some() && named("agent").is_some() && named("prost-build").is_some());
        for test in ["proptest", "integration-tests", "virtual-rack", "scheduler-testing", "xtask"] {
            assert!(named(test).is_none(), "{test}");
        }
        let known: BTreeSet<_> = components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
        for dependency in bill["dependencies"].as_array().unwrap() {
            for needed in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(needed.as_str().unwrap()), "{dependency}");
            }
        }
        // Alternatives are written as an SPDX expression.
        assert!(!bill.to_string().contains("MIT/Apache"));
    }
}
