//! Filters of each list.

use super::operand::Operand;
use crate::argument::{boolean, mac};
use crate::error::{Class, Error, text};
use crate::fields::{Resource, is_uuid};
use crate::python;
use crate::version::Version;

/// Type of a filter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Text.
    Text,
    /// A UUID.
    Uuid,
    /// A UUID or a name.
    Ident,
    /// A word for a boolean.
    Flag,
    /// Texts, separated by commas.
    Words,
    /// A MAC address.
    Mac,
    /// A provision state.
    State,
    /// One of the four faults.
    Fault,
    /// The kind of a driver.
    Type,
}

/// Error for a request in an older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TooOldError {
    /// 406 with the required version.
    NamesVersion,
    /// 406 without details.
    Plain,
    /// 406 with the name of the filter.
    NamesFilter,
}

/// Row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Filter {
    /// Name in the query.
    pub name: &'static str,
    /// First version with the filter.
    pub since: u16,
    /// Type of its value.
    pub value_type: ValueType,
    too_old: TooOldError,
}

/// Creates a row whose error for older requests names the required version.
const fn filter(name: &'static str, since: u16, value_type: ValueType) -> Filter {
    Filter { name, since, value_type, too_old: TooOldError::NamesVersion }
}

/// Creates a row whose error for older requests has no details.
const fn plain_filter(name: &'static str, since: u16, value_type: ValueType) -> Filter {
    Filter { name, since, value_type, too_old: TooOldError::Plain }
}

static NODES: &[Filter] = &[
    filter("associated", 1, ValueType::Flag),
    filter("chassis_uuid", 1, ValueType::Uuid),
    filter("conductor", 49, ValueType::Text),
    filter("conductor_group", 46, ValueType::Text),
    filter("description_contains", 1, ValueType::Text),
    filter("driver", 16, ValueType::Text),
    filter("fault", 42, ValueType::Fault),
    filter("include_children", 83, ValueType::Flag),
    Filter { name: "instance_name", since: 104, value_type: ValueType::Text, too_old: TooOldError::NamesFilter },
    filter("instance_uuid", 1, ValueType::Uuid),
    filter("lessee", 65, ValueType::Text),
    filter("maintenance", 1, ValueType::Flag),
    filter("owner", 50, ValueType::Text),
    filter("parent_node", 83, ValueType::Text),
    filter("project", 1, ValueType::Text),
    plain_filter("provision_state", 9, ValueType::State),
    filter("resource_class", 21, ValueType::Text),
    filter("retired", 1, ValueType::Flag),
    filter("shard", 82, ValueType::Words),
    filter("sharded", 82, ValueType::Flag),
];
static PORTS: &[Filter] = &[
    filter("address", 1, ValueType::Mac),
    filter("conductor_groups", 1, ValueType::Words),
    filter("description_contains", 1, ValueType::Text),
    filter("node", 1, ValueType::Ident),
    filter("node_uuid", 1, ValueType::Uuid),
    plain_filter("portgroup", 24, ValueType::Ident),
    filter("shard", 82, ValueType::Words),
];
static PORTGROUPS: &[Filter] = &[
    filter("address", 23, ValueType::Mac),
    filter("conductor_groups", 99, ValueType::Words),
    filter("node", 23, ValueType::Ident),
    filter("shard", 106, ValueType::Words),
];
static ALLOCATIONS: &[Filter] = &[
    filter("node", 52, ValueType::Ident),
    plain_filter("owner", 60, ValueType::Text),
    filter("resource_class", 52, ValueType::Text),
    filter("state", 52, ValueType::Text),
];
static DRIVERS: &[Filter] = &[filter("type", 30, ValueType::Type)];
static RUNBOOKS: &[Filter] = &[filter("project", 92, ValueType::Flag)];
static INSPECTION_RULES: &[Filter] = &[filter("phase", 96, ValueType::Text)];
static VOLUMES: &[Filter] = &[filter("node", 32, ValueType::Ident), filter("project", 32, ValueType::Text)];

