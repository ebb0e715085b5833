//! Generic collections: chassis, port groups, templates, runbooks, rules, volumes, allocations, webhooks.

use std::{sync::Arc, time::Duration};

use domain::id::NodeId;
use keyspace::{key, value::Sheet};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error, text},
    fields::{self, Columns},
    links, patch,
    query::{self, List, Operand, Shape},
};

use super::{ApiRequest, RestApi, authz::Visibility, list, response::ApiResponse, webhooks};
use scheduler_core::{
    document::time,
    kinds::{CHASSIS_KIND, CONNECTOR_KIND, Kind, PORTGROUP_KIND, RUNBOOK_KIND, TARGET_KIND, WEBHOOK_KIND},
    node_cache::NodeView,
    secret,
};

/// Time that a change of volumes waits for a running change of power.
const POWER_SETTLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval at which it checks the power.
const POWER_POLL_INTERVAL: Duration = Duration::from_millis(50);

impl RestApi {
    /// Lists the nodes of a chassis.
    pub(super) fn list_chassis_nodes(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let chassis = self.app.sheet(CHASSIS_KIND, ident)?.0;
        self.list_nodes_of(request, "chassis_uuid", &chassis.to_string())
    }

    /// Lists the ports of a port group.
    pub(super) fn list_portgroup_ports(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let group = self.app.sheet(PORTGROUP_KIND, ident)?.0;
        self.list_ports_of(request, Shape::Plain, "portgroup", &group.to_string())
    }

    /// All fields of all members of a collection, in the order of their creation.
    pub(super) fn all_resources(&self, kind: Kind) -> Vec<Map<String, Value>> {
        let mut all = self.app.registry.view().list(&key::sheets(kind.collection));
        all.sort_by_key(|(_, sheet)| sheet.value.created_at);
        all.into_iter()
            .filter_map(|(path, sheet)| Some(self.resource_document(kind, key::last(&path)?, &sheet.value)))
            .collect()
    }

    pub(super) fn list_resources(
        &self,
        request: &ApiRequest,
        kind: Kind,
        shape: Shape,
        pairs: &[(String, String)],
    ) -> Result<ApiResponse, Error> {
        let list = query::list(kind.resource, request.version, shape, pairs)?;
        let node = self.node_of(request, &list, kind.collection == "allocation")?;
        let all = self.all_resources(kind);
        let matching = all.iter().filter(|one| matches(one, &list, node.as_deref()));
        let visibility = Visibility::of(self, request, kind.resource.path);
        list::page(kind.resource, request, &list, matching.collect(), visibility).map(ApiResponse::ok)
    }

    /// Id of the node that a list is filtered by. `is_strict` selects the error for a missing node.
    pub(super) fn node_of(&self, request: &ApiRequest, list: &List, is_strict: bool) -> Result<Option<String>, Error> {
        let filter = list.filters.iter().find(|(filter, _)| matches!(filter.name, "node" | "node_uuid"));
        let Some((_, operand)) = filter else { return Ok(None) };
        let ident = operand.written();
        match self.find_visible(request, &ident) {
            Some(node) => Ok(Some(node.node.to_string())),
            None if is_strict => Err(Class::Invalid.says(format!("Node {ident} could not be found."))),
            None => Err(text::not_found("Node", &ident)),
        }
    }

