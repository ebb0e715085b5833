//! Limits of request bodies, checked before parsing.

use crate::error::{Class, Error};

/// Maximum nesting of arrays and objects.
pub const MAX_LEVELS: usize = 25;
/// Maximum size of a body, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Maximum size for `states/provision`, whose body may contain a config drive, in bytes.
pub const MAX_PROVISION_BODY_BYTES: usize = 64 << 20;
/// Maximum size for `continue_inspection`, whose body may contain logs, in bytes.
pub const MAX_INSPECTION_BODY_BYTES: usize = 16 << 20;

/// Returns the maximum size of a body at a path, in bytes.
#[must_use]
pub fn body_limit(path: &str) -> usize {
    let path = path.trim_matches('/');
    if path.ends_with("states/provision") {
        MAX_PROVISION_BODY_BYTES
    } else if path.ends_with("continue_inspection") {
        MAX_INSPECTION_BODY_BYTES
    } else {
        MAX_BODY_BYTES
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
    let (mut levels, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => levels += 1,
            (false, b']' | b'}') => levels = levels.saturating_sub(1),
            _ => {}
        }
        if levels > MAX_LEVELS {
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
    fn a_body_has_at_most_25_levels() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check_levels(nested(25).as_bytes()).is_ok());
        assert_eq!(check_levels(nested(26).as_bytes()).unwrap_err().status, 400);
        assert!(check_levels(format!("\"\\\"{}\"", "[".repeat(99)).as_bytes()).is_ok());
    }

    #[test]
    fn a_config_drive_may_be_large() {
        assert_eq!(body_limit("/v1/nodes/n/states/provision/"), MAX_PROVISION_BODY_BYTES);
        assert_eq!(body_limit("/v1/nodes"), MAX_BODY_BYTES);
    }
}
