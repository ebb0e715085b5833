//! Builds the requests that set the boot override. Pure.
//!
//! There are several ways to set an override, and each service takes some of them: [`attempts`] lists them, the regular one
//! first, and [`next_after`] chooses the next one from the reason of a rejection.

use domain::power::{Boot, BootMode, Persistence};
use serde_json::{Map, Value, json};

use super::{
    boot_source::{CONTINUOUS, ONCE, TARGETS},
    error::RedfishError,
    request::RedfishRequest,
    response::System,
};

const TARGET: &str = "BootSourceOverrideTarget";
const ENABLED: &str = "BootSourceOverrideEnabled";
const MODE: &str = "BootSourceOverrideMode";

/// Maximum number of ways that are tried for one command.
const MAX_ATTEMPTS: usize = 12;

/// How a service takes the boot override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BootDialect {
    /// A persistent override is refused and set for one boot instead, before each.
    pub(super) once: bool,
    /// It is set at the settings resource (DSP0266 §9.10, `@Redfish.Settings`).
    pub(super) settings: bool,
    /// Which properties are sent.
    pub(super) parts: Parts,
    /// Whether `@Redfish.SettingsApplyTime` is sent.
    pub(super) apply_time: bool,
}

/// Which properties of the override are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// Those whose value changes.
    Changed,
    /// Device, duration and mode.
    All,
    /// Device and duration.
    WithoutMode,
}

/// One way to set the override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootAttempt {
    pub(super) dialect: BootDialect,
    pub(super) request: RedfishRequest,
    /// Whether the mode that the record demands is left out although the system has another one.
    pub(super) leaves_mode: bool,
}

/// The override that is to be set.
struct Wanted<'a> {
    system: &'a System,
    target: &'static str,
    /// `None` if the system has no such property.
    mode: Option<&'static str>,
}

/// Returns the ways to set the override, the likeliest first. Returns none if the system has the override already.
/// `settings` is the system's settings resource, if it has one, and `known` is what this service took before.
///
/// # Errors
/// [`RedfishError`] if the system says that it does not support the override.
pub(super) fn attempts(
    system: &System,
    settings: Option<&System>,
    order: Boot,
    known: Option<BootDialect>,
) -> Result<Vec<BootAttempt>, RedfishError> {
    let target = TARGETS.iter().find_map(|(word, device)| (*device == order.device).then_some(*word));
    let target = target.ok_or(RedfishError::BootDevice(order.device))?;
    let allows = |property: &'static str, value: &'static str| {
        let pointer = format!("/Boot/{property}");
        let is_allowed = system.allows(&pointer, value) && settings.is_none_or(|own| own.allows(&pointer, value));
        is_allowed.then_some(value).ok_or(RedfishError::BootProperty { property, value })
    };
    allows(TARGET, target)?;
    let durations = match order.persistence {
        Persistence::Once => vec![allows(ENABLED, ONCE)?],
        Persistence::Persistent => {
            let either = [allows(ENABLED, CONTINUOUS), allows(ENABLED, ONCE)];
            let durations: Vec<_> = either.into_iter().flatten().collect();
            if durations.is_empty() { vec![allows(ENABLED, CONTINUOUS)?] } else { durations }
        }
    };
    let mode = match order.mode {
        BootMode::Uefi => "UEFI",
        BootMode::Bios => "Legacy",
    };
    let current = current(system, MODE);
    let mode = match current {
        Some(current) if current == mode => Some(mode),
        Some(_) => Some(allows(MODE, mode)?),
        None => None,
    };
    let wanted = Wanted { system, target, mode };
    let expected = if known.is_some_and(|known| known.once) { durations.last() } else { durations.first() };
    if expected.is_some_and(|enabled| wanted.changes(enabled).is_empty()) {
        return Ok(Vec::new());
    }
    let mut attempts: Vec<BootAttempt> = Vec::new();
    for place in places(settings) {
        for enabled in &durations {
            for attempt in wanted.attempts(place, enabled, order.persistence) {
                let is_new = !attempts.iter().any(|known| {
                    known.request.path == attempt.request.path && known.request.body == attempt.request.body
                });
                if is_new {
                    attempts.push(attempt);
                }
            }
        }
    }
    if let Some(known) = known {
        attempts.sort_by_key(|attempt| distance(attempt.dialect, known));
    }
    attempts.truncate(MAX_ATTEMPTS);
    Ok(attempts)
}

/// Takes the next attempt after `rejected`: one that differs in what the service complains about, if there is any.
pub(super) fn next_after(
    remaining: &mut Vec<BootAttempt>,
    rejected: &BootAttempt,
    complaint: &str,
) -> Option<BootAttempt> {
    let sent = |attempt: &BootAttempt, name: &str| attempt.request.body.pointer(&format!("/Boot/{name}")).cloned();
    let blamed: Vec<(&str, Option<Value>)> = [TARGET, ENABLED, MODE]
        .into_iter()
        .map(|name| (name, sent(rejected, name)))
        .filter(|(name, value)| {
            let names_value =
                value.as_ref().and_then(Value::as_str) == Some(CONTINUOUS) && complaint.contains(CONTINUOUS);
            value.is_some() && (complaint.contains(name) || names_value)
        })
        .collect();
    // A complaint about the whole object is one about the place (iDRAC 10: "The property Boot is a read-only property").
    let is_place = |word: &str| word == "Boot" || word == "OperationSupportedInFutureStateURI";
    let blames_place = blamed.is_empty() && complaint.split(|sign: char| !sign.is_ascii_alphanumeric()).any(is_place);
    let repeats = |attempt: &BootAttempt| {
        let place = blames_place && attempt.dialect.settings == rejected.dialect.settings;
        usize::from(place) + blamed.iter().filter(|(name, value)| sent(attempt, name) == *value).count()
    };
    let (best, _) = remaining.iter().enumerate().min_by_key(|(_, attempt)| repeats(attempt))?;
    Some(remaining.remove(best))
}

