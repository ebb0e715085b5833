//! What this process last wrote to the journals of its nodes.

use std::collections::HashMap;

use domain::{
    generation::Token,
    id::{InstanceId, NodeId},
};
use keyspace::value::Journal;
use parking_lot::Mutex;

use crate::claim::Claim;

/// The journals as this process last wrote them. While a claim is held, no other process can have written: every journal
/// write is conditional on its writer's claim, and a claim that is lost and regained has another token.
#[derive(Debug, Default)]
pub(crate) struct JournalCache {
    by_node: Mutex<HashMap<NodeId, Cached>>,
}

#[derive(Debug)]
struct Cached {
    by: (InstanceId, Token),
    journal: Journal,
    revision: i64,
}

impl JournalCache {
    /// Takes what was last written under this very claim. A second caller gets `None` until the first one has written.
    pub(crate) fn take(&self, claim: Claim) -> Option<(Journal, i64)> {
        let cached = self.by_node.lock().remove(&claim.node)?;
        (cached.by == (claim.instance(), claim.token())).then_some((cached.journal, cached.revision))
    }

    pub(crate) fn put(&self, claim: Claim, journal: &Journal, revision: i64) {
        let cached = Cached { by: (claim.instance(), claim.token()), journal: journal.clone(), revision };
        self.by_node.lock().insert(claim.node, cached);
    }

    /// Forgets all journals. Without this, those of nodes that passed to other instances would be kept forever.
    pub(crate) fn clear(&self) {
        self.by_node.lock().clear();
    }
}
