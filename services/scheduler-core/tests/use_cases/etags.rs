//! Entity tags, as both APIs show and accept them.

use scheduler_core::{
    Error,
    etag::{check, revision, tag, tag_of_version},
};

#[test]
fn a_tag_has_its_revision() {
    for number in [0, 1, 4711, i64::MAX] {
        assert_eq!(revision(&tag(number)), Some(number));
        assert_eq!(revision(&tag_of_version(number, 115)), Some(number));
    }
}

#[test]
fn a_tag_that_is_not_ours_has_no_revision() {
    for wrong in ["", "5", "\"", "\"\"", "\"five\"", "\"5.\"", "\"5.x\"", "\"5.1.2\"", "W/\"5\"", "\"5", "5\"", "*"] {
        assert_eq!(revision(wrong), None, "{wrong}");
    }
}

#[test]
fn a_change_is_made_of_the_revision_that_was_read_and_of_no_other() {
    assert!(check("", "node", "n1", 5).is_ok());
    assert!(check("\"5\"", "node", "n1", 5).is_ok() && check("\"5.115\"", "node", "n1", 5).is_ok());
    assert!(matches!(check("\"4\"", "node", "n1", 5), Err(Error::Changed { kind: "node", .. })));
    assert!(matches!(check("5", "node", "n1", 5), Err(Error::Request(_))));
}

#[test]
fn a_refusal_says_what_to_do() {
    let status = tonic::Status::from(check("\"4\"", "node", "n1", 5).unwrap_err());
    assert_eq!(status.code(), tonic::Code::Aborted);
    assert!(status.message().contains("node n1") && status.message().contains("read it again"), "{status}");
    let status = tonic::Status::from(check("4", "node", "n1", 5).unwrap_err());
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("etag"), "{status}");
}
