//! Authorization: what a caller may do, decided before each call, and which records and fields it can see.
//!
//! The rules are the domain's ([`domain::policy`]), and the route table ([`wire_ironic::route`]) names the rule of each
//! call. A record that is hidden from the caller is not found ([`RestApi::find_visible`]), wherever a request names it: in
//! its path, its filters or its body.

mod field_rules;
mod visibility;

use std::sync::Arc;

use domain::{
    policy::{Caller, Ownership, Rule, SEE_ALLOCATION, SEE_NODE, rule},
    provision::State,
};
use keyspace::value::{AllocationSpec, NodeSpec, PortgroupSpec, RunbookSpec, VolumeConnectorSpec, VolumeTargetSpec};
use serde_json::Value;
use wire_ironic::{
    error::{Class, Error, text},
    fields::{NODE, PORT, Resource},
    patch,
    route::{Found, Requirement, Target},
};

pub(super) use self::visibility::{Document, NodeVisibility, Visibility};
use super::{ApiRequest, RestApi, collections::IronicCollection};
use scheduler_core::node_view::NodeView;

/// Permits allocations for any owner.
const CREATE_ALLOCATION_FOR_OTHERS: Rule = rule("baremetal:allocation:create_restricted");
/// Permits running a runbook's steps.
const USE_RUNBOOK: Rule = rule("baremetal:runbook:use");
/// Permits changing the owner of a node that is in use.
const UPDATE_OWNER_PROVISIONED: Rule = rule("baremetal:node:update_owner_provisioned");

/// A record that belongs to a project.
trait Owned {
    /// Its owner and its lessee.
    fn ownership(&self) -> Ownership<'_>;
}

impl Owned for NodeSpec {
    fn ownership(&self) -> Ownership<'_> {
        Ownership { owner: project(self.owner.as_deref()), lessee: project(self.lessee.as_deref()) }
    }
}

impl Owned for AllocationSpec {
    fn ownership(&self) -> Ownership<'_> {
        Ownership { owner: project(self.owner.as_deref()), lessee: None }
    }
}

impl Owned for RunbookSpec {
    fn ownership(&self) -> Ownership<'_> {
        Ownership { owner: project(self.owner.as_deref()), lessee: None }
    }
}

fn project(name: Option<&str>) -> Option<&str> {
    name.filter(|project| !project.is_empty())
}

impl RestApi {
    /// Finds a node by id or name. Returns `None` if it is hidden from the caller.
    pub(super) fn find_visible(&self, request: &ApiRequest, ident: &str) -> Option<Arc<NodeView>> {
        self.find(ident).filter(|node| request.caller.may(SEE_NODE, Some(node.spec().ownership())))
    }

    /// Decides whether the caller may make a call. For a call that creates a resource, sets [`ApiRequest::owner`].
    ///
    /// # Errors
    /// 404 if the record is hidden from the caller, 403 if it may not make the call.
    pub(super) fn authorize(&self, request: &mut ApiRequest, found: &Found<'_>) -> Result<(), Error> {
        if request.caller.is_unrestricted() {
            return Ok(());
        }
        let denied = || text::denied(found.route.path);
        match found.route.requirement {
            Requirement::Public => Ok(()),
            Requirement::Unrestricted => Err(denied()),
            Requirement::Rule { name, target } => {
                self.check(request, Rule::named(name).ok_or_else(denied)?, target, found.ident)
            }
        }
    }

