//! Lists, shows, creates, changes and deletes nodes.

use std::sync::Arc;

use domain::{
    driver::{Driver, Interface},
    id::{NodeId, RackId},
    provision::Refused,
};
use driver_info::{BmcAccess, Change, bmc_access, ipmi};
use keyspace::{
    seal::{Place, open_driver_info},
    store::Versioned,
    value::{Bmc, ChassisSpec, ExtraFields, Intent, Life, NodeSpec, Rack, Stamped},
};
use serde_json::{Map, Value, json};
use service_kit::clock;
use wire_ironic::{
    error::{Class, Error, text},
    fields::{self, Columns, NODE},
    links,
    page::Direction,
    patch, query,
    query::{List, Shape},
};

use super::{
    ApiRequest, RestApi,
    authz::NodeVisibility,
    condition,
    fault::fault,
    interfaces::{check_interfaces, driver},
    list,
    node_document::{NodeDocument, field, render},
    pages::Page,
    records::{from_fields, interface_field, to_fields},
    response::ApiResponse,
};
use scheduler_core::{
    AppState,
    node_cache::ListOrder,
    node_view::NodeView,
    nodes::delete_node,
    registry::{Held, Record},
};

/// How often a change is tried that others' changes can get in the way of.
const MAX_ATTEMPTS: u32 = 5;
/// Fields of a node that are no part of its specification.
const ELSEWHERE: &[&str] = &["uuid", "name", "driver", "conductor_group", "created_at", "updated_at"];

impl RestApi {
    /// Finds the node that a request names. Names need a minimum API version.
    pub(super) fn node(&self, request: &ApiRequest, ident: &str) -> Result<Arc<NodeView>, Error> {
        if !fields::identifies(wire_ironic::version::Version::MAX, ident) {
            return Err(text::bad_identifier("node", ident));
        }
        let missing = || text::not_found("Node", ident);
        if !fields::identifies(request.version, ident) {
            return Err(missing());
        }
        self.find_visible(request, ident).ok_or_else(missing)
    }

    /// Finds a node by id or name.
    pub(super) fn find(&self, ident: &str) -> Option<Arc<NodeView>> {
        find(&self.app, ident)
    }

    pub(super) fn list_nodes(&self, request: &ApiRequest, shape: Shape) -> Result<ApiResponse, Error> {
        let list = query::list(&NODE, request.version, shape, &request.pairs)?;
        self.check_filters(&list)?;
        let parent = self.parent(request, &list);
        self.page_of_nodes(request, list, parent.as_deref())
    }

    pub(super) fn list_nodes_of(&self, request: &ApiRequest, filter: &str, ident: &str) -> Result<ApiResponse, Error> {
        let mut pairs = request.pairs.clone();
        pairs.push((filter.to_owned(), ident.to_owned()));
        self.page_of_nodes(request, query::list(&NODE, request.version, Shape::Plain, &pairs)?, None)
    }

    fn page_of_nodes(&self, request: &ApiRequest, list: List, parent: Option<&str>) -> Result<ApiResponse, Error> {
        let visibility = NodeVisibility::of(&request.caller);
        let is_of = |node: &NodeView| matches(node, &list, parent) && visibility.includes(node);
        let marker = list.page.marker.as_deref();
        let missing = || text::not_found("Node", marker.unwrap_or_default());
        let behind = marker.map(|marker| {
            let node = marker.parse().ok().and_then(|node| self.node_cache.get(node));
            node.filter(|node| visibility.includes(node)).map(|node| node.node).ok_or_else(missing)
        });
        let behind = behind.transpose()?;
        let page = if list.page.sort_key == "id" {
            let order = match list.page.direction {
                Direction::Ascending => ListOrder::OldestFirst,
                Direction::Descending => ListOrder::NewestFirst,
            };
            self.node_cache.next(behind, order, list.page.limit, is_of).ok_or_else(missing)?
        } else {
            // A marker gives the start of the page even if the node no longer matches the filters.
            let all = self.node_cache.those(|node| is_of(node) || Some(node.node) == behind);
            list::chosen(&NODE, &list, all, |node, name| field(node, name))?
        };
        Ok(ApiResponse::page(Page::new(request, &list, page)))
    }

