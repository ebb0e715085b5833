//! Link to the next page of a list.

use super::{List, Shape};
use crate::fields::{Columns, Resource};

/// Returns the link to the next page, or `None` if this page is not full. The page after the last item may be empty.
///
/// `shown` is the number of items on this page, `last` the key of the last one. The link keeps the filters.
#[must_use]
pub fn next_page(resource: &Resource, list: &List, base: &str, shown: usize, last: &str) -> Option<String> {
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
    query.extend(list.filters.iter().map(|(filter, operand)| (filter.name, operand.to_text())));
    query.push(("limit", list.page.limit.to_string()));
    query.push(("marker", last.to_owned()));
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", percent_encode(value))).collect();
    let detail = if list.shape == Shape::Detail { "/detail" } else { "" };
    Some(format!("{base}/v1/{}{detail}?{}", resource.path, query.join("&")))
}

/// Percent-encodes a value (RFC 3986 §2.1), except for commas, which separate fields.
fn percent_encode(value: &str) -> String {
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
