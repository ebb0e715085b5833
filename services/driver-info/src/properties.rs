//! The keys of `properties` that Ironic 39 documents or reads, and what becomes of each. Pure.
//!
//! [`Properties`] reads those that act.

use domain::{
    disk_hints::{self, HintUse},
    driver::Driver,
    id::NodeId,
};
use keyspace::value::{ExtraFields, Properties};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error};

use crate::{
    capabilities,
    keys::{Fate, Key, key, refuse, refused},
    values::plain,
};

const FOR_PLACEMENT: Fate = Fate::Kept("it describes the machine to those who place instances");

/// Keys of which the values must be whole numbers, whatever the driver (`ironic/objects/node.py`).
const NUMBERS: [&str; 2] = ["local_gb", "memory_mb"];

/// The keys. Sources: Ironic 39, `objects/node.py`, `drivers/utils.py`, `drivers/modules/{deploy_utils,agent,ipmitool}.py`,
/// `drivers/modules/redfish/*.py`, `drivers/modules/inspector/hooks/*.py`, `conductor/deployments.py`; ironic-python-agent 13,
/// `hardware.py` and `inject_files.py`.
pub const KEYS: &[Key] = &[
    key("capabilities", Fate::Acts),
    key("root_device", Fate::Acts),
    key("skip_block_devices", Fate::Acts),
    // An extension to Ironic: placement spreads the nodes of a group over power domains.
    key("power_domain", Fate::Acts),
    key("local_gb", Fate::Acts),
    key("memory_mb", Fate::Acts),
    key("cpus", FOR_PLACEMENT),
    key("accelerators", FOR_PLACEMENT),
    key("cpu_arch", Fate::Kept("the firmware names its architecture when it boots (RFC 4578 §2.1)")),
    key("vendor", Fate::Kept("the BMC is asked what it is, and its dialect is learned from its answers")),
    key(
        "boot_mode",
        Fate::Kept("Ironic compares it with disallowed_deployment_boot_modes only; capabilities has the boot mode"),
    ),
    key("inject_files", refused("no files are injected into the agent; use a config drive")),
];

/// Checks the keys of a node's `properties`.
///
/// # Errors
/// 400 with the key, the reason and what to do.
pub fn check(driver: Driver, node: NodeId, properties: Option<&Value>) -> Result<(), Error> {
    let Some(properties) = properties.and_then(Value::as_object) else { return Ok(()) };
    check_numbers(node, properties)?;
    if driver == Driver::FakeHardware {
        return Ok(());
    }
    refuse("properties", KEYS, driver, properties)?;
    capabilities::check("properties", properties)?;
    let fields = ExtraFields::from(properties.clone());
    let fields = Properties::of(&fields);
    let root_device = [fields.root_device()];
    let of_root = root_device.iter().map(|hints| ("root_device", hints, false));
    let skipped = fields.skipped_disks();
    for (key, hints, skips) in of_root.chain(skipped.iter().map(|hints| ("skip_block_devices", hints, true))) {
        // Another agent may be named until the node is deployed.
        if let Err(error) = disk_hints::check(hints, HintUse { by_ironics_agent: true, skips }) {
            return Err(Class::Invalid.error(format!("properties/{key} is invalid: {error}")));
        }
    }
    Ok(())
}

/// Checks numbers as Ironic does, in its words.
fn check_numbers(node: NodeId, properties: &Map<String, Value>) -> Result<(), Error> {
    let is_whole = |value: &Value| match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number > -1.0),
        Value::Bool(_) => true,
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            plain(value).trim().parse::<u64>().is_ok()
        }
    };
    let named = NUMBERS.iter().filter_map(|key| Some((*key, properties.get(*key).filter(|value| !value.is_null())?)));
    let wrong: Vec<String> =
        named.filter(|(_, value)| !is_whole(value)).map(|(key, value)| format!("{key}={}", plain(value))).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Class::Invalid.error(format!(
        "The following properties for node {node} should be non-negative integers, but provided values are: {}",
        wrong.join(", ")
    )))
}

#[cfg(test)]
mod tests;
