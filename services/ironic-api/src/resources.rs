//! Resources of collections: chassis, port groups, templates, runbooks, rules, volumes, allocations, webhooks.

use domain::id::NodeId;
use keyspace::value::{ChassisSpec, PortgroupSpec, RunbookSpec, Stamped};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error, text},
    fields::{self, Columns},
    links, patch,
    query::{self, List, Operand, Shape},
};

use super::{
    ApiRequest, RestApi,
    authz::Visibility,
    collections::IronicCollection,
    fault::fault,
    list,
    records::{self, from_fields, to_fields},
    response::ApiResponse,
};
use scheduler_core::{resource_store::Stored, resources};

impl RestApi {
    /// The resource with an id or, if its collection has names, a name.
    ///
    /// # Errors
    /// 404; 400 for a name if the collection has none.
    pub(super) fn resource<T: IronicCollection>(&self, ident: &str) -> Result<Stored<T>, Error> {
        let found = match ident.parse::<Uuid>() {
            Ok(id) => self.app.resource(id),
            Err(_) if T::IS_NAMED => self.app.resource_named(ident),
            Err(_) => return Err(Class::Invalid.error(format!("Expected UUID for uuid: {ident}"))),
        };
        found.ok_or_else(|| text::not_found(T::NOUN, ident))
    }

    /// Lists the nodes of a chassis.
    pub(super) fn list_chassis_nodes(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let chassis = self.resource::<ChassisSpec>(ident)?.id;
        self.list_nodes_of(request, "chassis_uuid", &chassis.to_string())
    }

    /// Lists the ports of a port group.
    pub(super) fn list_portgroup_ports(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let group = self.resource::<PortgroupSpec>(ident)?.id;
        self.list_ports_of(request, Shape::Plain, "portgroup", &group.to_string())
    }

