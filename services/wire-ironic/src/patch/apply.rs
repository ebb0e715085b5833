//! Applies the operations of a patch: by RFC 6902 §4 inside a field, by the table for a field itself.

use serde_json::{Map, Value};

use super::{Op, OpKind};
use crate::error::Error;
use crate::fields::{self, Post, Resource};

/// Applies the operations in order and checks the result as if it were new.
///
/// `whole` is the stored resource; the function returns all fields of the changed one. A removed interface is null; the
/// caller replaces it by the driver's default.
///
/// # Errors
/// 400 with the operation that failed, or with the first invalid field of the result.
pub fn apply(resource: &Resource, whole: &Map<String, Value>, ops: &[Op]) -> Result<Map<String, Value>, Error> {
    let mut changed = whole.clone();
    for op in ops {
        if op.inside().is_empty() {
            apply_to_field(resource, &mut changed, op);
        } else {
            let root = changed.entry(op.field().to_owned()).or_insert_with(|| initial_value(resource, op.field()));
            apply_inside(root, op.inside(), op).map_err(|reason| op.refused(&reason))?;
        }
    }
    let touched = ops.iter().any(|op| resource.field(op.field()).is_some());
    if touched { fields::check_whole(resource, &changed) } else { Ok(changed) }
}

fn initial_value(resource: &Resource, name: &str) -> Value {
    resource.field(name).map_or(Value::Null, |field| fields::initial(field.initial))
}

/// Applies an operation to a field of the resource itself, which exists even if no client has set it.
fn apply_to_field(resource: &Resource, whole: &mut Map<String, Value>, op: &Op) {
    let required = resource.field(op.field()).is_some_and(|field| field.post == Post::Required);
    if op.kind != OpKind::Remove {
        // A port can be moved to another node by either of two fields.
        match (resource.path, op.field()) {
            ("ports", "node_ident") => drop(whole.remove("node_uuid")),
            ("ports", "node_uuid") => drop(whole.remove("node_ident")),
            _ => {}
        }
        whole.insert(op.field().to_owned(), op.value.clone());
    } else if required || (resource.path == "ports" && op.field() == "node_uuid") {
        // The check of the result reports missing fields.
        whole.remove(op.field());
    } else {
        whole.insert(op.field().to_owned(), initial_value(resource, op.field()));
    }
}

/// Applies an operation at a path inside a field.
fn apply_inside(value: &mut Value, path: &[String], op: &Op) -> Result<(), String> {
    let Some((token, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        return apply_to_container(value, token, op);
    }
    match value {
        Value::Object(members) => match members.get_mut(token) {
            Some(next) => apply_inside(next, rest, op),
            None => Err(format!("member '{token}' not found")),
        },
        Value::Array(items) => {
            let index = index(token)?;
            match items.get_mut(index) {
                Some(next) => apply_inside(next, rest, op),
                None => Err(format!("index '{token}' is out of bounds")),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(not_a_container(token)),
    }
}

fn apply_to_container(value: &mut Value, token: &str, op: &Op) -> Result<(), String> {
    match value {
        Value::Object(members) => member(members, token, op),
        Value::Array(items) => item(items, token, op),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(not_a_container(token)),
    }
}

fn member(members: &mut Map<String, Value>, token: &str, op: &Op) -> Result<(), String> {
    match op.kind {
        OpKind::Add => drop(members.insert(token.to_owned(), op.value.clone())),
        OpKind::Replace => match members.get_mut(token) {
            Some(old) => *old = op.value.clone(),
            None => return Err(format!("can't replace a non-existent object '{token}'")),
        },
        OpKind::Remove => {
            if members.remove(token).is_none() {
                return Err(format!("can't remove a non-existent object '{token}'"));
            }
        }
    }
    Ok(())
}

fn item(items: &mut Vec<Value>, token: &str, op: &Op) -> Result<(), String> {
    match (op.kind, token) {
        (OpKind::Add, "-") => items.push(op.value.clone()),
        (OpKind::Replace, "-") => return Err("'path' with '-' can't be applied to 'replace' operation".to_owned()),
        (OpKind::Remove, "-") => return Err("invalid array index '-'".to_owned()),
        (OpKind::Add, token) => match index(token)? {
            index if index <= items.len() => items.insert(index, op.value.clone()),
            _ => return Err("can't insert outside of list".to_owned()),
        },
        (OpKind::Replace, token) => match items.get_mut(index(token)?) {
            Some(old) => *old = op.value.clone(),
            None => return Err("can't replace outside of list".to_owned()),
        },
        (OpKind::Remove, token) => match index(token)? {
            index if index < items.len() => drop(items.remove(index)),
            _ => return Err(format!("can't remove a non-existent object '{token}'")),
        },
    }
    Ok(())
}

/// Parses an index (RFC 6901 §4): digits without a leading zero.
fn index(token: &str) -> Result<usize, String> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    let index = plain.then(|| token.parse().ok()).flatten();
    index.ok_or_else(|| format!("'{token}' is not a valid sequence index"))
}

fn not_a_container(token: &str) -> String {
    format!("Cannot apply token '{token}' to what is neither an object nor a list")
}
