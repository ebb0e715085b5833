//! Fields of the resources: one table per resource, which all other modules use.
//!
//! A row has a field's name, first version, JSON type, which calls can set it, and which responses show it. No other place defines
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
mod link;
mod mask;
mod name;
mod node;
mod port;
mod portgroup;
mod runbook;
mod schema_error;
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
pub(crate) use name::{MAX_NAME_CHARS, TRAIT_PREFIXES, check_trait};
pub use name::{NODE_RESERVED, check_new_name, check_patched_name, identifies, is_logical_name, is_uuid};
pub(crate) use schema_error::{MAX_PRIORITY, schema_error};
pub use source::{FieldSource, FieldValue};
pub(crate) use steps::{actions_schema, conditions_schema};
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
    EmptyObject,
    /// `[]`.
    EmptyList,
    /// `false`.
    False,
    /// `true`.
    True,
    /// This text.
    Text(&'static str),
    /// This number.
    Number(i64),
    /// New UUID.
    NewUuid,
    /// Default of the node's driver.
    DriverDefault,
}

/// Whether lists can be sorted by a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// They can.
    Sortable,
    /// They cannot; the error says that the field is not sortable.
    Unsortable,
    /// They cannot; the error is that of an unknown field.
    Unknown,
}

/// Whether POST accepts a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// No: the field is rejected as unknown.
    Rejected,
    /// Yes.
    Optional,
    /// Yes, and it must be present.
    Required,
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
    pub in_summary: bool,
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
    pub max_chars: usize,
    /// Value if no client has set it.
    pub initial: Initial,
}

impl Field {
    const fn new(name: &'static str, since: u16, kind: Kind) -> Self {
        let sort =
            if matches!(kind, Kind::Object | Kind::List | Kind::Steps) { Sort::Unsortable } else { Sort::Sortable };
        let initial = kind.initial();
        Self {
            name,
            since,
            kind,
            in_summary: false,
            sort,
            post: Post::Rejected,
            patch: false,
            masked: false,
            hidden: false,
            max_chars: 0,
            initial,
        }
    }

    /// Makes the field a part of lists without `fields` and `detail`.
    const fn in_summary(self) -> Self {
        Self { in_summary: true, ..self }
    }

    /// Accepts the field without ever showing it.
    const fn hidden(self) -> Self {
        Self { hidden: true, sort: Sort::Unknown, ..self }
    }

    /// Rejects the field as a sort key, with an error that it is not sortable.
    const fn unsortable(self) -> Self {
        Self { sort: Sort::Unsortable, ..self }
    }

    /// Rejects the field as a sort key, with the error of an unknown field.
    const fn no_sort_key(self) -> Self {
        Self { sort: Sort::Unknown, ..self }
    }

    /// Makes the field optional in POST.
    const fn post(self) -> Self {
        Self { post: Post::Optional, ..self }
    }

    /// Makes the field required in POST.
    const fn required(self) -> Self {
        Self { post: Post::Required, ..self }
    }

    /// Lets PATCH change the field.
    const fn patch(self) -> Self {
        Self { patch: true, ..self }
    }

    /// Makes the field optional in POST and lets PATCH change it.
    const fn writable(self) -> Self {
        self.post().patch()
    }

    /// Shows secrets in the field as [`MASK`].
    const fn masked(self) -> Self {
        Self { masked: true, ..self }
    }

    /// Limits the length of the field.
    const fn max_chars(self, max_chars: usize) -> Self {
        Self { max_chars, ..self }
    }

    /// Sets the initial value, if it is not that of the type.
    const fn initial(self, initial: Initial) -> Self {
        Self { initial, ..self }
    }
}

/// Error of a resource for unknown names in `fields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnknownFieldError {
    /// Names one of them.
    NamesOne,
    /// Names all of them.
    NamesAll,
    /// Names the first one, and lists all known fields.
    ListsKnown,
}

/// Kind of resource.
#[derive(Debug)]
pub struct Resource {
    /// Path below `/v1`.
    pub path: &'static str,
    /// Key of its list.
    pub plural: &'static str,
    /// Name of its schema in errors; empty if errors do not name it.
    pub schema_name: &'static str,
    /// First version with it.
    pub since: u16,
    /// Field that identifies it in links and markers.
    pub key: &'static str,
    /// Fields, sorted by name.
    pub fields: &'static [Field],
    /// Fields that PATCH accepts, in the order in which errors list them.
    pub patchable: &'static [&'static str],
    unknown_field_error: UnknownFieldError,
}

impl Resource {
    /// Returns the field with this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns whether `fields` may name the links, which are always shown.
    pub(crate) fn accepts_links(&self) -> bool {
        self.unknown_field_error != UnknownFieldError::NamesOne
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
