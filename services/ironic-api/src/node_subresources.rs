//! Subresources of a node: traits, VIFs, virtual media, inventory, console, RAID, maintenance.

use std::sync::Arc;

use domain::{
    driver::{Driver, Interface},
    failure::{Cause, Failure},
};
use keyspace::value::AllocationSpec;
use serde_json::{Map, Value, json};
use service_kit::clock;
use wire_ironic::{
    call,
    error::{Class, Error, text},
    links,
    query::Shape,
};

use super::{
    ApiRequest, RestApi, authz::NodeVisibility, collections::IronicCollection, fault::fault, hardware, nodes::one,
    response::ApiResponse, validate::InvalidInterface,
};
use scheduler_core::node_view::NodeView;

impl RestApi {
    /// Shows the documents of a node's volumes.
    pub(super) fn node_volume(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        self.node(request, ident)?;
        Ok(ApiResponse::ok(super::volume(request, &format!("nodes/{ident}/volume"))))
    }

    pub(super) fn list_node_ports(
        &self,
        request: &ApiRequest,
        ident: &str,
        shape: Shape,
    ) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?.node.to_string();
        self.list_ports_of(request, shape, "node", &node)
    }

    pub(super) fn list_traits(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        Ok(ApiResponse::ok(one("traits", json!(self.node(request, ident)?.spec().traits))))
    }

    /// Accepts a VIF without effect: no network service is attached.
    pub(super) fn attach_vif(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        call::vif(request.version, &request.arguments()?)?;
        self.node(request, ident).map(|_| ApiResponse::no_content())
    }

    pub(super) fn detach_vif(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        self.node(request, ident).map(|_| ApiResponse::no_content())
    }

    /// Succeeds without effect: no medium can have been inserted.
    pub(super) fn eject_media(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        call::media_types(&request.pairs)?;
        self.node(request, ident).map(|_| ApiResponse::no_content())
    }

    /// Rejects a call that no driver supports.
    pub(super) fn unsupported(&self, request: &ApiRequest, ident: &str, below: &[&str]) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let what = if below == ["vmedia"] { "get_virtual_media".to_owned() } else { below.join(" ") };
        Err(text::unsupported(&node.intent.driver.to_string(), &what, Class::Invalid))
    }

    /// Rejects nodes other than those of `fake-hardware`.
    pub(super) fn check_is_fake(&self, request: &ApiRequest, ident: &str, what: &str) -> Result<(), Error> {
        let node = self.node(request, ident)?;
        match node.intent.driver {
            Driver::FakeHardware => Ok(()),
            other @ (Driver::Ipmi | Driver::ManualManagement | Driver::Redfish) => {
                Err(text::unsupported(&other.to_string(), what, Class::Invalid))
            }
        }
    }

    /// Answers with an empty list.
    pub(super) fn empty(&self, request: &ApiRequest, ident: &str, name: &str) -> Result<ApiResponse, Error> {
        self.node(request, ident)?;
        Ok(ApiResponse::ok(one(name, json!([]))))
    }

    /// Accepts virtual media for fake hardware. No node has a virtual drive; as in Ironic, the failure is stored in the
    /// node's last error.
    pub(super) async fn insert_media(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let media = call::media(&request.arguments()?)?;
        self.check_is_fake(request, ident, "attach_virtual_media")?;
        let (node, registry) = (self.node(request, ident)?.node, &self.app.registry);
        let held = registry.held(node).ok_or_else(|| text::not_found("Node", ident))?;
        let text = format!("Could not attach device {}: there is no drive to put it into", media.device_type);
        let failure = Failure { cause: Cause::BmcRefused, text, at: clock::now() };
        registry.note_failure(&request.context(), &held, failure).await.map_err(|error| fault(ident, &error))?;
        Ok(ApiResponse::no_content())
    }

    /// Shows the last hardware report of the node.
    pub(super) fn inventory(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let key = keyspace::key::inventory(node.rack, node.node);
        let missing =
            || Class::NotFound.error(format!("Node inventory record for node {} could not be found.", node.node));
        let read = self.app.registry.view().get(&key).ok_or_else(missing)?;
        let (inventory, plugin_data) = match read.value.reported {
            Some(reported) => (reported.inventory, reported.plugin_data),
            None => (hardware::shown(&read.value.hardware), json!({})),
        };
        Ok(ApiResponse::ok(json!({"inventory": inventory, "plugin_data": plugin_data})))
    }

    /// Lists the resources of one node.
    pub(super) fn list_node_resources<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        ident: &str,
        shape: Shape,
    ) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?.node.to_string();
        let mut pairs = request.pairs.clone();
        pairs.push(("node".to_owned(), node));
        self.list_resources::<T>(request, shape, &pairs)
    }

    pub(super) async fn allocation(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        // In Ironic a missing node is an invalid request here, not a 404.
        let unknown = |error: Error| if error.status == 404 { Class::Invalid.error(error.text) } else { error };
        let node = self.node(request, ident).map_err(unknown)?;
        let missing = || text::no_allocation(ident);
        let id = node.spec().allocation_uuid.ok_or_else(missing)?;
        let allocation = self.resource::<AllocationSpec>(&id.to_string())?;
        if request.method == "DELETE" {
            return self.release_allocation(request, &allocation).await;
        }
        Ok(ApiResponse::ok(self.resource_body(request, id, &allocation.record.value)))
    }

    pub(super) fn console(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let enabled = node.spec().console_enabled;
        Ok(ApiResponse::ok(
            json!({"console_enabled": enabled, "console_info": if enabled { json!({}) } else { json!(null) }}),
        ))
    }

    /// Enables or disables the console. Only fake hardware has one.
    pub(super) async fn set_console(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let enabled = call::console(&request.arguments()?)?;
        let node = self.node_with_interface(request, ident, Interface::Console, Class::Invalid)?.node;
        let change = |before: &Map<String, Value>| {
            let mut after = before.clone();
            after.insert("console_enabled".to_owned(), json!(enabled));
            Ok(after)
        };
        self.change_node(request, ident, node, change).await?;
        Ok(ApiResponse::accepted(Some(links::location(&request.base, &format!("nodes/{ident}/states/console")))))
    }

    /// Stores the intended RAID configuration, which a cleaning step applies.
    pub(super) async fn set_raid(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node_with_interface(request, ident, Interface::Raid, Class::NotFound)?.node;
        let target = wire_ironic::raid::target(&request.body)?;
        let change = |before: &Map<String, Value>| {
            let mut after = before.clone();
            after.insert("target_raid_config".to_owned(), Value::Object(target.clone()));
            Ok(after)
        };
        self.change_node(request, ident, node, change).await.map(|_| ApiResponse::no_content())
    }

    /// Finds a node and checks that it has an implementation for an interface.
    fn node_with_interface(
        &self,
        request: &ApiRequest,
        ident: &str,
        interface: Interface,
        class: Class,
    ) -> Result<Arc<NodeView>, Error> {
        let node = self.node(request, ident)?;
        let chosen = node.interface(interface).unwrap_or_default();
        if chosen.starts_with("no-") {
            return Err(text::unsupported(&node.intent.driver.to_string(), &interface.to_string(), class));
        }
        if !node.intent.driver.carries_out(interface, chosen) {
            return Err(class.error(InvalidInterface::not_carried_out(&node, interface).to_string()));
        }
        Ok(node)
    }

    pub(super) async fn maintenance(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let on = request.method == "PUT";
        let reason = call::maintenance(&request.arguments()?)?;
        let node = self.node(request, ident)?.node;
        self.change_node(request, ident, node, |before| {
            let mut after = before.clone();
            after.insert("maintenance".to_owned(), json!(on));
            after.insert("maintenance_reason".to_owned(), json!(reason.clone().filter(|_| on)));
            if !on {
                after.insert("fault".to_owned(), Value::Null);
            }
            Ok(after)
        })
        .await?;
        Ok(ApiResponse::accepted(None))
    }

    pub(super) async fn change_traits(
        &self,
        request: &ApiRequest,
        ident: &str,
        rest: &[&str],
    ) -> Result<ApiResponse, Error> {
        let shown = self.node(request, ident)?;
        let (node, uuid) = (shown.node, shown.node.to_string());
        let body = request.arguments()?;
        let change = |before: &Map<String, Value>| {
            let mut now = traits(before);
            match (request.method.as_str(), rest) {
                ("PUT", []) => now = call::traits(&uuid, &body)?,
                ("PUT", [name]) => {
                    let has = now.len() + usize::from(!now.iter().any(|one| one == name));
                    call::one_trait(&uuid, name, has)?;
                    now.push((*name).to_owned());
                }
                ("DELETE", [name]) => {
                    let at = now.iter().position(|one| one == name);
                    now.remove(
                        at.ok_or_else(|| Class::NotFound.error(format!("Node {uuid} doesn't have a trait '{name}'")))?,
                    );
                }
                _ => now.clear(),
            }
            now.sort_unstable();
            now.dedup();
            let mut after = before.clone();
            after.insert("traits".to_owned(), json!(now));
            Ok(after)
        };
        self.change_node(request, ident, node, change).await?;
        let done = ApiResponse::no_content();
        Ok(match (request.method.as_str(), rest) {
            ("PUT", [name]) => {
                done.with_location(links::location(&request.base, &format!("nodes/{ident}/traits/{name}")))
            }
            _ => done,
        })
    }

    pub(super) fn children(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let uuid = self.node(request, ident)?.node.to_string();
        let all = self.node_cache.all();
        let of = |node: &&Arc<NodeView>| node.spec().parent_node.as_deref() == Some(uuid.as_str());
        let visibility = NodeVisibility::of(&request.caller);
        let seen = all.iter().filter(of).filter(|node| visibility.includes(node));
        let children: Vec<String> = seen.map(|node| node.node.to_string()).collect();
        let href = format!("{}/v1/nodes?parent_node={uuid}", request.base);
        Ok(ApiResponse::ok(json!({"children": children, "links": {"href": href, "rel": "children"}})))
    }

    pub(super) fn validate(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        Ok(ApiResponse::ok(call::validation(super::validate::interfaces(&node).into_iter())))
    }
}

fn traits(node: &Map<String, Value>) -> Vec<String> {
    let traits = node.get("traits").and_then(Value::as_array).cloned().unwrap_or_default();
    traits.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
