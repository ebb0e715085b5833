//! The table of keys. Each row gives a key's path, value, writer, lease, encoding, followers and budget, and generates
//! its constructor, its parser, its family and its line of this table:
//!
#![doc = include_str!("golden/keys.md")]
//!
//! All paths begin with `/ironmesh/v1/`. A `{scope}` is a rack's id, or `dc` for what belongs to no rack. What a leaf
//! service writes stands under its own name, so that one watch has all of it in the order of its revisions.

mod row;

use std::{fmt::Write as _, net::Ipv4Addr, sync::LazyLock};

use domain::{
    bulk::Bulk,
    id::{ImageId, InstanceId, NodeId, RackId},
    image::Image,
    net::{BmcAddr, MacAddr},
    service::Service,
};
use uuid::Uuid;

use super::{
    Key, Prefix, Scope,
    template::{About, Argument, Split, Template},
};
use crate::value::{
    Ack, AgentSeen, AllocationSpec, Bios, BootDecision, ChassisSpec, Claim, Dead, Delivered, DeployTemplateSpec,
    Election, FirmwareSeen, History, Holder, Host, Incarnation, InspectionRuleSpec, Intent, Inventory, JoinToken,
    Journal, Life, Member, NodeSpec, Operation, Port, PortgroupSpec, PowerSeen, PxeSeen, Rack, Request,
    RevokedCertificate, RunbookSpec, Sealed, Stamped, StoredRing, UnknownMac, VolumeConnectorSpec, VolumeTargetSpec,
    WebhookSpec,
};

use self::row::packed_or_json;
pub use self::row::{Encoding, Follower, Group, Row, ValueError, decompress};

/// Maximum number of keys of a store with 10,000 nodes.
pub const MAX_KEYS: u64 = 400_000;
/// Maximum size of these keys and their values, in bytes: 1.5 GiB.
pub const MAX_BYTES: u64 = 3 << 29;

