//! What each resource is made of: one table per resource, read by everything else.
//!
//! A row says what a field is called, which version brought it, what JSON it is, who may set it, and where it shows.
//! Nothing about a field is written anywhere else.

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
    /// A fresh UUID.
    Fresh,
    /// What the node's driver prefers.
    Driver,
}

/// Whether a list can be sorted by a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Yes.
    Yes,
    /// No, and the refusal names it as one that is known.
    Known,
    /// No, and the refusal is that of an unknown one.
    No,
}

/// Whether a new resource may bring a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// It is refused as unknown.
    No,
    /// It may.
    May,
    /// It must.
    Must,
}

/// One row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The version that brought it.
    pub since: u16,
    /// What JSON it is.
    pub kind: Kind,
    /// Shown by a list without `fields` and `detail`.
    pub column: bool,
    /// Whether lists sort by it.
    pub sort: Sort,
    /// Whether POST takes it.
    pub post: Post,
    /// Whether PATCH takes it.
    pub patch: bool,
    /// Whether secrets in it are shown as [`MASK`].
    pub masked: bool,
    /// Taken and never shown.
    pub hidden: bool,
    /// The most characters, or 0 for any number.
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

/// How a resource refuses `fields` that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// One is named.
    One,
    /// All are named.
    All,
    /// The first is named, and all that there are.
    Listed,
}

/// One kind of resource.
#[derive(Debug)]
pub struct Resource {
    /// Its name in paths, below `/v1`.
    pub path: &'static str,
    /// The key of its list.
    pub plural: &'static str,
    /// What refusals of a body call it; empty where they name nothing.
    pub word: &'static str,
    /// The version that brought it.
    pub since: u16,
    /// What a link and a marker name it by.
    pub key: &'static str,
    /// Its fields, by name.
    pub fields: &'static [Field],
    /// What PATCH takes, in the order in which refusals list it.
    pub patchable: &'static [&'static str],
    unknown: Unknown,
}

impl Resource {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether `fields` may name the links, which are shown in any case.
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

/// Every kind of resource that has a table.
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