    pub(super) fn show_resource(&self, request: &ApiRequest, kind: Kind, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&["fields"])?;
        let columns = request.columns(kind.resource)?;
        let (id, sheet) = self.app.sheet(kind, ident)?;
        let whole = self.resource_document(kind, id, &sheet.value);
        let seen = Visibility::of(self, request, kind.resource.path).redact(&whole);
        Ok(ApiResponse::ok(Value::Object(links::shown(kind.resource, request.version, &request.base, &columns, &seen))))
    }

    /// All fields of a resource, including those that clients cannot set.
    fn resource_document(&self, kind: Kind, id: Uuid, sheet: &Sheet) -> Map<String, Value> {
        let mut whole = document(id, sheet);
        if kind.collection == WEBHOOK_KIND.collection {
            self.add_progress(id, &mut whole);
        }
        whole
    }

    /// Body of the response to a change.
    pub(super) fn resource_body(&self, request: &ApiRequest, kind: Kind, id: Uuid, sheet: &Sheet) -> Value {
        let whole = self.resource_document(kind, id, sheet);
        let seen = Visibility::of(self, request, kind.resource.path).redact(&whole);
        Value::Object(links::shown(kind.resource, request.version, &request.base, &Columns::All, &seen))
    }

    pub(super) async fn create_resource(&self, request: &ApiRequest, kind: Kind) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let mut attributes = fields::check_post(kind.resource, request.version, &request.body)?;
        request.set_owner(&mut attributes);
        let id = match attributes.get("uuid").and_then(Value::as_str) {
            Some(uuid) => uuid.parse().map_err(|_| Class::Invalid.says(format!("Expected UUID for uuid: {uuid}")))?,
            None => Uuid::new_v4(),
        };
        if kind.collection == "allocation" {
            return self.create_allocation(request, id, attributes).await;
        }
        if kind.collection == WEBHOOK_KIND.collection {
            webhooks::check(&attributes)?;
            webhooks::check_webhook_count(self.app.registry.view())?;
        }
        self.check_node(request, &mut attributes)?;
        let registry = &self.app.registry;
        if registry.view().get(&key::sheet_of(kind.collection, id)).is_some() {
            return Err(text::already_exists(&format!("{} with UUID {id}", kind.article)));
        }
        let sheet = self.app.fresh_sheet(kind, id, attributes)?;
        self.app.store_sheet(kind, id, &sheet).await?;
        let path = format!("{}/{id}", kind.resource.path);
        Ok(ApiResponse::created(self.resource_body(request, kind, id, &sheet), links::location(&request.base, &path)))
    }

    /// Checks that the node of a resource exists, and replaces its name by its id.
    pub(super) fn check_node(
        &self,
        request: &ApiRequest,
        attributes: &mut Map<String, Value>,
    ) -> Result<Option<NodeId>, Error> {
        let Some(ident) = attributes.get("node_uuid").and_then(Value::as_str) else { return Ok(None) };
        if !fields::is_uuid(ident) {
            return Err(Class::Invalid.says(format!("Expected UUID for node_uuid: {ident}")));
        }
        let missing = || Class::Invalid.says(format!("Node {ident} could not be found."));
        let node = self.find_visible(request, ident).ok_or_else(missing)?.node;
        attributes.insert("node_uuid".to_owned(), json!(node.to_string()));
        Ok(Some(node))
    }

    pub(super) async fn update_resource(
        &self,
        request: &ApiRequest,
        kind: Kind,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let ops = patch::parse(kind.resource, request.version, &request.body)?;
        let (id, before) = self.app.sheet(kind, ident)?;
        self.check_volume_change(kind, &before.value, false).await?;
        let mut fields = before.value.fields.clone();
        fields.insert("uuid".to_owned(), json!(id.to_string()));
        if kind.collection == RUNBOOK_KIND.collection {
            patch::disown(&mut fields, &ops, &request.body)?;
        }
        let mut after = patch::apply(kind.resource, &fields, &ops)?;
        self.check_node(request, &mut after)?;
        if after.remove("uuid") != Some(json!(id.to_string())) {
            return Err(Class::Invalid.says("Changing the UUID of a resource is not possible"));
        }
        if kind.collection == WEBHOOK_KIND.collection {
            webhooks::check(&after)?;
        }
        let sheet = self.app.change_sheet(kind, id, &before, after).await?;
        Ok(ApiResponse::ok(self.resource_body(request, kind, id, &sheet)))
    }

    pub(super) async fn delete_resources(&self, request: &ApiRequest, kind: Kind) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        for (path, sheet) in self.app.registry.view().list(&key::sheets(kind.collection)) {
            if let Some(id) = key::last(&path) {
                self.app.delete_sheet(kind, id, &sheet).await?;
            }
        }
        Ok(ApiResponse::no_content())
    }

    pub(super) async fn delete_resource(
        &self,
        request: &ApiRequest,
        kind: Kind,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let (id, sheet) = self.app.sheet(kind, ident)?;
        self.check_unused(kind, id)?;
        self.check_volume_change(kind, &sheet.value, true).await?;
        if kind.collection == "allocation" {
            return self.delete_allocation(id, &sheet).await;
        }
        self.app.delete_sheet(kind, id, &sheet).await.map(|()| ApiResponse::no_content())
    }

    /// Deletes the resources of a deleted node. A crash may leave some of them, which can be deleted by their ids.
    pub(super) async fn delete_node_resources(&self, node: &str) -> Result<(), Error> {
        for kind in [PORTGROUP_KIND, CONNECTOR_KIND, TARGET_KIND] {
            for (path, sheet) in self.app.registry.view().list(&key::sheets(kind.collection)) {
                if let Some(id) = key::last(&path).filter(|_| is(&sheet.value.fields, "node_uuid", node)) {
                    self.app.delete_sheet(kind, id, &sheet).await?;
                }
            }
        }
        Ok(())
    }

    /// Rejects the deletion of a resource that others refer to.
    fn check_unused(&self, kind: Kind, id: Uuid) -> Result<(), Error> {
        let id = id.to_string();
        match kind.collection {
            "chassis" if self.node_cache.all().iter().any(|node| is(&node.whole, "chassis_uuid", &id)) => {
                Err(Class::Invalid.says(format!("Chassis {id} contains nodes.")))
            }
            "portgroup" if self.all_ports().iter().any(|port| is(port, "portgroup_uuid", &id)) => Err(Class::Invalid
                .says(format!("Portgroup {id} contains ports: delete them or remove them from the group first."))),
            _ => Ok(()),
        }
    }

    /// Rejects a change of a volume unless the node is off. Volumes of an unused node can always be deleted.
    async fn check_volume_change(&self, kind: Kind, sheet: &Sheet, deletes: bool) -> Result<(), Error> {
        let node =
            sheet.fields.get("node_uuid").and_then(Value::as_str).filter(|_| kind.resource.path.starts_with("volume"));
        let Some(node) = node.and_then(|node| self.find(node)) else { return Ok(()) };
        let node = self.wait_for_power_to_settle(node).await?;
        let power = node.whole.get("power_state").and_then(Value::as_str);
        let state = node.whole.get("provision_state").and_then(Value::as_str).unwrap_or_default();
        let is_unused = matches!(state, "enroll" | "manageable" | "adopt failed");
        if power == Some("power off") || (deletes && is_unused) {
            return Ok(());
        }
        let what = if deletes { "deletion" } else { "update" };
        let action = format!("{} {what}", kind.word.to_lowercase());
        Err(text::wrong_state(&action, &node.node.to_string(), power))
    }

    /// Waits until a running change of the node's power has ended.
    async fn wait_for_power_to_settle(&self, node: Arc<NodeView>) -> Result<Arc<NodeView>, Error> {
        let until = Instant::now() + POWER_SETTLE_TIMEOUT;
        let is_settling =
            |node: &NodeView| node.whole.get("target_power_state").is_some_and(|target| !target.is_null());
        let mut now = Some(node);
        while let Some(node) = now {
            if !is_settling(&node) {
                return Ok(node);
            }
            if Instant::now() > until {
                let holder = node.whole.get("conductor").and_then(Value::as_str).unwrap_or_default();
                return Err(text::locked(&node.node.to_string(), holder));
            }
            sleep(POWER_POLL_INTERVAL).await;
            now = self.node_cache.get(node.node);
        }
        Err(Class::NotFound.says("The node of the volume was deleted meanwhile"))
    }

    pub(super) async fn runbook_traits(
        &self,
        request: &ApiRequest,
        kind: Kind,
        ident: &str,
        more: &[&str],
    ) -> Result<ApiResponse, Error> {
        let (id, before) = self.app.sheet(kind, ident)?;
        let has = before.value.fields.get("traits").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut traits: Vec<String> = has.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        match (request.method.as_str(), more) {
            ("GET", []) => return Ok(ApiResponse::ok(json!({"traits": traits}))),
            ("PUT", []) => traits = wire_ironic::call::traits(ident, &request.arguments()?)?,
            ("PUT", [name]) => {
                wire_ironic::call::one_trait(ident, name, traits.len() + 1)?;
                traits.push((*name).to_owned());
            }
            ("DELETE", []) => traits.clear(),
            ("DELETE", [name]) => traits.retain(|one| one != name),
            _ => return Err(text::method_not_allowed()),
        }
        traits.sort_unstable();
        traits.dedup();
        let mut after = before.value.fields.clone();
        after.insert("traits".to_owned(), json!(traits));
        self.app.change_sheet(kind, id, &before, after).await.map(|_| ApiResponse::no_content())
    }
}

