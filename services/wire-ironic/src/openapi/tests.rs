use std::collections::BTreeSet;

use serde_json::Value;

use crate::route;

use super::*;

/// Returns every object in a value, the value itself first.
fn objects(value: &Value) -> Vec<&Map<String, Value>> {
    let own = value.as_object();
    let members = own.into_iter().flat_map(Map::values);
    let items = value.as_array().into_iter().flatten();
    own.into_iter().chain(members.chain(items).flat_map(objects)).collect()
}

#[test]
fn the_document_is_the_golden_one() {
    crate::golden::check("openapi.json", &format!("{:#}\n", document()));
}

#[test]
fn every_reference_resolves_and_every_schema_is_referenced() {
    let document = document();
    let named: BTreeSet<&str> =
        objects(&document).iter().filter_map(|object| object.get("$ref")?.as_str()?.strip_prefix('#')).collect();
    let broken: Vec<_> = named.iter().filter(|name| document.pointer(name).is_none()).collect();
    assert!(broken.is_empty(), "{broken:?}");
    for kind in ["schemas", "responses", "parameters", "headers"] {
        let all = document.pointer(&format!("/components/{kind}")).and_then(Value::as_object).unwrap();
        let unused: Vec<_> =
            all.keys().filter(|name| !named.contains(format!("/components/{kind}/{name}").as_str())).collect();
        assert!(unused.is_empty(), "{kind}: {unused:?}");
    }
}

#[test]
fn every_operation_has_a_unique_id_and_a_success_response() {
    let document = document();
    let calls: Vec<_> = objects(&document).into_iter().filter(|object| object.contains_key("operationId")).collect();
    let names: BTreeSet<&str> = calls.iter().filter_map(|call| call.get("operationId")?.as_str()).collect();
    assert_eq!(names.len(), calls.len());
    let routes = (1..=Version::MAX.minor()).flat_map(route::since).count();
    assert_eq!(calls.len(), routes + 3, "all routes, and the three documents");
    for call in calls {
        let statuses: Vec<_> = call.get("responses").and_then(Value::as_object).unwrap().keys().collect();
        assert!(statuses.iter().any(|status| status.starts_with('2')), "{call:?}");
    }
}
