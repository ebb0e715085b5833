//! Rules about chassis, port groups and volumes, and the resources of a node that is deleted.

use domain::{
    id::{InstanceId, NodeId, PortId},
    power::{Power, PowerTarget},
    provision::{Phase, State},
};
use keyspace::{
    key,
    testing::{CallKind, Delivery},
    value::{ChassisSpec, PortSpec, PortgroupSpec, PowerSeen, VolumeConnectorSpec, VolumeTargetSpec},
};
use proto::api::v1::GetNodeRequest;
use scheduler_core::{
    Error, RequestContext,
    nodes::delete_node,
    ports::{PortFields, create_port, delete_port},
    request_id::RequestId,
    resources::{ResourceRefusal, ResourceRules, VolumeChange, delete_resource, update_resource},
};
use scheduler_testing::{RACK, TestNode};
use service_kit::clock;
use uuid::Uuid;

use crate::{
    lab::{Lab, internal},
    nodes::mac,
};

const ID: Uuid = Uuid::from_u128(4000);

fn target(node: NodeId, boot_index: i64) -> VolumeTargetSpec {
    VolumeTargetSpec { boot_index, node_uuid: Some(node), ..VolumeTargetSpec::default() }
}

impl Lab {
    /// Deletes the resource with the id.
    async fn deletes<T: ResourceRules>(&self) -> Result<(), Error> {
        delete_resource(&internal(), self.app(), &self.app().resource::<T>(ID).unwrap()).await
    }

    /// Changes the volume target with the id.
    async fn changes_target(&self, spec: VolumeTargetSpec) -> Result<(), Error> {
        let before = self.app().resource(ID).unwrap();
        update_resource(&internal(), self.app(), &before, spec).await.map(drop)
    }

    /// From now on the store refuses the transactions whose first key begins so.
    fn refuses_writes_of(&self, prefix: &str) {
        let prefix = prefix.to_owned();
        self.world.client.set_plan(move |call| match call.kind == CallKind::Write && call.path.starts_with(&prefix) {
            true => Delivery::REFUSED,
            false => Delivery::PROMPT,
        });
    }

    async fn has_power(&self, node: NodeId, power: Power) {
        let seen_by = InstanceId::new(Uuid::from_u128(1));
        let seen = PowerSeen { power, seen_at: clock::now(), seen_by, settled: None, trouble: None };
        let revision = self.world.write(&key::power(RACK, node), &seen).unwrap();
        self.world.sees(revision).await.unwrap();
    }
}