macro_rules! key_schema {
    ($(
        $(#[$doc:meta])*
        $variant:ident = $path:literal: $name:ident($($argument:ident: $kind:ty),*)
            $(in $(#[$all_doc:meta])* $all:ident($($some:ident: $some_kind:ty),*))? -> $value:ty {
            $encoding:ident, $group:ident, writer: $writer:literal, lease: $lease:literal,
            followers: [$($follower:ident $(of $of:ident)?),*]
        }
    )*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name($($argument: <$kind as Argument>::Taken<'_>),*) -> Key<$value> {
                Key::at(template::$name().path(&[$(&$argument),*]))
            }

            $(
                $(#[$all_doc])*
                #[must_use]
                pub fn $all($($some: <$some_kind as Argument>::Taken<'_>),*) -> Prefix<$value> {
                    Prefix::at(template::$name().path(&[$(&$some),*]))
                }
            )?
        )*

        mod template {
            use super::{LazyLock, Template};

            $(pub(super) fn $name() -> &'static Template {
                static TEMPLATE: LazyLock<Template> = LazyLock::new(|| Template::new($path));
                &TEMPLATE
            })*
        }

        /// A key that was read from its path.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Parsed {
            $(
                $(#[$doc])*
                $variant {
                    $(
                        #[doc = concat!("`{", stringify!($argument), "}`")]
                        $argument: $kind,
                    )*
                },
            )*
        }

        impl Parsed {
            /// The row of the key.
            #[must_use]
            pub fn row(&self) -> &'static Row {
                match self {
                    $(Self::$variant { .. } => &rows::$variant,)*
                }
            }

            /// What the key is about, as far as its path says so.
            #[must_use]
            pub fn about(&self) -> About {
                let mut about = About::default();
                match self {
                    $(Self::$variant { $($argument),* } => { $(Argument::note($argument, &mut about);)* })*
                }
                about
            }
        }

        /// Reads a path. Returns `None` if it is none of the table's.
        #[must_use]
        pub fn parse(path: &str) -> Option<Parsed> {
            let split = Split::new(path)?;
            $(
                if let Some(parsed) = parsers::$name(&split) {
                    return Some(parsed);
                }
            )*
            None
        }

        mod parsers {
            #![expect(unused_mut, unused_variables, reason = "a key without parameters captures nothing")]

            use super::{Parsed, Split, template};

            $(pub(super) fn $name(path: &Split<'_>) -> Option<Parsed> {
                let mut captures = template::$name().captures(path)?;
                Some(Parsed::$variant { $($argument: captures.take()?),* })
            })*
        }

        #[expect(non_upper_case_globals, reason = "a row has the name of its variant")]
        mod rows {
            use super::*;

            $(pub(super) static $variant: Row = Row {
                path: $path,
                value: stringify!($value),
                writer: $writer,
                lease: $lease,
                encoding: Encoding::$encoding,
                group: Group::$group,
                followers: &[$(Follower { service: Service::$follower, of: of!($($of)?) }),*],
                template: template::$name,
                read: packed_or_json::<$value>(Encoding::$encoding),
            };)*
        }

        /// All rows, in the order of the table.
        pub static ROWS: &[&Row] = &[$(&rows::$variant),*];
    };
}

macro_rules! of {
    () => {
        None
    };
    ($service:ident) => {
        Some(Service::$service)
    };
}

key_schema! {
    /// Which store this is, so that a restored backup is noticed.
    Incarnation = "dc/incarnation": incarnation() -> Incarnation {
        Json, Mesh, writer: "`ironmesh up`, `ironmesh store adopt`; its mark `restored_backup`: scheduler-service",
        lease: "no", followers: [Power, Pxe, Storage, Inventory]
    }
    /// A certificate of the mesh's CA that was revoked, by its serial number.
    RevokedCertificate = "dc/revoked-certificate/{serial}": revoked_certificate(serial: String) in
        /// All revoked certificates.
        revoked_certificates() -> RevokedCertificate {
        Json, Mesh, writer: "`ironmesh up`, `ironmesh certificate revoke`",
        lease: "no: `ironmesh up` deletes those that have expired", followers: [Power, Pxe, Storage, Inventory]
    }
    /// A host: a machine that runs services.
    Host = "dc/host/{name}": host(name: String) in
        /// All hosts.
        hosts() -> Host {
        Json, Mesh, writer: "the authority; `drain` and `removal`: scheduler-service", lease: "no: deleted when it was removed",
        followers: []
    }
    /// A token with which hosts join.
    JoinToken = "dc/join-token/{id}": join_token(id: Uuid) in
        /// All join tokens.
        join_tokens() -> JoinToken {
        Json, Mesh, writer: "scheduler-service; its uses: the authority", lease: "no: deleted a day after it expired",
        followers: []
    }
    /// A rack.
    Rack = "dc/rack/{rack}": rack(rack: RackId) in
        /// All racks.
        racks() -> Rack {
        Json, Mesh, writer: "scheduler-service; `ironmesh up` makes the first",
        lease: "no", followers: [Power, Pxe, Storage, Inventory]
    }
    /// The holder of a name among things of a kind.
    Name = "dc/name/{kind}/{name}": name(kind: String, name: String) -> Holder {
        Json, Names, writer: "scheduler-service; `ironmesh up` for the first rack", lease: "no", followers: []
    }
    /// The node that has a MAC.
    Mac = "dc/mac/{mac}": mac(mac: MacAddr) -> Holder {
        Json, Names, writer: "scheduler-service", lease: "no", followers: []
    }
    /// The node that has a BMC.
    Bmc = "dc/bmc/{address}": bmc(address: BmcAddr) -> Holder {
        Json, Names, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A registered image.
    Image = "dc/image/{image}": image(image: ImageId) in
        /// All images.
        images() -> Image {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A chassis.
    Chassis = "dc/chassis/{id}": chassis(id: Uuid) in
        /// All chassis.
        all_chassis() -> Stamped<ChassisSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A port group.
    Portgroup = "dc/portgroup/{id}": portgroup(id: Uuid) in
        /// All port groups.
        portgroups() -> Stamped<PortgroupSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A deploy template.
    DeployTemplate = "dc/deploy-template/{id}": deploy_template(id: Uuid) in
        /// All deploy templates.
        deploy_templates() -> Stamped<DeployTemplateSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A runbook.
    Runbook = "dc/runbook/{id}": runbook(id: Uuid) in
        /// All runbooks.
        runbooks() -> Stamped<RunbookSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// An inspection rule.
    InspectionRule = "dc/inspection-rule/{id}": inspection_rule(id: Uuid) in
        /// All inspection rules.
        inspection_rules() -> Stamped<InspectionRuleSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A volume connector.
    VolumeConnector = "dc/volume-connector/{id}": volume_connector(id: Uuid) in
        /// All volume connectors.
        volume_connectors() -> Stamped<VolumeConnectorSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A volume target.
    VolumeTarget = "dc/volume-target/{id}": volume_target(id: Uuid) in
        /// All volume targets.
        volume_targets() -> Stamped<VolumeTargetSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// An allocation.
    Allocation = "dc/allocation/{id}": allocation(id: Uuid) in
        /// All allocations.
        allocations() -> Stamped<AllocationSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A webhook.
    Webhook = "dc/webhook/{id}": webhook(id: Uuid) in
        /// All webhooks.
        webhooks() -> Stamped<WebhookSpec> {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// How far a webhook's receiver has been told.
    Delivered = "dc/delivered/{webhook}": delivered(webhook: Uuid) -> Delivered {
        Json, Mesh, writer: "scheduler-service", lease: "no", followers: []
    }
    /// Past boots of a node.
    History = "dc/history/{node}": history(node: NodeId) -> History {
        Packed, History, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A request that was carried out, by the id that its sender gave it.
    Request = "dc/request/{request}": request(id: Uuid) in
        /// All requests that are remembered.
        requests() -> Request {
        Json, Mesh, writer: "scheduler-service", lease: "no: the leader deletes old ones", followers: []
    }
    /// A bulk operation.
    Bulk = "dc/bulk/{bulk}": bulk(id: Uuid) in
        /// All bulk operations that are remembered.
        bulks() -> Bulk {
        Json, Mesh, writer: "scheduler-service", lease: "no: deleted a day after it ended", followers: []
    }
    /// The config drive of a bulk operation's nodes.
    BulkDrive = "dc/bulk-drive/{bulk}": bulk_drive(id: Uuid) -> Sealed {
        Json, Mesh, writer: "scheduler-service", lease: "no: deleted when the bulk operation has ended", followers: []
    }
    /// What users asked of a node.
    Intent = "{rack}/node/{node}/intent": intent(rack: RackId, node: NodeId) -> Intent {
        Json, State, writer: "scheduler-service", lease: "no", followers: [Power, Pxe, Inventory]
    }
    /// A node's state in its lifecycle. A node exists where this key exists.
    Life = "{rack}/node/{node}/life": life(rack: RackId, node: NodeId) -> Life {
        Json, State, writer: "scheduler-service", lease: "no", followers: [Power, Pxe, Inventory]
    }
    /// What a node boots if it asks; its token is sealed.
    Boot = "{rack}/node/{node}/boot": boot(rack: RackId, node: NodeId) -> BootDecision {
        Json, State, writer: "scheduler-service", lease: "no", followers: [Power, Pxe, Inventory]
    }
    /// A node's running or last operation.
    Operation = "{rack}/node-operation/{node}": operation(rack: RackId, node: NodeId) -> Operation {
        Json, Names, writer: "scheduler-service", lease: "no", followers: []
    }
    /// What clients specified of a node; its secrets are sealed.
    NodeSpec = "{rack}/node-spec/{node}": node_spec(rack: RackId, node: NodeId) -> Stamped<NodeSpec> {
        Json, Inventory, writer: "scheduler-service", lease: "no", followers: [Inventory]
    }
    /// A NIC of a node.
    Port = "{rack}/port/{mac}": port(rack: RackId, mac: MacAddr) in
        /// All ports of a rack.
        ports(rack: RackId) -> Port {
        Json, Names, writer: "scheduler-service", lease: "no", followers: [Pxe, Inventory]
    }
    /// The node that has an address on a rack's provisioning network.
    Address = "{rack}/address/{ip}": address(rack: RackId, address: Ipv4Addr) in
        /// All addresses of a rack that are taken.
        addresses(rack: RackId) -> Holder {
        Json, Names, writer: "scheduler-service", lease: "no", followers: []
    }
    /// A node's power as it was observed.
    Power = "{rack}/power-service/node/{node}/power": power(rack: RackId, node: NodeId) -> PowerSeen {
        Json, State, writer: "power-service", lease: "no: carries `seen_at`, `seen_by`", followers: [Pxe]
    }
    /// How a node's firmware boots, as it was observed.
    Firmware = "{rack}/power-service/node/{node}/firmware": firmware(rack: RackId, node: NodeId) -> FirmwareSeen {
        Json, State, writer: "power-service", lease: "no: carries `seen_at`, `seen_by`", followers: [Pxe]
    }
    /// A node's firmware settings. Those of a `fake-hardware` node, which has no BMC, are the scheduler-service's.
    Bios = "{rack}/power-service/node/{node}/bios": bios(rack: RackId, node: NodeId) -> Bios {
        Packed, Inventory, writer: "power-service", lease: "no", followers: [Pxe]
    }
    /// A node's network boot as it was observed.
    Pxe = "{rack}/pxe-service/node/{node}/pxe": pxe(rack: RackId, node: NodeId) -> PxeSeen {
        Json, State, writer: "pxe-service", lease: "no: carries `seen_at`, `seen_by`", followers: [Inventory]
    }
    /// A MAC that asked to boot and belongs to no node.
    Unknown = "{rack}/pxe-service/unknown/{mac}": unknown(rack: RackId, mac: MacAddr) in
        /// All unknown MACs of a rack.
        unknowns(rack: RackId) -> UnknownMac {
        Json, Mesh, writer: "pxe-service", lease: "no: the oldest beyond 64 are deleted", followers: []
    }
    /// A node's agent as it was observed.
    Agent = "{rack}/inventory-service/node/{node}/agent": agent(rack: RackId, node: NodeId) -> AgentSeen {
        Json, State, writer: "inventory-service", lease: "no: carries `seen_at`, `seen_by`", followers: [Pxe]
    }
    /// A node's hardware inventory.
    Inventory = "{rack}/inventory-service/node/{node}/inventory": inventory(rack: RackId, node: NodeId) -> Inventory {
        Json, Inventory, writer: "inventory-service", lease: "no: carries `seen_at`, `seen_by`", followers: [Pxe]
    }
    /// The owner of a node for a service.
    Claim = "{scope}/{service}/claim/{node}": claim(scope: Scope, service: Service, node: NodeId) in
        /// All claims of a service.
        claims(scope: Scope, service: Service) -> Claim {
        Json, Ownership, writer: "the claiming service; its `broken` mark: scheduler-service", lease: "no",
        followers: []
    }
    /// What a service does or did to a node.
    Journal = "{scope}/{service}/journal/{node}": journal(scope: Scope, service: Service, node: NodeId) -> Journal {
        Json, Ownership, writer: "the claiming service", lease: "no", followers: []
    }
    /// A running instance.
    Member = "{scope}/{service}/member/{instance}": member(scope: Scope, service: Service, instance: InstanceId) in
        /// All instances of a service.
        members(scope: Scope, service: Service) -> Member {
        Json, Mesh, writer: "itself", lease: "its own",
        followers: [Pxe of Inventory, Pxe of Storage, Inventory of Storage]
    }
    /// The leader of a service.
    Election = "{scope}/{service}/election": election(scope: Scope, service: Service) -> Election {
        Json, Mesh, writer: "the leader", lease: "the leader's", followers: []
    }
    /// The ring of a service.
    Ring = "{scope}/{service}/ring": ring(scope: Scope, service: Service) -> StoredRing {
        Json, Mesh, writer: "the leader", lease: "no", followers: []
    }
    /// The ring that an instance has made its own.
    Ack = "{scope}/{service}/ack/{instance}": ack(scope: Scope, service: Service, instance: InstanceId) in
        /// What all instances of a service acknowledged.
        acks(scope: Scope, service: Service) -> Ack {
        Json, Mesh, writer: "itself", lease: "no: the leader deletes stale ones", followers: []
    }
    /// An instance that is proven dead.
    Dead = "{scope}/{service}/dead/{instance}": dead(scope: Scope, service: Service, instance: InstanceId) in
        /// All instances of a service that are proven dead.
        deads(scope: Scope, service: Service) -> Dead {
        Json, Mesh, writer: "`ironmesh up`, or its successor", lease: "no: the leader deletes stale ones",
        followers: []
    }
}

/// Prefix of everything that the schedulers write about the nodes of a rack under `{rack}/node/`.
pub(super) fn nodes(rack: RackId) -> String {
    template::life().path(&[&rack])
}

/// Prefix of everything that a service writes.
pub(super) fn of_service(scope: Scope, service: Service) -> String {
    let ring = ring(scope, service);
    ring.path().strip_suffix("ring").unwrap_or_default().to_owned()
}

/// The table as Markdown, for documentation.
#[must_use]
pub fn markdown() -> String {
    let mut text =
        "| key | value | writer | lease | followed by | budget |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for row in ROWS {
        let packed = if row.encoding == Encoding::Packed { ", zstd" } else { "" };
        let followers = row.followers.iter().map(|follower| match follower.of {
            Some(of) => format!("{} ({of}'s)", follower.service),
            None => follower.service.to_string(),
        });
        let followers: Vec<_> = followers.collect();
        let followers = if followers.is_empty() { "–".to_owned() } else { followers.join(", ") };
        let Row { path, value, writer, lease, group, .. } = row;
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{path}` | `{value}`{packed} | {writer} | {lease} | {followers} | {group:?} |");
    }
    text
}

#[cfg(test)]
mod tests;