    /// Rejects filters that name a missing resource.
    pub(super) fn check_filters(&self, list: &List) -> Result<(), Error> {
        let chassis = list.filters.iter().find(|(filter, _)| filter.name == "chassis_uuid");
        match chassis.map(|(_, operand)| operand.to_text()) {
            Some(uuid) if !self.has_chassis(&uuid) => Err(text::not_found("Chassis", &uuid)),
            Some(_) | None => Ok(()),
        }
    }

    /// Id of the parent that a list is filtered by, whether the filter has its id or its name.
    pub(super) fn parent(&self, request: &ApiRequest, list: &List) -> Option<String> {
        let (_, operand) = list.filters.iter().find(|(filter, _)| filter.name == "parent_node")?;
        let ident = operand.to_text();
        Some(self.find_visible(request, &ident).map_or(ident, |node| node.node.to_string()))
    }

    /// Whether a chassis exists.
    pub(super) fn has_chassis(&self, uuid: &str) -> bool {
        uuid.parse().is_ok_and(|id| self.app.resource::<ChassisSpec>(id).is_some())
    }

    pub(super) fn show_node(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&["fields"])?;
        let columns = request.columns(&NODE)?;
        let node = self.node(request, ident)?;
        let tag = condition::tag(node.revision, request.version);
        if request.condition.has(&tag) {
            return Ok(ApiResponse::not_modified().with_etag(tag));
        }
        let seen = NodeDocument::new(&node, NodeVisibility::of(&request.caller));
        let shown = links::shown(&NODE, request.version, &request.base, &columns, &seen);
        Ok(ApiResponse::ok(Value::Object(shown)).with_etag(tag))
    }

    /// Returns the body of the response to a change, and the node's entity tag.
    pub(super) fn node_body(&self, request: &ApiRequest, node: NodeId) -> Result<(Value, String), Error> {
        let shown = self.node_cache.get(node).ok_or_else(|| text::not_found("Node", &node.to_string()))?;
        let seen = NodeDocument::new(&shown, NodeVisibility::of(&request.caller));
        let whole = links::shown(&NODE, request.version, &request.base, &Columns::All, &seen);
        Ok((Value::Object(whole), condition::tag(shown.revision, request.version)))
    }

    pub(super) async fn create_node(&self, request: &ApiRequest) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let mut attributes = fields::check_post(&NODE, request.version, &request.body)?;
        request.set_owner(&mut attributes);
        let name = attributes.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !name.is_empty() {
            fields::check_new_name(request.version, &name)?;
        }
        let driver = driver(&attributes)?;
        let rack = self.rack_for(&attributes, driver)?;
        check_interfaces(driver, &attributes)?;
        self.check_references(&attributes)?;
        let node = match attributes.get("uuid").and_then(Value::as_str) {
            Some(uuid) => uuid.parse().map_err(|_| Class::Invalid.error(format!("Expected UUID for uuid: {uuid}")))?,
            None => NodeId::new(uuid::Uuid::new_v4()),
        };
        self.check_free(node, &name, &attributes)?;
        driver_info::check(&Change { node, driver, before: None, after: &attributes })?;
        attributes.retain(|field, _| !ELSEWHERE.contains(&field.as_str()));
        let registry = &self.app.registry;
        let mut spec: NodeSpec = from_fields(attributes)?;
        registry.seal_secrets(&mut spec, &node.to_string()).map_err(|error| fault(&node.to_string(), &error))?;
        let mut intent = Intent::new(name, driver, clock::now());
        driver_info::apply(&mut intent, None, &spec)?;
        intent.bmc = self.bmc((rack.value.id, node), &intent, spec.driver_info.as_ref())?;
        let mut life = Life::newborn(intent.enrolled_at);
        if fields::first_state(request.version) == "available" {
            life.state = domain::provision::State::Available;
        }
        let record = Stamped::created(spec, intent.enrolled_at);
        let made = registry.create_with(&request.context(), &rack, node, &intent, &life, &record).await;
        made.map_err(|error| fault(&node.to_string(), &error))?;
        self.app.live_state.tell(Some(node), "ENROLLED", intent.name);
        let (body, tag) = self.node_body(request, node)?;
        Ok(ApiResponse::created(body, links::location(&request.base, &format!("nodes/{node}"))).with_etag(tag))
    }

    /// Finds the rack of the node's conductor group.
    fn rack_for(&self, attributes: &Map<String, Value>, driver: Driver) -> Result<Versioned<Rack>, Error> {
        let group = attributes.get("conductor_group").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let rack = self.app.registry.rack_named(&group);
        rack.map_err(|_| text::no_valid_host(&driver.to_string(), &group))
    }

    /// Checks that the chassis and the parent node exist.
    fn check_references(&self, attributes: &Map<String, Value>) -> Result<(), Error> {
        let named = |name: &str| attributes.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(chassis) = named("chassis_uuid").filter(|uuid| !self.has_chassis(uuid)) {
            return Err(Class::Invalid.error(format!("Chassis {chassis} could not be found.")));
        }
        match named("parent_node").filter(|parent| self.find(parent).is_none()) {
            Some(parent) => Err(Class::Invalid.error(format!("Node {parent} could not be found."))),
            None => Ok(()),
        }
    }

    fn check_free(&self, node: NodeId, name: &str, attributes: &Map<String, Value>) -> Result<(), Error> {
        let registry = &self.app.registry;
        if registry.held(node).is_some() {
            return Err(text::already_exists(&format!("A node with UUID {node}")));
        }
        if !name.is_empty() && registry.view().get(&keyspace::key::node_name(name)).is_some() {
            return Err(text::already_exists(&format!("A node with name {name}")));
        }
        self.check_instance(node, attributes)
    }

    /// Checks that no other node has the instance.
    fn check_instance(&self, node: NodeId, attributes: &Map<String, Value>) -> Result<(), Error> {
        let Some(instance) = attributes.get("instance_uuid").and_then(Value::as_str) else { return Ok(()) };
        match self.app.registry.instance_holder(instance).filter(|holder| holder.id != node.uuid()) {
            Some(holder) => Err(text::associated(&holder.id.to_string(), instance)),
            None => Ok(()),
        }
    }

    /// How the BMC is reached according to `driver_info`. `None` if that is incomplete.
    fn bmc(
        &self,
        (rack, node): (RackId, NodeId),
        before: &Intent,
        info: Option<&ExtraFields>,
    ) -> Result<Option<Bmc>, Error> {
        let Some(info) = info else { return Ok(None) };
        let Some(access) = bmc_access(before.driver, info.as_map()) else { return Ok(None) };
        let BmcAccess { address, mut ipmi, redfish, user, password: key } = access;
        let user = info.as_map().get(user).map(driver_info::plain).unwrap_or_default();
        let registry = &self.app.registry;
        let internal = |error: scheduler_core::Error| fault(&node.to_string(), &error);
        // A password that is sealed as the one in use was not changed.
        let in_use = before.bmc.as_ref().map(|bmc| &bmc.password);
        let unchanged = in_use.filter(|password| info.sealed(key).as_ref() == Some(password));
        let password = match unchanged {
            Some(password) => password.clone(),
            None => {
                let opened = open_driver_info(info, (rack, node), key, &registry.sealer);
                let opened = opened.map_err(|source| internal(scheduler_core::Error::Sealed { node, source }))?;
                let password = opened.unwrap_or_else(|| domain::secret::Secret::new(Vec::new()));
                registry.seal_password(rack, node, &password).map_err(internal)?
            }
        };
        let opened = open_driver_info(info, (rack, node), ipmi::KEY, &registry.sealer);
        let opened = opened.map_err(|source| internal(scheduler_core::Error::Sealed { node, source }))?;
        if let Some(octets) = opened.filter(|_| before.driver == Driver::Ipmi).and_then(|key| ipmi::key_octets(&key)) {
            // The same key is not sealed anew, or every change of the node would change its BMC.
            let in_use = before.bmc.as_ref().and_then(|bmc| bmc.ipmi.key.clone()).filter(|sealed| {
                let opened = registry.sealer.open(&Place::bmc_key(rack, node), sealed);
                opened.is_ok_and(|opened| opened.expose() == octets.expose())
            });
            ipmi.key = Some(match in_use {
                Some(sealed) => sealed,
                None => registry.seal_bmc_key(rack, node, octets.expose()).map_err(internal)?,
            });
        }
        Ok(Some(Bmc { address, user, password, ipmi, redfish }))
    }

    pub(super) async fn patch_node(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&["reset_interfaces"])?;
        let ops = patch::parse(&NODE, request.version, &request.body)?;
        let node = self.node(request, ident)?.node;
        let reset =
            request.parameter("reset_interfaces").map(|word| query::boolean("reset_interfaces", word)).transpose()?;
        patch::node::check_reset(request.version, reset, &ops)?;
        let reset = reset.unwrap_or_default();
        self.change_node(request, ident, node, |before| {
            patch::node::check_before(request.version, ident, before, &ops)?;
            for op in ops.iter().filter(|op| op.field() == "name" && op.inside().is_empty()) {
                if op.kind != patch::OpKind::Remove {
                    fields::check_patched_name(request.version, ident, &op.value)?;
                }
            }
            let mut after = patch::apply(&NODE, before, &ops)?;
            if reset {
                let touched = |field: &str| ops.iter().any(|op| op.field() == field);
                let fields = Interface::ALL.iter().map(|interface| interface_field(*interface));
                fields.filter(|field| !touched(field)).for_each(|field| drop(after.insert(field, Value::Null)));
            }
            patch::node::check_after(ident, before, after)
        })
        .await?;
        let (shown, tag) = self.node_body(request, node)?;
        Ok(ApiResponse::ok(shown).with_etag(tag))
    }

    /// Changes a node by a pure function of its fields, and retries on conflicting changes. Each attempt checks the
    /// request's preconditions.
    pub(super) async fn change_node(
        &self,
        request: &ApiRequest,
        ident: &str,
        node: NodeId,
        change: impl Fn(&Map<String, Value>) -> Result<Map<String, Value>, Error>,
    ) -> Result<(), Error> {
        let registry = &self.app.registry;
        let mut attempts = MAX_ATTEMPTS;
        loop {
            let held = registry.held(node).ok_or_else(|| text::not_found("Node", ident))?;
            let view = NodeView::read(registry.view(), held.rack, node);
            let view = view.ok_or_else(|| text::not_found("Node", ident))?;
            request.condition.check(ident, view.revision)?;
            let before = render(&view);
            let after = change(&before)?;
            let rack = self.target_rack(held.rack, &before, &after)?;
            let (intent, record) = self.changed_records(&held, &before, after)?;
            let stored = match &rack {
                Some(rack) => registry.move_with(&request.context(), &held, rack, &intent, Some(&record)).await,
                None => registry.change_with(&request.context(), &held, &intent, &record).await,
            };
            match stored {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() && attempts > 1 => {
                    attempts -= 1;
                    registry.seen_anew(&held).await;
                }
                // Only a move to another rack needs an idle node.
                Err(scheduler_core::Error::Busy { .. }) => {
                    let holder = before.get("conductor").and_then(Value::as_str).unwrap_or_default();
                    return Err(text::locked(&node.to_string(), holder));
                }
                Err(error) => return Err(fault(ident, &error)),
            }
        }
    }

    /// Checks the preconditions against the cached node and the records. The transaction is conditional on the records'
    /// revisions, so that they still hold when it commits.
    pub(super) fn check_since(
        &self,
        request: &ApiRequest,
        ident: &str,
        shown: &NodeView,
        record: &Record,
    ) -> Result<(), Error> {
        request.condition.check(ident, shown.revision)?;
        let changed = [record.life.revision, record.intent.revision].into_iter().find(|one| *one > shown.revision);
        changed.map_or(Ok(()), |revision| request.condition.check(ident, revision))
    }

    /// Builds the records of a changed node.
    fn changed_records(
        &self,
        held: &Held,
        before: &Map<String, Value>,
        after: Map<String, Value>,
    ) -> Result<(Intent, Stamped<NodeSpec>), Error> {
        let (node, old) = (held.node, &held.intent.value);
        let driver = driver(&after)?;
        check_interfaces(driver, &after)?;
        self.check_references(&after)?;
        self.check_instance(node, &after)?;
        driver_info::check(&Change { node, driver, before: Some(before), after: &after })?;
        let name = after.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let holder = self.app.registry.view().get(&keyspace::key::node_name(&name));
        if !name.is_empty() && holder.is_some_and(|holder| holder.value.id != node.uuid()) {
            return Err(text::already_exists(&format!("A node with name {name}")));
        }
        let changes_bmc = before.get("driver_info") != after.get("driver_info");
        let stored = held.spec.as_ref().map(|read| read.value.clone()).unwrap_or_default();
        let mut fields = to_fields(&stored.spec);
        // The implementations that the old driver had by default are kept as if they had been chosen.
        let is_kept = |field: &str| driver != old.driver && field.ends_with("_interface");
        let synthesized = after.get("driver_info").and_then(Value::as_object).cloned().map(ExtraFields::from);
        for (field, value) in after {
            if !ELSEWHERE.contains(&field.as_str()) && (before.get(&field) != Some(&value) || is_kept(&field)) {
                fields.insert(field, value);
            }
        }
        let mut spec: NodeSpec = from_fields(fields)?;
        let sealed = self.app.registry.seal_secrets(&mut spec, &node.to_string());
        sealed.map_err(|error| fault(&node.to_string(), &error))?;
        let mut intent = Intent { name, driver, ..old.clone() };
        if changes_bmc || driver != old.driver {
            let info = spec.driver_info.as_ref().or(synthesized.as_ref());
            intent.bmc = self.bmc((held.rack, node), &Intent { bmc: old.bmc.clone(), ..intent.clone() }, info)?;
        }
        driver_info::apply(&mut intent, Some(&stored.spec), &spec)?;
        Ok((intent, stored.updated(spec, clock::now())))
    }

    /// Rack of the changed conductor group. `None` if the node stays in its rack.
    fn target_rack(
        &self,
        from: RackId,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
    ) -> Result<Option<Versioned<Rack>>, Error> {
        if before.get("conductor_group") == after.get("conductor_group") {
            return Ok(None);
        }
        self.rack_for(after, driver(after)?).map(|rack| (rack.value.id != from).then_some(rack))
    }

    pub(super) async fn delete_node(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let node = self.node(request, ident)?;
        let record = self.app.registry.record(node.rack, node.node).ok_or_else(|| text::not_found("Node", ident))?;
        self.check_since(request, ident, &node, &record)?;
        let deleted = delete_node(&request.context(), &self.app, &record).await;
        deleted.map_err(|error| deletion_error(ident, &node, &error))?;
        Ok(ApiResponse::no_content())
    }
}

