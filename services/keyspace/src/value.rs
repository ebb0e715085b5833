//! The stored values, one file per noun. They are JSON, readable with `etcdctl`; fields are added, never repurposed.

mod boot;
mod bulk;
mod firmware;
mod mesh;
mod node;
mod rack;
mod request;
mod sealed;
mod seen;
mod sheet;
mod webhook;

pub use boot::{BootDecision, BootFile, Part, Protocol, Work};
pub use bulk::{Bulk, BulkLimits, BulkNode, BulkProgress, BulkState};
pub use firmware::{Bios, BiosSetting, FirmwareSeen};
pub use mesh::{
    Ack, Broken, Claim, Dead, Election, Incarnation, Journal, JournalEntry, Member, Outcome, RestoredBackup, Session,
    StoredRing,
};
pub use node::{
    Bmc, ConfigDrive, Deployment, History, Holder, Inspection, Intent, IronicRamdisk, Life, Login, Operation, PastBoot,
    Port, Redfish, Transport, Trust,
};
pub use rack::{Network, Rack, UnknownMac};
pub use request::Request;
pub use sealed::Sealed;
pub use seen::{AgentSeen, AgentWork, Inventory, PowerSeen, PxeSeen, Reported, Settled};
pub use sheet::Sheet;
pub use webhook::Delivered;

use serde::{Deserialize, Serialize};

/// When something was observed, and by which instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: domain::time::Timestamp,
    /// By which instance.
    pub by: domain::id::InstanceId,
}
