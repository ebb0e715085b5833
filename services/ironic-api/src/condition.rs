//! Preconditions of a request (RFC 9110 §13).
//!
//! A node's entity tag is the store revision of its last change and the minor API version: `"4711.115"`.

use axum::http::{HeaderMap, header};
use scheduler_core::etag;
use wire_ironic::{
    error::{Class, Error},
    version::Version,
};

/// Preconditions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// `If-Match`.
    matches: Option<Tags>,
    /// `If-None-Match`.
    unless: Option<Tags>,
}

/// Entity tags.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`.
    Any,
    /// Listed tags.
    Of(Vec<String>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: header::HeaderName) -> Option<Self> {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).peekable();
        values.peek()?;
        let tags: Vec<String> = values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect();
        Some(if tags.iter().any(|tag| tag == "*") { Self::Any } else { Self::Of(tags) })
    }

    /// Returns whether one of the tags has this revision, in any API version.
    fn has(&self, revision: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Of(tags) => tags.iter().any(|tag| etag::revision(tag) == Some(revision)),
        }
    }
}

/// Entity tag of a node.
pub(super) fn tag(revision: i64, version: Version) -> String {
    etag::tag_of_version(revision, version.minor())
}

impl Condition {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self { matches: Tags::of(headers, header::IF_MATCH), unless: Tags::of(headers, header::IF_NONE_MATCH) }
    }

    /// Checks `If-Match` against a resource's revision; `name` is for the error.
    ///
    /// # Errors
    /// 412 if the resource has another revision.
    pub(super) fn check(&self, name: &str, revision: i64) -> Result<(), Error> {
        if self.matches.as_ref().is_none_or(|tags| tags.has(revision)) {
            return Ok(());
        }
        Err(Class::PreconditionFailed.error(format!(
            "Node {name} has changed since it was read (If-Match does not name \"{revision}.…\", its current revision): \
             read it again, and repeat the change if it still applies"
        )))
    }

    /// Returns whether `If-None-Match` names exactly this tag, so that the client's copy is current.
    pub(super) fn has(&self, tag: &str) -> bool {
        match &self.unless {
            None => false,
            Some(Tags::Any) => true,
            // Weak comparison (RFC 9110 §8.8.3.2).
            Some(Tags::Of(tags)) => tags.iter().any(|one| one.trim_start_matches("W/") == tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: header::HeaderName, value: &str) -> Condition {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Condition::of(&headers)
    }

    #[test]
    fn if_match_accepts_only_the_current_revision() {
        let condition = of(header::IF_MATCH, "\"3.115\", \"4.50\"");
        assert!(condition.check("n", 4).is_ok() && condition.check("n", 3).is_ok());
        assert_eq!(condition.check("n", 5).unwrap_err().status, 412);
        assert!(of(header::IF_MATCH, "*").check("n", 5).is_ok());
        assert!(Condition::default().check("n", 5).is_ok());
        for wrong in ["W/\"5.115\"", "5", "\"4\"", "\"five.115\""] {
            assert!(of(header::IF_MATCH, wrong).check("n", 5).is_err(), "{wrong}");
        }
    }

    #[test]
    fn if_none_match_compares_the_whole_tag() {
        let (now, old) = (tag(5, Version::MAX), tag(5, Version::MIN));
        assert!(of(header::IF_NONE_MATCH, &format!("W/{now}")).has(&now));
        assert!(!of(header::IF_NONE_MATCH, &old).has(&now) && !Condition::default().has(&now));
    }
}
