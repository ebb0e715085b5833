//! What can be asked of a node's state: the verbs of `states/provision` and the targets of `states/power`.
//!
//! The rules here are those of the request: which words there are since when, and what may come with which. Whether a
//! state takes a verb is not asked here. The order of a whole check is: node; [`Verb::check_version`]; maintenance;
//! state; [`Provision::check`].

mod deploy_steps;
mod power;
mod provision;
mod step;
#[cfg(test)]
mod tests;

pub use deploy_steps::order_deploy_steps;
pub use power::{Power, Seen, Target};
pub use provision::{Arguments, ConfigDrive, Provision};
pub use step::{Step, Steps};

use crate::error::{Error, text};
use crate::version::Version;

/// A verb of `states/provision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Deploy; `deploy` is another word for it.
    Active,
    /// Deploy again what was deployed.
    Rebuild,
    /// Tear down; `undeploy` is another word for it.
    Deleted,
    /// Take under management.
    Manage,
    /// Make available.
    Provide,
    /// Look into the hardware.
    Inspect,
    /// Give up what waits.
    Abort,
    /// Clean by hand.
    Clean,
    /// Take over what others deployed.
    Adopt,
    /// Boot a rescue system.
    Rescue,
    /// Leave the rescue system.
    Unrescue,
    /// Go on after a hold.
    Unhold,
    /// Work on what is deployed.
    Service,
}

/// A word for a verb.
struct Word {
    word: &'static str,
    verb: Verb,
    since: u16,
    /// An older request is told so only where the state would take the verb.
    late: bool,
}

const fn word(word: &'static str, verb: Verb, since: u16) -> Word {
    Word { word, verb, since, late: false }
}

/// The words, in the order in which they came.
const WORDS: &[Word] = &[
    word("active", Verb::Active, 1),
    word("rebuild", Verb::Rebuild, 1),
    word("deleted", Verb::Deleted, 1),
    word("manage", Verb::Manage, 4),
    word("provide", Verb::Provide, 4),
    word("inspect", Verb::Inspect, 6),
    word("abort", Verb::Abort, 13),
    word("clean", Verb::Clean, 15),
    word("adopt", Verb::Adopt, 17),
    word("rescue", Verb::Rescue, 38),
    word("unrescue", Verb::Unrescue, 38),
    word("deploy", Verb::Active, 73),
    word("undeploy", Verb::Deleted, 73),
    Word { word: "unhold", verb: Verb::Unhold, since: 85, late: true },
    Word { word: "service", verb: Verb::Service, since: 87, late: true },
];

/// States that can be aborted since a version of their own.
const ABORTS: &[(&str, u16)] = &[("inspect wait", 41), ("wait call-back", 110)];

impl Verb {
    /// The verb of a word, or nothing: then the answer is [`text::wrong_state`], as for a verb that the state refuses.
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        WORDS.iter().find(|row| row.word == word).map(|row| row.verb)
    }

    /// Every word, with the version that brought it.
    pub fn words() -> impl Iterator<Item = (&'static str, u16)> {
        WORDS.iter().map(|row| (row.word, row.since))
    }

    /// The first check of all: a word that is newer than the request.
    ///
    /// # Errors
    /// 406.
    pub fn check_version(version: Version, word: &str) -> Result<(), Error> {
        let newer = WORDS.iter().any(|row| row.word == word && !row.late && !version.has(row.since));
        if newer { Err(text::not_acceptable()) } else { Ok(()) }
    }

    /// What is left of the check of the version once the state has taken the verb.
    ///
    /// # Errors
    /// 406.
    pub fn check_late(self, version: Version, state: &str) -> Result<(), Error> {
        let word = WORDS.iter().any(|row| row.verb == self && row.late && !version.has(row.since));
        let abort = ABORTS.iter().any(|(name, since)| *name == state && !version.has(*since));
        if word || (self == Self::Abort && abort) { Err(text::not_acceptable()) } else { Ok(()) }
    }

    /// Maintenance keeps these from being done. `word` is the request's: two words for one verb differ here.
    ///
    /// # Errors
    /// 400; the other operations that maintenance stops are stopped later, with words of their own
    /// ([`Verb::in_maintenance`]).
    pub fn check_maintenance(word: &str, node: &str) -> Result<(), Error> {
        if matches!(word, "active" | "rebuild") { Err(text::in_maintenance("provisioning", node)) } else { Ok(()) }
    }

    /// What a protected node does not take; asked last.
    ///
    /// # Errors
    /// 403.
    pub fn check_protected(self, node: &str) -> Result<(), Error> {
        if matches!(self, Self::Deleted | Self::Rebuild) { Err(text::protected(node)) } else { Ok(()) }
    }

    /// The kind of steps that come with it.
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

    /// What a refusal calls the operation that maintenance stops, if it stops this one at all.
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
