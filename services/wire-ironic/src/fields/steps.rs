//! Elements of the lists in deploy templates, runbooks and inspection rules.

use serde_json::{Map, Value, json};

use super::Resource;
use super::schema_error::schema_error;
use crate::error::{Class, Error};
use crate::python;
use crate::verb::{Step, Steps};

/// Actions of inspection rules, in the order in which the error lists them.
const ACTIONS: &[&str] = &[
    "fail",
    "log",
    "set-attribute",
    "extend-attribute",
    "del-attribute",
    "set-capability",
    "unset-capability",
    "add-trait",
    "remove-trait",
    "set-plugin-data",
    "extend-plugin-data",
    "unset-plugin-data",
    "set-port-attribute",
    "extend-port-attribute",
    "del-port-attribute",
    "api-call",
];
/// Operators of conditions; `!` before one negates it.
const OPERATORS: &[&str] =
    &["eq", "lt", "gt", "is-empty", "in-net", "matches", "contains", "one-of", "is-none", "is-true", "is-false"];

/// Checks the lists of a resource; `schema` is its name in errors.
///
/// # Errors
/// 400 with the first invalid element.
pub(super) fn check(resource: &Resource, schema: &str, members: &Map<String, Value>) -> Result<(), Error> {
    let list = |name: &str| members.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let check_steps = |kind: Steps| {
        let steps = kind.check(list("steps")).map_err(|what| schema_error(schema, &what))?;
        check_duplicates(&steps)
    };
    match resource.path {
        "deploy_templates" => check_steps(Steps::Deploy),
        "runbooks" => check_steps(Steps::Runbook),
        "inspection_rules" => {
            let operators = operators();
            let operators: Vec<&str> = operators.iter().map(String::as_str).collect();
            list("actions").iter().try_for_each(|item| check_operation(schema, item, ACTIONS))?;
            list("conditions").iter().try_for_each(|item| check_operation(schema, item, &operators))
        }
        _ => Ok(()),
    }
}

/// Returns the operators of conditions, each also negated.
fn operators() -> Vec<String> {
    let negated = OPERATORS.iter().map(|word| format!("!{word}"));
    OPERATORS.iter().map(|word| (*word).to_owned()).chain(negated).collect()
}

/// JSON Schema of a rule's actions.
pub(crate) fn actions_schema() -> Value {
    json!({"type": "array", "minItems": 1, "items": operations_schema(ACTIONS)})
}

/// JSON Schema of a rule's conditions.
pub(crate) fn conditions_schema() -> Value {
    json!({"type": ["array", "null"], "items": operations_schema(&operators())})
}

/// JSON Schema of what [`check_operation`] checks.
fn operations_schema(known: &[impl serde::Serialize]) -> Value {
    json!({
        "type": "object",
        "properties": {"op": {"type": "string", "enum": known}, "args": {"type": ["array", "object"]}},
        "required": ["op", "args"],
    })
}

/// Converts the steps of a resource to the form in which they are stored: priorities are numbers, and missing arguments
/// are an empty object.
pub(super) fn normalize(resource: &Resource, members: &mut Map<String, Value>) {
    if !matches!(resource.path, "deploy_templates" | "runbooks") {
        return;
    }
    let steps = members.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten();
    for step in steps.filter_map(Value::as_object_mut) {
        step.entry("args").or_insert_with(|| Value::Object(Map::new()));
        for name in ["order", "priority"] {
            let number = step.get(name).and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok());
            if let Some(number) = number {
                step.insert(name.to_owned(), Value::from(number));
            }
        }
    }
}

/// Checks that each step of an interface occurs once.
fn check_duplicates(steps: &[Step]) -> Result<(), Error> {
    let duplicate = steps.iter().enumerate().find(|(index, step)| {
        steps.iter().take(*index).any(|other| (&other.interface, &other.step) == (&step.interface, &step.step))
    });
    let Some((_, step)) = duplicate else { return Ok(()) };
    let (interface, step) = (&step.interface, &step.step);
    Err(Class::Invalid.error(format!(
        "Deploy template invalid: Duplicate deploy steps. A template cannot have multiple deploy steps with the same \
         interface and step. Duplicates: interface: {interface}, step: {step}."
    )))
}

/// Checks an operator and its arguments.
fn check_operation(schema: &str, item: &Value, known: &[&str]) -> Result<(), Error> {
    let wrong_type =
        |value: &Value, types: &str| schema_error(schema, &format!("{} is not of type {types}", python::quoted(value)));
    let Some(members) = item.as_object() else { return Err(wrong_type(item, "'object'")) };
    if let Some(missing) = ["op", "args"].into_iter().find(|name| !members.contains_key(*name)) {
        return Err(schema_error(schema, &format!("'{missing}' is a required property")));
    }
    let op = members.get("op").unwrap_or(&Value::Null);
    if !op.as_str().is_some_and(|op| known.contains(&op)) {
        return Err(schema_error(schema, &format!("{} is not one of [{}]", python::quoted(op), python::listed(known))));
    }
    let args = members.get("args").unwrap_or(&Value::Null);
    if args.is_array() || args.is_object() { Ok(()) } else { Err(wrong_type(args, "'array', 'object'")) }
}
