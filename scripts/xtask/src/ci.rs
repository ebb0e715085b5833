//! Everything that a change must pass, the same on a laptop and in CI.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{arrows, calls, circles, docs, programs, proto, say, size, words};

/// Extent of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The checks that every change must pass.
    Usual,
    /// All checks, those that take long included.
    All,
}

/// Runs the checks, and stops at the first failure.
pub(crate) fn run(extent: Extent) -> Result<()> {
    step("fmt", &["fmt", "--all", "--check"], &[])?;
    arrows::check()?;
    circles::check_known()?;
    calls::check(false)?;
    proto::check(false)?;
    size::check()?;
    words::check()?;
    programs::check()?;
    docs::run(docs::Mode::Check)?;
    step("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"], &[])?;
    step("deny", &["deny", "--offline", "--log-level", "error", "check", "bans", "licenses", "sources"], &[])?;
    advisories()?;
    let docs = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"];
    step("doc", &docs, &[("RUSTDOCFLAGS", "-D warnings")])?;
    // Tests of whole racks run the shipped binary and the virtual rack.
    step("build", &["build", "--locked", "--quiet", "--package", "ironmesh", "--package", "virtual-rack"], &[])?;
    let mut tests = vec!["nextest", "run", "--workspace", "--locked", "--profile", "ci"];
    if extent == Extent::All {
        tests.extend(["--run-ignored", "all"]);
        // The tests of --all start a thousand meshes; a release build starts much faster.
        step("release", &["build", "--release", "--locked", "--quiet", "--package", "ironmesh"], &[])?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/ironmesh");
        let program = program.to_str().context("the path of the release build is not UTF-8")?;
        step("nextest", &tests, &[("IRONMESH_PROGRAM", program)])?;
    } else {
        step("nextest", &tests, &[])?;
    }
    step("doctests", &["test", "--workspace", "--doc", "--locked", "--quiet"], &[])
}

/// Maximum time to fetch the database of advisories, in seconds.
const FETCH_SECONDS: &str = "60";

/// Checks the dependencies for known vulnerabilities. The database comes from the network, without which this is said and
/// skipped.
fn advisories() -> Result<()> {
    // Some networks swallow connections instead of refusing them.
    let words = [FETCH_SECONDS, "cargo", "deny", "--log-level", "off", "fetch", "db"];
    let fetched = Command::new("timeout").args(words).output();
    if !fetched.context("cannot run cargo deny")?.status.success() {
        say("== advisories: NOT CHECKED, the database of RustSec cannot be fetched from here");
        return Ok(());
    }
    step("advisories", &["deny", "--log-level", "error", "check", "--disable-fetch", "advisories"], &[])
}

fn step(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    say(&format!("== {name}"));
    let status = Command::new("cargo")
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("cannot run cargo {name}"))?;
    if !status.success() {
        bail!("{name} failed");
    }
    Ok(())
}
