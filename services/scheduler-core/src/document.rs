//! A node as the newest version of the protocol has it, made of what the store has about it.

use domain::{
    driver::{Driver, Interface},
    failure::Failure,
    id::NodeId,
    plan::Progress,
    power::{Power, PowerTarget},
    provision::{Stage, State},
    time::Timestamp,
};
use keyspace::value::{FirmwareSeen, Intent, Life, Operation, PowerSeen, Sheet};
use serde_json::{Map, Value, json};

use crate::registry::settled;

/// What the store has about a node, as far as the protocol shows it.
#[derive(Debug, Clone)]
pub struct Parts {
    pub node: NodeId,
    /// The name of its rack.
    pub rack: String,
    pub intent: Intent,
    pub life: Life,
    pub power: Option<PowerSeen>,
    pub sheet: Option<Sheet>,
    pub firmware: Option<FirmwareSeen>,
    /// What is done to it, where somebody is at work on it or holds it.
    pub operation: Option<Operation>,
    /// Who looks after it.
    pub conductor: Option<String>,
    /// The store's revision of the last change of anything of this.
    pub revision: i64,
}

/// The field of a node that names the implementation of an interface.
pub fn interface_field(interface: Interface) -> String {
    format!("{interface}_interface")
}

/// The whole node. Sealed secrets are in it as they are stored.
pub fn whole(parts: &Parts) -> Map<String, Value> {
    let mut whole = said(parts);
    let life = &parts.life;
    let mut put = |name: &str, value: Value| whole.insert(name.to_owned(), value);
    put("provision_state", json!(life.state.ironic_name()));
    put("target_provision_state", json!(life.state.target()));
    put("provision_updated_at", time(Some(life.since).filter(|since| *since != parts.intent.enrolled_at)));
    put("power_state", parts.power.as_ref().map_or(Value::Null, |power| json!(power_word(power.power))));
    put("target_power_state", json!(target_power(parts)));
    put("last_error", json!(last_error(parts).map(|failure| failure.text)));
    put("conductor", json!(parts.conductor));
    put("reservation", if is_locked(life.state) { json!(parts.conductor) } else { Value::Null });
    let inspection = life.inspection.as_ref();
    put("inspection_started_at", time(inspection.map(|inspection| inspection.started_at)));
    if let Some((field, step)) = parts.operation.as_ref().and_then(|operation| step(life.state, operation)) {
        put(field, step);
    }
    if let Some(firmware) = &parts.firmware {
        put("boot_mode", json!(firmware.boot_mode.map(|mode| mode.to_string())));
        put("secure_boot", json!(firmware.secure_boot));
    }
    put("inspection_finished_at", time(inspection.and_then(|inspection| inspection.finished_at)));
    whole
}

/// The step that is made now, or that holds the others, and the field that has it.
fn step(state: State, operation: &Operation) -> Option<(&'static str, Value)> {
    let made = usize::try_from(operation.made).unwrap_or(usize::MAX);
    let (field, is_made) = step_field(state)?;
    let at = if is_made { made.saturating_sub(1) } else { made };
    operation.steps.get(at).map(|step| (field, json!(step)))
}

/// The field of the step that is made in this state, or that holds it: then it counts as made.
pub const fn step_field(state: State) -> Option<(&'static str, bool)> {
    match state {
        State::Cleaning { stage: Stage::Work, .. } => Some(("clean_step", false)),
        State::Deploying { stage: Stage::Work } => Some(("deploy_step", false)),
        State::Servicing { stage: Stage::Work } => Some(("service_step", false)),
        State::CleanHold => Some(("clean_step", true)),
        State::DeployHold => Some(("deploy_step", true)),
        State::ServiceHold => Some(("service_step", true)),
        State::Enroll
        | State::Verifying
        | State::Manageable
        | State::Inspecting { .. }
        | State::Available
        | State::Deploying { .. }
        | State::Active
        | State::Deleting
        | State::Cleaning { .. }
        | State::Adopting
        | State::Rescuing { .. }
        | State::Rescue
        | State::Unrescuing { .. }
        | State::Servicing { .. }
        | State::Failed { .. } => None,
    }
}

