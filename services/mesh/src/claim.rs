//! A claim: the owner under the ring, as the store confirmed it.

use domain::{
    generation::Token,
    id::{InstanceId, NodeId},
};

use crate::membership::Membership;

/// A claim that was held when the store answered. Each fenced write finds out whether it still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub(crate) node: NodeId,
    /// The membership that it was made under.
    pub(crate) membership: Membership,
    /// Mod-revision of the claim key.
    pub(crate) revision: i64,
}

impl Claim {
    /// The token, which every instruction to a leaf carries.
    #[must_use]
    pub fn token(&self) -> Token {
        Token::new(self.membership.incarnation.number, u64::try_from(self.revision).unwrap_or(0))
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The instance that holds it.
    #[must_use]
    pub const fn instance(&self) -> InstanceId {
        self.membership.instance
    }
}
