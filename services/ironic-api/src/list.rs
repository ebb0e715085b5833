//! Filters, sorts and cuts lists into pages. Pure.

use keyspace::value::{
    AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, PortgroupSpec, RunbookSpec,
    VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
};
use serde_json::{Map, Value, json};
use wire_ironic::{
    error::{Error, text},
    fields::{FieldSource, FieldValue, Resource},
    links::Frame,
    page::Direction,
    query::{self, List, Operand},
};

use super::{
    ApiRequest,
    authz::{Document, Visibility},
    collections::IronicCollection as _,
};

/// Encodes a page of the visible items. `items` match the filters already and are in the order of their creation.
///
/// # Errors
/// 404 for a marker that is not there.
pub(super) fn page(
    resource: &'static Resource,
    request: &ApiRequest,
    list: &List,
    mut items: Vec<&Document>,
    visibility: Visibility<'_>,
) -> Result<Value, Error> {
    items.retain(|item| visibility.includes(item));
    let page = chosen(resource, list, items, |item, field| item.field(field))?;
    let last = page.last().and_then(|last| last.get(resource.key)).and_then(Value::as_str).unwrap_or_default();
    let next = query::next_page(resource, list, &request.base, page.len(), last);
    let frame = Frame::new(resource, request.version, &request.base, &list.columns);
    let shown: Vec<Value> = page.into_iter().map(|item| frame.shown(&visibility.redact(item))).collect();
    let mut body = Map::from_iter([(resource.plural.to_owned(), Value::Array(shown))]);
    if let Some(next) = next {
        body.insert("next".to_owned(), json!(next));
    }
    Ok(Value::Object(body))
}

/// Selects and sorts the members of a page. `field` returns a field of a member.
///
/// # Errors
/// 404 for a marker that is not there.
pub(super) fn chosen<T>(
    resource: &Resource,
    list: &List,
    mut items: Vec<T>,
    field: impl for<'a> Fn(&'a T, &str) -> Option<FieldValue<'a>>,
) -> Result<Vec<T>, Error> {
    let key = list.page.sort_key.as_str();
    if key != "id" {
        items.sort_by_cached_key(|item| SortKey::of(field(item, key)));
    }
    if list.page.direction == Direction::Descending {
        items.reverse();
    }
    let from = match &list.page.marker {
        None => 0,
        Some(marker) => {
            let is_marker = |item: &T| field(item, resource.key).is_some_and(|key| key.as_str() == Some(marker));
            let at = items.iter().position(is_marker);
            at.ok_or_else(|| text::not_found(word(resource), marker))? + 1
        }
    };
    Ok(items.into_iter().skip(from).take(list.page.limit).collect())
}

/// Name of a resource at the beginning of an error message.
fn word(resource: &Resource) -> &'static str {
    match resource.path {
        "nodes" => "Node",
        "ports" => "Port",
        "portgroups" => PortgroupSpec::NOUN,
        "chassis" => ChassisSpec::NOUN,
        "conductors" => "Conductor",
        "allocations" => AllocationSpec::NOUN,
        "deploy_templates" => DeployTemplateSpec::NOUN,
        "runbooks" => RunbookSpec::NOUN,
        "inspection_rules" => InspectionRuleSpec::NOUN,
        "volume/connectors" => VolumeConnectorSpec::NOUN,
        "volume/targets" => VolumeTargetSpec::NOUN,
        "webhooks" => WebhookSpec::NOUN,
        _ => "Resource",
    }
}

/// Value by which a list is sorted: null first, as in Ironic's database, and text by its bytes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Null,
    Flag(bool),
    Number(i64),
    Text(String),
}

impl SortKey {
    fn of(value: Option<FieldValue<'_>>) -> Self {
        let Some(value) = value else { return Self::Null };
        let number = || value.as_i64().map(Self::Number);
        let text = || value.as_str().map(|text| Self::Text(text.to_owned()));
        value.as_bool().map(Self::Flag).or_else(number).or_else(text).unwrap_or(Self::Null)
    }
}

/// Returns whether a field matches a filter.
pub(super) fn matches(item: &impl FieldSource, field: &str, operand: &Operand) -> bool {
    let value = item.field(field);
    let text = value.as_ref().and_then(FieldValue::as_str);
    match operand {
        Operand::Flag(flag) => value.as_ref().and_then(FieldValue::as_bool).unwrap_or_default() == *flag,
        Operand::Text(wanted) => text.unwrap_or_default() == wanted,
        Operand::Words(words) => text.is_some_and(|text| words.iter().any(|word| word == text)),
    }
}

/// Returns whether a field has a value.
pub(super) fn has(item: &impl FieldSource, field: &str) -> bool {
    item.field(field).is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()))
}

/// Returns whether a text field contains a text, ignoring case.
pub(super) fn contains(item: &impl FieldSource, field: &str, operand: &Operand) -> bool {
    let words = operand.to_text().to_lowercase();
    item.field(field).is_some_and(|value| value.as_str().is_some_and(|text| text.to_lowercase().contains(&words)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::policy::Caller;
    use wire_ironic::{
        fields::NODE,
        query::{self, Shape},
        version::Version,
    };

    use super::*;

    fn nodes() -> Vec<Document> {
        let node = |uuid: u32, name: Value| json!({"uuid": format!("11111111-1111-4111-8111-{uuid:012}"), "name": name, "maintenance": uuid == 2});
        let all = [node(1, json!("b")), node(2, json!(null)), node(3, json!("a"))];
        all.into_iter().filter_map(|node| node.as_object().cloned()).collect()
    }

    fn request(pairs: &[(&str, &str)]) -> Result<(Vec<String>, Option<String>), Error> {
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let list = query::list(&NODE, Version::MAX, Shape::Plain, &pairs)?;
        let nodes = nodes();
        let request = ApiRequest {
            version: Version::MAX,
            method: "GET".to_owned(),
            path: "nodes".to_owned(),
            pairs,
            body: Value::Null,
            base: "http://h".to_owned(),
            caller: Arc::new(Caller::unrestricted("ann")),
            owner: None,
            is_forwarded: false,
            condition: crate::condition::Condition::default(),
            follows: None,
        };
        let body = page(&NODE, &request, &list, nodes.iter().collect(), Visibility::Unrestricted)?;
        let names = body["nodes"].as_array().unwrap().iter().map(|node| node["name"].to_string());
        Ok((names.collect(), body.get("next").and_then(Value::as_str).map(str::to_owned)))
    }

    #[test]
    fn a_list_is_sorted_by_creation_or_by_a_field_with_null_first() {
        assert_eq!(request(&[]).unwrap().0, ["\"b\"", "null", "\"a\""]);
        assert_eq!(request(&[("sort_key", "name")]).unwrap().0, ["null", "\"a\"", "\"b\""]);
        assert_eq!(request(&[("sort_key", "name"), ("sort_dir", "desc")]).unwrap().0, ["\"b\"", "\"a\"", "null"]);
    }

    #[test]
    fn a_full_page_links_to_the_next_one_which_starts_after_the_marker() {
        let (names, next) = request(&[("limit", "2")]).unwrap();
        assert_eq!(names.len(), 2);
        assert!(next.unwrap().ends_with("limit=2&marker=11111111-1111-4111-8111-000000000002"));
        assert_eq!(request(&[("marker", "11111111-1111-4111-8111-000000000002")]).unwrap().0, ["\"a\""]);
        let unknown = request(&[("marker", "11111111-1111-4111-8111-00000000ffff")]).unwrap_err();
        assert_eq!(unknown.status, 404);
    }
}
