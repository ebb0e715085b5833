//! Pages, masks, entity tags and operations of the gRPC API, over an in-memory store.

use std::sync::Arc;

use domain::provision::State;
use proto::{
    api::v1::{
        AllocationSpec, CancelBulkRequest, CreateAllocationRequest, CreateBulkRequest, CreateImageRequest,
        CreateRackRequest, CreateWebhookRequest, DeleteAllocationRequest, DeleteImageRequest, DeleteNodeRequest,
        DeleteWebhookRequest, EnsureNodePowerRequest, GetNodeRequest, GetRackRequest, ListImagesRequest,
        ListNodesRequest, ListRacksRequest, Node, NodeSelector, OperationPhase, PauseBulkRequest, ProvisionNodeRequest,
        ProvisionVerb, Rack, ResetNodeBmcRequest, ResumeBulkRequest, SendNodeRawCommandRequest, UpdateNodeRequest,
        UpdateRackRequest, UpdateWebhookRequest, allocation_service_server::AllocationService as _,
        bulk_service_server::BulkService as _, image_service_server::ImageService as _,
        node_service_server::NodeService as _, rack_service_server::RackService as _,
        webhook_service_server::WebhookService as _,
    },
    common::v1::{BmcResetKind, PowerTarget, power_target},
    convert::mask::FieldMask,
};
use scheduler_testing::{TestNode, World};
use service_kit::status::reason;
use tonic::{Code, Request, Response, Status};

use super::Shared;

async fn api() -> (World, Shared) {
    let world = World::up().await.unwrap();
    let api = Shared::new(Arc::clone(&world.app));
    (world, api)
}

/// A scheduler with nodes of `fake-hardware`, `n1` and so on, that are in this state.
async fn with_nodes(count: u128, state: State) -> (World, Shared) {
    let (world, api) = api().await;
    for number in 1..=count {
        world.put(&TestNode::new(number, state)).await.unwrap();
    }
    (world, api)
}

async fn node(api: &Shared, name: &str) -> Node {
    let request = GetNodeRequest { node: name.to_owned() };
    api.get_node(Request::new(request)).await.unwrap().into_inner().node.unwrap()
}

async fn rack(api: &Shared, name: &str) -> Rack {
    let request = GetRackRequest { rack: name.to_owned() };
    api.get_rack(Request::new(request)).await.unwrap().into_inner().rack.unwrap()
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// Fails unless the call was refused because the resource has changed.
fn assert_changed<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_deref()), (Code::Aborted, Some("ETAG")), "{status:?}");
    assert!(status.message().contains("read it again"), "{status:?}");
}

