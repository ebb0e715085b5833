//! The wire contract: linted, and held against the last one that was approved. Whoever speaks that one must be understood.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::say;

/// Where the contract is.
const CONTRACT: &str = "proto";
/// The approved one, as a serialized `FileDescriptorSet` with comments left out.
const GOLDEN: &str = "integration-tests/golden/proto.binpb";

/// Lints the contract, and finds what breaks the approved one; or approves it.
pub(crate) fn check(approve: bool) -> Result<()> {
    buf(&["lint", CONTRACT])?;
    if Path::new(GOLDEN).exists() {
        let outcome = buf(&["breaking", CONTRACT, "--against", GOLDEN]);
        if !approve {
            outcome.context("where nobody speaks the approved one yet: cargo xtask proto --approve")?;
        }
    } else if !approve {
        bail!("{GOLDEN} is not there: cargo xtask proto --approve");
    }
    if approve {
        buf(&["build", CONTRACT, "--exclude-source-info", "--output", GOLDEN])?;
    }
    say("proto: linted, and nothing breaks the approved contract");
    Ok(())
}

fn buf(words: &[&str]) -> Result<()> {
    let status = Command::new("buf").args(words).status().context("cannot run buf; scripts/test installs it")?;
    if !status.success() {
        bail!("buf {} failed", words.first().copied().unwrap_or_default());
    }
    Ok(())
}
