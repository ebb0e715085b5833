//! Body of `states/power`.

use serde_json::{Map, Value};

use crate::argument;
use crate::error::{Class, Error, text};
use crate::python;
use crate::version::Version;

/// First minor version with graceful shutdowns and timeouts.
const SOFT_POWER_SINCE: u16 = 27;

/// Target of a power request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// Power on.
    On,
    /// Power off.
    Off,
    /// Power off, then on.
    Reboot,
    /// Graceful shutdown.
    SoftOff,
    /// Graceful shutdown, then on.
    SoftReboot,
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 5] = [Self::On, Self::Off, Self::Reboot, Self::SoftOff, Self::SoftReboot];

    /// Name in requests.
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

    /// First version with the target.
    #[must_use]
    pub const fn since(self) -> u16 {
        match self {
            Self::On | Self::Off | Self::Reboot => 1,
            Self::SoftOff | Self::SoftReboot => SOFT_POWER_SINCE,
        }
    }

    /// Value of `target_power_state` until the target is reached.
    #[must_use]
    pub const fn power_state(self) -> &'static str {
        match self {
            Self::On | Self::Reboot | Self::SoftReboot => "power on",
            Self::Off | Self::SoftOff => "power off",
        }
    }

    /// Returns whether `disable_power_off` forbids the target.
    #[must_use]
    pub const fn leaves_off(self) -> bool {
        matches!(self, Self::Off | Self::SoftOff)
    }
}

/// Request to `states/power`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// Target.
    pub target: Target,
    /// Timeout in seconds.
    pub timeout: Option<u64>,
}

/// State of a node, for the check of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeState<'a> {
    /// Identifier of the node in the request.
    pub ident: &'a str,
    /// Power state, if known.
    pub power: Option<&'a str>,
    /// Provision state.
    pub provision: &'a str,
    /// Whether `disable_power_off` is set.
    pub stays_on: bool,
}

impl Power {
    /// Parses and checks a request.
    ///
    /// # Errors
    /// 400 for an invalid request or a node that is being cleaned, 406 for an older version, 409 for a node that must stay on.
    pub fn read(version: Version, body: &Map<String, Value>, node: NodeState<'_>) -> Result<Self, Error> {
        argument::only(body, &["target", "timeout"])?;
        let word = argument::text(body, "target")?.ok_or_else(|| argument::missing("target"))?;
        let word = word.as_str();
        let timeout = body.get("timeout").filter(|value| !value.is_null()).map(seconds).transpose()?;
        let target = Target::ALL.into_iter().find(|target| target.word() == word);
        let newer = target.is_some_and(|target| !version.has(target.since()));
        if newer || (timeout.is_some_and(|timeout| timeout != 0) && !version.has(SOFT_POWER_SINCE)) {
            return Err(text::not_acceptable());
        }
        if timeout.is_some_and(|timeout| timeout < 1) {
            return Err(Class::Invalid.error("timeout has to be positive integer"));
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

/// Parses a number, or text with one.
fn seconds(value: &Value) -> Result<i64, Error> {
    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    number.ok_or_else(|| {
        let quoted = value.as_str().map_or_else(|| python::quoted(value), str::to_owned);
        Class::Invalid.error(format!("Expected an integer for timeout: {quoted}"))
    })
}
