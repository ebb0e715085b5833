//! What racks and operators may be named: their names are parts of the identities in certificates.

/// What the name of a rack must be, for error messages.
pub const RACK_NAME_RULE: &str =
    "must consist of lower-case letters, digits and dashes, and not be operator, dc, rack, service or default";

/// Words of the identities in certificates, which are no names of racks and operators.
const RESERVED: [&str; 5] = ["operator", "dc", "rack", "service", "default"];

/// Returns whether `name` is a reserved word of the identities in certificates, in any case.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// Returns whether `name` is a valid rack name: lower-case letters, digits and dashes, at most 63, as in a DNS label,
/// and no reserved word. A rack may have no name.
#[must_use]
pub fn is_rack_name(name: &str) -> bool {
    name.len() <= 63
        && !is_reserved(name)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
