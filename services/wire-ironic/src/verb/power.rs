//! The body of `states/power`.

use serde_json::{Map, Value};

use crate::argument;
use crate::error::{Class, Error, text};
use crate::python;
use crate::version::Version;

/// The version from which a machine can be asked to go down by itself, and a time be given for it.
const SOFT: u16 = 27;

/// Where the power shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// On.
    On,
    /// Off.
    Off,
    /// Off and on.
    Reboot,
    /// Off, by the system's own will.
    SoftOff,
    /// Off by the system's own will, and on.
    SoftReboot,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::On, Self::Off, Self::Reboot, Self::SoftOff, Self::SoftReboot];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::Reboot => "rebooting",
            Self::SoftOff => "soft power off",
            Self::SoftReboot => "soft rebooting",
        }
    }

    /// The version that brought it.
    #[must_use]
    pub const fn since(self) -> u16 {
        match self {
            Self::On | Self::Off | Self::Reboot => 1,
            Self::SoftOff | Self::SoftReboot => SOFT,
        }
    }

    /// What `target_power_state` is until it is done.
    #[must_use]
    pub const fn aims_at(self) -> &'static str {
        match self {
            Self::On | Self::Reboot | Self::SoftReboot => "power on",
            Self::Off | Self::SoftOff => "power off",
        }
    }

    /// A node with `disable_power_off` takes no such target.
    #[must_use]
    pub const fn leaves_off(self) -> bool {
        matches!(self, Self::Off | Self::SoftOff)
    }
}

/// A request to `states/power`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// Where the power shall be.
    pub target: Target,
    /// How many seconds it may take.
    pub timeout: Option<u64>,
}

/// What a check of the request needs to know of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// What the request calls the node.
    pub ident: &'a str,
    /// Its power state, if it is known.
    pub power: Option<&'a str>,
    /// Its provision state.
    pub provision: &'a str,
    /// Whether it must not be switched off.
    pub stays_on: bool,
}

impl Power {
    /// Reads and checks a request.
    ///
    /// # Errors
    /// 400 for a wrong request or a node that is being cleaned, 406 for an older one, 409 for a node that stays on.
    pub fn read(version: Version, body: &Map<String, Value>, node: Seen<'_>) -> Result<Self, Error> {
        argument::only(body, &["target", "timeout"])?;
        let word = argument::text(body, "target")?.ok_or_else(|| argument::missing("target"))?;
        let word = word.as_str();
        let timeout = body.get("timeout").filter(|value| !value.is_null()).map(seconds).transpose()?;
        let target = Target::ALL.into_iter().find(|target| target.word() == word);
        let soft = target.is_some_and(|target| !version.has(target.since()));
        if soft || (timeout.is_some_and(|timeout| timeout != 0) && !version.has(SOFT)) {
            return Err(text::not_acceptable());
        }
        if timeout.is_some_and(|timeout| timeout < 1) {
            return Err(Class::Invalid.says("timeout has to be positive integer"));
        }
        let Some(target) = target else { return Err(text::wrong_state(word, node.ident, node.power)) };
        if matches!(node.provision, "clean wait" | "cleaning") {
            return Err(text::wrong_state(word, node.ident, Some(node.provision)));
        }
        if node.stays_on && target.leaves_off() {
            return Err(text::power_failed(word));
        }
        Ok(Self { target, timeout: timeout.and_then(|timeout| u64::try_from(timeout).ok()) })
    }
}

/// A number, or a text that is one.
fn seconds(value: &Value) -> Result<i64, Error> {
    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    number.ok_or_else(|| {
        let shown = value.as_str().map_or_else(|| python::quoted(value), str::to_owned);
        Class::Invalid.says(format!("Expected an integer for timeout: {shown}"))
    })
}
