//! The filters of each list.

use super::operand::Operand;
use crate::argument::{boolean, mac};
use crate::error::{Class, Error, text};
use crate::fields::{Resource, is_uuid};
use crate::python;
use crate::version::Version;

/// Type of a filter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
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
enum Older {
    /// 406 with the required version.
    Needs,
    /// 406 without details.
    Bare,
    /// 406 with the name of the filter.
    Named,
}

/// Row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Filter {
    /// Name in the query.
    pub name: &'static str,
    /// First version with the filter.
    pub since: u16,
    /// Type of its value.
    pub reads: Reads,
    older: Older,
}

const fn filter(name: &'static str, since: u16, reads: Reads) -> Filter {
    Filter { name, since, reads, older: Older::Needs }
}

const fn bare(name: &'static str, since: u16, reads: Reads) -> Filter {
    Filter { name, since, reads, older: Older::Bare }
}

static NODES: &[Filter] = &[
    filter("associated", 1, Reads::Flag),
    filter("chassis_uuid", 1, Reads::Uuid),
    filter("conductor", 49, Reads::Text),
    filter("conductor_group", 46, Reads::Text),
    filter("description_contains", 1, Reads::Text),
    filter("driver", 16, Reads::Text),
    filter("fault", 42, Reads::Fault),
    filter("include_children", 83, Reads::Flag),
    Filter { name: "instance_name", since: 104, reads: Reads::Text, older: Older::Named },
    filter("instance_uuid", 1, Reads::Uuid),
    filter("lessee", 65, Reads::Text),
    filter("maintenance", 1, Reads::Flag),
    filter("owner", 50, Reads::Text),
    filter("parent_node", 83, Reads::Text),
    filter("project", 1, Reads::Text),
    bare("provision_state", 9, Reads::State),
    filter("resource_class", 21, Reads::Text),
    filter("retired", 1, Reads::Flag),
    filter("shard", 82, Reads::Words),
    filter("sharded", 82, Reads::Flag),
];
static PORTS: &[Filter] = &[
    filter("address", 1, Reads::Mac),
    filter("conductor_groups", 1, Reads::Words),
    filter("description_contains", 1, Reads::Text),
    filter("node", 1, Reads::Ident),
    filter("node_uuid", 1, Reads::Uuid),
    bare("portgroup", 24, Reads::Ident),
    filter("shard", 82, Reads::Words),
];
static PORTGROUPS: &[Filter] = &[
    filter("address", 23, Reads::Mac),
    filter("conductor_groups", 99, Reads::Words),
    filter("node", 23, Reads::Ident),
    filter("shard", 106, Reads::Words),
];
static ALLOCATIONS: &[Filter] = &[
    filter("node", 52, Reads::Ident),
    bare("owner", 60, Reads::Text),
    filter("resource_class", 52, Reads::Text),
    filter("state", 52, Reads::Text),
];
static DRIVERS: &[Filter] = &[filter("type", 30, Reads::Type)];
static RUNBOOKS: &[Filter] = &[filter("project", 92, Reads::Flag)];
static INSPECTION_RULES: &[Filter] = &[filter("phase", 96, Reads::Text)];
static VOLUMES: &[Filter] = &[filter("node", 32, Reads::Ident), filter("project", 32, Reads::Text)];

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
    /// Parses a value of the filter.
    pub(super) fn read(&self, value: &str) -> Result<Operand, Error> {
        let name = self.name;
        match self.reads {
            Reads::Flag => boolean(name, value).map(Operand::Flag),
            Reads::Mac => mac(name, value).map(Operand::Text),
            Reads::Uuid if !is_uuid(value) => Err(Class::Invalid.error(format!("Expected UUID for {name}: {value}"))),
            Reads::Words => Ok(Operand::Words(value.split(',').map(|word| word.trim().to_owned()).collect())),
            Reads::Text | Reads::Uuid | Reads::Ident | Reads::State | Reads::Fault | Reads::Type => {
                Ok(Operand::Text(value.to_owned()))
            }
        }
    }

    /// Checks that the value exists and the version supports it.
    ///
    /// # Errors
    /// 406 for a newer value, 400 for an unknown one.
    pub(super) fn check(&self, version: Version, operand: &Operand) -> Result<(), Error> {
        if !version.has(self.since) {
            return Err(match self.older {
                Older::Needs => text::needs_version(self.since),
                Older::Bare => text::not_acceptable(),
                Older::Named => {
                    Class::NotAcceptable.error(format!("{} is not acceptable in this API version", self.name))
                }
            });
        }
        let Operand::Text(word) = operand else { return Ok(()) };
        let word = word.as_str();
        let refusal = match self.reads {
            Reads::State => (!STATES.contains(&word)).then(|| format!("Provision state \"{word}\" is not valid")),
            Reads::Fault => (!FAULTS.contains(&word)).then(|| {
                let faults = python::listed(FAULTS);
                format!("Unrecognized fault \"{word}\" is specified, allowed faults are ({faults})")
            }),
            Reads::Type => (!DRIVER_TYPES.contains(&word))
                .then(|| "\"type\" filter must be one of \"classic\" or \"dynamic\", if specified.".to_owned()),
            Reads::Text | Reads::Uuid | Reads::Ident | Reads::Flag | Reads::Words | Reads::Mac => None,
        };
        refusal.map_or(Ok(()), |refusal| Err(Class::Invalid.error(refusal)))
    }
}