    pub(super) fn list_resources<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        shape: Shape,
        pairs: &[(String, String)],
    ) -> Result<ApiResponse, Error> {
        let list = query::list(T::RESOURCE, request.version, shape, pairs)?;
        let node = self.node_of(request, &list, T::IS_NODE_CHECKED)?;
        let all = self.app.resources::<T>().into_iter();
        let all: Vec<_> = all.map(|stored| self.resource_document(stored.id, &stored.record.value)).collect();
        let matching = all.iter().filter(|document| is_listed(document, &list, node.as_deref()));
        let visibility = Visibility::of(self, request, T::RESOURCE.path);
        list::page(T::RESOURCE, request, &list, matching.collect(), visibility).map(ApiResponse::ok)
    }

    /// The id of the node whose resources are listed. `None` for those of all nodes. A node that does not exist is not found,
    /// or a bad request if `is_strict`.
    pub(super) fn node_of(&self, request: &ApiRequest, list: &List, is_strict: bool) -> Result<Option<String>, Error> {
        let filter = list.filters.iter().find(|(filter, _)| matches!(filter.name, "node" | "node_uuid"));
        let Some((_, operand)) = filter else { return Ok(None) };
        let ident = operand.to_text();
        match self.find_visible(request, &ident) {
            Some(node) => Ok(Some(node.node.to_string())),
            None if is_strict => Err(Class::Invalid.error(format!("Node {ident} could not be found."))),
            None => Err(text::not_found("Node", &ident)),
        }
    }

    pub(super) fn show_resource<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        request.only(&["fields"])?;
        let columns = request.columns(T::RESOURCE)?;
        let found = self.resource::<T>(ident)?;
        let document = self.resource_document(found.id, &found.record.value);
        let seen = Visibility::of(self, request, T::RESOURCE.path).redact(&document);
        let shown = links::shown(T::RESOURCE, request.version, &request.base, &columns, &seen);
        Ok(ApiResponse::ok(Value::Object(shown)))
    }

    /// A resource with all of its fields.
    fn resource_document<T: IronicCollection>(&self, id: Uuid, record: &Stamped<T>) -> Map<String, Value> {
        let mut document = records::document(id, record);
        T::complete(self, id, &mut document);
        document
    }

    /// The body of the response to a change.
    pub(super) fn resource_body<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        id: Uuid,
        record: &Stamped<T>,
    ) -> Value {
        let document = self.resource_document(id, record);
        let seen = Visibility::of(self, request, T::RESOURCE.path).redact(&document);
        Value::Object(links::shown(T::RESOURCE, request.version, &request.base, &Columns::All, &seen))
    }

    /// The fields of a new resource, and its id: the one that the client chose, or a new one.
    pub(super) fn new_resource<T: IronicCollection>(request: &ApiRequest) -> Result<(Uuid, Map<String, Value>), Error> {
        request.only(&[])?;
        let mut attributes = fields::check_post(T::RESOURCE, request.version, &request.body)?;
        request.set_owner(&mut attributes);
        let id = match attributes.get("uuid").and_then(Value::as_str) {
            Some(uuid) => uuid.parse().map_err(|_| Class::Invalid.error(format!("Expected UUID for uuid: {uuid}")))?,
            None => Uuid::new_v4(),
        };
        Ok((id, attributes))
    }

    pub(super) async fn create_resource<T: IronicCollection>(
        &self,
        request: &ApiRequest,
    ) -> Result<ApiResponse, Error> {
        let (id, mut attributes) = Self::new_resource::<T>(request)?;
        self.check_node(request, &mut attributes)?;
        let spec: T = from_fields(attributes)?;
        let created = T::create(&self.app, &request.context(), id, spec).await;
        let record = created.map_err(|error| fault(&id.to_string(), &error))?;
        let path = format!("{}/{id}", T::RESOURCE.path);
        Ok(ApiResponse::created(self.resource_body(request, id, &record), links::location(&request.base, &path)))
    }

    /// Requires that the node of a resource exists, and identifies it by its id.
    pub(super) fn check_node(
        &self,
        request: &ApiRequest,
        attributes: &mut Map<String, Value>,
    ) -> Result<Option<NodeId>, Error> {
        let Some(ident) = attributes.get("node_uuid").and_then(Value::as_str) else { return Ok(None) };
        if !fields::is_uuid(ident) {
            return Err(Class::Invalid.error(format!("Expected UUID for node_uuid: {ident}")));
        }
        let missing = || Class::Invalid.error(format!("Node {ident} could not be found."));
        let node = self.find_visible(request, ident).ok_or_else(missing)?.node;
        attributes.insert("node_uuid".to_owned(), json!(node.to_string()));
        Ok(Some(node))
    }

    pub(super) async fn update_resource<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let ops = patch::parse(T::RESOURCE, request.version, &request.body)?;
        let before = self.resource::<T>(ident)?;
        let uuid = json!(before.id.to_string());
        let mut fields = to_fields(before.spec());
        fields.insert("uuid".to_owned(), uuid.clone());
        T::before_patch(&mut fields, &ops, &request.body)?;
        let mut after = patch::apply(T::RESOURCE, &fields, &ops)?;
        self.check_node(request, &mut after)?;
        if after.remove("uuid") != Some(uuid) {
            return Err(Class::Invalid.error("Changing the UUID of a resource is not possible"));
        }
        let updated = T::update(&self.app, &request.context(), &before, from_fields(after)?).await;
        let record = updated.map_err(|error| fault(&before.id.to_string(), &error))?;
        Ok(ApiResponse::ok(self.resource_body(request, before.id, &record)))
    }

    pub(super) async fn delete_resources<T: IronicCollection>(
        &self,
        request: &ApiRequest,
    ) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        for stored in self.app.resources::<T>() {
            self.delete_stored(request, &stored).await?;
        }
        Ok(ApiResponse::no_content())
    }

    async fn delete_stored<T: IronicCollection>(&self, request: &ApiRequest, stored: &Stored<T>) -> Result<(), Error> {
        let deleted = resources::delete_resource(&request.context(), &self.app, stored).await;
        deleted.map_err(|error| fault(&stored.id.to_string(), &error))
    }

    pub(super) async fn delete_resource<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let stored = self.resource::<T>(ident)?;
        self.delete_stored(request, &stored).await.map(|()| ApiResponse::no_content())
    }

    pub(super) async fn runbook_traits(
        &self,
        request: &ApiRequest,
        ident: &str,
        name: Option<&str>,
    ) -> Result<ApiResponse, Error> {
        let before = self.resource::<RunbookSpec>(ident)?;
        let mut traits = before.spec().traits.clone();
        match (request.method.as_str(), name) {
            ("GET", None) => return Ok(ApiResponse::ok(json!({"traits": traits}))),
            ("PUT", None) => traits = wire_ironic::call::traits(ident, &request.arguments()?)?,
            ("PUT", Some(name)) => {
                wire_ironic::call::one_trait(ident, name, traits.len() + 1)?;
                traits.push(name.to_owned());
            }
            ("DELETE", None) => traits.clear(),
            ("DELETE", Some(name)) => traits.retain(|one| one != name),
            _ => return Err(text::method_not_allowed()),
        }
        traits.sort_unstable();
        traits.dedup();
        let spec = RunbookSpec { traits, ..before.spec().clone() };
        let updated = resources::update_resource(&request.context(), &self.app, &before, spec).await;
        updated.map_err(|error| fault(&before.id.to_string(), &error)).map(|_| ApiResponse::no_content())
    }
}

/// Whether a document's field is this text.
pub(super) fn is(document: &Map<String, Value>, field: &str, text: &str) -> bool {
    document.get(field).and_then(Value::as_str) == Some(text)
}

/// Whether a list contains a resource. `node` is the id of the node that the list names.
fn is_listed(document: &Map<String, Value>, list: &List, node: Option<&str>) -> bool {
    list.filters.iter().all(|(filter, operand)| match (filter.name, operand) {
        ("node" | "node_uuid", _) => node.is_some_and(|node| is(document, "node_uuid", node)),
        // These filters need more than the resource itself.
        ("conductor_groups" | "shard" | "project", _) => true,
        (name, Operand::Text(_) | Operand::Flag(_) | Operand::Words(_)) => list::matches(document, name, operand),
    })
}
