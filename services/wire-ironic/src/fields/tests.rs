use super::*;
use crate::version::Version;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn printed(resource: &Resource) -> String {
    let mut out = format!("{} since 1.{}, named by {}\n", resource.path, resource.since, resource.key);
    for field in resource.fields {
        let mut notes = Vec::new();
        notes.extend(field.in_summary.then_some("column".to_owned()));
        notes.extend(match field.sort {
            Sort::Sortable => Some("sort".to_owned()),
            Sort::Unsortable | Sort::Unknown => None,
        });
        notes.extend(match field.post {
            Post::Rejected => None,
            Post::Optional => Some("post".to_owned()),
            Post::Required => Some("post!".to_owned()),
        });
        notes.extend(field.patch.then_some("patch".to_owned()));
        notes.extend(field.masked.then_some("masked".to_owned()));
        notes.extend(field.hidden.then_some("hidden".to_owned()));
        notes.extend((field.max_chars > 0).then(|| format!("<={}", field.max_chars)));
        let (kind, initial) = (format!("{:?}", field.kind), format!("{:?}", field.initial));
        let line = format!("{:32} {:>3}  {kind:8} {initial:24} {}", field.name, field.since, notes.join(" "));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[test]
fn every_table_is_the_golden_one() {
    for resource in RESOURCES {
        let name = format!("fields-{}.txt", resource.path.replace('/', "-"));
        crate::golden::check(&name, &printed(resource));
    }
}

#[test]
fn tables_are_in_order_and_agree_with_what_a_patch_lists() {
    for resource in RESOURCES {
        assert!(resource.fields.is_sorted_by_key(|field| field.name), "{}", resource.path);
        let mut patchable = resource.patchable.to_vec();
        patchable.sort_unstable();
        let marked: Vec<_> = resource.fields.iter().filter(|field| field.patch).map(|field| field.name).collect();
        assert_eq!(patchable, marked, "{}", resource.path);
        assert!(resource.fields.iter().all(|field| field.since >= resource.since), "{}", resource.path);
    }
}

fn version(minor: u16) -> Version {
    Version::new(minor).unwrap()
}

#[test]
fn an_old_request_reads_old_words() {
    let whole = |state: &str| json!({"provision_state": state}).as_object().cloned().unwrap();
    let state = |minor, state| {
        view(&NODE, version(minor), &Columns::All, &whole(state)).get("provision_state").cloned().unwrap()
    };
    assert_eq!(state(1, "available"), Value::Null);
    assert_eq!(state(2, "available"), "available");
    assert_eq!(state(38, "inspect wait"), "inspecting");
    assert_eq!(state(39, "inspect wait"), "inspect wait");
}

#[test]
fn a_node_began_available_before_11() {
    assert_eq!((first_state(version(10)), first_state(version(11))), ("available", "enroll"));
}

#[test]
fn an_unmanaged_switch_is_accepted_from_64() {
    let port = json!({"address": "52:54:00:aa:bb:01", "node_uuid": "11111111-1111-4111-8111-000000000001",
        "local_link_connection": {"network_type": "unmanaged"}});
    assert!(check_post(&PORT, version(64), &port).is_ok());
    assert_eq!(check_post(&PORT, version(63), &port).unwrap_err().status, 406);
}

#[test]
fn words_for_booleans_are_stored_as_booleans() {
    let body = json!({"driver": "fake-hardware", "maintenance": "Yes", "extra": null});
    let stored = check_post(&NODE, Version::MAX, &body).unwrap();
    assert_eq!(Value::Object(stored), json!({"driver": "fake-hardware", "maintenance": true, "extra": {}}));
}

fn any_resource() -> impl Strategy<Value = &'static Resource> {
    (0..RESOURCES.len()).prop_map(|index| *RESOURCES.get(index).unwrap())
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn any_body(resource: &'static Resource) -> impl Strategy<Value = Map<String, Value>> {
    let names: Vec<_> = resource.fields.iter().map(|field| field.name.to_owned()).collect();
    prop::collection::btree_map(prop::sample::select(names), any_json(), 0..6)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn a_view_never_shows_a_newer_field(
        (resource, whole) in any_resource().prop_flat_map(|resource| (Just(resource), any_body(resource))),
        minor in 1u16..=115,
    ) {
        let version = version(minor);
        let view = view(resource, version, &Columns::All, &whole);
        for name in view.keys() {
            prop_assert!(version.has(resource.field(name).unwrap().since));
        }
    }

    #[test]
    fn any_body_is_taken_or_refused(
        (resource, whole) in any_resource().prop_flat_map(|resource| (Just(resource), any_body(resource))),
        minor in 1u16..=115,
    ) {
        if let Err(error) = check_post(resource, version(minor), &Value::Object(whole)) {
            prop_assert!(error.status == 400 || error.status == 406);
        }
    }

    #[test]
    fn any_fields_are_columns_or_refused(resource in any_resource(), fields in ".*", detail: Option<bool>) {
        if let Err(error) = columns(resource, Version::MAX, Some(&fields), detail) {
            prop_assert_eq!(error.status, 400);
        }
    }
}
