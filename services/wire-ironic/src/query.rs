//! The query of a list: its filters, the versions that brought them, and how their values are parsed.

mod filter;
mod next;
mod operand;
#[cfg(test)]
mod tests;

pub(crate) use filter::{DRIVER_TYPES, FAULTS, STATES};
pub use filter::{Filter, Reads, filters};
pub use next::next_page;
pub use operand::Operand;

pub use crate::argument::{boolean, mac, missing, unexpected};

use crate::error::{Class, Error, text};
use crate::fields::{self, Columns, Resource};
use crate::page::{self, Direction, Page};
use crate::version::Version;

/// Which list of a resource is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The collection itself.
    Plain,
    /// Its `/detail`, which knows neither `fields` nor `detail`.
    Detail,
}

/// A list that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// What of each resource is shown.
    pub columns: Columns,
    /// What must match; all of it.
    pub filters: Vec<(&'static Filter, Operand)>,
    /// Which part of the list, and in which order.
    pub page: Page,
    /// Which list.
    pub shape: Shape,
}

const PAGING: &[&str] = &["marker", "limit", "sort_key", "sort_dir"];

/// Reads the query of a list. `pairs` are decoded; of a name that is there twice the last counts.
///
/// # Errors
/// 400 for what no version takes, 406 for what only a newer one does, 403 for port filters that exclude each other.
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
    let limit = get("limit").map(page::number).transpose()?;
    check_sort_version(resource, version, get("sort_key"))?;
    for (filter, operand) in &found {
        filter.check(version, operand)?;
    }
    check_together(resource, &found)?;
    let columns = match shape {
        Shape::Plain => fields::columns(resource, version, get("fields"), detail)?,
        Shape::Detail => Columns::All,
    };
    let page = Page {
        limit: page::limit(limit)?,
        marker: get("marker").map(|marker| page::marker(resource, marker)).transpose()?,
        direction: get("sort_dir").map_or(Ok(Direction::Up), Direction::read)?,
        sort_key: get("sort_key").unwrap_or("id").to_owned(),
    };
    fields::sort_key(resource, version, &page.sort_key)?;
    Ok(List { columns, filters: found, page, shape })
}

/// Whether a resource's lists know a parameter that is not a filter.
pub(crate) fn knows(resource: &Resource, shape: Shape, name: &str) -> bool {
    match name {
        "fields" => shape == Shape::Plain,
        "detail" => shape == Shape::Plain && resource.path != "allocations",
        _ => PAGING.contains(&name) && resource.path != "drivers",
    }
}

fn check_names(resource: &Resource, shape: Shape, pairs: &[(String, String)]) -> Result<(), Error> {
    let known = |name: &str| knows(resource, shape, name) || filters(resource).iter().any(|filter| filter.name == name);
    unexpected(pairs.iter().map(|(name, _)| name.as_str()).filter(|name| !known(name)))
}

/// A sort key that is too new is told before anything that is wrong with filters.
fn check_sort_version(resource: &Resource, version: Version, key: Option<&str>) -> Result<(), Error> {
    let field = key.and_then(|key| resource.field(key));
    if field.is_some_and(|field| !version.has(field.since)) { Err(text::not_acceptable()) } else { Ok(()) }
}

/// Ports are found by one of node, port group and shard.
fn check_together(resource: &Resource, found: &[(&'static Filter, Operand)]) -> Result<(), Error> {
    let given = |name: &str| found.iter().any(|(filter, _)| filter.name == name);
    let by = [given("node") || given("node_uuid"), given("portgroup"), given("shard")];
    if resource.path == "ports" && by.into_iter().filter(|given| *given).count() > 1 {
        return Err(Class::Forbidden.says("Operation not permitted."));
    }
    Ok(())
}
