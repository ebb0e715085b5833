//! Remembers logins that a BMC rejected, so that polls do not repeat them: BMCs lock accounts after a few.

use std::{collections::HashMap, sync::Arc};

use domain::id::NodeId;
use keyspace::value::Bmc;
use parking_lot::Mutex;

/// The rejected logins. Clones share the same state.
///
/// A login is tried again after its record changed, or when an instruction or a query of a user needs the BMC.
#[derive(Debug, Clone, Default)]
pub(super) struct RejectedLogins {
    nodes: Arc<Mutex<HashMap<NodeId, Bmc>>>,
}

impl RejectedLogins {
    /// Records that the BMC of a node rejected the login of this record.
    pub(super) fn add(&self, node: NodeId, bmc: Bmc) {
        self.nodes.lock().insert(node, bmc);
    }

    /// Forgets the login of a node: the BMC accepted one.
    pub(super) fn remove(&self, node: NodeId) {
        self.nodes.lock().remove(&node);
    }

    /// Returns whether the BMC rejected the login of this record. Forgets the login of another record.
    pub(super) fn has(&self, node: NodeId, bmc: &Bmc) -> bool {
        let mut nodes = self.nodes.lock();
        let is_same = nodes.get(&node).map(|rejected| rejected == bmc);
        if is_same == Some(false) {
            nodes.remove(&node);
        }
        is_same == Some(true)
    }

    /// Forgets the nodes that are gone.
    pub(super) fn retain(&self, is_here: impl Fn(NodeId) -> bool) {
        self.nodes.lock().retain(|node, _| is_here(*node));
    }
}

#[cfg(test)]
mod tests {
    use keyspace::value::Ipmi;
    use uuid::Uuid;

    use super::*;

    fn bmc(password: &str) -> Bmc {
        Bmc {
            address: "10.0.0.1:623".parse().unwrap(),
            user: "admin".to_owned(),
            password: serde_json::from_value(serde_json::json!({"key": "k", "sealed": password})).unwrap(),
            ipmi: Ipmi::default(),
            redfish: None,
        }
    }

    #[test]
    fn a_rejected_login_is_not_tried_again_before_its_record_changes() {
        let (rejected, node) = (RejectedLogins::default(), NodeId::new(Uuid::nil()));
        assert!(!rejected.has(node, &bmc("a")));
        rejected.add(node, bmc("a"));
        assert!(rejected.has(node, &bmc("a")) && rejected.has(node, &bmc("a")));
        assert!(!rejected.has(node, &bmc("b")), "another password");
        assert!(!rejected.has(node, &bmc("a")), "set back: it is tried once");
        rejected.add(node, bmc("a"));
        let reach = Bmc { address: "10.0.0.2:623".parse().unwrap(), ..bmc("a") };
        assert!(!rejected.has(node, &reach), "another address");
        rejected.add(node, bmc("a"));
        rejected.remove(node);
        assert!(!rejected.has(node, &bmc("a")), "a user tried it with success");
        rejected.add(node, bmc("a"));
        rejected.retain(|_| false);
        assert!(!rejected.has(node, &bmc("a")), "the node is gone");
    }
}
