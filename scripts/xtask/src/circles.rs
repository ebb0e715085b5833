//! Import circles between the modules of a crate.
//!
//! A module may use its ancestors and its descendants: a parent and its children are written and read together. Between
//! them, at every level, the subtrees of siblings must form no circle. So an edge from `a::x` to `b::y` counts as an edge
//! from `a` to `b` among the children of their lowest common ancestor, and each of these small graphs must be acyclic.
//! Names that a module re-exports are followed to where they are defined, so a re-export in a parent hides no edge.

mod graph;
mod known;
mod references;
mod tree;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::MetadataCommand;

use self::{
    graph::Circle,
    known::{Known, Verdict},
    tree::Tree,
};
use crate::say;

/// Circles that are still to be removed.
const KNOWN: &str = "scripts/xtask/circles-known.txt";

/// Fails if any crate has an import circle, and prints each with the location of one edge per pair of modules.
pub(crate) fn check() -> Result<()> {
    let circles = find()?;
    for circle in &circles {
        say(&circle.report());
    }
    if !circles.is_empty() {
        bail!("{} import circles", circles.len());
    }
    say("circles: none");
    Ok(())
}

/// Fails if there is a circle that is not on the list of known ones, or an entry of the list that no longer holds.
pub(crate) fn check_known() -> Result<()> {
    let circles = find()?;
    let known = Known::parse(&fs::read_to_string(KNOWN).unwrap_or_default());
    let Verdict { new, stale } = known.compare(&circles);
    for circle in &new {
        say(&circle.report());
    }
    if !new.is_empty() {
        bail!("{} new import circles", new.len());
    }
    if !stale.is_empty() {
        bail!("{}\nno longer exist as {KNOWN} has them; run: cargo xtask circles --shrink", stale.join("\n"));
    }
    say(&format!("circles: {}, as {KNOWN} has them", circles.len()));
    Ok(())
}

/// Rewrites the list of known circles. Refuses to add one.
pub(crate) fn shrink() -> Result<()> {
    let circles = find()?;
    let known = Known::parse(&fs::read_to_string(KNOWN).unwrap_or_default());
    let new = known.compare(&circles).new;
    for circle in &new {
        say(&circle.report());
    }
    if !new.is_empty() {
        bail!("{} new import circles; the list only shrinks", new.len());
    }
    fs::write(KNOWN, known::render(&circles)).context(KNOWN)?;
    say(&format!("circles: {} are left in {KNOWN}", circles.len()));
    Ok(())
}

/// All circles of all crates of the workspace, libraries and binaries alike.
fn find() -> Result<Vec<Circle>> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cannot read the workspace")?;
    let mut circles = Vec::new();
    for package in &metadata.packages {
        for target in &package.targets {
            let root = target.src_path.as_std_path();
            // Test, example and bench targets, and a library's `main.rs`, have no modules worth a check, but cost nothing.
            let tree = Tree::load(root, &|path: &Path| fs::read_to_string(path).ok())
                .with_context(|| format!("cannot read the modules of {root:?}"))?;
            circles.extend(graph::circles(&package.name, &tree));
        }
    }
    circles.sort_by_key(Circle::name);
    circles.dedup_by_key(|circle| circle.name());
    Ok(circles)
}
