//! JSON Patch as Ironic accepts it: three of RFC 6902's six operations, on fields that the table allows, applied as a whole.
//!
//! [`parse`] reads a list of operations and checks it against the table, [`apply()`] applies it. [`node`] has the rules that
//! depend on a node's state.

mod apply;
pub mod node;
#[cfg(test)]
mod tests;

pub use apply::apply;

use serde_json::{Map, Value};

use crate::error::{Class, Error, text};
use crate::fields::{self, Resource};
use crate::python;
use crate::version::Version;

/// Kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Sets a value, or inserts into a list.
    Add,
    /// Replaces a value.
    Replace,
    /// Removes a value; a field of the resource itself gets its initial value.
    Remove,
}

/// Operation of a patch.
#[derive(Clone, PartialEq)]
pub struct Op {
    /// Kind.
    pub kind: OpKind,
    /// Path: the field, and the tokens of the path inside it. Never empty.
    path: Vec<String>,
    /// New value; [`Value::Null`] for a removal.
    pub value: Value,
    /// Text of the operation in errors.
    quoted: String,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op").field("kind", &self.kind).field("path", &self.path).finish_non_exhaustive()
    }
}

/// First minor version with escapes for `~` and `/` (RFC 6901 §3).
const ESCAPES_SINCE: u16 = 98;
/// First minor version in which allocations can be changed.
const ALLOCATION_PATCH_SINCE: u16 = 57;
/// Names of the operations.
const NAMES: [(&str, OpKind); 3] = [("add", OpKind::Add), ("replace", OpKind::Replace), ("remove", OpKind::Remove)];