    fn check(&self, request: &mut ApiRequest, rule: Rule, target: Target, ident: &str) -> Result<(), Error> {
        match target {
            Target::Nothing => require(&request.caller, rule, None)?,
            Target::Node => self.check_node_rules(request, rule, ident)?,
            Target::NodeAllocation => self.check_allocation_of_node(request, rule, ident)?,
            Target::Port => {
                let missing = || text::not_found("Port", ident);
                let node = self.node_cache.get(self.port(request, ident)?.port.value.node);
                self.check_subresource(request, rule, &PORT, node, missing)?;
            }
            Target::Portgroup => self.check_subresource_record::<PortgroupSpec>(request, rule, ident)?,
            Target::VolumeConnector => self.check_subresource_record::<VolumeConnectorSpec>(request, rule, ident)?,
            Target::VolumeTarget => self.check_subresource_record::<VolumeTargetSpec>(request, rule, ident)?,
            Target::NodeInBody => self.check_node_in_body(request, rule)?,
            Target::Allocation => self.check_allocation(request, rule, ident)?,
            Target::Runbook => {
                check_runbook(request, rule, self.resource::<RunbookSpec>(ident)?.spec())?;
            }
            Target::NewNode => {
                require(&request.caller, rule, None)?;
                request.owner = project_owner(request, || Class::Invalid.error(field_rules::OTHERS_NODE))?;
                self.check_parent(request)?;
            }
            Target::NewRunbook => {
                require(&request.caller, rule, None)?;
                request.owner = project_owner(request, || Class::Invalid.error(field_rules::OTHERS_RUNBOOK))?;
                if request.owner.is_some() && request.body.get("public").is_some_and(field_rules::is_yes) {
                    return Err(Class::Invalid.error(field_rules::PUBLIC_RUNBOOK));
                }
            }
            Target::NewAllocation => {
                require(&request.caller, rule, None)?;
                if !request.caller.may(CREATE_ALLOCATION_FOR_OTHERS, None) {
                    let project = request.caller.project().unwrap_or_default().to_owned();
                    request.owner = project_owner(request, || {
                        Class::Forbidden.error(field_rules::others_allocation(request, &project))
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Checks a call about a node. An update needs the rule of each field that it changes.
    fn check_node_rules(&self, request: &ApiRequest, rule: Rule, ident: &str) -> Result<(), Error> {
        let node = self.node(request, ident)?;
        let ownership = Some(node.spec().ownership());
        if request.method != "PATCH" {
            require(&request.caller, rule, ownership)?;
            return self.check_runbook_use(request);
        }
        let ops = patch::parse(&NODE, request.version, &request.body)?;
        for rule in field_rules::rules(rule, &ops) {
            require(&request.caller, rule, ownership)?;
        }
        let is_active = node.life.state == State::Active;
        let gives_away = ops.iter().any(|op| op.field() == "owner");
        if is_active && gives_away && !request.caller.may(UPDATE_OWNER_PROVISIONED, ownership) {
            let refusal = format!("Cannot update owner of node \"{}\" while it is in state \"active\".", node.node);
            return Err(Class::Conflict.error(refusal));
        }
        Ok(())
    }

    /// Checks the creation of a resource of a node, which the body names. A hidden node counts as missing. Without a node
    /// the rule must permit it system-wide.
    fn check_node_in_body(&self, request: &ApiRequest, rule: Rule) -> Result<(), Error> {
        let named = |name: &str| request.body.get(name).and_then(Value::as_str);
        let Some(ident) = named("node_uuid").or_else(|| named("node_ident")) else {
            return require(&request.caller, rule, None);
        };
        match self.find_visible(request, ident) {
            Some(node) => require(&request.caller, rule, Some(node.spec().ownership())),
            None => Err(Class::Invalid.error(format!("Node {ident} could not be found."))),
        }
    }

    /// Checks that the parent of a project's new node is a node of the same project.
    fn check_parent(&self, request: &ApiRequest) -> Result<(), Error> {
        let (Some(project), Some(ident)) = (&request.owner, request.body.get("parent_node").and_then(Value::as_str))
        else {
            return Ok(());
        };
        let is_own = |node: &Arc<NodeView>| node.spec().ownership().owner == Some(project.as_str());
        match self.find_visible(request, ident).filter(is_own) {
            Some(_) => Ok(()),
            None => Err(Class::Invalid.error(format!("Node {ident} could not be found."))),
        }
    }

    /// Checks that the caller may use the runbook that a provision request names.
    fn check_runbook_use(&self, request: &ApiRequest) -> Result<(), Error> {
        let named = request.body.get("runbook").and_then(Value::as_str).or_else(|| request.parameter("runbook"));
        let Some(runbook) = named.filter(|_| request.path.ends_with("/states/provision")) else { return Ok(()) };
        let Ok(runbook) = self.resource::<RunbookSpec>(runbook) else { return Ok(()) };
        require(&request.caller, USE_RUNBOOK, Some(runbook.spec().ownership()))
    }

    fn check_allocation_of_node(&self, request: &ApiRequest, rule: Rule, ident: &str) -> Result<(), Error> {
        let node = self.node(request, ident)?;
        let allocation = node.spec().allocation_uuid.and_then(|id| self.app.resource::<AllocationSpec>(id));
        let Some(allocation) = allocation else { return Ok(()) };
        let ownership = Some(allocation.spec().ownership());
        if request.caller.may(SEE_ALLOCATION, ownership) {
            return require(&request.caller, rule, ownership);
        }
        Err(text::no_allocation(ident))
    }

    fn check_allocation(&self, request: &ApiRequest, rule: Rule, ident: &str) -> Result<(), Error> {
        let allocation = self.resource::<AllocationSpec>(ident)?;
        let ownership = Some(allocation.spec().ownership());
        if request.caller.may(SEE_ALLOCATION, ownership) {
            return require(&request.caller, rule, ownership);
        }
        Err(text::not_found(AllocationSpec::NOUN, ident))
    }

    fn check_subresource_record<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        rule: Rule,
        ident: &str,
    ) -> Result<(), Error> {
        let node = self.resource::<T>(ident)?.spec().node().and_then(|node| self.node_cache.get(node));
        self.check_subresource(request, rule, T::RESOURCE, node, || text::not_found(T::NOUN, ident))
    }

    /// Checks a call about a resource of a node. Moving it to another node needs the rule there too.
    fn check_subresource(
        &self,
        request: &ApiRequest,
        rule: Rule,
        resource: &Resource,
        node: Option<Arc<NodeView>>,
        missing: impl Fn() -> Error,
    ) -> Result<(), Error> {
        let ownership = node.as_ref().map(|node| node.spec().ownership()).unwrap_or_default();
        if !request.caller.may(SEE_NODE, Some(ownership)) {
            return Err(missing());
        }
        require(&request.caller, rule, Some(ownership))?;
        if request.method != "PATCH" {
            return Ok(());
        }
        let ops = patch::parse(resource, request.version, &request.body)?;
        let to = ops
            .iter()
            .filter(|op| op.field() == "node_uuid")
            .filter_map(|op| self.find_visible(request, op.value.as_str()?));
        to.into_iter().try_for_each(|node| require(&request.caller, rule, Some(node.spec().ownership())))
    }
}

fn check_runbook(request: &ApiRequest, rule: Rule, runbook: &RunbookSpec) -> Result<(), Error> {
    let is_public = runbook.public;
    if request.method == "GET" && is_public && request.caller.project().is_some() && !request.caller.roles.is_empty() {
        return Ok(());
    }
    let ownership = Some(runbook.ownership());
    if request.method != "PATCH" || request.path.contains("/traits") {
        return require(&request.caller, rule, ownership);
    }
    let ops = patch::parse(RunbookSpec::RESOURCE, request.version, &request.body)?;
    field_rules::runbook_rules(rule, &ops).into_iter().try_for_each(|rule| require(&request.caller, rule, ownership))
}

/// Owner of a new resource: the caller's project. `None` if the caller is not restricted to a project.
fn project_owner(request: &ApiRequest, others: impl Fn() -> Error) -> Result<Option<String>, Error> {
    let Some(project) = request.caller.project() else { return Ok(None) };
    match request.body.get("owner").and_then(Value::as_str).filter(|owner| !owner.is_empty()) {
        Some(owner) if owner != project => Err(others()),
        Some(_) | None => Ok(Some(project.to_owned())),
    }
}

fn require(caller: &Caller, rule: Rule, ownership: Option<Ownership<'_>>) -> Result<(), Error> {
    if caller.may(rule, ownership) { Ok(()) } else { Err(text::denied(rule.name())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_route_table_is_a_rule_of_the_policy() {
        for route in wire_ironic::route::routes() {
            if let Requirement::Rule { name, .. } = route.requirement {
                assert!(Rule::named(name).is_some(), "{} {}: {name}", route.method, route.path);
            }
        }
    }
}
