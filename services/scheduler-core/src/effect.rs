//! One act, one call of a leaf. Every effect may be repeated.

pub mod boot;
pub mod images;
mod learned;
pub mod power;

use domain::generation::InstructionVersion;
use mesh::Claim;

use crate::registry::Record;

/// What an instruction carries now.
fn version(record: &Record, claim: Claim) -> InstructionVersion {
    InstructionVersion { token: claim.token(), generation: record.life.value.generation }
}
