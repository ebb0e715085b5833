//! Steps of verbs, deploy templates and runbooks.

use serde_json::{Map, Value, json};

use crate::error::{Class, Error};
use crate::python;

/// Kind of a list of steps, which determines their members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Steps {
    /// `clean_steps`: executed in the given order.
    Clean,
    /// `service_steps`: executed in the given order.
    Service,
    /// `deploy_steps`, and the steps of a template: each with its priority.
    Deploy,
    /// Steps of a runbook: each with its order.
    Runbook,
}

/// Step of an operation.
#[derive(Clone, PartialEq)]
pub struct Step {
    /// Interface of the step.
    pub interface: String,
    /// Name of the step.
    pub step: String,
    /// Arguments.
    pub args: Map<String, Value>,
    /// Order or priority; priority 0 disables a deploy step.
    pub priority: Option<u64>,
    /// Whether it runs on the children of the node.
    pub on_children: bool,
    /// Selected children. Empty for all.
    pub children: Vec<Value>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("interface", &self.interface).field("step", &self.step).finish_non_exhaustive()
    }
}

/// Order of the interfaces among steps of the same priority.
const INTERFACE_ORDER: &[&str] = &["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];
/// Interface that has only service steps.
const NETWORK: &str = "network";

/// Returns the rank of an interface among steps of the same priority.
pub(super) fn rank(interface: &str) -> usize {
    INTERFACE_ORDER.iter().position(|known| *known == interface).unwrap_or(INTERFACE_ORDER.len())
}

impl Steps {
    /// Name of the argument with the steps.
    #[must_use]
    pub const fn argument(self) -> &'static str {
        match self {
            Self::Clean => "clean_steps",
            Self::Service => "service_steps",
            Self::Deploy => "deploy_steps",
            Self::Runbook => "steps",
        }
    }

    /// Interfaces that have steps of this kind.
    pub fn interfaces(self) -> impl Iterator<Item = &'static str> {
        INTERFACE_ORDER.iter().copied().chain((self == Self::Service).then_some(NETWORK))
    }

    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Clean | Self::Service => {
                &["interface", "step", "args", "order", "execute_on_child_nodes", "limit_child_node_execution"]
            }
            Self::Deploy => &["interface", "step", "args", "priority"],
            Self::Runbook => &["interface", "step", "args", "order"],
        }
    }

    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Clean | Self::Service => &["interface", "step"],
            Self::Deploy => &["interface", "step", "args", "priority"],
            Self::Runbook => &["interface", "step", "order"],
        }
    }

    /// JSON Schema of one step.
    pub(crate) fn schema(self) -> Value {
        let interfaces: Vec<&str> = self.interfaces().collect();
        let of = |key: &str| match key {
            "interface" => json!({"type": "string", "enum": interfaces}),
            "step" => json!({"type": "string", "minLength": 1}),
            "args" => json!({"type": "object"}),
            "execute_on_child_nodes" => json!({"type": "boolean"}),
            "limit_child_node_execution" => json!({"type": "array"}),
            _ => json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,9}$"}]}),
        };
        let members: Map<String, Value> = self.keys().iter().map(|key| ((*key).to_owned(), of(key))).collect();
        json!({"type": "object", "properties": members, "required": self.required(), "additionalProperties": false})
    }

    /// Parses a list of steps.
    ///
    /// # Errors
    /// 400 with the first invalid step.
    pub fn read(self, list: &[Value]) -> Result<Vec<Step>, Error> {
        self.check(list).map_err(|what| Class::Invalid.error(format!("Invalid {}: {what}", self.argument())))
    }

    /// The same, with another name in the error.
    pub(crate) fn check(self, list: &[Value]) -> Result<Vec<Step>, String> {
        list.iter().map(|value| self.step(value)).collect()
    }

    fn step(self, value: &Value) -> Result<Step, String> {
        let members = value.as_object().ok_or_else(|| wrong_type(value, "object"))?;
        self.check_keys(members)?;
        let interface = text(members, "interface")?;
        let known: Vec<&str> = self.interfaces().collect();
        if !known.contains(&interface.as_str()) {
            return Err(format!("{} is not one of [{}]", python::quoted_text(&interface), python::listed(&known)));
        }
        let step = text(members, "step")?;
        if step.is_empty() {
            return Err("'' should be non-empty".to_owned());
        }
        Ok(Step {
            interface,
            step,
            args: members.get("args").map_or_else(|| Ok(Map::new()), object)?,
            priority: members.get("priority").or_else(|| members.get("order")).map(number).transpose()?,
            on_children: members.get("execute_on_child_nodes").map_or(Ok(false), flag)?,
            children: members.get("limit_child_node_execution").map_or_else(|| Ok(Vec::new()), array)?,
        })
    }

    fn check_keys(self, members: &Map<String, Value>) -> Result<(), String> {
        let unknown: Vec<&String> = members.keys().filter(|key| !self.keys().contains(&key.as_str())).collect();
        if !unknown.is_empty() {
            let was = if unknown.len() == 1 { "was" } else { "were" };
            let unknown = python::listed(&unknown);
            return Err(format!("Additional properties are not allowed ({unknown} {was} unexpected)"));
        }
        match self.required().iter().find(|key| !members.contains_key(**key)) {
            Some(missing) => Err(format!("'{missing}' is a required property")),
            None => Ok(()),
        }
    }
}

fn wrong_type(value: &Value, kind: &str) -> String {
    format!("{} is not of type '{kind}'", python::quoted(value))
}

fn text(members: &Map<String, Value>, key: &str) -> Result<String, String> {
    let value = members.get(key).unwrap_or(&Value::Null);
    value.as_str().map(str::to_owned).ok_or_else(|| wrong_type(value, "string"))
}

fn object(value: &Value) -> Result<Map<String, Value>, String> {
    value.as_object().cloned().ok_or_else(|| wrong_type(value, "object"))
}

fn array(value: &Value) -> Result<Vec<Value>, String> {
    value.as_array().cloned().ok_or_else(|| wrong_type(value, "array"))
}

fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong_type(value, "boolean"))
}

/// Parses a non-negative number, or text with one.
fn number(value: &Value) -> Result<u64, String> {
    if value.as_i64().is_some_and(i64::is_negative) {
        return Err(format!("{value} is less than the minimum of 0"));
    }
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| format!("{} is not valid under any of the given schemas", python::quoted(value)))
}
