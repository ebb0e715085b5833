//! Requested fields, and sort keys.

use super::{Resource, Sort, UnknownFieldError};
use crate::error::{Class, Error, text};
use crate::python;
use crate::version::Version;

/// First minor version with `fields`.
const FIELDS_SINCE: u16 = 8;
/// First minor version with `detail`.
const DETAIL_SINCE: u16 = 43;

/// Fields of a resource that a response contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// All fields of the version, and the link lists.
    All,
    /// These fields, and the resource's own links.
    These(Vec<&'static str>),
}

impl Columns {
    /// Returns whether a field is shown.
    #[must_use]
    pub fn show(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(&name),
        }
    }
}

/// Returns the fields that a list of this resource shows.
///
/// `fields` and `detail` are the query's parameters.
///
/// # Errors
/// 406 for a field that the version does not have, 400 for an unknown one.
pub fn columns(
    resource: &Resource,
    version: Version,
    fields: Option<&str>,
    detail: Option<bool>,
) -> Result<Columns, Error> {
    let fields = fields.map(split);
    if let Some(fields) = &fields {
        check_versions(resource, version, fields)?;
    }
    check_detail(resource, version, fields.is_some(), detail)?;
    match fields {
        Some(fields) => check_names(resource, &fields),
        None if detail == Some(true) => Ok(Columns::All),
        None => Ok(Columns::These(summary(resource, version).collect())),
    }
}

fn summary(resource: &Resource, version: Version) -> impl Iterator<Item = &'static str> {
    resource.fields.iter().filter(move |field| field.in_summary && version.has(field.since)).map(|field| field.name)
}

/// Splits a list at commas; ignores spaces and case.
fn split(fields: &str) -> Vec<String> {
    let names = fields.split(',').map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

fn check_versions(resource: &Resource, version: Version, names: &[String]) -> Result<(), Error> {
    let since = if resource.path == "drivers" { 77 } else { FIELDS_SINCE };
    let newer = |name: &String| resource.field(name).is_some_and(|field| !version.has(field.since));
    if !version.has(since) || names.iter().any(newer) {
        return Err(text::not_acceptable());
    }
    Ok(())
}

fn check_detail(resource: &Resource, version: Version, fields: bool, detail: Option<bool>) -> Result<(), Error> {
    let Some(detail) = detail else { return Ok(()) };
    if resource.path == "drivers" {
        if !version.has(30) {
            return Err(text::needs_version(30));
        }
    } else if !version.has(DETAIL_SINCE) && !resource.path.starts_with("volume/") {
        let detail = if detail { "True" } else { "False" };
        return Err(Class::Invalid.error(format!("Invalid query parameter ?detail={detail} received.")));
    }
    if fields && detail {
        return Err(Class::Invalid.error(if resource.path.starts_with("volume/") {
            "Can't fetch a subset of fields with 'detail' set"
        } else {
            "Can not specify ?detail=True and fields in the same request."
        }));
    }
    Ok(())
}

fn check_names(resource: &Resource, names: &[String]) -> Result<Columns, Error> {
    let mut found: Vec<&'static str> = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        match resource.field(name).filter(|field| !field.hidden) {
            Some(field) if found.contains(&field.name) => {}
            Some(field) => found.push(field.name),
            None if name == "links" && resource.accepts_links() => {}
            None => unknown.push(name.as_str()),
        }
    }
    match unknown.first() {
        None => Ok(Columns::These(found)),
        Some(first) => Err(Class::Invalid.error(unknown_text(resource, first, &unknown))),
    }
}

fn unknown_text(resource: &Resource, first: &str, all: &[&str]) -> String {
    match resource.unknown_field_error {
        UnknownFieldError::NamesOne => format!("Field {first} is not a valid field."),
        UnknownFieldError::NamesAll => format!("Field(s) \"{}\" are not valid", all.join(", ")),
        UnknownFieldError::ListsKnown => {
            let mut known: Vec<&str> = resource.fields.iter().map(|field| field.name).collect();
            known.push("links");
            known.extend(match resource.path {
                "chassis" => Some("nodes"),
                "portgroups" => Some("ports"),
                "drivers" => Some("properties"),
                _ => None,
            });
            known.sort_unstable();
            format!("Schema error: {} is not one of [{}]", python::quoted_text(first), python::listed(&known))
        }
    }
}

/// Checks a sort key. `id`, the order of creation, is always valid.
///
/// # Errors
/// 406 for a field that the version does not have, 400 for one that is not sortable.
pub fn sort_key(resource: &Resource, version: Version, key: &str) -> Result<(), Error> {
    if key == "id" {
        return Ok(());
    }
    let field = resource.field(key);
    if field.is_some_and(|field| !version.has(field.since)) {
        return Err(text::not_acceptable());
    }
    match field.map_or(Sort::Unknown, |field| field.sort) {
        Sort::Sortable => Ok(()),
        Sort::Unsortable => Err(not_sortable(key)),
        Sort::Unknown => Err(not_sortable(&format!("\"{key}\""))),
    }
}

fn not_sortable(key: &str) -> Error {
    Class::Invalid.error(format!("The sort_key value {key} is an invalid field for sorting"))
}
