//! Queries of lists: filters, fields and paging.

mod filter;
mod next;
mod operand;
#[cfg(test)]
mod tests;

pub(crate) use filter::{DRIVER_TYPES, FAULTS, STATES};
pub use filter::{Filter, ValueType, filters};
pub use next::next_page;
pub use operand::Operand;

pub use crate::argument::{boolean, mac, missing, unexpected};

use crate::error::{Class, Error, text};
use crate::fields::{self, Columns, Resource};
use crate::page::{self, Direction, Page};
use crate::version::Version;

/// Kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The collection itself.
    Plain,
    /// Its `/detail`, which supports neither `fields` nor `detail`.
    Detail,
}

/// Parsed query of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// Fields to show.
    pub columns: Columns,
    /// Filters; all must match.
    pub filters: Vec<(&'static Filter, Operand)>,
    /// Page and order.
    pub page: Page,
    /// Kind of list.
    pub shape: Shape,
}

/// Parameters of paging and sorting.
const PAGING: &[&str] = &["marker", "limit", "sort_key", "sort_dir"];

/// Parses the query of a list. `pairs` are decoded; the last value of a repeated name wins.
///
/// # Errors
/// 400 for an invalid query, 406 for one that needs a newer version, 403 for port filters that exclude each other.
pub fn list(resource: &Resource, version: Version, shape: Shape, pairs: &[(String, String)]) -> Result<List, Error> {
    check_names(resource, shape, pairs)?;
    let get = |name: &str| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let mut found = Vec::new();
    for filter in filters(resource) {
        if let Some(value) = get(filter.name) {
            found.push((filter, filter.read(value)?));
        }
    }
    let detail = get("detail").map(|word| boolean("detail", word)).transpose()?;
    let limit = get("limit").map(page::parse_limit).transpose()?;
    check_sort_version(resource, version, get("sort_key"))?;
    for (filter, operand) in &found {
        filter.check(version, operand)?;
    }
    check_port_filters(resource, &found)?;
    let columns = match shape {
        Shape::Plain => fields::columns(resource, version, get("fields"), detail)?,
        Shape::Detail => Columns::All,
    };
    let page = Page {
        limit: page::limit(limit)?,
        marker: get("marker").map(|marker| page::marker(resource, marker)).transpose()?,
        direction: get("sort_dir").map_or(Ok(Direction::Ascending), Direction::read)?,
        sort_key: get("sort_key").unwrap_or("id").to_owned(),
    };
    fields::sort_key(resource, version, &page.sort_key)?;
    Ok(List { columns, filters: found, page, shape })
}

/// Returns whether a resource's lists have a parameter that is not a filter.
pub(crate) fn has_parameter(resource: &Resource, shape: Shape, name: &str) -> bool {
    match name {
        "fields" => shape == Shape::Plain,
        "detail" => shape == Shape::Plain && resource.path != "allocations",
        _ => PAGING.contains(&name) && resource.path != "drivers",
    }
}

fn check_names(resource: &Resource, shape: Shape, pairs: &[(String, String)]) -> Result<(), Error> {
    let known =
        |name: &str| has_parameter(resource, shape, name) || filters(resource).iter().any(|filter| filter.name == name);
    unexpected(pairs.iter().map(|(name, _)| name.as_str()).filter(|name| !known(name)))
}

/// Checks the sort key's version, before any filter.
fn check_sort_version(resource: &Resource, version: Version, key: Option<&str>) -> Result<(), Error> {
    let field = key.and_then(|key| resource.field(key));
    if field.is_some_and(|field| !version.has(field.since)) { Err(text::not_acceptable()) } else { Ok(()) }
}

/// Checks that ports are filtered by at most one of node, port group and shard.
fn check_port_filters(resource: &Resource, found: &[(&'static Filter, Operand)]) -> Result<(), Error> {
    let given = |name: &str| found.iter().any(|(filter, _)| filter.name == name);
    let by = [given("node") || given("node_uuid"), given("portgroup"), given("shard")];
    if resource.path == "ports" && by.into_iter().filter(|given| *given).count() > 1 {
        return Err(Class::Forbidden.error("Operation not permitted."));
    }
    Ok(())
}
