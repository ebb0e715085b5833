//! Remembers logins that a BMC rejected, so that polls do not repeat them: BMCs lock accounts after a few.

use std::{collections::HashMap, sync::Arc};

use domain::id::NodeId;
use keyspace::value::Bmc;
use parking_lot::Mutex;

use crate::{bmc::BmcError, retry::Verdict};

/// The rejected logins. Clones share the same state.
///
/// A login is tried again after its record changed, or when an instruction or a query of a user needs the BMC.
#[derive(Debug, Clone, Default)]
pub(super) struct RejectedLogins {
    nodes: Arc<Mutex<HashMap<NodeId, Bmc>>>,
}

impl RejectedLogins {
    /// Records the end of a login with the record that was tried. Only a rejection counts: some logins succeed before the first
    /// request that is authenticated.
    pub(super) fn logged_in(&self, node: NodeId, tried: Option<&Bmc>, error: Option<&BmcError>) {
        if let (Some(tried), Some(Verdict::WrongCredentials)) = (tried, error.map(BmcError::verdict)) {
            self.add(node, tried.clone());
        }
    }

    /// Records the end of an authenticated request with the record that was tried.
    pub(super) fn asked(&self, node: NodeId, tried: Option<&Bmc>, error: Option<&BmcError>) {
        match error {
            None => self.remove(node),
            Some(error) => self.logged_in(node, tried, Some(error)),
        }
    }

    /// Records that the BMC of a node rejected the login of this record.
    pub(super) fn add(&self, node: NodeId, bmc: Bmc) {
        self.nodes.lock().insert(node, bmc);
    }

    /// Forgets the login of a node: the BMC answered an authenticated request.
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
    fn the_record_that_was_tried_is_blamed_until_an_authenticated_request_is_accepted() {
        let node = NodeId::new(Uuid::nil());
        let (password, busy) = (BmcError::Password(String::new()), BmcError::Silent(String::new()));
        let key = BmcError::WrongKey(String::new());
        // The end of a login, that of an authenticated request if there was one, and whether the login is rejected.
        type Row<'a> = (Option<&'a BmcError>, Option<Option<&'a BmcError>>, bool, &'static str);
        let table: [Row<'_>; 8] = [
            (None, None, true, "no request was authenticated"),
            (None, Some(None), false, "accepted"),
            (None, Some(Some(&password)), true, "rejected after the login"),
            (None, Some(Some(&busy)), true, "neither accepted nor rejected"),
            (Some(&password), None, true, "rejected by the login"),
            (Some(&key), None, true, "another key K_G"),
            (Some(&busy), None, true, "no login"),
            (None, Some(Some(&key)), true, "rejected after the login"),
        ];
        for (login, request, right, source) in table {
            let rejected = RejectedLogins::default();
            rejected.add(node, bmc("a"));
            rejected.logged_in(node, Some(&bmc("a")), login);
            if let Some(request) = request {
                rejected.asked(node, Some(&bmc("a")), request);
            }
            assert_eq!(rejected.has(node, &bmc("a")), right, "{source}");
        }
        // The record changed while the login with the old one was under way.
        let rejected = RejectedLogins::default();
        rejected.logged_in(node, Some(&bmc("old")), Some(&password));
        assert!(!rejected.has(node, &bmc("new")), "it was not tried");
        rejected.asked(node, Some(&bmc("new")), Some(&password));
        assert!(rejected.has(node, &bmc("new")));
        rejected.logged_in(node, None, Some(&password));
        assert!(rejected.has(node, &bmc("new")), "a node without a BMC");
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
