//! Allocations; [`scheduler_core::allocation`] chooses the nodes.

use domain::provision::State;
use keyspace::value::{AllocationSpec, AllocationState};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error, text},
    links,
};

use super::{ApiRequest, RestApi, fault::fault, records::from_fields, response::ApiResponse};
use scheduler_core::resource_store::Stored;

impl RestApi {
    pub(super) async fn create_allocation(&self, request: &ApiRequest) -> Result<ApiResponse, Error> {
        let (id, mut attributes) = Self::new_resource::<AllocationSpec>(request)?;
        let backfill = attributes.get("node").and_then(Value::as_str).map(str::to_owned);
        if backfill.is_none() && attributes.get("resource_class").and_then(Value::as_str).is_none() {
            return Err(Class::Invalid.error("The resource_class field is mandatory when not backfilling"));
        }
        self.resolve_candidates(request, &mut attributes)?;
        let allocation: AllocationSpec = from_fields(attributes)?;
        if let Some(node) = backfill {
            return self.backfill(request, id, allocation, &node).await;
        }
        let created = self.app.create_resource(&request.context(), id, allocation).await;
        let record = created.map_err(|error| fault(&id.to_string(), &error))?;
        let body = self.resource_body(request, id, &record);
        self.app.place(id).await;
        Ok(ApiResponse::created(body, links::location(&request.base, &format!("allocations/{id}"))))
    }

    /// Replaces the names of candidates by their ids.
    fn resolve_candidates(&self, request: &ApiRequest, attributes: &mut Map<String, Value>) -> Result<(), Error> {
        let Some(Value::Array(named)) = attributes.get("candidate_nodes").cloned() else { return Ok(()) };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for ident in named.iter().filter_map(Value::as_str) {
            match self.find_visible(request, ident) {
                Some(node) => found.push(json!(node.node.to_string())),
                None => missing.push(ident.to_owned()),
            }
        }
        if !missing.is_empty() {
            return Err(Class::Invalid.error(format!("Nodes cannot be found: {}", missing.join(", "))));
        }
        attributes.insert("candidate_nodes".to_owned(), Value::Array(found));
        Ok(())
    }

    /// Creates an allocation for a node that is in use already.
    async fn backfill(
        &self,
        request: &ApiRequest,
        id: Uuid,
        mut allocation: AllocationSpec,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        let missing = || Class::Invalid.error(format!("Node {ident} could not be found."));
        let node = self.find_visible(request, ident).ok_or_else(missing)?;
        if node.life.state != State::Active {
            let state = node.life.state.ironic_name();
            return Err(text::wrong_state("allocation backfill", &node.node.to_string(), Some(state)));
        }
        let id = node.spec().instance_uuid.as_deref().and_then(|instance| instance.parse().ok()).unwrap_or(id);
        allocation.state = AllocationState::Active;
        allocation.node_uuid = Some(node.node);
        if allocation.resource_class.is_none() {
            allocation.resource_class.clone_from(&node.spec().resource_class);
        }
        let created = self.app.create_resource(&request.context(), id, allocation).await;
        let record = created.map_err(|error| fault(&id.to_string(), &error))?;
        self.change_node(request, ident, node.node, |before| {
            let mut after = before.clone();
            after.insert("allocation_uuid".to_owned(), json!(id.to_string()));
            after.insert("instance_uuid".to_owned(), json!(id.to_string()));
            Ok(after)
        })
        .await?;
        let body = self.resource_body(request, id, &record);
        Ok(ApiResponse::created(body, links::location(&request.base, &format!("allocations/{id}"))))
    }

    pub(super) async fn delete_allocation(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        self.release_allocation(request, &self.resource(ident)?).await
    }

    pub(super) async fn release_allocation(
        &self,
        request: &ApiRequest,
        before: &Stored<AllocationSpec>,
    ) -> Result<ApiResponse, Error> {
        if let Some(reason) = self.app.release_blocker(before) {
            return Err(Class::Conflict.error(reason));
        }
        self.app.release(&request.context(), before).await.map_err(|error| fault(&before.id.to_string(), &error))?;
        Ok(ApiResponse::no_content())
    }
}