/// All fields of a resource, secrets masked.
pub(super) fn document(id: Uuid, sheet: &Sheet) -> Map<String, Value> {
    let mut whole = sheet.fields.clone();
    secret::hide(&mut whole);
    whole.insert("uuid".to_owned(), json!(id.to_string()));
    whole.insert("created_at".to_owned(), time(Some(sheet.created_at)));
    whole.insert("updated_at".to_owned(), time(sheet.updated_at));
    // The content of a sensitive rule is not shown.
    if whole.get("sensitive") == Some(&Value::Bool(true)) {
        whole.insert("conditions".to_owned(), Value::Null);
        whole.insert("actions".to_owned(), Value::Null);
    }
    whole
}

pub(super) fn is(whole: &Map<String, Value>, field: &str, text: &str) -> bool {
    whole.get(field).and_then(Value::as_str) == Some(text)
}

/// Returns whether a resource matches the filters of a list. `node` is the id of the node in the filter.
fn matches(one: &Map<String, Value>, list: &List, node: Option<&str>) -> bool {
    list.filters.iter().all(|(filter, operand)| match (filter.name, operand) {
        ("node" | "node_uuid", _) => node.is_some_and(|node| is(one, "node_uuid", node)),
        // Filters on the node of a resource are not supported.
        ("conductor_groups" | "shard" | "project", _) => true,
        (name, Operand::Text(_) | Operand::Flag(_) | Operand::Words(_)) => list::matches(one, name, operand),
    })
}
