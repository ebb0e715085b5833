//! Everything that a change must pass, on a laptop as anywhere.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{arrows, calls, circles, proto, say, size};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What every change must pass.
    Usual,
    /// What takes longer, too.
    All,
}

/// Runs it.
pub(crate) fn run(extent: Extent) -> Result<()> {
    step("fmt", &["fmt", "--all", "--check"], &[])?;
    arrows::check()?;
    circles::check_known()?;
    calls::check(false)?;
    proto::check(false)?;
    size::report()?;
    step("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"], &[])?;
    step("deny", &["deny", "--offline", "--log-level", "error", "check", "bans", "licenses", "sources"], &[])?;
    let docs = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"];
    step("doc", &docs, &[("RUSTDOCFLAGS", "-D warnings")])?;
    // The tests of whole racks run the binary that is shipped.
    step("build", &["build", "--locked", "--quiet", "--package", "ironmesh"], &[])?;
    let mut tests = vec!["nextest", "run", "--workspace", "--locked", "--profile", "ci"];
    if extent == Extent::All {
        tests.extend(["--run-ignored", "all"]);
        // A thousand meshes are brought up: that is a matter of how long their processes take to start.
        step("release", &["build", "--release", "--locked", "--quiet", "--package", "ironmesh"], &[])?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/ironmesh");
        let program = program.to_str().context("the path of the release build is not text")?;
        step("nextest", &tests, &[("IRONMESH_PROGRAM", program)])?;
    } else {
        step("nextest", &tests, &[])?;
    }
    step("doctests", &["test", "--workspace", "--doc", "--locked", "--quiet"], &[])
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
