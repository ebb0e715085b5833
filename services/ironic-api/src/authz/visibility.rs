//! Which members of a list, and which fields of a resource, a caller can see. Unrestricted callers cause no copies.

use std::borrow::Cow;

use domain::policy::{Caller, Ownership, Rule, SEE_ALLOCATION, SEE_NODE, rule};
use serde_json::{Map, Value, json};

use super::{Owned as _, field_rules, project};
use crate::{ApiRequest, RestApi};
use scheduler_core::node_view::NodeView;

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

/// What a caller can see of nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NodeVisibility<'a> {
    /// Everything.
    Unrestricted,
    /// Nodes of the caller's project.
    Project(&'a Caller),
}

impl<'a> NodeVisibility<'a> {
    /// Visibility for a caller.
    pub(crate) fn of(caller: &'a Caller) -> Self {
        if caller.may(ALL_NODES, None) { Self::Unrestricted } else { Self::Project(caller) }
    }

    /// Returns whether the caller can see a node.
    pub(crate) fn includes(self, node: &NodeView) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Project(caller) => caller.may(SEE_NODE, Some(node.spec().ownership())),
        }
    }

    /// Replacement of a field that the caller cannot see. `None` if the caller can see it.
    pub(crate) fn replacement(self, node: &NodeView, field: &str) -> Option<Value> {
        let Self::Project(caller) = self else { return None };
        let (_, rule, mark) = RESTRICTED_FIELDS.iter().find(|(name, ..)| *name == field)?;
        (!caller.may(*rule, Some(node.spec().ownership()))).then(|| mark.shown())
    }
}

/// What a caller can see of a collection other than nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Visibility<'a> {
    /// Everything.
    Unrestricted,
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

#[cfg(test)]
mod tests {
    use domain::policy::{Roles, Scope};
    use keyspace::value::NodeSpec;

    use super::*;
    use crate::test_node::node;

    fn owned(owner: &str, lessee: &str) -> NodeView {
        let (owner, lessee) = (Some(owner.to_owned()), Some(lessee.to_owned()));
        node(7, "n1", NodeSpec { owner, lessee, ..NodeSpec::default() })
    }

    fn of(project: &str) -> Caller {
        let scope = Scope::Project { id: project.to_owned(), is_services: false };
        Caller { name: "ann".to_owned(), account: String::new(), roles: Roles::named(["admin"]), scope }
    }

    #[test]
    fn a_lessee_does_not_read_what_is_behind_a_node_and_its_owner_does() {
        let (node, lessee, owner) = (owned("own", "let"), of("let"), of("own"));
        for field in ["last_error", "reservation", "driver_info", "driver_internal_info"] {
            let replacement = NodeVisibility::of(&lessee).replacement(&node, field).unwrap();
            assert!(replacement.to_string().contains("edacted"), "{field}");
            assert_eq!(NodeVisibility::of(&owner).replacement(&node, field), None, "{field}");
            assert_eq!(NodeVisibility::Unrestricted.replacement(&node, field), None, "{field}");
        }
        assert_eq!(NodeVisibility::of(&lessee).replacement(&node, "name"), None);
    }

    #[test]
    fn a_caller_without_a_share_sees_no_node_and_every_public_runbook() {
        let (node, other) = (owned("own", "let"), of("else"));
        assert!(!NodeVisibility::of(&other).includes(&node));
        assert!(NodeVisibility::of(&of("let")).includes(&node));
        let runbook = |public: bool| json!({"owner": "own", "public": public}).as_object().cloned().unwrap();
        assert!(Visibility::Runbooks(&other).includes(&runbook(true)));
        assert!(!Visibility::Runbooks(&other).includes(&runbook(false)));
    }
}
