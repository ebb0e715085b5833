//! One act, one call of a leaf. Every effect may be repeated.

pub mod boot;
pub mod images;
mod learned;
pub mod power;

use domain::{failure::Failure, generation::InstructionVersion};
use mesh::Claim;

use crate::{Error, registry::Record};

/// What an instruction carries now.
fn version(record: &Record, claim: Claim) -> InstructionVersion {
    InstructionVersion { token: claim.token(), generation: record.life.value.generation }
}

/// Why no decision was minted.
#[derive(Debug)]
pub enum NotMinted {
    /// It cannot be minted.
    Never(Failure),
    /// It may be minted in a moment.
    NotNow(Error),
}

impl<E: Into<Error>> From<E> for NotMinted {
    fn from(error: E) -> Self {
        Self::NotNow(error.into())
    }
}
