//! Rings, decoded once per change instead of once per question: a ring of a large rack is asked for each node.

use std::{collections::HashMap, sync::Arc};

use domain::service::Service;
use parking_lot::Mutex;

use super::View;
use crate::{
    key::{self, Scope},
    store::Versioned,
    value::StoredRing,
};

/// A service of a rack or of the datacenter.
type Group = (Scope, Service);

/// The last decoded ring of each group.
#[derive(Debug, Default)]
pub(super) struct Rings(pub(super) Mutex<HashMap<Group, Arc<Versioned<StoredRing>>>>);

impl View {
    /// Reads the ring of a service. `None` if it has none yet.
    #[must_use]
    pub fn ring(&self, scope: Scope, service: Service) -> Option<Arc<Versioned<StoredRing>>> {
        let key = key::ring(scope, service);
        let mut rings = self.rings.0.lock();
        let pair = Arc::clone(self.read().get(key.path())?);
        if let Some(ring) = rings.get(&(scope, service)).filter(|ring| ring.revision == pair.revision) {
            return Some(Arc::clone(ring));
        }
        let ring = Arc::new(super::read(&pair)?);
        rings.insert((scope, service), Arc::clone(&ring));
        Some(ring)
    }
}

#[cfg(test)]
mod tests {
    use domain::{id::RackId, ring::Ring, time::Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::{store::Pair, watch::Update};

    #[tokio::test]
    async fn a_ring_is_decoded_anew_when_it_changed_or_the_store_was_restored() {
        let (scope, service) = (Scope::Rack(RackId::new(Uuid::from_u128(1))), Service::Power);
        let pair = |since: i64, revision| {
            let ring = StoredRing::after(None, Ring::default(), Timestamp::from_millis(since));
            let path = key::ring(scope, service).path().to_owned();
            Pair { path, value: serde_json::to_vec(&ring).unwrap(), revision, created: 1 }
        };
        let view = View::default();
        assert!(view.ring(scope, service).is_none());
        let since = || view.ring(scope, service).map(|ring| ring.value.since.millis());
        view.apply(Update::Snapshot { pairs: vec![pair(1, 5)], lowest: 5, revision: 5 });
        let (first, again) = (view.ring(scope, service).unwrap(), view.ring(scope, service).unwrap());
        assert!(Arc::ptr_eq(&first, &again), "it was decoded twice");
        view.apply(Update::Snapshot { pairs: vec![pair(2, 6)], lowest: 6, revision: 6 });
        assert_eq!(since(), Some(2));
        view.apply(Update::Rebuilt { pairs: vec![pair(3, 6)], revision: 6 });
        assert_eq!(since(), Some(3));
    }
}