/// The reason for which a change of a resource is refused.
fn refusal(outcome: Result<(), Error>) -> ResourceRefusal {
    match outcome {
        Err(Error::Resource(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_chassis_that_contains_nodes_is_not_deleted() {
    let lab = Lab::at_rest().await;
    lab.app().create_resource(&internal(), ID, ChassisSpec::default()).await.unwrap();
    let mut node = TestNode::new(1, State::Available);
    node.spec.chassis_uuid = Some(ID);
    lab.put(&node).await;
    assert_eq!(refusal(lab.deletes::<ChassisSpec>().await), ResourceRefusal::ChassisHasNodes { chassis: ID });
    node.spec.chassis_uuid = None;
    lab.put(&node).await;
    lab.deletes::<ChassisSpec>().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_port_group_that_contains_ports_is_not_deleted() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Available).await;
    let group = PortgroupSpec { node_uuid: Some(node), ..PortgroupSpec::default() };
    lab.app().create_resource(&internal(), ID, group).await.unwrap();
    let spec = PortSpec { portgroup_uuid: Some(ID), ..PortSpec::default() };
    let fields = PortFields { mac: mac(1), node, spec };
    create_port(&internal(), lab.app(), PortId::new(Uuid::from_u128(1)), fields).await.unwrap();
    assert_eq!(refusal(lab.deletes::<PortgroupSpec>().await), ResourceRefusal::PortgroupHasPorts { portgroup: ID });
    delete_port(&internal(), lab.app(), &lab.app().registry.ports()[0]).await.unwrap();
    lab.deletes::<PortgroupSpec>().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_volumes_of_a_node_change_only_while_it_is_powered_off() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Available).await;
    lab.app().create_resource(&internal(), ID, target(node, 0)).await.unwrap();
    let refused = |change, power| ResourceRefusal::NotPoweredOff { kind: "volume_target", change, node, power };
    assert_eq!(refusal(lab.changes_target(target(node, 1)).await), refused(VolumeChange::Update, None));
    lab.has_power(node, Power::On).await;
    assert_eq!(refusal(lab.changes_target(target(node, 1)).await), refused(VolumeChange::Update, Some(Power::On)));
    let deleted = refusal(lab.deletes::<VolumeTargetSpec>().await);
    assert_eq!(deleted, refused(VolumeChange::Deletion, Some(Power::On)));
    lab.has_power(node, Power::Off).await;
    lab.changes_target(target(node, 1)).await.unwrap();
    lab.deletes::<VolumeTargetSpec>().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_volumes_of_a_node_that_is_not_in_use_yet_can_be_deleted_while_it_is_powered_on() {
    for state in [State::Enroll, State::Manageable, State::Failed { during: Phase::Adopt }] {
        let lab = Lab::at_rest().await;
        let node = lab.machine(1, state).await;
        lab.has_power(node, Power::On).await;
        lab.app().create_resource(&internal(), ID, target(node, 0)).await.unwrap();
        assert!(matches!(
            refusal(lab.changes_target(target(node, 1)).await),
            ResourceRefusal::NotPoweredOff { change: VolumeChange::Update, .. }
        ));
        lab.deletes::<VolumeTargetSpec>().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_volume_waits_for_the_requested_power_state_but_not_forever() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Available).await;
    lab.has_power(node, Power::Off).await;
    lab.change_intent(node, |intent| intent.power = Some(PowerTarget::On)).await;
    lab.app().create_resource(&internal(), ID, target(node, 0)).await.unwrap();
    let refused = refusal(lab.changes_target(target(node, 1)).await);
    assert!(matches!(refused, ResourceRefusal::PowerPending { node: of, .. } if of == node), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_without_a_node_is_bound_by_no_power_state() {
    let lab = Lab::at_rest().await;
    let connector = VolumeConnectorSpec { kind: "iqn".to_owned(), ..VolumeConnectorSpec::default() };
    lab.app().create_resource(&internal(), ID, connector).await.unwrap();
    lab.deletes::<VolumeConnectorSpec>().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_is_deleted_with_its_port_groups_and_volumes_and_with_no_others() {
    let lab = Lab::at_rest().await;
    let (node, other) = (lab.fake(1, State::Available).await, lab.fake(2, State::Available).await);
    let app = lab.app();
    for (number, of) in [(1, node), (2, other)] {
        let group = PortgroupSpec { node_uuid: Some(of), ..PortgroupSpec::default() };
        let connector_id = number.to_string();
        let connector = VolumeConnectorSpec { connector_id, node_uuid: Some(of), ..VolumeConnectorSpec::default() };
        app.create_resource(&internal(), Uuid::from_u128(number), group).await.unwrap();
        app.create_resource(&internal(), Uuid::from_u128(number), connector).await.unwrap();
        app.create_resource(&internal(), Uuid::from_u128(number), target(of, 0)).await.unwrap();
    }
    // No resource is deleted by a change of its own, which could fail after the node is gone.
    lab.refuses_writes_of(key::volume_targets().path());
    let context = RequestContext::with_id(RequestId::by_name(ID, &ID));
    delete_node(&context, app, &lab.record(node)).await.unwrap();
    assert_eq!(lab.state(node), "gone");
    let nodes = [
        app.resources::<PortgroupSpec>().iter().map(|stored| stored.spec().node_uuid).collect::<Vec<_>>(),
        app.resources::<VolumeConnectorSpec>().iter().map(|stored| stored.spec().node_uuid).collect(),
        app.resources::<VolumeTargetSpec>().iter().map(|stored| stored.spec().node_uuid).collect(),
    ];
    assert_eq!(nodes, [vec![Some(other)], vec![Some(other)], vec![Some(other)]]);
    assert_eq!(lab.events("DELETED"), ["n1"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_more_resources_than_fit_in_a_transaction_is_kept_until_they_are_deleted() {
    let lab = Lab::at_rest().await;
    let (node, app) = (lab.fake(1, State::Available).await, lab.app());
    for index in 0..150_i64 {
        app.create_resource(&internal(), Uuid::new_v4(), target(node, index)).await.unwrap();
    }
    let delete = async || {
        let context = RequestContext::with_id(RequestId::by_name(ID, &ID));
        let deletion = async {
            delete_node(&context, app, &lab.record(node)).await?;
            Ok(GetNodeRequest::default())
        };
        app.once(&context, deletion, || Ok(GetNodeRequest::default())).await
    };
    lab.refuses_writes_of(key::life(RACK, node).path());
    assert!(delete().await.is_err());
    assert_eq!(lab.state(node), "available");
    lab.world.client.heal();
    delete().await.unwrap();
    assert_eq!((lab.state(node).as_str(), app.resources::<VolumeTargetSpec>().len()), ("gone", 0));
}
