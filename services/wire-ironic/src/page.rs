//! One page of a list, and where the next one is.

use crate::error::{Class, Error};
use crate::fields::{Columns, Resource, is_uuid};
use crate::query::{List, Shape};

/// The most items of a page, and as many as it has when nobody says.
pub const MOST: usize = 1000;

/// Which part of a list, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: usize,
    /// What stands before the page; unknown is 404, in the words of whoever looks for it.
    pub marker: Option<String>,
    /// A field, or `id` for the order of creation.
    pub sort_key: String,
    /// Up or down.
    pub direction: Direction,
}

/// The direction of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `asc`.
    Up,
    /// `desc`.
    Down,
}

impl Direction {
    /// Its word.
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
                    .says(format!("Invalid sort direction: {word}. Acceptable values are 'asc' or 'desc'")))
            }
        }
    }
}

/// Reads `limit`; a number that is too large for us is as good as the largest page.
pub(crate) fn number(text: &str) -> Result<i64, Error> {
    let digits = text.trim().trim_start_matches(['-', '+']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Class::Invalid.says(format!("Expected an integer for limit: {text}")));
    }
    let large = if text.trim().starts_with('-') { i64::MIN } else { i64::MAX };
    Ok(text.trim().parse().unwrap_or(large))
}

/// The items of a page whose `limit` is this text, or which has none.
///
/// # Errors
/// 400.
pub fn most(text: Option<&str>) -> Result<usize, Error> {
    limit(text.map(number).transpose()?)
}

pub(crate) fn limit(asked: Option<i64>) -> Result<usize, Error> {
    match asked {
        None => Ok(MOST),
        Some(limit) if limit <= 0 => Err(Class::Invalid.says("Limit must be positive")),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(MOST).min(MOST)),
    }
}

/// Whether a marker need not be a UUID.
pub(crate) fn is_marked_by_name(resource: &Resource) -> bool {
    matches!(resource.path, "conductors" | "deploy_templates" | "runbooks" | "inspection_rules")
}

pub(crate) fn marker(resource: &Resource, marker: &str) -> Result<String, Error> {
    if is_marked_by_name(resource) || is_uuid(marker) {
        return Ok(marker.to_owned());
    }
    Err(Class::Invalid.says(format!("Expected UUID for marker: {marker}")))
}

/// The link to the next page, if this one is full; the page after the last may be empty.
///
/// `shown` is the number of items on this page, `last` the key of the last one. Filters stay in the link, so that the
/// next page is one of the same list.
#[must_use]
pub fn next(resource: &Resource, list: &List, base: &str, shown: usize, last: &str) -> Option<String> {
    let single = list.filters.iter().any(|(filter, _)| filter.name == "instance_uuid");
    if shown == 0 || shown != list.page.limit || single {
        return None;
    }
    let mut query: Vec<(&str, String)> =
        vec![("sort_key", list.page.sort_key.clone()), ("sort_dir", list.page.direction.word().to_owned())];
    match (&list.columns, list.shape) {
        (_, Shape::Detail) => {}
        (Columns::All, Shape::Plain) => query.push(("detail", "True".to_owned())),
        (Columns::These(names), Shape::Plain) => query.push(("fields", names.join(","))),
    }
    query.extend(list.filters.iter().map(|(filter, operand)| (filter.name, operand.written())));
    query.push(("limit", list.page.limit.to_string()));
    query.push(("marker", last.to_owned()));
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let detail = if list.shape == Shape::Detail { "/detail" } else { "" };
    Some(format!("{base}/v1/{}{detail}?{}", resource.path, query.join("&")))
}

/// RFC 3986 §2.1, but for commas, which separate fields.
fn encoded(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
