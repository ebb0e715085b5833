//! The collections under `/v1`, and the versions that brought them.

use super::Version;
use crate::error::{Class, Error, Form};

/// A collection under `/v1`, and how it is refused before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// Its name in paths.
    pub name: &'static str,
    /// The version that brought it.
    pub since: u16,
    /// How a request of an older version is refused.
    hidden: Hidden,
}

/// The words of a refusal before a collection's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    /// It always was there.
    Never,
    /// 404, whatever the method.
    Missing(&'static str),
    /// 404 for reads and 405 for writes, in this form.
    Refused(&'static str, Form),
}

const UNSUPPORTED: Hidden = Hidden::Missing("The API is not supported for this version");

/// The collections, in the order of the document.
const COLLECTIONS: &[Collection] = &[
    row("chassis", 1, Hidden::Never),
    row("nodes", 1, Hidden::Never),
    row("ports", 1, Hidden::Never),
    row("drivers", 1, Hidden::Never),
    row("lookup", 22, Hidden::Missing("Resource could not be found.")),
    row("heartbeat", 22, Hidden::Missing("Resource could not be found.")),
    row("portgroups", 23, UNSUPPORTED),
    row("volume", 32, UNSUPPORTED),
    row("conductors", 49, UNSUPPORTED),
    row("allocations", 52, Hidden::Refused("The API version does not allow allocations", Form::Fault)),
    row("events", 54, UNSUPPORTED),
    row("deploy_templates", 55, Hidden::Refused("The API version does not allow deploy templates", Form::Router)),
    row("shards", 82, Hidden::Missing("The API version does not allow shards")),
    // The stock agent sends no version with it, so the oldest version has it as well.
    row("continue_inspection", 84, Hidden::Missing("API version 1.84 or newer is required")),
    row("runbooks", 92, Hidden::Refused("The API version does not allow runbooks", Form::Router)),
    row("inspection_rules", 96, Hidden::Refused("The API version does not allow inspection rules", Form::Fault)),
];

const fn row(name: &'static str, since: u16, hidden: Hidden) -> Collection {
    Collection { name, since, hidden }
}

/// Every collection under `/v1`.
#[must_use]
pub fn collections() -> &'static [Collection] {
    COLLECTIONS
}

impl Collection {
    /// The collection of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        COLLECTIONS.iter().find(|collection| collection.name == name).copied()
    }

    /// Lets a request through if its version has the collection. `read` is GET.
    ///
    /// # Errors
    /// 404, or 405 for writes of the four collections that say so.
    pub fn check(self, version: Version, read: bool) -> Result<(), Error> {
        let legacy = self.name == "continue_inspection" && version == Version::MIN;
        if version.has(self.since) || legacy {
            return Ok(());
        }
        Err(match self.hidden {
            Hidden::Never => return Ok(()),
            Hidden::Missing(text) => Class::NotFound.error(text),
            Hidden::Refused(text, form) => {
                let class = if read { Class::NotFound } else { Class::MethodNotAllowed };
                Error { status: class.status(), form, text: text.to_owned() }
            }
        })
    }
}
