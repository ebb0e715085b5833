//! The part of a list that a request asks for.

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
    Up,
    /// `desc`.
    Down,
}

impl Direction {
    /// Returns its word in a query.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "asc",
            Self::Down => "desc",
        }
    }

    pub(crate) fn read(word: &str) -> Result<Self, Error> {
        match word {
            "asc" => Ok(Self::Up),
            "desc" => Ok(Self::Down),
            _ => {
                Err(Class::Invalid
                    .error(format!("Invalid sort direction: {word}. Acceptable values are 'asc' or 'desc'")))
            }
        }
    }
}

/// Parses `limit`. A number that does not fit stands for the largest or the smallest.
pub(crate) fn number(text: &str) -> Result<i64, Error> {
    let digits = text.trim().trim_start_matches(['-', '+']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Class::Invalid.error(format!("Expected an integer for limit: {text}")));
    }
    let large = if text.trim().starts_with('-') { i64::MIN } else { i64::MAX };
    Ok(text.trim().parse().unwrap_or(large))
}

/// Returns the number of items for an optional `limit` of a query.
///
/// # Errors
/// 400.
pub fn limit_of(text: Option<&str>) -> Result<usize, Error> {
    limit(text.map(number).transpose()?)
}

pub(crate) fn limit(asked: Option<i64>) -> Result<usize, Error> {
    match asked {
        None => Ok(MAX_LIMIT),
        Some(limit) if limit <= 0 => Err(Class::Invalid.error("Limit must be positive")),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT)),
    }
}

/// Returns whether a marker of this resource may be a name.
pub(crate) fn is_marked_by_name(resource: &Resource) -> bool {
    matches!(resource.path, "conductors" | "deploy_templates" | "runbooks" | "inspection_rules")
}

pub(crate) fn marker(resource: &Resource, marker: &str) -> Result<String, Error> {
    if is_marked_by_name(resource) || is_uuid(marker) {
        return Ok(marker.to_owned());
    }
    Err(Class::Invalid.error(format!("Expected UUID for marker: {marker}")))
}