/// Where an override can be set, the likeliest first. The settings resource comes first if it has boot properties: then
/// the system itself refuses them (AMI: `OperationSupportedInFutureStateURI`; iDRAC 10: `PropertyNotWritable`).
fn places(settings: Option<&System>) -> Vec<Option<&System>> {
    match settings {
        None => vec![None],
        Some(own) if own.body.get("Boot").and_then(Value::as_object).is_some_and(|boot| !boot.is_empty()) => {
            vec![Some(own), None]
        }
        Some(own) => vec![None, Some(own)],
    }
}

fn distance(dialect: BootDialect, known: BootDialect) -> usize {
    [
        dialect.once != known.once,
        dialect.settings != known.settings,
        dialect.parts != known.parts,
        dialect.apply_time != known.apply_time,
    ]
    .into_iter()
    .filter(|differs| *differs)
    .count()
}

fn current<'a>(system: &'a System, property: &str) -> Option<&'a str> {
    system.body.pointer(&format!("/Boot/{property}")).and_then(Value::as_str)
}

impl Wanted<'_> {
    /// All properties of the override.
    fn all(&self, enabled: &'static str) -> Vec<(&'static str, &'static str)> {
        let mode = self.mode.map(|mode| (MODE, mode));
        [(TARGET, self.target), (ENABLED, enabled)].into_iter().chain(mode).collect()
    }

    /// The properties whose value changes.
    fn changes(&self, enabled: &'static str) -> Vec<(&'static str, &'static str)> {
        let mut all = self.all(enabled);
        all.retain(|(name, value)| current(self.system, name) != Some(*value));
        all
    }

    fn attempts(&self, place: Option<&System>, enabled: &'static str, persistence: Persistence) -> Vec<BootAttempt> {
        let mut parts = vec![
            (Parts::Changed, self.changes(enabled)),
            (Parts::All, self.all(enabled)),
            (Parts::WithoutMode, self.all(enabled).into_iter().filter(|(name, _)| *name != MODE).collect()),
        ];
        // The settings resource may hold other values than the system. Supermicro resets what is left out.
        if place.is_some() || self.is_supermicro() {
            parts.swap(0, 1);
        }
        let changes_mode = self.mode.is_some_and(|mode| current(self.system, MODE) != Some(mode));
        let apply_times = place.map_or_else(|| vec![None], |settings| self.apply_times(settings));
        let mut attempts = Vec::new();
        for (parts, properties) in parts.into_iter().filter(|(_, properties)| !properties.is_empty()) {
            let sends_mode = properties.iter().any(|(name, _)| *name == MODE);
            let boot: Map<String, Value> =
                properties.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            for apply_time in &apply_times {
                let mut body = json!({"Boot": boot});
                if let (Some(apply_time), Some(body)) = (apply_time, body.as_object_mut()) {
                    let preferred =
                        json!({"@odata.type": "#Settings.v1_3_0.PreferredApplyTime", "ApplyTime": apply_time});
                    body.insert("@Redfish.SettingsApplyTime".to_owned(), preferred);
                }
                let dialect = BootDialect {
                    once: persistence == Persistence::Persistent && enabled == ONCE,
                    settings: place.is_some(),
                    parts,
                    apply_time: apply_time.is_some(),
                };
                let request = RedfishRequest::patch(place.unwrap_or(self.system), body);
                attempts.push(BootAttempt { dialect, request, leaves_mode: changes_mode && !sends_mode });
            }
        }
        attempts
    }

    /// Returns the apply times to try: one that the service announces first, otherwise none first.
    fn apply_times(&self, settings: &System) -> Vec<Option<String>> {
        let announced =
            ["/@Redfish.Settings/SupportedApplyTimes", "/@Redfish.SettingsApplyTime/ApplyTime@Redfish.AllowableValues"];
        let announced = announced.iter().find_map(|pointer| {
            [self.system, settings].into_iter().find_map(|resource| resource.body.pointer(pointer)?.as_array())
        });
        let Some(announced) = announced.filter(|times| !times.is_empty()) else {
            return vec![None, Some("OnReset".to_owned())];
        };
        let supports = |time: &&str| announced.iter().any(|known| known == *time);
        let time = ["Immediate", "OnReset"].into_iter().find(supports);
        [time.map(|time| Some(time.to_owned())), Some(None)].into_iter().flatten().collect()
    }

    fn is_supermicro(&self) -> bool {
        let maker = self.system.body.get("Manufacturer").and_then(Value::as_str).unwrap_or_default();
        maker.to_ascii_lowercase().replace(' ', "").contains("supermicro")
    }
}
