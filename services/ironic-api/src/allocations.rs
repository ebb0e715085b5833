//! Requests for allocations; [`scheduler_core::allocation`] finds the nodes.

use keyspace::{store::Versioned, value::Sheet};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error, text},
    links,
};

use super::{ApiRequest, RestApi, response::ApiResponse};
use scheduler_core::{fault::fault, kinds::ALLOCATION_KIND};

impl RestApi {
    pub(super) async fn create_allocation(
        &self,
        request: &ApiRequest,
        id: Uuid,
        attributes: Map<String, Value>,
    ) -> Result<ApiResponse, Error> {
        let backfill = attributes.get("node").and_then(Value::as_str).map(str::to_owned);
        if backfill.is_none() && attributes.get("resource_class").and_then(Value::as_str).is_none() {
            return Err(Class::Invalid.says("The resource_class field is mandatory when not backfilling"));
        }
        let mut attributes = attributes;
        self.resolve_candidates(request, &mut attributes)?;
        attributes.insert("state".to_owned(), json!("allocating"));
        if let Some(node) = backfill {
            return self.backfill(request, id, attributes, &node).await;
        }
        let sheet = self.app.fresh_sheet(ALLOCATION_KIND, id, attributes)?;
        self.app.store_sheet(ALLOCATION_KIND, id, &sheet).await?;
        let body = self.resource_body(request, ALLOCATION_KIND, id, &sheet);
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
            return Err(Class::Invalid.says(format!("Nodes cannot be found: {}", missing.join(", "))));
        }
        attributes.insert("candidate_nodes".to_owned(), Value::Array(found));
        Ok(())
    }

    /// Creates an allocation for a node that is in use already.
    async fn backfill(
        &self,
        request: &ApiRequest,
        id: Uuid,
        mut attributes: Map<String, Value>,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        let missing = || Class::Invalid.says(format!("Node {ident} could not be found."));
        let node = self.find_visible(request, ident).ok_or_else(missing)?;
        let word = |name: &str| node.whole.get(name).and_then(Value::as_str).unwrap_or_default();
        if word("provision_state") != "active" {
            let state = word("provision_state");
            return Err(text::wrong_state("allocation backfill", &node.node.to_string(), Some(state)));
        }
        let instance = word("instance_uuid").to_owned();
        let id = instance.parse().unwrap_or(id);
        attributes.remove("node");
        attributes.insert("state".to_owned(), json!("active"));
        attributes.insert("node_uuid".to_owned(), json!(node.node.to_string()));
        if attributes.get("resource_class").is_none_or(Value::is_null) {
            attributes
                .insert("resource_class".to_owned(), node.whole.get("resource_class").cloned().unwrap_or_default());
        }
        let sheet = self.app.fresh_sheet(ALLOCATION_KIND, id, attributes)?;
        self.app.store_sheet(ALLOCATION_KIND, id, &sheet).await?;
        self.change_node(&request.condition, ident, node.node, |before| {
            let mut after = before.clone();
            after.insert("allocation_uuid".to_owned(), json!(id.to_string()));
            after.insert("instance_uuid".to_owned(), json!(id.to_string()));
            Ok(after)
        })
        .await?;
        let body = self.resource_body(request, ALLOCATION_KIND, id, &sheet);
        Ok(ApiResponse::created(body, links::location(&request.base, &format!("allocations/{id}"))))
    }

    pub(super) async fn delete_allocation(&self, id: Uuid, before: &Versioned<Sheet>) -> Result<ApiResponse, Error> {
        if let Some(why) = self.app.holds(id, &before.value) {
            return Err(Class::Conflict.says(why));
        }
        self.app.release(id, before).await.map_err(|error| fault(&id.to_string(), &error))?;
        Ok(ApiResponse::no_content())
    }
}
