//! Limits of request bodies, checked before parsing.

use serde_json::Value;

use crate::error::{Class, Error, Form, text};

/// Maximum nesting of arrays and objects.
pub const MAX_LEVELS: usize = 25;
/// Maximum size of a body, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Maximum size for `states/provision`, whose body may contain a config drive, in bytes.
pub const MAX_PROVISION_BODY_BYTES: usize = 64 << 20;
/// Maximum size for `continue_inspection`, whose body may contain logs, in bytes.
pub const MAX_INSPECTION_BODY_BYTES: usize = 16 << 20;

/// Maximum number of arrays, objects and members of a body. Each takes up to 100 bytes when it is parsed, and two bytes
/// of a body are enough for one.
pub const MAX_VALUES: usize = 200_000;

/// Returns the maximum size of the body of a call, in bytes. `path` comes without `/v1`.
#[must_use]
pub fn body_limit(method: &str, path: &str) -> usize {
    let path = path.trim_matches('/');
    // Older versions accept this suffix ([`crate::version::without_suffix`]).
    let segments: Vec<&str> = path.strip_suffix(".json").unwrap_or(path).split('/').collect();
    match (method, segments.as_slice()) {
        ("PUT", ["nodes", _, "states", "provision"]) => MAX_PROVISION_BODY_BYTES,
        ("POST", ["continue_inspection"]) => MAX_INSPECTION_BODY_BYTES,
        _ => MAX_BODY_BYTES,
    }
}

/// Error for a body that was not read, with the status of the response.
#[must_use]
pub fn unread(status: u16, why: &str) -> Error {
    if status == Class::TooLarge.status() {
        return too_large();
    }
    Error { status, form: Form::Fault, text: why.to_owned() }
}

/// Error for a body that is too large.
#[must_use]
pub fn too_large() -> Error {
    Class::TooLarge.flat_error("Request body is too large. Please contact the service administrator.")
}

/// Checks the nesting of the brackets in a body, outside of its strings, and the number of its values, which it returns.
/// The body need not be valid JSON.
///
/// # Errors
/// 400.
pub fn check_shape(body: &[u8]) -> Result<usize, Error> {
    let (mut levels, mut values, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in body {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => (levels, values) = (levels + 1, values + 1),
            (false, b']' | b'}') => levels = levels.saturating_sub(1),
            (false, b',') => values += 1,
            _ => {}
        }
        if levels > MAX_LEVELS {
            return Err(Class::Invalid
                .flat_error("Request body JSON is nested too deeply. Please contact the service administrator."));
        }
    }
    if values > MAX_VALUES {
        return Err(Class::Invalid.flat_error(format!("Request body JSON has more than {MAX_VALUES} values.")));
    }
    Ok(values)
}

/// Parses a body whose shape was checked. An empty body is null.
///
/// # Errors
/// 400.
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|_| text::malformed_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_at_most_25_levels() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check_shape(nested(25).as_bytes()).is_ok());
        assert_eq!(check_shape(nested(26).as_bytes()).unwrap_err().status, 400);
        assert!(check_shape(format!("\"\\\"{}\"", "[".repeat(99)).as_bytes()).is_ok());
    }

    #[test]
    fn the_number_of_values_is_bounded_whatever_they_are() {
        // A repeated part, the number of repetitions, and whether the body is accepted.
        for (part, count, is_accepted) in [
            ("[],", MAX_VALUES / 2, true),
            ("[],", MAX_VALUES / 2 + 1, false),
            ("{},", MAX_VALUES, false),
            ("1,", MAX_VALUES, true),
            ("1,", MAX_VALUES + 1, false),
            ("\"a\":0,", MAX_VALUES + 1, false),
            ("\",,,,[[[[\",", MAX_VALUES, true),
            ("aaaaaaaaaaaa", MAX_VALUES, true),
        ] {
            assert_eq!(check_shape(part.repeat(count).as_bytes()).is_ok(), is_accepted, "{part} {count}");
        }
    }

    #[test]
    fn only_the_calls_that_need_it_may_have_a_large_body() {
        for (method, path, limit) in [
            ("PUT", "/nodes/n/states/provision", MAX_PROVISION_BODY_BYTES),
            ("PUT", "nodes/n/states/provision/", MAX_PROVISION_BODY_BYTES),
            ("PUT", "/nodes/n/states/provision.json", MAX_PROVISION_BODY_BYTES),
            ("POST", "/continue_inspection", MAX_INSPECTION_BODY_BYTES),
            ("POST", "/nodes/n/states/provision", MAX_BODY_BYTES),
            ("PUT", "/heartbeat/n/states/provision", MAX_BODY_BYTES),
            ("POST", "/heartbeat/x/states/provision", MAX_BODY_BYTES),
            ("PUT", "/nodes/a/b/states/provision", MAX_BODY_BYTES),
            ("PUT", "/states/provision", MAX_BODY_BYTES),
            ("PUT", "/continue_inspection", MAX_BODY_BYTES),
            ("POST", "/nodes/continue_inspection", MAX_BODY_BYTES),
            ("POST", "/nodes", MAX_BODY_BYTES),
        ] {
            assert_eq!(body_limit(method, path), limit, "{method} {path}");
        }
    }

    #[test]
    fn a_body_that_was_not_read_has_an_error_that_clients_show() {
        for (status, text) in [(413, "Request body is too large"), (408, "slow"), (503, "slow"), (400, "slow")] {
            let error = unread(status, "slow");
            assert!(error.status == status && error.text.starts_with(text), "{error:?}");
            let member = if status == 413 { "faultstring" } else { "error_message" };
            assert!(error.body().get(member).is_some(), "{status}");
        }
    }

    #[test]
    fn an_empty_body_is_null() {
        for (body, parsed) in [("", Some(Value::Null)), (" \n", Some(Value::Null)), ("1", Some(1.into())), ("{", None)]
        {
            assert_eq!(parse(body.as_bytes()).ok(), parsed, "{body:?}");
        }
    }
}
