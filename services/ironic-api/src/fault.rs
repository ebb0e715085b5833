//! Errors of the scheduler as Ironic's clients know them.

use keyspace::collection::Unique;
use service_kit::status::{Failure as _, Kind, chain};
use wire_ironic::error::{Class, Error as ApiError, text};

use super::node_document::power_name;
use scheduler_core::{Error, ports::PortRefusal, resources::ResourceRefusal, webhooks::InvalidWebhook};

/// The response to a request about the resource `ident` that failed with `error`.
pub(super) fn fault(ident: &str, error: &Error) -> ApiError {
    match error {
        error if error.is_too_large() => Class::TooLarge.error(chain(error)),
        Error::NotUnique { kind, value } => text::already_exists(&holder_of(kind, value)),
        Error::IdTaken { kind, id } => text::already_exists(&format!("{} with UUID {id}", with_article(kind))),
        Error::MacTaken { mac, .. } => text::already_exists(&holder_of("port", &Unique::Address(mac.to_string()))),
        Error::Webhook(InvalidWebhook::Name(name)) => {
            Class::Invalid.error(format!("Cannot create webhook with invalid name '{name}'"))
        }
        Error::Webhook(why) => Class::Invalid.error(chain(why)),
        Error::TooMany { .. } => Class::Conflict.error(chain(error)),
        Error::Port(refusal) => port_refused(refusal),
        Error::Resource(refusal) => resource_refused(refusal),
        Error::Request(_)
        | Error::Missing { .. }
        | Error::Changed { .. }
        | Error::Taken { .. }
        | Error::Refused(_)
        | Error::InUse(_)
        | Error::Busy { .. }
        | Error::NoMac { .. }
        | Error::LockChanged { .. }
        | Error::NotEverywhere { .. }
        | Error::NoAddress { .. }
        | Error::Mesh(_)
        | Error::Store(_)
        | Error::Sealed { .. }
        | Error::Random(_)
        | Error::Leaf(_)
        | Error::Elsewhere(_)
        | Error::Stopping => fault_of_kind(ident, error),
    }
}

fn fault_of_kind(ident: &str, error: &Error) -> ApiError {
    match error.kind() {
        Kind::Invalid | Kind::NotNow => Class::Invalid.error(chain(error)),
        Kind::Missing => Class::NotFound.error(chain(error)),
        Kind::Taken => Class::Conflict.error(chain(error)),
        // Other requests changed the resource again and again.
        Kind::Conflict => text::locked(ident, "another request"),
        Kind::Denied => Class::Forbidden.error(chain(error)),
        Kind::NotOwner | Kind::Unavailable | Kind::Island => text::busy(&chain(error)),
        Kind::Internal => {
            tracing::error!(resource = ident, error = %chain(error), "request failed");
            Class::Server.error("Internal error; the log of the scheduler-service tells the cause")
        }
    }
}

fn port_refused(refusal: &PortRefusal) -> ApiError {
    match refusal {
        PortRefusal::NoPortgroup { portgroup } => {
            Class::Invalid.error(format!("Portgroup {portgroup} could not be found."))
        }
        PortRefusal::OtherNode { portgroup } => {
            Class::Invalid.error(format!("Portgroup {portgroup} belongs to another node than the port."))
        }
        PortRefusal::OtherNetwork { portgroup, network, theirs } => {
            let (network, theirs) = (network.as_deref().unwrap_or("None"), theirs.as_deref().unwrap_or("None"));
            Class::Conflict.error(format!(
                "Port with physical network {network} cannot become a member of port group {portgroup} which has ports \
                 in physical network {theirs}."
            ))
        }
        PortRefusal::MemberNetwork => {
            Class::Invalid.error("physical_network cannot be changed while the port belongs to a portgroup.")
        }
        PortRefusal::Wiring { field, port, node, state } => Class::Conflict.error(format!(
            "{field} of port {port} cannot be changed while its node {node} is in state \"{}\": make the node \
             manageable, or set its maintenance",
            state.ironic_name()
        )),
        PortRefusal::Address { port, node } => {
            Class::Conflict.error(format!("Cannot update the address of port {port}: its node {node} is in use"))
        }
    }
}

