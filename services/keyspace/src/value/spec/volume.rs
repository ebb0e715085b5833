//! Volume connectors and volume targets.

use domain::id::NodeId;
use serde::{Deserialize, Serialize};

use super::Secrets;
use crate::value::ExtraFields;

/// What clients specified of a volume connector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeConnectorSpec {
    /// Its id, by its type: an IQN, a WWN, an address.
    pub connector_id: String,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// The node that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_uuid: Option<NodeId>,
    /// Its type: `iqn`, `ip`, `mac`, `wwnn`, `wwpn`, …
    #[serde(rename = "type")]
    pub kind: String,
}

impl Secrets for VolumeConnectorSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        vec![("extra".to_owned(), &mut self.extra)]
    }
}

/// What clients specified of a volume target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeTargetSpec {
    /// Its place among the node's volumes; the node boots from the first.
    pub boot_index: i64,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// The node that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_uuid: Option<NodeId>,
    /// How it is reached, by its type.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub properties: ExtraFields,
    /// The volume, as its storage system identifies it.
    pub volume_id: String,
    /// How it is reached: `iscsi`, `fibre_channel`, …
    pub volume_type: String,
}

impl Secrets for VolumeTargetSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        vec![("extra".to_owned(), &mut self.extra), ("properties".to_owned(), &mut self.properties)]
    }
}
