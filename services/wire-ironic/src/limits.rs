//! Limits of a request's body, checked before it is parsed.

use crate::error::{Class, Error};

/// Maximum nesting of arrays and objects.
pub const LEVELS: usize = 25;
/// Maximum size of a body, in bytes.
pub const BODY: usize = 1 << 20;
/// Maximum size for `states/provision`, whose body may contain a config drive, in bytes.
pub const PROVISION_BODY: usize = 64 << 20;
/// Maximum size for `continue_inspection`, whose body may contain logs, in bytes.
pub const INSPECTION_BODY: usize = 16 << 20;

/// Returns the maximum size of a body at a path, in bytes.
#[must_use]
pub fn body_limit(path: &str) -> usize {
    let path = path.trim_matches('/');
    if path.ends_with("states/provision") {
        PROVISION_BODY
    } else if path.ends_with("continue_inspection") {
        INSPECTION_BODY
    } else {
        BODY
    }
}

/// Error for a body that is too large.
#[must_use]
pub fn too_large() -> Error {
    Class::TooLarge.flat_error("Request body is too large. Please contact the service administrator.")
}

/// Checks the nesting of the brackets in a body, outside of its strings. The body need not be valid JSON.
///
/// # Errors
/// 400.
pub fn check_levels(body: &[u8]) -> Result<(), Error> {
    let (mut levels, mut text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match (text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => text = !text,
            (false, b'[' | b'{') => levels += 1,
            (false, b']' | b'}') => levels = levels.saturating_sub(1),
            _ => {}
        }
        if levels > LEVELS {
            return Err(Class::Invalid
                .flat_error("Request body JSON is nested too deeply. Please contact the service administrator."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_five_levels_are_enough() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check_levels(deep(25).as_bytes()).is_ok());
        assert_eq!(check_levels(deep(26).as_bytes()).unwrap_err().status, 400);
        assert!(check_levels(format!("\"\\\"{}\"", "[".repeat(99)).as_bytes()).is_ok());
    }

    #[test]
    fn a_config_drive_may_be_large() {
        assert_eq!(body_limit("/v1/nodes/n/states/provision/"), PROVISION_BODY);
        assert_eq!(body_limit("/v1/nodes"), BODY);
    }
}
