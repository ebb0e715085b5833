//! What of a list, and of one thing, a caller may see. Whoever may see all of everything pays nothing for it.

use std::borrow::Cow;

use domain::policy::{Caller, Rule, SEE_ALLOCATION, SEE_NODE, rule};
use serde_json::{Map, Value, json};

use super::{fields, whose};
use crate::{Ask, Face};

/// One resource, with all its fields.
pub(crate) type Whole = Map<String, Value>;

/// Who has this sees every node, and everything of it.
const ALL_NODES: Rule = rule("baremetal:node:list_all");
/// The same of ports, and so on.
const ALL_PORTS: Rule = rule("baremetal:port:list_all");
const ALL_PORTGROUPS: Rule = rule("baremetal:portgroup:list_all");
const ALL_VOLUMES: Rule = rule("baremetal:volume:list_all");
const ALL_ALLOCATIONS: Rule = rule("baremetal:allocation:list_all");
const ALL_RUNBOOKS: Rule = rule("baremetal:runbook:list_all");
const RUNBOOK: Rule = rule("baremetal:runbook:get");
const TARGET_PROPERTIES: Rule = rule("baremetal:volume:view_target_properties");

/// Fields of a node that not everybody reads who sees it, and what stands there then.
static HIDDEN: &[(&str, Rule, Mark)] = &[
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

/// What stands where something is hidden: the text, or an object that has it.
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

/// What one caller sees of one kind of things.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lens<'a> {
    /// All of it.
    Clear,
    /// Nodes, as far as they concern him.
    Nodes(&'a Caller),
    /// What is a node's.
    Parts(&'a Face, &'a Caller, Parts),
    /// Allocations.
    Allocations(&'a Caller),
    /// Runbooks.
    Runbooks(&'a Caller),
}

/// Whether properties of volumes are among what he sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// They are, or there are none.
    Whole,
    /// They are not.
    WithoutProperties,
}

impl<'a> Lens<'a> {
    /// The lens for nodes.
    pub(crate) fn nodes(ask: &'a Ask) -> Self {
        Self::of_nodes(&ask.who)
    }

    /// The same, of somebody.
    pub(crate) fn of_nodes(who: &'a Caller) -> Self {
        if who.may(ALL_NODES, None) { Self::Clear } else { Self::Nodes(who) }
    }

    /// The lens for a collection; `path` is its resource's.
    pub(crate) fn of(face: &'a Face, ask: &'a Ask, path: &str) -> Self {
        let who = ask.who.as_ref();
        let all = match path {
            "ports" => ALL_PORTS,
            "portgroups" => ALL_PORTGROUPS,
            "volume/connectors" | "volume/targets" => ALL_VOLUMES,
            "allocations" => ALL_ALLOCATIONS,
            "runbooks" => ALL_RUNBOOKS,
            _ => return Self::Clear,
        };
        match path {
            _ if who.may(all, None) => Self::Clear,
            "allocations" => Self::Allocations(who),
            "runbooks" => Self::Runbooks(who),
            "volume/targets" if !who.may(TARGET_PROPERTIES, None) => Self::Parts(face, who, Parts::WithoutProperties),
            _ => Self::Parts(face, who, Parts::Whole),
        }
    }

    /// Whether he sees it at all.
    pub(crate) fn sees(self, whole: &Whole) -> bool {
        match self {
            Self::Clear => true,
            Self::Nodes(who) => who.may(SEE_NODE, Some(whose(whole))),
            Self::Parts(face, who, _) => {
                let node = whole.get("node_uuid").and_then(Value::as_str).and_then(|node| face.find(node));
                node.is_some_and(|node| who.may(SEE_NODE, Some(whose(&node.whole))))
            }
            Self::Allocations(who) => who.may(SEE_ALLOCATION, Some(whose(whole))),
            Self::Runbooks(who) => {
                who.may(RUNBOOK, Some(whose(whole))) || whole.get("public").is_some_and(fields::is_yes)
            }
        }
    }

    /// It, as he sees it.
    pub(crate) fn shown(self, whole: &Whole) -> Cow<'_, Whole> {
        match self {
            Self::Nodes(who) => node(who, whole),
            Self::Parts(_, _, Parts::WithoutProperties) => {
                let mut seen = whole.clone();
                seen.insert(
                    "properties".to_owned(),
                    json!({"redacted_contents": "** Value redacted: Requires permission \
                    baremetal:volume:view_target_properties access. Permission denied. **"}),
                );
                Cow::Owned(seen)
            }
            Self::Clear | Self::Parts(..) | Self::Allocations(_) | Self::Runbooks(_) => Cow::Borrowed(whole),
        }
    }
}

fn node<'a>(who: &Caller, whole: &'a Map<String, Value>) -> Cow<'a, Map<String, Value>> {
    let mut seen = Cow::Borrowed(whole);
    for (field, rule, mark) in HIDDEN {
        if !who.may(*rule, Some(whose(whole))) {
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
        let seen = Lens::Nodes(&lessee).shown(&whole);
        for field in ["last_error", "reservation", "driver_info", "driver_internal_info"] {
            assert!(seen[field].to_string().contains("edacted"), "{field}");
        }
        assert!(matches!(Lens::Nodes(&owner).shown(&whole), Cow::Borrowed(_)));
        assert!(matches!(Lens::Clear.shown(&whole), Cow::Borrowed(_)));
    }

    #[test]
    fn a_stranger_sees_no_node_and_everybody_a_public_runbook() {
        let (whole, stranger) = (whole(), of("else"));
        assert!(!Lens::Nodes(&stranger).sees(&whole));
        assert!(Lens::Nodes(&of("let")).sees(&whole));
        let runbook = json!({"owner": null, "public": true}).as_object().cloned().unwrap();
        assert!(Lens::Runbooks(&stranger).sees(&runbook));
        assert!(!Lens::Runbooks(&stranger).sees(&whole));
    }
}
