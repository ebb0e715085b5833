//! Collections under `/v1`, and their first versions.

use super::Version;
use crate::error::{Class, Error, Form};

/// Collection under `/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// Name in paths.
    pub name: &'static str,
    /// First minor version with it.
    pub since: u16,
    /// Error for requests in an older version.
    too_old: TooOldError,
}

/// Error for a request in an older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TooOldError {
    /// None: every version has the collection.
    None,
    /// 404 for any method.
    NotFound(&'static str),
    /// 404 for reads and 405 for writes, in this format.
    ByMethod(&'static str, Form),
}

/// Error of most collections.
const UNSUPPORTED: TooOldError = TooOldError::NotFound("The API is not supported for this version");

/// The collections, in the order of the document at `/v1`.
const COLLECTIONS: &[Collection] = &[
    row("chassis", 1, TooOldError::None),
    row("nodes", 1, TooOldError::None),
    row("ports", 1, TooOldError::None),
    row("drivers", 1, TooOldError::None),
    row("lookup", 22, TooOldError::NotFound("Resource could not be found.")),
    row("heartbeat", 22, TooOldError::NotFound("Resource could not be found.")),
    row("portgroups", 23, UNSUPPORTED),
    row("volume", 32, UNSUPPORTED),
    row("conductors", 49, UNSUPPORTED),
    row("allocations", 52, TooOldError::ByMethod("The API version does not allow allocations", Form::Fault)),
    row("events", 54, UNSUPPORTED),
    row("deploy_templates", 55, TooOldError::ByMethod("The API version does not allow deploy templates", Form::Router)),
    row("shards", 82, TooOldError::NotFound("The API version does not allow shards")),
    // The agent sends no version header with it, so the oldest version has it as well.
    row("continue_inspection", 84, TooOldError::NotFound("API version 1.84 or newer is required")),
    row("runbooks", 92, TooOldError::ByMethod("The API version does not allow runbooks", Form::Router)),
    row("inspection_rules", 96, TooOldError::ByMethod("The API version does not allow inspection rules", Form::Fault)),
];

const fn row(name: &'static str, since: u16, too_old: TooOldError) -> Collection {
    Collection { name, since, too_old }
}

/// Returns all collections under `/v1`.
#[must_use]
pub fn collections() -> &'static [Collection] {
    COLLECTIONS
}

impl Collection {
    /// Returns the collection with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        COLLECTIONS.iter().find(|collection| collection.name == name).copied()
    }

    /// Checks that the version of a request has the collection. `read` is whether the method is GET.
    ///
    /// # Errors
    /// 404, or 405 for writes of some collections.
    pub fn check(self, version: Version, read: bool) -> Result<(), Error> {
        let legacy = self.name == "continue_inspection" && version == Version::MIN;
        if version.has(self.since) || legacy {
            return Ok(());
        }
        Err(match self.too_old {
            TooOldError::None => return Ok(()),
            TooOldError::NotFound(text) => Class::NotFound.error(text),
            TooOldError::ByMethod(text, form) => {
                let class = if read { Class::NotFound } else { Class::MethodNotAllowed };
                Error { status: class.status(), form, text: text.to_owned() }
            }
        })
    }
}