impl Op {
    /// Field of the resource that the operation changes.
    #[must_use]
    pub fn field(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// Path inside the field. Empty if the operation changes the whole field.
    #[must_use]
    pub fn inside(&self) -> &[String] {
        self.path.get(1..).unwrap_or_default()
    }

    fn refused(&self, reason: &str) -> Error {
        refused(&self.quoted, reason)
    }
}

/// Clears the owner of a runbook whose `public` flag a patch is about to change.
///
/// # Errors
/// 400 if the patch makes the runbook public and sets an owner.
pub fn clear_runbook_owner(runbook: &mut Map<String, Value>, ops: &[Op], body: &Value) -> Result<(), Error> {
    let set = |name: &str| ops.iter().find(|op| op.field() == name && op.kind != OpKind::Remove);
    let is_true = |value: &Value| value.as_bool().unwrap_or_default();
    let public = set("public").map_or_else(|| runbook.get("public").is_some_and(is_true), |op| is_true(&op.value));
    if set("owner").is_some() && public {
        return Err(refused(&python::quoted(body), "There cannot be an owner for a public runbook"));
    }
    if set("public").is_some() {
        runbook.insert("owner".to_owned(), Value::Null);
    }
    Ok(())
}

fn refused(quoted: &str, reason: &str) -> Error {
    Class::Invalid.error(format!("Couldn't apply patch '{quoted}'. Reason: {reason}"))
}

/// Parses a list of operations and checks it against the resource's table. An empty list is valid.
///
/// # Errors
/// 400 for an invalid operation, 406 for setting a field of a newer version. Removing such a field is accepted.
pub fn parse(resource: &Resource, version: Version, body: &Value) -> Result<Vec<Op>, Error> {
    if resource.path == "allocations" && !version.has(ALLOCATION_PATCH_SINCE) {
        return Err(Class::MethodNotAllowed.error("The API version does not allow updating allocations"));
    }
    let Some(items) = body.as_array() else {
        return Err(schema_error(&format!("{} is not of type 'array'", python::quoted(body))));
    };
    let ops: Vec<Op> = items.iter().map(|item| operation(version, item)).collect::<Result<_, _>>()?;
    for op in &ops {
        check_field(resource, op)?;
    }
    for op in &ops {
        let newer = resource.field(op.field()).is_some_and(|field| !version.has(field.since));
        if newer && op.kind != OpKind::Remove {
            return Err(text::not_acceptable());
        }
    }
    Ok(ops)
}

fn schema_error(what: &str) -> Error {
    fields::schema_error("patch", what)
}

fn operation(version: Version, item: &Value) -> Result<Op, Error> {
    let members =
        item.as_object().ok_or_else(|| schema_error(&format!("{} is not of type 'object'", python::quoted(item))))?;
    check_members(members)?;
    let kind = op_kind(members)?;
    let path = path(version, members.get("path").unwrap_or(&Value::Null))?;
    let quoted = python::quoted(&without_secrets(members, &path));
    let value = match (kind, members.get("value")) {
        (OpKind::Remove, _) => Value::Null,
        (OpKind::Add | OpKind::Replace, Some(value)) => value.clone(),
        (OpKind::Add | OpKind::Replace, None) => {
            return Err(refused(&quoted, "The operation does not contain a 'value' member"));
        }
    };
    Ok(Op { kind, path, value, quoted })
}

/// Returns the text of an operation for errors, with secrets masked.
fn without_secrets(members: &Map<String, Value>, path: &[String]) -> Value {
    let mut masked_members = members.clone();
    let key = path.last().cloned().unwrap_or_default();
    if let Some(value) = masked_members.get_mut("value") {
        // What is below a secret is one, too.
        let is_below_secret = path.iter().rev().skip(1).any(|above| fields::is_secret(above, value));
        let masked = fields::masked(Value::Object(Map::from_iter([(key.clone(), value.take())])));
        *value =
            if is_below_secret { Value::from(fields::MASK) } else { masked.get(&key).cloned().unwrap_or_default() };
    }
    Value::Object(masked_members)
}

fn check_members(members: &Map<String, Value>) -> Result<(), Error> {
    let unknown: Vec<&String> =
        members.keys().filter(|name| !matches!(name.as_str(), "op" | "path" | "value")).collect();
    if !unknown.is_empty() {
        let was = if unknown.len() == 1 { "was" } else { "were" };
        let unknown = python::listed(&unknown);
        return Err(schema_error(&format!("Additional properties are not allowed ({unknown} {was} unexpected)")));
    }
    match ["path", "op"].into_iter().find(|name| !members.contains_key(*name)) {
        Some(missing) => Err(schema_error(&format!("'{missing}' is a required property"))),
        None => Ok(()),
    }
}

fn op_kind(members: &Map<String, Value>) -> Result<OpKind, Error> {
    let word = members.get("op").unwrap_or(&Value::Null);
    let found = NAMES.iter().find(|(name, _)| word.as_str() == Some(*name));
    let words = python::listed(&NAMES.map(|(name, _)| name));
    found
        .map(|(_, kind)| *kind)
        .ok_or_else(|| schema_error(&format!("{} is not one of [{words}]", python::quoted(word))))
}

/// Splits a path into tokens. Fails unless it starts with a slash and its tokens contain only letters, digits, `_`, `-` and
/// valid escapes.
fn path(version: Version, path: &Value) -> Result<Vec<String>, Error> {
    let quoted = python::quoted(path);
    let Some(text) = path.as_str() else {
        return Err(schema_error(&format!("{quoted} is not of type 'string'")));
    };
    let tokens = text.strip_prefix('/').and_then(|rest| {
        rest.split('/').map(|token| unescape(version.has(ESCAPES_SINCE), token)).collect::<Option<Vec<String>>>()
    });
    tokens.ok_or_else(|| schema_error(&format!(r"{quoted} does not match '^(/[\\w-]+)+$'")))
}

/// Decodes one token of a path. Returns `None` if it contains an invalid character.
fn unescape(escapes: bool, token: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = token.chars();
    while let Some(character) = rest.next() {
        match character {
            '~' if escapes => out.push(match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            }),
            '-' | '_' => out.push(character),
            character if character.is_alphanumeric() => out.push(character),
            _ => return None,
        }
    }
    (!out.is_empty()).then_some(out)
}

fn check_field(resource: &Resource, op: &Op) -> Result<(), Error> {
    if resource.patchable.contains(&op.field()) {
        return Ok(());
    }
    let path: String = op.path.iter().flat_map(|token| ["/", token.as_str()]).collect();
    let words = resource.patchable.join(", ");
    Err(Class::Invalid.error(format!("Cannot patch {path}. Only the following can be updated: {words}")))
}
