//! The wire contract: linted, and checked for changes that break a program that speaks the approved one.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::say;

/// Folder of the contract.
const CONTRACT: &str = "proto";
/// The approved contract, as a serialized `FileDescriptorSet` without comments.
const GOLDEN: &str = "integration-tests/golden/proto.binpb";

/// Fails if the contract breaks a lint or the approved contract; with `approve`, approves it.
pub(crate) fn check(approve: bool) -> Result<()> {
    buf(&["lint", CONTRACT])?;
    if Path::new(GOLDEN).exists() {
        let outcome = buf(&["breaking", CONTRACT, "--against", GOLDEN]);
        if !approve {
            outcome.context("if no released program speaks the approved contract, run: cargo xtask proto --approve")?;
        }
    } else if !approve {
        bail!("{GOLDEN} does not exist; run: cargo xtask proto --approve");
    }
    if approve {
        buf(&["build", CONTRACT, "--exclude-source-info", "--output", GOLDEN])?;
    }
    say("proto: linted; nothing breaks the approved contract");
    Ok(())
}

fn buf(words: &[&str]) -> Result<()> {
    let status = Command::new("buf").args(words).status().context("cannot run buf; scripts/test installs it")?;
    if !status.success() {
        bail!("buf {} failed", words.first().copied().unwrap_or_default());
    }
    Ok(())
}