/// What people said of it; what they did not say is as the driver prefers.
fn said(parts: &Parts) -> Map<String, Value> {
    let intent = &parts.intent;
    let mut whole = parts.sheet.as_ref().map(|sheet| sheet.fields.clone()).unwrap_or_default();
    whole.insert("uuid".to_owned(), json!(parts.node.to_string()));
    whole.insert("name".to_owned(), if intent.name.is_empty() { Value::Null } else { json!(intent.name) });
    whole.insert("driver".to_owned(), json!(intent.driver.to_string()));
    whole.insert("conductor_group".to_owned(), json!(parts.rack));
    whole.insert("created_at".to_owned(), time(Some(intent.enrolled_at)));
    whole.insert("updated_at".to_owned(), time(parts.sheet.as_ref().and_then(|sheet| sheet.updated_at)));
    if !whole.contains_key("driver_info") {
        whole.insert("driver_info".to_owned(), driver_info(intent));
    }
    for interface in Interface::ALL.iter().copied() {
        let field = interface_field(interface);
        let is_said = whole.get(&field).is_some_and(|value| !value.is_null());
        if !is_said {
            whole.insert(field, json!(intent.driver.default_implementation(interface)));
        }
    }
    whole
}

/// How the BMC is reached, for a node that was not enrolled by one of Ironic's clients.
fn driver_info(intent: &Intent) -> Value {
    let Some(bmc) = intent.bmc.as_ref().filter(|_| intent.driver == Driver::Ipmi) else { return json!({}) };
    json!({
        "ipmi_address": bmc.address.host, "ipmi_port": bmc.address.port,
        "ipmi_username": bmc.user, "ipmi_password": {"sealed": bmc.password},
    })
}

/// The last thing that went wrong and was not mended since.
fn last_error(parts: &Parts) -> Option<Failure> {
    let power = parts.power.as_ref().and_then(|power| power.settled.as_ref());
    let failed = power.filter(|settled| settled.generation == parts.life.generation);
    let of_power = || {
        let failure = failed?.failure.clone()?;
        let text = match parts.intent.power.and_then(power_words) {
            Some((state, word)) => format!("Failed to change power state to '{state}' by '{word}': {}", failure.text),
            None => failure.text,
        };
        Some(Failure { text, ..failure })
    };
    parts.life.failure.clone().or_else(of_power)
}

/// Where power is to be brought, while it is not there. Of an operation's own doing nothing is shown.
fn target_power(parts: &Parts) -> Option<&'static str> {
    let target = parts.intent.power.filter(|_| !parts.life.state.is_busy())?;
    let underway = matches!(settled(parts.power.as_ref(), parts.life.generation), Progress::Unknown);
    let (state, _) = power_words(target).filter(|_| underway)?;
    Some(state)
}

/// Where power is brought to, and by which of the protocol's words; none: it stays where it is.
const fn power_words(target: PowerTarget) -> Option<(&'static str, &'static str)> {
    match target {
        PowerTarget::On => Some(("power on", "power on")),
        PowerTarget::Off => Some(("power off", "power off")),
        PowerTarget::SoftOff { .. } => Some(("power off", "soft power off")),
        PowerTarget::Booted { .. } => Some(("power on", "rebooting")),
        PowerTarget::SoftBooted { .. } => Some(("power on", "soft rebooting")),
        PowerTarget::BootOrder { .. } | PowerTarget::Interrupted => None,
    }
}

/// The word for a power state.
pub const fn power_word(power: Power) -> &'static str {
    match power {
        Power::On => "power on",
        Power::Off => "power off",
    }
}

/// Whether somebody is at work on it. Who only waits for a machine holds no lock.
const fn is_locked(state: State) -> bool {
    let waits = matches!(
        state,
        State::Deploying { stage: Stage::Boot, .. }
            | State::Cleaning { stage: Stage::Boot, .. }
            | State::Inspecting { stage: Stage::Boot, .. }
            | State::Rescuing { stage: Stage::Boot, .. }
            | State::Servicing { stage: Stage::Boot, .. }
    );
    state.is_busy() && !waits
}

/// A moment as the protocol writes it.
pub fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.to_string().replace('Z', "000+00:00")))
}
