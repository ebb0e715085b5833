//! `POST /v1/continue_inspection`: an agent's report about its machine.

use serde_json::{Map, Value};

use crate::argument;
use crate::error::{Class, Error};
use crate::fields::{is_uuid, schema_error};
use crate::python;
use crate::version::{Collection, Version};

/// First minor version with this path. Before, only the oldest version has it, for agents that send no version.
const CONTINUE_INSPECTION_SINCE: u16 = 84;

/// Response to the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportResponse {
    /// `{"uuid": …}`: the agent stops.
    Uuid,
    /// The response to a lookup, with a token: the agent continues.
    Lookup,
}

/// Report of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Node, if the kernel arguments name it.
    pub node_uuid: Option<String>,
    /// MAC addresses of the NICs, in lower case.
    pub addresses: Vec<String>,
    /// Addresses of the BMC.
    pub bmc_addresses: Vec<String>,
    /// Inventory, stored and shown unchanged.
    pub inventory: Value,
    /// Error of the ramdisk; the inspection fails with it.
    pub error: Option<String>,
    /// All other members, shown as `plugin_data`.
    pub rest: Map<String, Value>,
    /// Response to the report.
    pub response: ReportResponse,
}

impl Report {
    /// Parses a body and the query's `node_uuid`.
    ///
    /// # Errors
    /// 404 for a version that does not have the path, 400 for an incomplete report.
    pub fn read(version: Version, node_uuid: Option<&str>, mut body: Map<String, Value>) -> Result<Self, Error> {
        check_inventory(&body)?;
        if let Some(uuid) = node_uuid.filter(|uuid| !is_uuid(uuid)) {
            return Err(Class::Invalid.error(format!("Expected UUID for node_uuid: {uuid}")));
        }
        check_version(version, node_uuid.is_some())?;
        let inventory = body.remove("inventory").unwrap_or_default();
        let addresses = addresses(&inventory);
        let text = |name| inventory.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let bmc_addresses: Vec<String> =
            [text("bmc_address"), text("bmc_v6address")].into_iter().flatten().map(str::to_owned).collect();
        if addresses.is_empty() && bmc_addresses.is_empty() && node_uuid.is_none() {
            return Err(Class::Invalid.error("No lookup information provided"));
        }
        let error = body.get("error").filter(|error| !error.is_null());
        let error = error.map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        let response =
            if version.has(CONTINUE_INSPECTION_SINCE) { ReportResponse::Lookup } else { ReportResponse::Uuid };
        Ok(Self {
            node_uuid: node_uuid.map(str::to_owned),
            addresses,
            bmc_addresses,
            inventory,
            error,
            rest: body,
            response,
        })
    }
}

fn check_version(version: Version, by_uuid: bool) -> Result<(), Error> {
    let Some(collection) = Collection::named("continue_inspection") else { return Ok(()) };
    if by_uuid && !version.has(CONTINUE_INSPECTION_SINCE) {
        return Err(Class::NotFound.error(format!("API version 1.{CONTINUE_INSPECTION_SINCE} or newer is required")));
    }
    collection.check(version, false)
}

fn addresses(inventory: &Value) -> Vec<String> {
    let interfaces = inventory.get("interfaces").and_then(Value::as_array).into_iter().flatten();
    let texts = interfaces.filter_map(|interface| interface.get("mac_address")?.as_str());
    texts.filter_map(|address| argument::mac("mac_address", address).ok()).collect()
}

fn check_inventory(body: &Map<String, Value>) -> Result<(), Error> {
    let fail = |what: String| Err(schema_error("data", &what));
    let wrong_type = |value: &Value, types: &str| format!("{} is not of type {types}", python::quoted(value));
    let Some(inventory) = body.get("inventory") else {
        return fail("'inventory' is a required property".to_owned());
    };
    let Some(members) = inventory.as_object() else { return fail(wrong_type(inventory, "'object'")) };
    let Some(interfaces) = members.get("interfaces") else {
        return fail("'interfaces' is a required property".to_owned());
    };
    let Some(list) = interfaces.as_array() else { return fail(wrong_type(interfaces, "'array'")) };
    if list.is_empty() {
        return fail("[] should be non-empty".to_owned());
    }
    for interface in list {
        match interface.as_object().map(|members| members.get("mac_address")) {
            None => return fail(wrong_type(interface, "'object'")),
            Some(None) => return fail("'mac_address' is a required property".to_owned()),
            Some(Some(address)) if !address.is_string() => return fail(wrong_type(address, "'string'")),
            Some(Some(_)) => {}
        }
    }
    let bmc = ["bmc_address", "bmc_v6address"].into_iter().filter_map(|name| members.get(name));
    for address in bmc {
        if !address.is_string() && !address.is_null() {
            return fail(wrong_type(address, "'string', 'null'"));
        }
    }
    Ok(())
}
