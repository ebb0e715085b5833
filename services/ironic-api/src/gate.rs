//! What a caller may do, decided before each call, and what of the answer he may see.
//!
//! The rules are the domain's ([`domain::policy`]), and the route table ([`wire_ironic::route`]) names the rule of each
//! call. A record that the caller may not know of is not found ([`Face::find_for`]), wherever a request names it: in its
//! path, its filters or its body.

mod fields;
mod lens;

use std::sync::Arc;

use domain::policy::{Caller, Ownership, Rule, SEE_ALLOCATION, SEE_NODE, rule};
use serde_json::{Map, Value};
use wire_ironic::{
    error::{Class, Error, text},
    fields::{NODE, PORT, Resource},
    patch,
    route::{Found, Requirement, Target},
};

pub(super) use self::lens::{Lens, Whole};
use super::{Ask, Face};
use scheduler_core::{
    kinds::{ALLOCATION_KIND, CONNECTOR_KIND, Kind, PORTGROUP_KIND, RUNBOOK_KIND, TARGET_KIND},
    node_cache::NodeView,
};

/// To make an allocation in anybody's name.
const ANYBODYS_ALLOCATION: Rule = rule("baremetal:allocation:create_restricted");
/// To have a runbook's steps run.
const USE_RUNBOOK: Rule = rule("baremetal:runbook:use");
/// To give away a node that is in use.
const GIVE_AWAY: Rule = rule("baremetal:node:update_owner_provisioned");

/// Whose a node, an allocation or a runbook is.
pub(super) fn whose(whole: &Map<String, Value>) -> Ownership<'_> {
    let project = |name: &str| whole.get(name).and_then(Value::as_str).filter(|project| !project.is_empty());
    Ownership { owner: project("owner"), lessee: project("lessee") }
}

impl Face {
    /// The node of this id or name, unless the caller must not know of it.
    pub(super) fn find_for(&self, ask: &Ask, ident: &str) -> Option<Arc<NodeView>> {
        self.find(ident).filter(|node| ask.who.may(SEE_NODE, Some(whose(&node.whole))))
    }

    /// Decides whether the caller may make a call. What the call creates is noted in the request as the caller's own.
    ///
    /// # Errors
    /// 404 if the caller may not know of the record, 403 if it may not make the call.
    pub(super) fn admit(&self, ask: &mut Ask, found: &Found<'_>) -> Result<(), Error> {
        if ask.who.is_unrestricted() {
            return Ok(());
        }
        let denied = || text::denied(found.route.path);
        match found.route.requirement {
            Requirement::Public => Ok(()),
            Requirement::Unrestricted => Err(denied()),
            Requirement::Rule { name, target } => {
                self.check(ask, Rule::named(name).ok_or_else(denied)?, target, found.ident)
            }
        }
    }

    fn check(&self, ask: &mut Ask, rule: Rule, target: Target, ident: &str) -> Result<(), Error> {
        match target {
            Target::Nothing => may(&ask.who, rule, None)?,
            Target::Node => self.check_node_rules(ask, rule, ident)?,
            Target::NodeAllocation => self.check_nodes_allocation(ask, rule, ident)?,
            Target::Port => {
                let missing = || text::not_found("Port", ident);
                let node = self.node_cache.get(self.port(ask, ident)?.port.value.node);
                self.check_part(ask, rule, &PORT, node, missing)?;
            }
            Target::Portgroup => self.check_sheet_part(ask, rule, PORTGROUP_KIND, ident)?,
            Target::VolumeConnector => self.check_sheet_part(ask, rule, CONNECTOR_KIND, ident)?,
            Target::VolumeTarget => self.check_sheet_part(ask, rule, TARGET_KIND, ident)?,
            Target::NodeInBody => self.check_node_of_body(ask, rule)?,
            Target::Allocation => self.check_allocation(ask, rule, ident)?,
            Target::Runbook => {
                let fields = self.shared.sheet(RUNBOOK_KIND, ident)?.1.value.fields;
                check_runbook(ask, rule, &fields)?;
            }
            Target::NewNode => {
                may(&ask.who, rule, None)?;
                ask.owner = own(ask, || Class::Invalid.says(fields::OTHERS_NODE))?;
                self.check_parent(ask)?;
            }
            Target::NewRunbook => {
                may(&ask.who, rule, None)?;
                ask.owner = own(ask, || Class::Invalid.says(fields::OTHERS_RUNBOOK))?;
                if ask.owner.is_some() && ask.body.get("public").is_some_and(fields::is_yes) {
                    return Err(Class::Invalid.says(fields::PUBLIC_RUNBOOK));
                }
            }
            Target::NewAllocation => {
                may(&ask.who, rule, None)?;
                if !ask.who.may(ANYBODYS_ALLOCATION, None) {
                    let project = ask.who.project().unwrap_or_default().to_owned();
                    ask.owner = own(ask, || Class::Forbidden.says(fields::others_allocation(ask, &project)))?;
                }
            }
        }
        Ok(())
    }

