//! Fields of the resources: one table per resource, which all other modules use.
//!
//! A row has a field's name, first version, JSON type, who can set it, and where it is shown. No other place defines
//! properties of a field.

mod allocation;
mod body;
mod chassis;
mod columns;
mod conductor;
mod deploy_template;
mod driver;
mod inspection_rule;
mod kind;
mod mask;
mod name;
mod node;
mod port;
mod portgroup;
mod refusal;
mod runbook;
mod source;
mod steps;
#[cfg(test)]
mod tests;
mod view;
mod volume_connector;
mod volume_target;
mod webhook;

pub use body::{check_post, check_whole};
pub use columns::{Columns, columns, sort_key};
pub use kind::Kind;
pub use mask::{MASK, is_secret, masked};
pub(crate) use name::{FAMILIES, MAX_NAME_CHARS, check_trait};
pub use name::{NODE_RESERVED, check_new_name, check_patched_name, identifies, is_uuid};
pub(crate) use refusal::{MAX_PRIORITY, refusal};
pub use source::{FieldSource, FieldValue};
pub(crate) use steps::{conditions_of_rules, rules};
#[cfg(test)]
pub(crate) use tests::any_json;
pub(crate) use view::{STATES as NODE_STATES, initial, seen, shown};
pub use view::{first_state, node_states, provision_state, view};

/// Initial value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// `null`.
    Null,
    /// `{}`.
    Empty,
    /// `[]`.
    Nothing,
    /// `false`.
    False,
    /// `true`.
    True,
    /// This text.
    Text(&'static str),
    /// This number.
    Number(i64),
    /// New UUID.
    Fresh,
    /// Default of the node's driver.
    Driver,
}

/// Whether lists can be sorted by a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// They can.
    Yes,
    /// They cannot; the error says that the field is not sortable.
    Known,
    /// They cannot; the error is that of an unknown field.
    No,
}

/// Whether POST accepts a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// Rejected as unknown.
    No,
    /// Optional.
    May,
    /// Required.
    Must,
}

/// Row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// First version with it.
    pub since: u16,
    /// JSON type.
    pub kind: Kind,
    /// Whether a list without `fields` and `detail` shows it.
    pub column: bool,
    /// Whether lists can be sorted by it.
    pub sort: Sort,
    /// Whether POST accepts it.
    pub post: Post,
    /// Whether PATCH accepts it.
    pub patch: bool,
    /// Whether secrets in it are shown as [`MASK`].
    pub masked: bool,
    /// Whether it is accepted but never shown.
    pub hidden: bool,
    /// Maximum length in characters, or 0 for no limit.
    pub longest: usize,
    /// Value if no client has set it.
    pub initial: Initial,
}

impl Field {
    const fn new(name: &'static str, since: u16, kind: Kind) -> Self {
        let sort = if matches!(kind, Kind::Object | Kind::List | Kind::Steps) { Sort::Known } else { Sort::Yes };
        let initial = kind.initial();
        Self {
            name,
            since,
            kind,
            column: false,
            sort,
            post: Post::No,
            patch: false,
            masked: false,
            hidden: false,
            longest: 0,
            initial,
        }
    }

    const fn column(self) -> Self {
        Self { column: true, ..self }
    }

    const fn hidden(self) -> Self {
        Self { hidden: true, sort: Sort::No, ..self }
    }

    const fn known(self) -> Self {
        Self { sort: Sort::Known, ..self }
    }

    const fn unsorted(self) -> Self {
        Self { sort: Sort::No, ..self }
    }

    const fn post(self) -> Self {
        Self { post: Post::May, ..self }
    }

    const fn must(self) -> Self {
        Self { post: Post::Must, ..self }
    }

    const fn patch(self) -> Self {
        Self { patch: true, ..self }
    }

    const fn set(self) -> Self {
        self.post().patch()
    }

    const fn masked(self) -> Self {
        Self { masked: true, ..self }
    }

    const fn longest(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    const fn initial(self, initial: Initial) -> Self {
        Self { initial, ..self }
    }
}

/// How a resource rejects unknown `fields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// The error names one of them.
    One,
    /// The error names all of them.
    All,
    /// The error names the first one, and all known fields.
    Listed,
}

/// Kind of resource.
#[derive(Debug)]
pub struct Resource {
    /// Path below `/v1`.
    pub path: &'static str,
    /// Key of its list.
    pub plural: &'static str,
    /// Name in errors about a body; empty if they have none.
    pub word: &'static str,
    /// First version with it.
    pub since: u16,
    /// Field that identifies it in links and markers.
    pub key: &'static str,
    /// Fields, sorted by name.
    pub fields: &'static [Field],
    /// Fields that PATCH accepts, in the order in which errors list them.
    pub patchable: &'static [&'static str],
    unknown: Unknown,
}

impl Resource {
    /// Returns the field with this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns whether `fields` may name the links, which are always shown.
    pub(crate) fn takes_links(&self) -> bool {
        self.unknown != Unknown::One
    }
}

pub use allocation::ALLOCATION;
pub use chassis::CHASSIS;
pub use conductor::CONDUCTOR;
pub use deploy_template::DEPLOY_TEMPLATE;
pub use driver::DRIVER;
pub use inspection_rule::INSPECTION_RULE;
pub use node::NODE;
pub use port::PORT;
pub use portgroup::PORTGROUP;
pub use runbook::RUNBOOK;
pub use volume_connector::VOLUME_CONNECTOR;
pub use volume_target::VOLUME_TARGET;
pub use webhook::WEBHOOK;

/// All resources with a table.
pub static RESOURCES: [&Resource; 13] = [
    &NODE,
    &PORT,
    &PORTGROUP,
    &CHASSIS,
    &DRIVER,
    &CONDUCTOR,
    &ALLOCATION,
    &DEPLOY_TEMPLATE,
    &RUNBOOK,
    &INSPECTION_RULE,
    &VOLUME_CONNECTOR,
    &VOLUME_TARGET,
    &WEBHOOK,
];
