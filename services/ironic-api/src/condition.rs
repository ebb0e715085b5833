//! Conditions of a request (RFC 9110 §13): what it is about must be, or must not be any more, as the client knows it.
//!
//! A node's entity tag is the store's revision of its last change, and the version that it is shown in: `"4711.115"`.

use axum::http::{HeaderMap, header};
use wire_ironic::{
    error::{Class, Error},
    version::Version,
};

/// The conditions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// It is done where the thing is as in one of these.
    matches: Option<Tags>,
    /// It is shown where the thing is as in none of these.
    unless: Option<Tags>,
}

/// Entity tags.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// Whatever is there.
    Any,
    /// These.
    Of(Vec<String>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: header::HeaderName) -> Option<Self> {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).peekable();
        values.peek()?;
        let tags: Vec<String> = values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect();
        Some(if tags.iter().any(|tag| tag == "*") { Self::Any } else { Self::Of(tags) })
    }

    /// Whether one of them is of this revision, in whatever version it was shown.
    fn has(&self, revision: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Of(tags) => tags.iter().any(|tag| self::revision(tag) == Some(revision)),
        }
    }
}

fn revision(tag: &str) -> Option<i64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.split_once('.')?.0.parse().ok()
}

/// The entity tag of a node.
pub(super) fn tag(revision: i64, version: Version) -> String {
    format!("\"{revision}.{}\"", version.minor())
}

impl Condition {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self { matches: Tags::of(headers, header::IF_MATCH), unless: Tags::of(headers, header::IF_NONE_MATCH) }
    }

    /// Whether a change is to be made of a thing of this revision; `name` is for the refusal.
    ///
    /// # Errors
    /// 412: it is another by now.
    pub(super) fn check(&self, name: &str, revision: i64) -> Result<(), Error> {
        if self.matches.as_ref().is_none_or(|tags| tags.has(revision)) {
            return Ok(());
        }
        Err(Class::PreconditionFailed.says(format!(
            "Node {name} has changed since it was read (If-Match does not name \"{revision}.…\", which it is now): read it \
             again, and repeat the change where it is still wanted"
        )))
    }

    /// Whether a client has the thing as it is, in just this tag.
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
    fn a_change_is_made_of_the_revision_that_was_read_and_of_no_other() {
        let condition = of(header::IF_MATCH, "\"3.115\", \"4.50\"");
        assert!(condition.check("n", 4).is_ok() && condition.check("n", 3).is_ok());
        assert_eq!(condition.check("n", 5).unwrap_err().status, 412);
        assert!(of(header::IF_MATCH, "*").check("n", 5).is_ok());
        assert!(Condition::default().check("n", 5).is_ok());
        for wrong in ["W/\"5.115\"", "5", "\"5\"", "\"five.115\""] {
            assert!(of(header::IF_MATCH, wrong).check("n", 5).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_client_has_is_not_shown_again() {
        let (now, old) = (tag(5, Version::MAX), tag(5, Version::MIN));
        assert!(of(header::IF_NONE_MATCH, &format!("W/{now}")).has(&now));
        assert!(!of(header::IF_NONE_MATCH, &old).has(&now) && !Condition::default().has(&now));
    }
}