/// Finds a node by id or name.
pub(super) fn find(app: &AppState, ident: &str) -> Option<Arc<NodeView>> {
    app.node_cache.get(app.registry.find(ident).ok()?.1)
}

/// Error of a refused deletion, in Ironic's words.
fn deletion_error(ident: &str, node: &NodeView, error: &scheduler_core::Error) -> Error {
    let uuid = node.node.to_string();
    let scheduler_core::Error::Refused(refused) = error else { return fault(ident, error) };
    match refused {
        Refused::HasInstance => text::associated(&uuid, node.spec().instance_uuid.as_deref().unwrap_or_default()),
        Refused::Protected => text::protected(&uuid),
        Refused::NotRemovable { state } => patch::node::not_deletable(&uuid, state.ironic_name()),
        Refused::NotHere { .. }
        | Refused::Retired
        | Refused::InMaintenance { .. }
        | Refused::Unsupported { .. }
        | Refused::NotCarriedOut { .. }
        | Refused::NoNetworkBoot { .. }
        | Refused::Busy { .. }
        | Refused::AwaitsPower
        | Refused::NoIpmiCommands
        | Refused::StaysOn
        | Refused::Meaningless { .. } => fault(ident, error),
    }
}

/// Returns whether a node matches the filters of a list.
pub(super) fn matches(view: &NodeView, list: &List, parent: Option<&str>) -> bool {
    let node = &NodeDocument::unrestricted(view);
    let mut with_children = false;
    for (filter, operand) in &list.filters {
        let fits = match filter.name {
            "associated" => list::has(node, "instance_uuid") == matches!(operand, query::Operand::Flag(true)),
            "sharded" => list::has(node, "shard") == matches!(operand, query::Operand::Flag(true)),
            "description_contains" => list::contains(node, "description", operand),
            "project" => list::matches(node, "owner", operand) || list::matches(node, "lessee", operand),
            "include_children" => {
                with_children |= matches!(operand, query::Operand::Flag(true));
                true
            }
            "parent_node" => {
                with_children = true;
                view.spec().parent_node.as_deref() == parent
            }
            field => list::matches(node, field, operand),
        };
        if !fits {
            return false;
        }
    }
    with_children || view.spec().parent_node.as_ref().is_none_or(String::is_empty)
}

/// Body with a single member.
pub(super) fn one(name: &str, value: Value) -> Value {
    json!({name: value})
}
