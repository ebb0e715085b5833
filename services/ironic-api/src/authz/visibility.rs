//! Which members of a list, and which fields of a resource, a caller can see. Unrestricted callers cause no copies.

use std::borrow::Cow;

use domain::policy::{Caller, Ownership, Rule, SEE_ALLOCATION, SEE_NODE, rule};
use serde_json::{Map, Value, json};

use super::{Owned as _, field_rules, project};
use crate::{ApiRequest, RestApi};

/// Resource with all its fields.
pub(crate) type Document = Map<String, Value>;

/// Permits seeing every node with all fields.
const ALL_NODES: Rule = rule("baremetal:node:list_all");
/// Permits seeing every port; the following constants do so for other collections.
const ALL_PORTS: Rule = rule("baremetal:port:list_all");
const ALL_PORTGROUPS: Rule = rule("baremetal:portgroup:list_all");
const ALL_VOLUMES: Rule = rule("baremetal:volume:list_all");
const ALL_ALLOCATIONS: Rule = rule("baremetal:allocation:list_all");
const ALL_RUNBOOKS: Rule = rule("baremetal:runbook:list_all");
const RUNBOOK: Rule = rule("baremetal:runbook:get");
const TARGET_PROPERTIES: Rule = rule("baremetal:volume:view_target_properties");

/// Fields of a node that need a rule of their own, and their replacement for other callers.
static RESTRICTED_FIELDS: &[(&str, Rule, Mark)] = &[
    (
        "last_error",
        rule("baremetal:node:get:last_error"),
        Mark::Text("** Value Redacted - Requires baremetal:node:get:last_error permission. **"),
    ),
    (
        "reservation",
        rule("baremetal:node:get:reservation"),
        Mark::Text("** Redacted - requires baremetal:node:get:reservation permission. **"),
    ),
    (
        "driver_internal_info",
        rule("baremetal:node:get:driver_internal_info"),
        Mark::Content("** Redacted - Requires baremetal:node:get:driver_internal_info permission. **"),
    ),
    (
        "driver_info",
        rule("baremetal:node:get:driver_info"),
        Mark::Content("** Redacted - requires baremetal:node:get:driver_info permission. **"),
    ),
];

/// Replacement of a hidden value: a text, or an object with the text.
enum Mark {
    Text(&'static str),
    Content(&'static str),
}

impl Mark {
    fn shown(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Content(text) => json!({"content": text}),
        }
    }
}

/// What a caller can see of one collection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Visibility<'a> {
    /// Everything.
    Unrestricted,
    /// Nodes of the caller's project.
    Nodes(&'a Caller),
    /// Resources of nodes.
    Parts(&'a RestApi, &'a Caller, Parts),
    /// Allocations.
    Allocations(&'a Caller),
    /// Runbooks.
    Runbooks(&'a Caller),
}

/// Whether the caller can see the properties of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// It can, or the resource has none.
    Document,
    /// It cannot.
    WithoutProperties,
}

impl<'a> Visibility<'a> {
    /// Visibility of nodes for the sender of a request.
    pub(crate) fn nodes(request: &'a ApiRequest) -> Self {
        Self::of_nodes(&request.caller)
    }

    /// Visibility of nodes for a caller.
    pub(crate) fn of_nodes(caller: &'a Caller) -> Self {
        if caller.may(ALL_NODES, None) { Self::Unrestricted } else { Self::Nodes(caller) }
    }

    /// Visibility of a collection; `path` is the path of its resource.
    pub(crate) fn of(api: &'a RestApi, request: &'a ApiRequest, path: &str) -> Self {
        let caller = request.caller.as_ref();
        let all = match path {
            "ports" => ALL_PORTS,
            "portgroups" => ALL_PORTGROUPS,
            "volume/connectors" | "volume/targets" => ALL_VOLUMES,
            "allocations" => ALL_ALLOCATIONS,
            "runbooks" => ALL_RUNBOOKS,
            _ => return Self::Unrestricted,
        };
        match path {
            _ if caller.may(all, None) => Self::Unrestricted,
            "allocations" => Self::Allocations(caller),
            "runbooks" => Self::Runbooks(caller),
            "volume/targets" if !caller.may(TARGET_PROPERTIES, None) => {
                Self::Parts(api, caller, Parts::WithoutProperties)
            }
            _ => Self::Parts(api, caller, Parts::Document),
        }
    }

    /// Returns whether the caller can see a resource.
    pub(crate) fn includes(self, whole: &Document) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Nodes(caller) => caller.may(SEE_NODE, Some(ownership(whole))),
            Self::Parts(api, caller, _) => {
                let node = whole.get("node_uuid").and_then(Value::as_str).and_then(|node| api.find(node));
                node.is_some_and(|node| caller.may(SEE_NODE, Some(node.spec().ownership())))
            }
            Self::Allocations(caller) => caller.may(SEE_ALLOCATION, Some(ownership(whole))),
            Self::Runbooks(caller) => {
                caller.may(RUNBOOK, Some(ownership(whole))) || whole.get("public").is_some_and(field_rules::is_yes)
            }
        }
    }