fn resource_refused(refusal: &ResourceRefusal) -> ApiError {
    match refusal {
        ResourceRefusal::ChassisHasNodes { chassis } => {
            Class::Invalid.error(format!("Chassis {chassis} contains nodes."))
        }
        ResourceRefusal::PortgroupHasPorts { portgroup } => Class::Invalid.error(format!(
            "Portgroup {portgroup} contains ports: delete them or remove them from the port group first."
        )),
        ResourceRefusal::NotPoweredOff { kind, change, node, power } => {
            let action = format!("{} {change}", kind.replace('_', " "));
            text::wrong_state(&action, &node.to_string(), power.map(power_name))
        }
        ResourceRefusal::PowerPending { node, conductor } => {
            text::locked(&node.to_string(), conductor.as_deref().unwrap_or_default())
        }
        ResourceRefusal::NodeDeleted { .. } => Class::NotFound.error("The node of the volume was deleted meanwhile"),
    }
}

/// A resource's kind with its article, as Ironic's messages have it.
fn with_article(kind: &str) -> String {
    let words = kind.replace('_', " ");
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "An" } else { "A" };
    format!("{article} {words}")
}

/// Describes the resource that has a unique value, as Ironic's messages do.
fn holder_of(kind: &str, value: &Unique) -> String {
    let resource = with_article(kind);
    match value {
        Unique::Name(name) => format!("{resource} with name {name}"),
        Unique::Address(address) => format!("{resource} with MAC address {address}"),
        Unique::Connector { kind, id } => format!("{resource} with type {kind} and connector ID {id}"),
        Unique::BootIndex { index, .. } => format!("{resource} with boot index '{index}' for the same node"),
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        id::{NodeId, PortId},
        power::Power,
        provision::State,
    };
    use scheduler_core::{ports::WiringField, resources::VolumeChange};
    use uuid::Uuid;

    use super::*;

    const ID: Uuid = Uuid::from_u128(1);
    const NODE: NodeId = NodeId::new(Uuid::from_u128(2));

    #[track_caller]
    fn assert_fault(error: impl Into<Error>, status: u16, text: &str) {
        let fault = fault("r", &error.into());
        assert_eq!((fault.status, fault.text.as_str()), (status, text));
    }

    #[test]
    fn a_refused_port_has_the_status_and_the_text_of_ironic() {
        const GROUP: &str = "Portgroup 00000000-0000-0000-0000-000000000001";
        const PORT: &str = "port 00000000-0000-0000-0000-000000000001";
        const OF: &str = "its node 00000000-0000-0000-0000-000000000002";
        let port = PortId::new(ID);
        assert_fault(PortRefusal::NoPortgroup { portgroup: ID }, 400, &format!("{GROUP} could not be found."));
        let text = format!("{GROUP} belongs to another node than the port.");
        assert_fault(PortRefusal::OtherNode { portgroup: ID }, 400, &text);
        assert_fault(
            PortRefusal::OtherNetwork { portgroup: ID, network: Some("a".to_owned()), theirs: None },
            409,
            "Port with physical network a cannot become a member of port group 00000000-0000-0000-0000-000000000001 \
             which has ports in physical network None.",
        );
        let text = "physical_network cannot be changed while the port belongs to a portgroup.";
        assert_fault(PortRefusal::MemberNetwork, 400, text);
        for (field, name) in [
            (WiringField::PxeEnabled, "pxe_enabled"),
            (WiringField::LocalLinkConnection, "local_link_connection"),
            (WiringField::PhysicalNetwork, "physical_network"),
            (WiringField::Portgroup, "portgroup_uuid"),
        ] {
            let text = format!(
                "{name} of {PORT} cannot be changed while {OF} is in state \"active\": make the node manageable, or set \
                 its maintenance"
            );
            assert_fault(PortRefusal::Wiring { field, port, node: NODE, state: State::Active }, 409, &text);
        }
        let text = format!("Cannot update the address of {PORT}: {OF} is in use");
        assert_fault(PortRefusal::Address { port, node: NODE }, 409, &text);
    }

    #[test]
    fn what_is_too_large_for_the_store_is_413_with_the_limit_and_never_500() {
        let too_large = |operations, bytes| keyspace::Error::TooLarge { operations, bytes };
        for (error, source) in [
            (Error::Store(too_large(1, 2 << 20)), "extra of 2 MiB"),
            (Error::Mesh(too_large(1, 2 << 20).into()), "instance_info of 2 MiB, written by a member"),
            (Error::Mesh(too_large(3, 1401 << 10).into()), "user_data with a large driver_info"),
            (Error::Mesh(too_large(1, 16 << 20).into()), "an inspection's inventory"),
            (Error::Store(too_large(121, 9)), "a deletion with 121 records"),
            (Error::Mesh(too_large(64, 64 << 20).into()), "the largest body"),
        ] {
            // As gRPC answers: INVALID_ARGUMENT with this reason.
            assert_eq!((error.kind(), error.reason()), (Kind::Invalid, "TOO_LARGE"), "{source}");
            let fault = fault("n1", &error);
            assert_eq!(fault.status, 413, "{source}");
            assert!(fault.text.contains("at most 1400 KiB in 120 records"), "{source}: {}", fault.text);
        }
    }

    #[test]
    fn a_refused_resource_has_the_status_and_the_text_of_ironic() {
        const NODE_ID: &str = "00000000-0000-0000-0000-000000000002";
        let text = "Chassis 00000000-0000-0000-0000-000000000001 contains nodes.";
        assert_fault(ResourceRefusal::ChassisHasNodes { chassis: ID }, 400, text);
        assert_fault(
            ResourceRefusal::PortgroupHasPorts { portgroup: ID },
            400,
            "Portgroup 00000000-0000-0000-0000-000000000001 contains ports: delete them or remove them from the port \
             group first.",
        );
        for (kind, change, power, action, state) in [
            ("volume_target", VolumeChange::Update, Some(Power::On), "volume target update", "power on"),
            ("volume_connector", VolumeChange::Deletion, None, "volume connector deletion", "None"),
        ] {
            let text = format!(
                "The requested action \"{action}\" can not be performed on node \"{NODE_ID}\" while it is in state \
                 \"{state}\"."
            );
            assert_fault(ResourceRefusal::NotPoweredOff { kind, change, node: NODE, power }, 400, &text);
        }
        for (conductor, host) in [(Some("10.77.0.1:7003".to_owned()), "10.77.0.1:7003"), (None, "")] {
            let text = format!(
                "Node {NODE_ID} is locked by host {host}, please retry after the current operation is completed."
            );
            assert_fault(ResourceRefusal::PowerPending { node: NODE, conductor }, 409, &text);
        }
        let text = "The node of the volume was deleted meanwhile";
        assert_fault(ResourceRefusal::NodeDeleted { node: NODE }, 404, text);
    }

    #[test]
    fn a_taken_id_and_an_invalid_name_of_a_webhook_are_refused_in_ironics_words() {
        let (id, name) = (Uuid::nil(), InvalidWebhook::Name("a b".to_owned()));
        let taken = fault("i", &Error::IdTaken { kind: "volume_target", id });
        assert_eq!((taken.status, taken.text), (409, format!("A volume target with UUID {id} already exists.")));
        let invalid = fault("i", &Error::Webhook(name));
        assert_eq!((invalid.status, invalid.text.as_str()), (400, "Cannot create webhook with invalid name 'a b'"));
    }

    #[test]
    fn resources_are_described_as_ironic_does() {
        let described = |kind, value| holder_of(kind, &value);
        assert_eq!(described("allocation", Unique::Name("a".to_owned())), "An allocation with name a");
        assert_eq!(described("deploy_template", Unique::Name("a".to_owned())), "A deploy template with name a");
        let connector = Unique::Connector { kind: "iqn".to_owned(), id: "i".to_owned() };
        let text = "A volume connector with type iqn and connector ID i";
        assert_eq!(described("volume_connector", connector), text);
    }
}
