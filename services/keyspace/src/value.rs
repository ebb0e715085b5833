//! The stored values, one file per noun. They are JSON, readable with `etcdctl`; fields are added, never repurposed.

mod boot;
mod driver_info;
mod extra_fields;
mod firmware;
mod host;
mod ipmi;
mod mesh;
mod node;
mod operation;
mod rack;
mod request;
mod sealed;
mod seen;
mod spec;
mod stamped;
mod webhook;

pub use boot::{BootDecision, BootFile, Part, Protocol, Work};
pub use driver_info::{MovedSecret, check_secrets_stay, set_bmc};
pub use extra_fields::{
    DeliveryInfo, ExtraFields, InstanceInfo, Properties, TextOrSecret, clear_traits, dhcp_client_identifier,
    set_config_drive, set_traits,
};
pub(crate) use extra_fields::{sealed, sealed_value};
pub use firmware::{Bios, BiosSetting, FirmwareSeen};
pub use host::{Host, HostRack, JoinToken, Mark, TokenUse};
pub use ipmi::{CipherSuite, Ipmi, IpmiPrivilege, UnknownPrivilege};
pub use mesh::{
    Ack, Broken, Claim, Dead, Election, Incarnation, Journal, JournalEntry, Member, Outcome, RestoredBackup,
    RevokedCertificate, Session, StoredRing,
};
pub use node::{
    Bmc, ConfigDrive, Deployment, History, Holder, Inspection, Intent, IronicRamdisk, Life, Login, PastBoot, Port,
    RawData, Redfish, Transport, Trust,
};
pub use operation::Operation;
pub use rack::{Network, Rack, UnknownMac};
pub use request::Request;
pub use sealed::{KeyState, Sealed};
pub use seen::{AgentSeen, AgentWork, Inventory, PowerSeen, PxeSeen, Reported, Settled};
pub use spec::{
    AllocationSpec, AllocationState, AntiAffinity, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, NodeSpec,
    Placement, PlacementOrder, PortSpec, PortgroupSpec, RunbookSpec, Secrets, StepSpec, VolumeConnectorSpec,
    VolumeTargetSpec, WebhookSpec,
};
pub use stamped::Stamped;
pub use webhook::Delivered;