    /// Replaces the values that the caller cannot see.
    pub(crate) fn redact(self, whole: &Document) -> Cow<'_, Document> {
        match self {
            Self::Nodes(caller) => redact_node(caller, whole),
            Self::Parts(_, _, Parts::WithoutProperties) => {
                let mut seen = whole.clone();
                seen.insert(
                    "properties".to_owned(),
                    json!({"redacted_contents": "** Value redacted: Requires permission \
                    baremetal:volume:view_target_properties access. Permission denied. **"}),
                );
                Cow::Owned(seen)
            }
            Self::Unrestricted | Self::Parts(..) | Self::Allocations(_) | Self::Runbooks(_) => Cow::Borrowed(whole),
        }
    }
}

/// Owner and lessee in a document.
fn ownership(document: &Document) -> Ownership<'_> {
    let named = |name: &str| project(document.get(name).and_then(Value::as_str));
    Ownership { owner: named("owner"), lessee: named("lessee") }
}

fn redact_node<'a>(caller: &Caller, whole: &'a Map<String, Value>) -> Cow<'a, Map<String, Value>> {
    let mut seen = Cow::Borrowed(whole);
    for (field, rule, mark) in RESTRICTED_FIELDS {
        if !caller.may(*rule, Some(ownership(whole))) {
            seen.to_mut().insert((*field).to_owned(), mark.shown());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use domain::policy::{Roles, Scope};

    use super::*;

    fn whole() -> Map<String, Value> {
        let whole = json!({"owner": "own", "lessee": "let", "last_error": "BMC 10.0.0.5", "driver_info": {"a": 1}});
        whole.as_object().cloned().unwrap()
    }

    fn of(project: &str) -> Caller {
        let scope = Scope::Project { id: project.to_owned(), is_services: false };
        Caller { name: "ann".to_owned(), roles: Roles::named(["admin"]), scope }
    }

    #[test]
    fn a_lessee_does_not_read_what_is_behind_a_node_and_its_owner_does() {
        let (whole, lessee, owner) = (whole(), of("let"), of("own"));
        let seen = Visibility::Nodes(&lessee).redact(&whole);
        for field in ["last_error", "reservation", "driver_info", "driver_internal_info"] {
            assert!(seen[field].to_string().contains("edacted"), "{field}");
        }
        assert!(matches!(Visibility::Nodes(&owner).redact(&whole), Cow::Borrowed(_)));
        assert!(matches!(Visibility::Unrestricted.redact(&whole), Cow::Borrowed(_)));
    }

    #[test]
    fn a_stranger_sees_no_node_and_everybody_a_public_runbook() {
        let (whole, stranger) = (whole(), of("else"));
        assert!(!Visibility::Nodes(&stranger).includes(&whole));
        assert!(Visibility::Nodes(&of("let")).includes(&whole));
        let runbook = json!({"owner": null, "public": true}).as_object().cloned().unwrap();
        assert!(Visibility::Runbooks(&stranger).includes(&runbook));
        assert!(!Visibility::Runbooks(&stranger).includes(&whole));
    }
}
