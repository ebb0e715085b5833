//! Carries out acts of a plan: one act is one call of a leaf. Every effect may be repeated.

pub mod boot;
pub mod fake;
pub mod images;
mod learned;
pub mod power;

use domain::{failure::Failure, generation::InstructionVersion};
use mesh::Claim;

use crate::{Error, registry::Record};

/// Returns the version of an instruction: token and generation.
fn version(record: &Record, claim: Claim) -> InstructionVersion {
    InstructionVersion { token: claim.token(), generation: record.life.value.generation }
}

/// Reason why no boot decision was minted.
#[derive(Debug)]
pub enum NotMinted {
    /// It cannot be minted.
    Never(Failure),
    /// It may be possible soon.
    NotNow(Error),
}

impl<E: Into<Error>> From<E> for NotMinted {
    fn from(error: E) -> Self {
        Self::NotNow(error.into())
    }
}
