//! Entity tags: the store's revision of a resource's last change. REST adds the version of the representation to a
//! node's tag, and each API accepts the tags of the other.

use proto::convert::Invalid;

use crate::Error;

/// Returns the entity tag of a revision.
pub fn tag(revision: i64) -> String {
    format!("\"{revision}\"")
}

/// Returns the entity tag of a representation, which differs by the minor version that it is shown in.
pub fn tag_of_version(revision: i64, minor: u16) -> String {
    format!("\"{revision}.{minor}\"")
}

/// Returns the revision of a strong entity tag, in whatever version it was shown; `None` if it is not one of ours.
pub fn revision(tag: &str) -> Option<i64> {
    let text = tag.strip_prefix('"')?.strip_suffix('"')?;
    let revision = match text.split_once('.') {
        Some((revision, minor)) => minor.parse::<u16>().ok().map(|_| revision)?,
        None => text,
    };
    revision.parse().ok()
}

/// Checks the `etag` of a request against the resource's revision. An empty tag is no condition.
///
/// # Errors
/// [`Error::Request`] if the tag is not one of ours, [`Error::Changed`] if it is of another revision.
pub fn check(tag: &str, kind: &'static str, name: &str, current: i64) -> Result<(), Error> {
    if tag.is_empty() {
        return Ok(());
    }
    let wrong = || Invalid::wrong("etag", format!("{tag:?} is not an etag that this API returned"));
    if revision(tag).ok_or_else(wrong)? == current {
        Ok(())
    } else {
        Err(Error::Changed { kind, name: name.to_owned() })
    }
}