/// Returns the filters of a resource's lists, by name.
#[must_use]
pub fn filters(resource: &Resource) -> &'static [Filter] {
    match resource.path {
        "nodes" => NODES,
        "ports" => PORTS,
        "portgroups" => PORTGROUPS,
        "allocations" => ALLOCATIONS,
        "drivers" => DRIVERS,
        "runbooks" => RUNBOOKS,
        "inspection_rules" => INSPECTION_RULES,
        "volume/connectors" | "volume/targets" => VOLUMES,
        _ => &[],
    }
}

/// All provision states.
pub(crate) const STATES: &[&str] = &[
    "active",
    "adopt failed",
    "adopting",
    "available",
    "clean failed",
    "clean hold",
    "clean wait",
    "cleaning",
    "deleted",
    "deleting",
    "deploy failed",
    "deploy hold",
    "deploying",
    "enroll",
    "error",
    "inspect failed",
    "inspect wait",
    "inspecting",
    "manageable",
    "rescue",
    "rescue failed",
    "rescue wait",
    "rescuing",
    "service failed",
    "service hold",
    "service wait",
    "servicing",
    "unrescue failed",
    "unrescuing",
    "verifying",
    "wait call-back",
];
/// All faults, in the order in which the error lists them.
pub(crate) const FAULTS: &[&str] = &["power failure", "clean failure", "rescue abort failure", "service failure"];
/// All kinds of drivers.
pub(crate) const DRIVER_TYPES: &[&str] = &["classic", "dynamic"];

impl Filter {
    /// Parses a value.
    pub(super) fn read(&self, value: &str) -> Result<Operand, Error> {
        let name = self.name;
        match self.value_type {
            ValueType::Flag => boolean(name, value).map(Operand::Flag),
            ValueType::Mac => mac(name, value).map(Operand::Text),
            ValueType::Uuid if !is_uuid(value) => {
                Err(Class::Invalid.error(format!("Expected UUID for {name}: {value}")))
            }
            ValueType::Words => Ok(Operand::Words(value.split(',').map(|word| word.trim().to_owned()).collect())),
            ValueType::Text
            | ValueType::Uuid
            | ValueType::Ident
            | ValueType::State
            | ValueType::Fault
            | ValueType::Type => Ok(Operand::Text(value.to_owned())),
        }
    }

    /// Checks that the version supports the filter and that the value is a known one.
    ///
    /// # Errors
    /// 406 for a newer filter, 400 for an unknown value.
    pub(super) fn check(&self, version: Version, operand: &Operand) -> Result<(), Error> {
        if !version.has(self.since) {
            return Err(match self.too_old {
                TooOldError::NamesVersion => text::needs_version(self.since),
                TooOldError::Plain => text::not_acceptable(),
                TooOldError::NamesFilter => {
                    Class::NotAcceptable.error(format!("{} is not acceptable in this API version", self.name))
                }
            });
        }
        let Operand::Text(word) = operand else { return Ok(()) };
        let word = word.as_str();
        let message = match self.value_type {
            ValueType::State => (!STATES.contains(&word)).then(|| format!("Provision state \"{word}\" is not valid")),
            ValueType::Fault => (!FAULTS.contains(&word)).then(|| {
                let faults = python::listed(FAULTS);
                format!("Unrecognized fault \"{word}\" is specified, allowed faults are ({faults})")
            }),
            ValueType::Type => (!DRIVER_TYPES.contains(&word))
                .then(|| "\"type\" filter must be one of \"classic\" or \"dynamic\", if specified.".to_owned()),
            ValueType::Text
            | ValueType::Uuid
            | ValueType::Ident
            | ValueType::Flag
            | ValueType::Words
            | ValueType::Mac => None,
        };
        message.map_or(Ok(()), |message| Err(Class::Invalid.error(message)))
    }
}
