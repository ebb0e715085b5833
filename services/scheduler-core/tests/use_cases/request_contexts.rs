//! What is read of a call before it is carried out: the id of the request, and how long the caller waits.

use std::{collections::HashMap, time::Duration};

use proto::api::v1::DeleteNodeRequest;
use scheduler_core::{RequestContext, request_id::RequestId};
use tokio::time::Instant;
use tonic::{Request, metadata::MetadataMap};
use uuid::Uuid;

const ID: &str = "00000000-0000-4000-8000-000000000001";

fn named(id: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("ironmesh-request-id", id.parse().unwrap());
    metadata
}

fn delete(node: &str) -> DeleteNodeRequest {
    DeleteNodeRequest { node: node.to_owned(), etag: String::new() }
}

#[test]
fn another_request_under_the_same_id_is_told_apart() {
    let read = |call: &str, node: &str| RequestId::read(&named(ID), call, &delete(node)).unwrap();
    assert_eq!(read("DeleteNode", "n1"), read("DeleteNode", "n1"));
    assert_ne!(read("DeleteNode", "n1"), read("DeleteNode", "n2"));
    assert_ne!(read("DeleteNode", "n1"), read("Delete", "n1"));
}

#[test]
fn an_id_that_is_none_is_refused_and_none_is_none() {
    assert_eq!(RequestId::read(&MetadataMap::new(), "DeleteNode", &delete("n1")).unwrap(), None);
    assert!(RequestId::read(&named("seven"), "DeleteNode", &delete("n1")).is_err());
}

#[test]
fn files_count_in_any_order() {
    let files = |paths: &[&str]| paths.iter().map(|path| ((*path).to_owned(), vec![1])).collect::<HashMap<_, _>>();
    let read = |paths: &[&str]| RequestId::read_with(&named(ID), "P", &delete("n1"), &files(paths)).unwrap();
    assert_eq!(read(&["a", "b"]), read(&["b", "a"]));
    assert_ne!(read(&["a", "b"]), read(&["a"]));
}

#[test]
fn requests_of_one_name_are_one() {
    let (space, name) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(RequestId::by_name(space, &name), RequestId::by_name(space, &name));
    assert_ne!(RequestId::by_name(space, &name).id(), RequestId::by_name(name, &space).id());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_digits_and_a_unit() {
    let waits = |timeout: Option<&str>| {
        let mut request = Request::new(());
        if let Some(text) = timeout {
            request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
        }
        let context = RequestContext::read(&request, "DeleteNode", &delete("n1")).unwrap();
        context.deadline.map(|deadline| deadline - Instant::now())
    };
    for (text, expected) in [
        ("1H", Some(Duration::from_secs(3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("99999999S", Some(Duration::from_secs(99_999_999))),
        ("30m", Some(Duration::from_millis(30))),
        ("7u", Some(Duration::from_micros(7))),
        ("7n", Some(Duration::from_nanos(7))),
        ("100000000S", None),
        ("S", None),
        ("1", None),
        ("-1S", None),
        ("+1S", None),
        ("1s", None),
        ("", None),
    ] {
        assert_eq!(waits(Some(text)), expected, "{text:?}");
    }
    assert_eq!(waits(None), None);
}
