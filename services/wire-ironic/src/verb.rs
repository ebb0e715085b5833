//! Verbs of `states/provision` and targets of `states/power`.
//!
//! The rules concern the request only: the first versions of the names, and the arguments of each verb. Whether a state
//! allows a verb is decided elsewhere. The order of all checks is: node; [`Verb::check_version`]; maintenance; state;
//! [`Provision::check`].

mod deploy_steps;
mod power;
mod provision;
mod step;
#[cfg(test)]
mod tests;

pub use deploy_steps::order_deploy_steps;
pub use power::{NodeState, Power, Target};
pub use provision::{Arguments, ConfigDrive, Provision};
pub use step::{Step, Steps};

use crate::error::{Error, text};
use crate::version::Version;

/// Verb of `states/provision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Deploy; also `deploy`.
    Active,
    /// Deploy the same image again.
    Rebuild,
    /// Undeploy; also `undeploy`.
    Deleted,
    /// Make manageable.
    Manage,
    /// Make available.
    Provide,
    /// Inspect the hardware.
    Inspect,
    /// Abort the operation.
    Abort,
    /// Clean manually.
    Clean,
    /// Adopt a running machine.
    Adopt,
    /// Boot a rescue system.
    Rescue,
    /// Leave the rescue system.
    Unrescue,
    /// Continue after a hold.
    Unhold,
    /// Service a node in use.
    Service,
}

/// Name of a verb.
struct Name {
    name: &'static str,
    verb: Verb,
    since: u16,
    /// Whether an older request is rejected only if the state would allow the verb.
    after_state: bool,
}

const fn name(name: &'static str, verb: Verb, since: u16) -> Name {
    Name { name, verb, since, after_state: false }
}

/// Names of the verbs, in the order of their first versions.
const NAMES: &[Name] = &[
    name("active", Verb::Active, 1),
    name("rebuild", Verb::Rebuild, 1),
    name("deleted", Verb::Deleted, 1),
    name("manage", Verb::Manage, 4),
    name("provide", Verb::Provide, 4),
    name("inspect", Verb::Inspect, 6),
    name("abort", Verb::Abort, 13),
    name("clean", Verb::Clean, 15),
    name("adopt", Verb::Adopt, 17),
    name("rescue", Verb::Rescue, 38),
    name("unrescue", Verb::Unrescue, 38),
    name("deploy", Verb::Active, 73),
    name("undeploy", Verb::Deleted, 73),
    Name { name: "unhold", verb: Verb::Unhold, since: 85, after_state: true },
    Name { name: "service", verb: Verb::Service, since: 87, after_state: true },
];

/// States that can be aborted only from a version on.
const ABORT_SINCE: &[(&str, u16)] = &[("inspect wait", 41), ("wait call-back", 110)];

impl Verb {
    /// Parses the name of a verb. For an unknown one the error is [`text::wrong_state`], as for a verb that the state refuses.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        NAMES.iter().find(|row| row.name == name).map(|row| row.verb)
    }

    /// Returns every name, with its first version.
    pub fn names() -> impl Iterator<Item = (&'static str, u16)> {
        NAMES.iter().map(|row| (row.name, row.since))
    }

    /// Checks that the request's version has the verb. This is the first check.
    ///
    /// # Errors
    /// 406.
    pub fn check_version(version: Version, name: &str) -> Result<(), Error> {
        let newer = NAMES.iter().any(|row| row.name == name && !row.after_state && !version.has(row.since));
        if newer { Err(text::not_acceptable()) } else { Ok(()) }
    }

    /// Completes the check of the version after the state has allowed the verb.
    ///
    /// # Errors
    /// 406.
    pub fn check_version_after_state(self, version: Version, state: &str) -> Result<(), Error> {
        let newer = NAMES.iter().any(|row| row.verb == self && row.after_state && !version.has(row.since));
        let abort = ABORT_SINCE.iter().any(|(waiting, since)| *waiting == state && !version.has(*since));
        if newer || (self == Self::Abort && abort) { Err(text::not_acceptable()) } else { Ok(()) }
    }

    /// Checks that maintenance does not block the verb. `name` is the one in the request: two names of one verb differ here.
    ///
    /// # Errors
    /// 400. Other operations that maintenance blocks are rejected later, with other texts ([`Verb::in_maintenance`]).
    pub fn check_maintenance(name: &str, node: &str) -> Result<(), Error> {
        if matches!(name, "active" | "rebuild") { Err(text::in_maintenance("provisioning", node)) } else { Ok(()) }
    }

    /// Checks that the node's protection allows the verb. This is the last check.
    ///
    /// # Errors
    /// 403.
    pub fn check_protected(self, node: &str) -> Result<(), Error> {
        if matches!(self, Self::Deleted | Self::Rebuild) { Err(text::protected(node)) } else { Ok(()) }
    }

    /// Returns the kind of steps in its arguments.
    #[must_use]
    pub const fn steps(self) -> Option<Steps> {
        match self {
            Self::Active | Self::Rebuild => Some(Steps::Deploy),
            Self::Clean => Some(Steps::Clean),
            Self::Service => Some(Steps::Service),
            Self::Deleted
            | Self::Manage
            | Self::Provide
            | Self::Inspect
            | Self::Abort
            | Self::Adopt
            | Self::Rescue
            | Self::Unrescue
            | Self::Unhold => None,
        }
    }

    /// Returns the name of the operation in the maintenance error, or `None` if maintenance does not block the verb.
    #[must_use]
    pub const fn in_maintenance(self) -> Option<&'static str> {
        match self {
            Self::Active | Self::Rebuild => Some("provisioning"),
            Self::Clean => Some("cleaning"),
            Self::Rescue => Some("rescuing"),
            Self::Unrescue => Some("unrescuing"),
            Self::Service => Some("service"),
            Self::Deleted | Self::Manage | Self::Provide | Self::Inspect | Self::Abort | Self::Adopt | Self::Unhold => {
                None
            }
        }
    }
}
