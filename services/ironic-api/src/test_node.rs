//! A node for tests.

use domain::{
    id::{NodeId, RackId},
    power::BootMode,
    time::Timestamp,
};
use keyspace::value::{Life, NodeSpec};
use scheduler_core::node_view::NodeView;
use serde_json::json;
use uuid::Uuid;

/// A node of this name and specification that was just enrolled.
pub(crate) fn node(id: u128, name: &str, spec: NodeSpec) -> NodeView {
    let at = Timestamp::from_millis(1);
    let intent = json!({"name": name, "enrolled_at": at, "boot_mode": BootMode::default()});
    let intent = serde_json::from_value(intent).unwrap();
    let (rack, node) = (RackId::new(Uuid::nil()), NodeId::new(Uuid::from_u128(id)));
    let mut view = NodeView::new(rack, node, intent, Life::newborn(at), 1);
    view.record.spec = spec;
    view
}
