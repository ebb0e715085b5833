use super::*;
use crate::fields::{ALLOCATION, NODE, PORT, RESOURCES};
use proptest::prelude::*;

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn parsed(minor: u16, query: &str) -> Result<List, Error> {
    list(&NODE, Version::new(minor).unwrap(), Shape::Plain, &pairs(query))
}

#[test]
fn every_filter_is_in_the_golden_table() {
    let mut out = String::new();
    for resource in RESOURCES {
        for filter in filters(resource) {
            let (name, since, value_type) = (filter.name, filter.since, filter.value_type);
            out.push_str(&format!("{:18} {name:22} {since:>3}  {value_type:?}\n", resource.path));
        }
    }
    crate::golden::check("filters.txt", &out);
}

#[test]
fn the_link_to_the_next_page_keeps_filters_and_fields() {
    let list = parsed(115, "limit=2&fields=uuid,name&owner=a%26b&maintenance=yes").unwrap();
    let next = next_page(&NODE, &list, "http://h", 2, "u").unwrap();
    let expected =
        "http://h/v1/nodes?sort_key=id&sort_dir=asc&fields=uuid,name&maintenance=True&owner=a%2526b&limit=2&marker=u";
    assert_eq!(next, expected);
    assert_eq!(next_page(&NODE, &list, "http://h", 1, "u"), None);
}

#[test]
fn a_page_has_at_most_a_thousand_items() {
    let limit = |query| parsed(115, query).unwrap().page.limit;
    assert_eq!(
        (limit(""), limit("limit=7"), limit("limit=5000"), limit("limit=99999999999999999999")),
        (1000, 7, 1000, 1000)
    );
}

#[test]
fn ports_cannot_be_filtered_by_node_and_port_group_at_once() {
    let found = |query| list(&PORT, Version::MAX, Shape::Plain, &pairs(query)).map_err(|error| error.status);
    assert_eq!(found("node=n&portgroup=p").unwrap_err(), 403);
    assert!(found("node=n&address=52:54:00:AA:BB:01").is_ok());
}

#[test]
fn a_detail_list_has_no_fields_parameter() {
    let detail = |query| list(&NODE, Version::MAX, Shape::Detail, &pairs(query)).map_err(|error| error.text);
    assert_eq!(detail("fields=uuid").unwrap_err(), "Unexpected arguments: fields");
    assert!(detail("limit=1").is_ok());
    assert!(list(&ALLOCATION, Version::MAX, Shape::Plain, &pairs("detail=true")).is_err());
}

proptest! {
    #[test]
    fn any_query_is_a_list_or_refused(
        resource in 0..RESOURCES.len(),
        minor in 1u16..=115,
        query in prop::collection::vec(("[a-z_]{1,12}|fields|limit|marker|sort_key|sort_dir|detail|fault", ".{0,12}"), 0..4),
    ) {
        let resource = RESOURCES.get(resource).unwrap();
        if let Err(error) = list(resource, Version::new(minor).unwrap(), Shape::Plain, &query) {
            prop_assert!([400, 403, 406].contains(&error.status));
        }
    }
}
