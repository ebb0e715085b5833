//! Rules for names.

use serde_json::Value;

use super::schema_error::schema_error;
use crate::error::{Class, Error};
use crate::python;
use crate::version::Version;

/// Paths below `/v1/nodes` that are not valid names of nodes, in the order in which the error lists them.
pub const NODE_RESERVED: &[&str] = &["maintenance", "management", "states", "vendor_passthru", "detail", "validate"];
/// Prefixes of traits: custom ones and those of the package `os-traits`.
pub(crate) const TRAIT_PREFIXES: &[&str] = &["CUSTOM_", "HW_", "COMPUTE_", "STORAGE_", "MISC_", "OWNER_"];
/// Maximum length of a name, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 255;
/// First minor version with names that are not host names.
const UNRESERVED_NAMES_SINCE: u16 = 10;
/// First minor version with names of nodes.
const NAMES_SINCE: u16 = 5;

/// Returns whether a text is a UUID: with or without hyphens, in any case.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let text = text.trim_start_matches("urn:").trim_start_matches("uuid:");
    let digits: String = text.chars().filter(|character| !matches!(character, '-' | '{' | '}')).collect();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a text is a valid name of a node in a version, reserved words aside.
fn is_name(version: Version, name: &str) -> bool {
    let characters = if version.has(UNRESERVED_NAMES_SINCE) { is_unreserved(name) } else { is_host_name(name) };
    characters && name.len() <= MAX_NAME_CHARS && !is_uuid(name)
}

/// Returns whether a name has only unreserved characters (RFC 3986 §2.3).
fn is_unreserved(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// Returns whether a name is a host name (RFC 1123 §2.1): labels of letters, digits and hyphens, without hyphens at their
/// ends.
fn is_host_name(name: &str) -> bool {
    name.split('.').all(|label| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    })
}

/// Checks the name of a new node.
///
/// # Errors
/// 400 with the text for a new node.
pub fn check_new_name(version: Version, name: &str) -> Result<(), Error> {
    check_reserved(name)?;
    check(version, name, || format!("Cannot create node with invalid name '{name}'"))
}

/// Checks the new name of a node. `node` is its identifier in the request.
///
/// # Errors
/// 400 with the text for a change.
pub fn check_patched_name(version: Version, node: &str, name: &Value) -> Result<(), Error> {
    let invalid = |name: &str| format!("Node {node}: Cannot change name to invalid name '{name}'");
    match name.as_str() {
        Some(name) => {
            check_reserved(name)?;
            check(version, name, || invalid(name))
        }
        None if name.is_null() => Ok(()),
        None => Err(Class::Invalid.error(invalid(&python::quoted(name)))),
    }
}

/// Checks a trait: a custom one, or one with a standard prefix.
///
/// # Errors
/// 400; `schema` is the name of the resource in the error.
pub(crate) fn check_trait(schema: &str, text: &str) -> Result<(), Error> {
    let plain = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let quoted = python::quoted_text(text);
    if text.len() > MAX_NAME_CHARS {
        return Err(schema_error(schema, &format!("{quoted} is too long")));
    }
    if TRAIT_PREFIXES.iter().any(|prefix| text.strip_prefix(prefix).is_some_and(plain)) {
        return Ok(());
    }
    if text.is_empty() && schema == "patch" {
        return Err(schema_error(schema, "'' should be non-empty"));
    }
    Err(schema_error(
        schema,
        &format!(
            "{quoted} is not valid under any of the given schemas. Possible root cause: {quoted} does not match \
             '^CUSTOM_[A-Z0-9_]+$'"
        ),
    ))
}

/// Returns whether a text is a valid name of a resource that is neither a node nor named by a trait: unreserved characters,
/// and not a UUID, which would hide the resource with that id.
#[must_use]
pub fn is_logical_name(name: &str) -> bool {
    is_unreserved(name) && name.len() <= MAX_NAME_CHARS && !is_uuid(name)
}

/// Checks a name that is neither a node's nor a trait.
///
/// # Errors
/// 400; `what` is the name of the resource in the error.
pub(super) fn check_logical(what: &str, name: &str) -> Result<(), Error> {
    if is_logical_name(name) {
        return Ok(());
    }
    Err(Class::Invalid.error(format!("Cannot create {what} with invalid name '{name}'")))
}

fn check(version: Version, name: &str, message: impl FnOnce() -> String) -> Result<(), Error> {
    if is_name(version, name) { Ok(()) } else { Err(Class::Invalid.error(message())) }
}

fn check_reserved(name: &str) -> Result<(), Error> {
    if !NODE_RESERVED.contains(&name) {
        return Ok(());
    }
    let words = NODE_RESERVED.join(", ");
    Err(Class::Invalid.error(format!(
        "The word \"{name}\" is reserved and can not be used as a node name. Reserved words are: {words}."
    )))
}

/// Returns whether an identifier in a path can be a node in a version: a UUID, or from 5 on a name.
///
/// Other identifiers are rejected with [`crate::error::text::bad_identifier`]; a name in an older request is not found.
#[must_use]
pub fn identifies(version: Version, ident: &str) -> bool {
    is_uuid(ident) || (version.has(NAMES_SINCE) && is_unreserved(ident))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(minor: u16, name: &str) -> bool {
        check_new_name(Version::new(minor).unwrap(), name).is_ok()
    }

    #[test]
    fn names_were_host_names_before_10() {
        for (name, before, since) in [
            ("node-1.rack", true, true),
            ("under_score", false, true),
            ("tilde~", false, true),
            ("-x", false, true),
            ("a..b", false, true),
            ("", false, false),
            ("bad name", false, false),
            ("states", false, false),
            ("11111111-1111-4111-8111-000000000001", false, false),
        ] {
            assert_eq!((takes(9, name), takes(10, name)), (before, since), "{name}");
        }
        assert!(takes(115, &"x".repeat(255)) && !takes(115, &"x".repeat(256)));
    }

    #[test]
    fn a_uuid_may_lack_its_hyphens() {
        assert!(is_uuid("11111111111141118111000000000001") && is_uuid("ABCDEF01-1111-4111-8111-000000000001"));
        assert!(!is_uuid("11111111-1111-4111-8111-00000000000"));
    }

    #[test]
    fn before_5_only_a_uuid_identifies_a_node() {
        let old = Version::new(4).unwrap();
        assert!(!identifies(old, "node-1") && identifies(Version::MAX, "node-1"));
        assert!(identifies(old, "11111111-1111-4111-8111-000000000001"));
    }
}