    /// A call about a node; a change of it needs the rule of each field that it changes.
    fn check_node_rules(&self, ask: &Ask, rule: Rule, ident: &str) -> Result<(), Error> {
        let node = self.node(ask, ident)?;
        let whose = Some(whose(&node.whole));
        if ask.method != "PATCH" {
            may(&ask.who, rule, whose)?;
            return self.check_runbook_use(ask);
        }
        let ops = patch::parse(&NODE, ask.version, &ask.body)?;
        for rule in fields::rules(rule, &ops) {
            may(&ask.who, rule, whose)?;
        }
        let is_active = node.whole.get("provision_state").and_then(Value::as_str) == Some("active");
        let gives_away = ops.iter().any(|op| op.field() == "owner");
        if is_active && gives_away && !ask.who.may(GIVE_AWAY, whose) {
            let refusal = format!("Cannot update owner of node \"{}\" while it is in state \"active\".", node.node);
            return Err(Class::Conflict.says(refusal));
        }
        Ok(())
    }

    /// What is made is a node's. One that the caller must not know of is not there, and what is no node's is the system's.
    fn check_node_of_body(&self, ask: &Ask, rule: Rule) -> Result<(), Error> {
        let named = |name: &str| ask.body.get(name).and_then(Value::as_str);
        let Some(ident) = named("node_uuid").or_else(|| named("node_ident")) else {
            return may(&ask.who, rule, None);
        };
        match self.find_for(ask, ident) {
            Some(node) => may(&ask.who, rule, Some(whose(&node.whole))),
            None => Err(Class::Invalid.says(format!("Node {ident} could not be found."))),
        }
    }

    /// A project's new node is below one of its own; of others' it must not learn.
    fn check_parent(&self, ask: &Ask) -> Result<(), Error> {
        let (Some(project), Some(ident)) = (&ask.owner, ask.body.get("parent_node").and_then(Value::as_str)) else {
            return Ok(());
        };
        let is_own = |node: &Arc<NodeView>| whose(&node.whole).owner == Some(project.as_str());
        match self.find_for(ask, ident).filter(is_own) {
            Some(_) => Ok(()),
            None => Err(Class::Invalid.says(format!("Node {ident} could not be found."))),
        }
    }

    /// A verb may name a runbook, which not everybody may use.
    fn check_runbook_use(&self, ask: &Ask) -> Result<(), Error> {
        let named = ask.body.get("runbook").and_then(Value::as_str).or_else(|| ask.parameter("runbook"));
        let Some(runbook) = named.filter(|_| ask.path.ends_with("/states/provision")) else { return Ok(()) };
        let Ok((_, sheet)) = self.shared.sheet(RUNBOOK_KIND, runbook) else { return Ok(()) };
        may(&ask.who, USE_RUNBOOK, Some(whose(&sheet.value.fields)))
    }

