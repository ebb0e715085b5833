//! One act, one call of a leaf. Every effect may be repeated.

pub(crate) mod boot;
pub(crate) mod images;
mod learned;
pub(crate) mod power;

use domain::generation::Order;
use mesh::Claim;

use crate::registry::Record;

/// What an instruction carries now.
fn order(record: &Record, claim: Claim) -> Order {
    Order { token: claim.token(), generation: record.life.value.generation }
}
