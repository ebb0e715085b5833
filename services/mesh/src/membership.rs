//! What an instance publishes about itself, and the membership that it holds.

use domain::{
    id::{InstanceId, SlotId},
    service::Service,
    time::Timestamp,
};
use keyspace::{
    Change,
    key::{self, Scope},
    seal::Sealer,
    value::Member,
};
use service_kit::config::FULL_WEIGHT;

use crate::{safety_params::SafetyParams, store_incarnation::StoreIncarnation};

/// Addresses of an instance, each as `host:port`; empty if it has none.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// For gRPC, from within the mesh.
    pub endpoint: String,
    /// For machines.
    pub data_endpoint: String,
    /// For agents that speak Ironic's protocol.
    pub ironic_endpoint: String,
}

/// Where an instance runs, and which share of the nodes it takes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostShare {
    /// The host; empty if it was not told.
    pub host: String,
    /// Its weight in the ring, in percent of a full share.
    pub weight_percent: u32,
}

impl Default for HostShare {
    fn default() -> Self {
        Self { host: String::new(), weight_percent: FULL_WEIGHT }
    }
}

/// What an instance is.
#[derive(Debug, Clone)]
pub struct MemberConfig {
    /// Its service.
    pub service: Service,
    /// Its rack, or the datacenter.
    pub scope: Scope,
    /// Its addresses.
    pub endpoints: Endpoints,
    /// What its safety depends on.
    pub safety: SafetyParams,
    /// The sealing keys whose ids it publishes. `None` if it has none.
    pub sealer: Option<Sealer>,
    /// Its host, and its share of the nodes.
    pub share: HostShare,
}

impl MemberConfig {
    /// The record that the instance stores about itself.
    pub(crate) fn member(&self, slot: SlotId, stopping: bool) -> Member {
        let Endpoints { endpoint, data_endpoint, ironic_endpoint } = self.endpoints.clone();
        let since = self.wall_now();
        let sealing_keys = self.sealer.as_ref().map(Sealer::states).unwrap_or_default();
        let HostShare { host, weight_percent } = self.share.clone();
        let (weight, slot) = (1, Some(slot));
        Member {
            endpoint,
            data_endpoint,
            ironic_endpoint,
            weight,
            weight_percent,
            host,
            slot,
            stopping,
            since,
            sealing_keys,
        }
    }

    /// The wall clock's time.
    pub(crate) fn wall_now(&self) -> Timestamp {
        self.safety.clock().read().wall
    }
}

/// A membership that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) instance: InstanceId,
    pub(crate) lease: i64,
    /// Create-revision of the member key.
    pub(crate) created: i64,
    /// The store's incarnation in which it began.
    pub(crate) incarnation: StoreIncarnation,
    /// Highest epoch that was acknowledged.
    pub(crate) acknowledged: i64,
    /// Whether the member key says that the instance is stopping.
    pub(crate) stopping: bool,
    pub(crate) slot: SlotId,
}

impl Membership {
    /// Begins a change that is carried out only while this membership is in the store.
    pub(crate) fn change(&self, config: &MemberConfig) -> Change {
        let member = key::member(config.scope, config.service, self.instance);
        self.incarnation.change().expect_created(&member, self.created)
    }
}