/// Fails unless the call was refused with the name of a field.
fn assert_invalid<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, words: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains(words), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_returned_in_pages() {
    let (_world, api) = with_nodes(5, State::Available).await;
    let (mut names, mut sizes, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListNodesRequest { page_size: 2, page_token, ..Default::default() };
        let page = api.list_nodes(Request::new(request)).await.unwrap().into_inner();
        sizes.push(page.nodes.len());
        names.extend(page.nodes.into_iter().map(|node| node.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((names.join(" ").as_str(), sizes), ("n1 n2 n3 n4 n5", vec![2, 2, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_list_or_of_other_filters_is_refused() {
    let (_world, api) = with_nodes(3, State::Available).await;
    let first = ListNodesRequest { page_size: 1, ..Default::default() };
    let page_token = api.list_nodes(Request::new(first.clone())).await.unwrap().into_inner().next_page_token;
    let selector = Some(NodeSelector { states: vec!["available".to_owned()], ..Default::default() });
    let filtered = ListNodesRequest { page_token: page_token.clone(), selector, ..first.clone() };
    assert_invalid(api.list_nodes(Request::new(filtered)).await, "page_token");
    let racks = ListRacksRequest { page_size: 1, page_token: page_token.clone() };
    assert_invalid(api.list_racks(Request::new(racks)).await, "page_token");
    let negative = ListImagesRequest { page_size: -1, ..Default::default() };
    assert_invalid(api.list_images(Request::new(negative)).await, "page_size");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_changed_and_deleted_only_as_it_was_read() {
    let (_world, api) = with_nodes(1, State::Available).await;
    let read = node(&api, "n1").await;
    let named = |name: &str, etag: &str| {
        Request::new(UpdateNodeRequest {
            node: "n1".to_owned(),
            bmc_user: Some(name.to_owned()),
            boot_files_by_tftp: Some(name == "a"),
            etag: etag.to_owned(),
            ..Default::default()
        })
    };
    // A tag of the REST API is accepted, and it is of the same revision.
    let of_rest = format!("{}.115\"", read.etag.trim_end_matches('"'));
    let changed = api.update_node(named("a", &of_rest)).await.unwrap().into_inner().node.unwrap();
    assert_ne!(changed.etag, read.etag);
    assert_changed(api.update_node(named("b", &read.etag)).await);
    assert!(node(&api, "n1").await.intent.unwrap().boot_files_by_tftp, "nothing was changed");
    assert_invalid(api.update_node(named("b", "five")).await, "etag");
    let delete = |etag: &str| Request::new(DeleteNodeRequest { node: "n1".to_owned(), etag: etag.to_owned() });
    assert_changed(api.delete_node(delete(&read.etag)).await);
    api.delete_node(delete(&changed.etag)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_names_the_fields_of_a_node_that_change() {
    let (_world, api) = with_nodes(1, State::Available).await;
    let request = UpdateNodeRequest {
        node: "n1".to_owned(),
        name: Some("n9".to_owned()),
        boot_files_by_tftp: Some(true),
        ..Default::default()
    };
    let masked = |paths: &[&str]| Request::new(UpdateNodeRequest { update_mask: mask(paths), ..request.clone() });
    let changed = api.update_node(masked(&["boot_files_by_tftp"])).await.unwrap().into_inner().node.unwrap();
    assert_eq!((changed.name.as_str(), changed.intent.unwrap().boot_files_by_tftp), ("n1", true));
    assert_invalid(api.update_node(masked(&["name", "nmae"])).await, "\"nmae\"");
    let changed = api.update_node(masked(&[])).await.unwrap().into_inner().node.unwrap();
    assert_eq!(changed.name, "n9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_is_changed_by_a_mask_and_only_as_it_was_read() {
    let (_world, api) = api().await;
    let create = CreateRackRequest {
        name: "r1".to_owned(),
        kernel: "disk".to_owned(),
        subnet: "10.0.0.0/24".to_owned(),
        first_address: "10.0.0.10".to_owned(),
        last_address: "10.0.0.20".to_owned(),
        router: "10.0.0.1".to_owned(),
        server_identifier: "10.0.0.2".to_owned(),
        ..Default::default()
    };
    let made = api.create_rack(Request::new(create)).await.unwrap().into_inner().rack.unwrap();
    assert_eq!(made, rack(&api, "r1").await);
    let request = UpdateRackRequest {
        rack: "r1".to_owned(),
        kernel_arguments: Some("quiet".to_owned()),
        last_address: Some("10.0.0.30".to_owned()),
        update_mask: mask(&["router", "last_address"]),
        etag: made.etag.clone(),
        ..Default::default()
    };
    let changed = api.update_rack(Request::new(request.clone())).await.unwrap().into_inner().rack.unwrap();
    assert_eq!((changed.router.as_str(), changed.last_address.as_str()), ("", "10.0.0.30"));
    assert_eq!((changed.kernel.as_str(), changed.kernel_arguments.as_str()), ("disk", ""));
    assert_changed(api.update_rack(Request::new(request.clone())).await);
    let unknown = UpdateRackRequest { update_mask: mask(&["name"]), etag: String::new(), ..request };
    assert_invalid(api.update_rack(Request::new(unknown)).await, "\"name\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_deleted_only_as_it_was_read() {
    let (_world, api) = api().await;
    let create = || CreateImageRequest {
        name: "i1".to_owned(),
        url: "http://images/i1".to_owned(),
        digest: format!("sha256:{}", "1".repeat(64)),
        ..Default::default()
    };
    let delete = |etag: &str| Request::new(DeleteImageRequest { image: "i1".to_owned(), etag: etag.to_owned() });
    let first = api.create_image(Request::new(create())).await.unwrap().into_inner().image.unwrap();
    api.delete_image(delete(&first.etag)).await.unwrap();
    let second = api.create_image(Request::new(create())).await.unwrap().into_inner().image.unwrap();
    assert_changed(api.delete_image(delete(&first.etag)).await);
    api.delete_image(delete(&second.etag)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_changed_by_a_mask_and_only_as_it_was_read() {
    let (_world, api) = api().await;
    let create = CreateWebhookRequest {
        name: "w1".to_owned(),
        url: "https://receiver.example/hook".to_owned(),
        query: "fields=uuid".to_owned(),
        secret: "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3".to_owned(),
        ..Default::default()
    };
    let made = api.create_webhook(Request::new(create)).await.unwrap().into_inner().webhook.unwrap();
    let request = UpdateWebhookRequest {
        webhook: "w1".to_owned(),
        url: Some("https://other.example/hook".to_owned()),
        update_mask: mask(&["query", "enabled"]),
        etag: made.etag.clone(),
        ..Default::default()
    };
    let changed = api.update_webhook(Request::new(request.clone())).await.unwrap().into_inner().webhook.unwrap();
    assert_eq!((changed.url.as_str(), changed.query.as_str(), changed.enabled), (made.url.as_str(), "", false));
    assert_changed(api.update_webhook(Request::new(request.clone())).await);
    let unknown = UpdateWebhookRequest { update_mask: mask(&["name"]), ..request };
    assert_invalid(api.update_webhook(Request::new(unknown)).await, "\"name\"");
    let delete = |etag: &str| Request::new(DeleteWebhookRequest { webhook: "w1".to_owned(), etag: etag.to_owned() });
    assert_changed(api.delete_webhook(delete(&made.etag)).await);
    api.delete_webhook(delete(&changed.etag)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allocation_is_deleted_only_as_it_was_read() {
    let (_world, api) = api().await;
    let spec = Some(AllocationSpec { resource_class: "big".to_owned(), ..Default::default() });
    let create = CreateAllocationRequest { name: "a1".to_owned(), spec, queue_timeout: None };
    let made = api.create_allocation(Request::new(create)).await.unwrap().into_inner().allocation.unwrap();
    let delete =
        |etag: &str| Request::new(DeleteAllocationRequest { allocation: "a1".to_owned(), etag: etag.to_owned() });
    assert_changed(api.delete_allocation(delete("\"1\"")).await);
    api.delete_allocation(delete(&made.etag)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_is_paused_resumed_and_canceled_only_as_it_was_read() {
    let (_world, api) = with_nodes(2, State::Manageable).await;
    let create = CreateBulkRequest { verb: ProvisionVerb::Provide.into(), ..Default::default() };
    let made = api.create_bulk(Request::new(create)).await.unwrap().into_inner().bulk.unwrap();
    let (bulk, old) = (made.id, made.etag);
    let pause = |etag: &str| Request::new(PauseBulkRequest { bulk: bulk.clone(), etag: etag.to_owned() });
    let resume = |etag: &str| Request::new(ResumeBulkRequest { bulk: bulk.clone(), etag: etag.to_owned() });
    let cancel = |etag: &str| Request::new(CancelBulkRequest { bulk: bulk.clone(), etag: etag.to_owned() });
    let paused = api.pause_bulk(pause(&old)).await.unwrap().into_inner().bulk.unwrap();
    assert_changed(api.resume_bulk(resume(&old)).await);
    let resumed = api.resume_bulk(resume(&paused.etag)).await.unwrap().into_inner().bulk.unwrap();
    assert_changed(api.pause_bulk(pause(&old)).await);
    assert_changed(api.cancel_bulk(cancel(&paused.etag)).await);
    let canceled = api.cancel_bulk(cancel(&resumed.etag)).await.unwrap().into_inner().bulk.unwrap();
    let states = [paused.state(), resumed.state(), canceled.state()].map(|state| format!("{state:?}"));
    assert_eq!(states, ["Paused", "Running", "Canceled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_returns_its_operation_and_the_node_shows_it_while_it_runs() {
    let (_world, api) = with_nodes(1, State::Enroll).await;
    let verb = |verb: ProvisionVerb| {
        Request::new(ProvisionNodeRequest { node: "n1".to_owned(), verb: verb.into(), ..Default::default() })
    };
    assert_invalid(api.provision_node(verb(ProvisionVerb::Unspecified)).await, "verb");
    let started = api.provision_node(verb(ProvisionVerb::Manage)).await.unwrap().into_inner();
    let operation = started.operation.unwrap();
    assert_eq!((operation.phase(), operation.node_name.as_str()), (OperationPhase::Verify, "n1"));
    assert!(operation.start_time.is_some() && operation.end_time.is_none());
    assert_eq!(node(&api, "n1").await.observed.unwrap().operation, Some(operation.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_to_the_bmc_has_an_rpc_of_its_own_and_is_refused_with_the_reason() {
    let (_world, api) = with_nodes(1, State::Active).await;
    let before = node(&api, "n1").await;
    let reset = |kind: BmcResetKind| Request::new(ResetNodeBmcRequest { node: "n1".to_owned(), kind: kind.into() });
    let raw = |netfn, command, size| {
        Request::new(SendNodeRawCommandRequest { node: "n1".to_owned(), netfn, command, data: vec![0; size] })
    };
    assert_invalid(api.reset_node_bmc(reset(BmcResetKind::Unspecified)).await, "kind");
    assert_invalid(api.send_node_raw_command(raw(7, 1, 0)).await, "word 1");
    assert_invalid(api.send_node_raw_command(raw(6, 256, 0)).await, "word 2");
    assert_invalid(api.send_node_raw_command(raw(6, 1, 255)).await, "255 octets");
    // EnsureNodePower is open to roles that may not command a BMC.
    let cold = power_target::BmcReset { kind: BmcResetKind::Cold.into(), expire_time: None };
    let get_device_id = power_target::RawCommand { netfn: 6, command: 1, expire_time: None };
    for target in [power_target::Target::BmcReset(cold), power_target::Target::RawCommand(get_device_id)] {
        let target = Some(PowerTarget { target: Some(target) });
        let request = EnsureNodePowerRequest { node: "n1".to_owned(), target };
        assert_invalid(api.ensure_node_power(Request::new(request)).await, "SendNodeRawCommand");
    }
    // A node of fake-hardware has no BMC.
    for refused in [
        api.reset_node_bmc(reset(BmcResetKind::Cold)).await.map(drop).unwrap_err(),
        api.send_node_raw_command(raw(6, 1, 0)).await.map(drop).unwrap_err(),
    ] {
        assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::FailedPrecondition, Some("REFUSED")));
        assert!(refused.message().contains("driver ipmi"), "{refused:?}");
    }
    assert_eq!(node(&api, "n1").await, before);
}
