//! How much a request may carry, asked before its body is read as JSON.

use crate::error::{Class, Error};

/// The most levels of lists and objects in each other.
pub const LEVELS: usize = 25;
/// The most bytes of a body.
pub const BODY: usize = 1 << 20;
/// The same for `states/provision`, which carries config drives.
pub const PROVISION_BODY: usize = 64 << 20;
/// The same for `continue_inspection`, which carries logs.
pub const INSPECTION_BODY: usize = 16 << 20;

/// The most bytes that a body at this path may have.
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

/// The refusal of a body that is too long.
#[must_use]
pub fn too_large() -> Error {
    Class::TooLarge.flat("Request body is too large. Please contact the service administrator.")
}

/// Lets a body through whose brackets, outside of its texts, are not too deep in each other. It need not be JSON.
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
                .flat("Request body JSON is nested too deeply. Please contact the service administrator."));
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
