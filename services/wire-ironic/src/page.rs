//! Paging and order of lists.

use crate::error::{Class, Error};
use crate::fields::{Resource, is_uuid};

/// Maximum and default number of items on a page.
pub const MAX_LIMIT: usize = 1000;

/// Part of a list, and its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Maximum number of items.
    pub limit: usize,
    /// Key of the last item of the previous page.
    pub marker: Option<String>,
    /// Name of a field, or `id` for the order of creation.
    pub sort_key: String,
    /// Order of the sort key.
    pub direction: Direction,
}

/// Order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `asc`.
    Ascending,
    /// `desc`.
    Descending,
}

impl Direction {
    /// Returns its word in a query.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }

    pub(crate) fn read(word: &str) -> Result<Self, Error> {
        match word {
            "asc" => Ok(Self::Ascending),
            "desc" => Ok(Self::Descending),
            _ => {
                Err(Class::Invalid
                    .error(format!("Invalid sort direction: {word}. Acceptable values are 'asc' or 'desc'")))
            }
        }
    }
}

/// Parses `limit`. A number out of range becomes the largest or the smallest one.
pub(crate) fn parse_limit(text: &str) -> Result<i64, Error> {
    let digits = text.trim().trim_start_matches(['-', '+']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Class::Invalid.error(format!("Expected an integer for limit: {text}")));
    }
    let bound = if text.trim().starts_with('-') { i64::MIN } else { i64::MAX };
    Ok(text.trim().parse().unwrap_or(bound))
}

/// Returns the number of items for an optional `limit` of a query.
///
/// # Errors
/// 400.
pub fn limit_of(text: Option<&str>) -> Result<usize, Error> {
    limit(text.map(parse_limit).transpose()?)
}

/// Returns the number of items on a page for an optional `limit`.
pub(crate) fn limit(requested: Option<i64>) -> Result<usize, Error> {
    match requested {
        None => Ok(MAX_LIMIT),
        Some(limit) if limit <= 0 => Err(Class::Invalid.error("Limit must be positive")),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT)),
    }
}

/// Returns whether a marker of this resource may be a name.
pub(crate) fn is_marked_by_name(resource: &Resource) -> bool {
    matches!(resource.path, "conductors" | "deploy_templates" | "runbooks" | "inspection_rules")
}

/// Checks a marker of this resource, and returns it.
pub(crate) fn marker(resource: &Resource, marker: &str) -> Result<String, Error> {
    if is_marked_by_name(resource) || is_uuid(marker) {
        return Ok(marker.to_owned());
    }
    Err(Class::Invalid.error(format!("Expected UUID for marker: {marker}")))
}