    fn check_nodes_allocation(&self, ask: &Ask, rule: Rule, ident: &str) -> Result<(), Error> {
        let node = self.node(ask, ident)?;
        let allocation = node.whole.get("allocation_uuid").and_then(Value::as_str);
        let Some(Ok((_, sheet))) = allocation.map(|id| self.shared.sheet(ALLOCATION_KIND, id)) else { return Ok(()) };
        let whose = Some(whose(&sheet.value.fields));
        if ask.who.may(SEE_ALLOCATION, whose) {
            return may(&ask.who, rule, whose);
        }
        Err(text::no_allocation(ident))
    }

    fn check_allocation(&self, ask: &Ask, rule: Rule, ident: &str) -> Result<(), Error> {
        let fields = self.shared.sheet(ALLOCATION_KIND, ident)?.1.value.fields;
        if ask.who.may(SEE_ALLOCATION, Some(whose(&fields))) {
            return may(&ask.who, rule, Some(whose(&fields)));
        }
        Err(text::not_found(ALLOCATION_KIND.word, ident))
    }

    fn check_sheet_part(&self, ask: &Ask, rule: Rule, kind: Kind, ident: &str) -> Result<(), Error> {
        let fields = self.shared.sheet(kind, ident)?.1.value.fields;
        let node = fields.get("node_uuid").and_then(Value::as_str).and_then(|node| self.find(node));
        self.check_part(ask, rule, kind.resource, node, || text::not_found(kind.word, ident))
    }

    /// A call about what is a node's. Where it moves to another node, it needs the rule there too.
    fn check_part(
        &self,
        ask: &Ask,
        rule: Rule,
        resource: &Resource,
        node: Option<Arc<NodeView>>,
        missing: impl Fn() -> Error,
    ) -> Result<(), Error> {
        let whose = node.as_ref().map(|node| whose(&node.whole)).unwrap_or_default();
        if !ask.who.may(SEE_NODE, Some(whose)) {
            return Err(missing());
        }
        may(&ask.who, rule, Some(whose))?;
        if ask.method != "PATCH" {
            return Ok(());
        }
        let ops = patch::parse(resource, ask.version, &ask.body)?;
        let to =
            ops.iter().filter(|op| op.field() == "node_uuid").filter_map(|op| self.find_for(ask, op.value.as_str()?));
        to.into_iter().try_for_each(|node| may(&ask.who, rule, Some(self::whose(&node.whole))))
    }
}

fn check_runbook(ask: &Ask, rule: Rule, sheet: &Map<String, Value>) -> Result<(), Error> {
    let is_public = sheet.get("public").is_some_and(fields::is_yes);
    if ask.method == "GET" && is_public && ask.who.project().is_some() && !ask.who.roles.is_empty() {
        return Ok(());
    }
    let whose = Some(whose(sheet));
    if ask.method != "PATCH" || ask.path.contains("/traits") {
        return may(&ask.who, rule, whose);
    }
    let ops = patch::parse(RUNBOOK_KIND.resource, ask.version, &ask.body)?;
    fields::runbook_rules(rule, &ops).into_iter().try_for_each(|rule| may(&ask.who, rule, whose))
}

/// What a caller of a project makes is his project's: nothing where he says so himself or may make others' things.
fn own(ask: &Ask, others: impl Fn() -> Error) -> Result<Option<String>, Error> {
    let Some(project) = ask.who.project() else { return Ok(None) };
    match ask.body.get("owner").and_then(Value::as_str).filter(|owner| !owner.is_empty()) {
        Some(owner) if owner != project => Err(others()),
        Some(_) | None => Ok(Some(project.to_owned())),
    }
}

fn may(who: &Caller, rule: Rule, whose: Option<Ownership<'_>>) -> Result<(), Error> {
    if who.may(rule, whose) { Ok(()) } else { Err(text::denied(rule.name())) }
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
