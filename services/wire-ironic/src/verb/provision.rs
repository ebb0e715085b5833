//! Body of `states/provision`.

use std::fmt;

use serde_json::{Map, Value};

use super::{Step, Steps, Verb};
use crate::argument;
use crate::error::{Class, Error, text};
use crate::python;
use crate::version::Version;

/// Members of a body.
const ARGUMENTS: &[&str] = &[
    "target",
    "configdrive",
    "clean_steps",
    "deploy_steps",
    "rescue_password",
    "disable_ramdisk",
    "service_steps",
    "runbook",
];
/// First minor version in which a rebuild accepts a config drive.
const REBUILD_DRIVE_SINCE: u16 = 35;
/// First minor version in which a config drive can be given as its parts.
const DRIVE_PARTS_SINCE: u16 = 56;
/// First minor version with vendor data in a config drive.
const VENDOR_DATA_SINCE: u16 = 59;
/// First minor version with deploy steps.
const DEPLOY_STEPS_SINCE: u16 = 69;
/// First minor version with `disable_ramdisk` for cleaning.
const CLEAN_DISABLE_RAMDISK_SINCE: u16 = 70;
/// First minor version with `disable_ramdisk` for servicing.
const SERVICE_DISABLE_RAMDISK_SINCE: u16 = 108;
/// First minor version with runbooks.
const RUNBOOKS_SINCE: u16 = 92;

/// Config drive. Its `Debug` output hides its content, which may contain secrets.
#[derive(Clone, PartialEq)]
pub enum ConfigDrive {
    /// URL.
    Url(String),
    /// ISO image, compressed by gzip, in base64.
    Packed(String),
    /// Parts: `meta_data`, `network_data`, `user_data`, `vendor_data`.
    Parts(Map<String, Value>),
}

impl ConfigDrive {
    /// Reads a config drive that is stored in a node's `instance_info`. `None` for an empty one.
    ///
    /// # Errors
    /// 400 if it is neither a URL, nor base64, nor parts.
    pub fn stored(drive: &Value) -> Result<Option<Self>, Error> {
        match drive {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => packed_drive(text).map(Some),
            Value::Object(parts) if parts.is_empty() => Ok(None),
            Value::Object(parts) => parts_of_drive(Version::MAX, parts).map(Some),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(no_drive()),
        }
    }
}

/// Request to `states/provision`, of which only the JSON types are checked.
#[derive(Clone, PartialEq)]
pub struct Provision {
    /// Name of the verb; may be unknown.
    pub target: String,
    configdrive: Value,
    clean_steps: Vec<Value>,
    deploy_steps: Vec<Value>,
    service_steps: Vec<Value>,
    rescue_password: Option<String>,
    disable_ramdisk: Option<bool>,
    /// Runbook whose steps are executed, by UUID or name.
    pub runbook: Option<String>,
}

/// Checked arguments of a verb.
#[derive(Clone, PartialEq, Default)]
pub struct Arguments {
    /// Config drive, for active and rebuild.
    pub configdrive: Option<ConfigDrive>,
    /// Steps, for clean, service, active and rebuild. Empty if a runbook has them.
    pub steps: Vec<Step>,
    /// Password, for rescue.
    pub rescue_password: Option<String>,
    /// For clean and service: whether the steps run without the ramdisk.
    pub without_ramdisk: bool,
}

impl fmt::Debug for ConfigDrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url(_) => "Url",
            Self::Packed(_) => "Packed",
            Self::Parts(_) => "Parts",
        })
    }
}

impl fmt::Debug for Provision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provision").field("target", &self.target).finish_non_exhaustive()
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.steps.iter().map(|step| (&step.interface, &step.step)).collect();
        f.debug_struct("Arguments")
            .field("configdrive", &self.configdrive)
            .field("steps", &names)
            .finish_non_exhaustive()
    }
}

impl Provision {
    /// Parses a body, which contains the arguments of the query too.
    ///
    /// # Errors
    /// 400.
    pub fn read(body: &Map<String, Value>) -> Result<Self, Error> {
        argument::only(body, ARGUMENTS)?;
        let target = argument::text(body, "target")?.ok_or_else(|| argument::missing("target"))?;
        let configdrive = body.get("configdrive").cloned().unwrap_or(Value::Null);
        if !(configdrive.is_null() || configdrive.is_object() || configdrive.is_string()) {
            return Err(argument::expected(
                "<class 'NoneType'>, <class 'dict'>, <class 'str'>",
                "configdrive",
                &configdrive,
            ));
        }
        let steps = |kind: Steps| argument::list(body, kind.argument());
        Ok(Self {
            target,
            configdrive,
            clean_steps: steps(Steps::Clean)?,
            deploy_steps: steps(Steps::Deploy)?,
            service_steps: steps(Steps::Service)?,
            rescue_password: argument::text(body, "rescue_password")?,
            disable_ramdisk: argument::flag(body, "disable_ramdisk")?,
            runbook: argument::text(body, "runbook")?.filter(|runbook| !runbook.is_empty()),
        })
    }

    /// Checks the arguments of the verb after the state has allowed it; `state` is the node's state.
    ///
    /// # Errors
    /// 400, or 406 for arguments of a newer version.
    pub fn check(&self, version: Version, verb: Verb, state: &str) -> Result<Arguments, Error> {
        let configdrive = self.config_drive(version)?;
        if self.runbook.is_some() {
            self.check_runbook(version, verb)?;
        }
        self.check_ramdisk(version, verb)?;
        only(!self.clean_steps.is_empty() && verb != Verb::Clean, "clean_steps", "clean")?;
        self.check_deploy_steps(version)?;
        only(self.rescue_password.is_some() && verb != Verb::Rescue, "rescue_password", "rescue")?;
        only(!self.service_steps.is_empty() && verb != Verb::Service, "service_steps", "service")?;
        verb.check_version_after_state(version, state)?;
        Ok(Arguments {
            configdrive,
            steps: self.steps(verb)?,
            rescue_password: self.password(verb)?,
            without_ramdisk: self.disable_ramdisk.unwrap_or_default(),
        })
    }

    fn config_drive(&self, version: Version) -> Result<Option<ConfigDrive>, Error> {
        let empty = match &self.configdrive {
            Value::String(text) => text.is_empty(),
            Value::Object(parts) => parts.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => true,
        };
        if empty {
            return Ok(None);
        }
        let rebuild = version.has(REBUILD_DRIVE_SINCE);
        let is_supported = self.target == "active" || (rebuild && self.target == "rebuild");
        if !is_supported {
            let targets = if rebuild { "active, rebuild" } else { "active" };
            return Err(Class::Invalid
                .error(format!("Adding a config drive is only supported when setting provision state to {targets}")));
        }
        match self.configdrive.as_object() {
            Some(parts) => parts_of_drive(version, parts).map(Some),
            None => packed_drive(self.configdrive.as_str().unwrap_or_default()).map(Some),
        }
    }

    fn check_runbook(&self, version: Version, verb: Verb) -> Result<(), Error> {
        if !version.has(RUNBOOKS_SINCE) {
            return Err(text::not_acceptable());
        }
        if !matches!(verb, Verb::Clean | Verb::Service) {
            return Err(Class::Invalid.error(
                "\"runbooks\" is only valid when setting target provision state to any of ['clean', 'service']",
            ));
        }
        if !self.clean_steps.is_empty() || !self.service_steps.is_empty() {
            return Err(Class::Invalid.error("runbook and steps cannot be combined"));
        }
        Ok(())
    }

    fn check_ramdisk(&self, version: Version, verb: Verb) -> Result<(), Error> {
        if self.disable_ramdisk.is_none() {
            return Ok(());
        }
        let since = match verb.steps() {
            Some(Steps::Clean) => CLEAN_DISABLE_RAMDISK_SINCE,
            Some(Steps::Service) => SERVICE_DISABLE_RAMDISK_SINCE,
            Some(Steps::Deploy | Steps::Runbook) | None => {
                return Err(Class::Invalid.error("disable_ramdisk is supported only with manual cleaning or servicing"));
            }
        };
        if version.has(since) {
            return Ok(());
        }
        Err(Class::NotAcceptable.error("disable_ramdisk is not acceptable in this API version"))
    }

    fn check_deploy_steps(&self, version: Version) -> Result<(), Error> {
        if self.deploy_steps.is_empty() {
            return Ok(());
        }
        if !version.has(DEPLOY_STEPS_SINCE) {
            return Err(text::needs_version(DEPLOY_STEPS_SINCE));
        }
        if matches!(self.target.as_str(), "active" | "rebuild") {
            return Ok(());
        }
        Err(Class::Invalid
            .error("\"deploy_steps\" is only valid when setting target provision state to active or rebuild"))
    }

    fn steps(&self, verb: Verb) -> Result<Vec<Step>, Error> {
        let (kind, list) = match verb.steps() {
            Some(Steps::Clean) => (Steps::Clean, &self.clean_steps),
            Some(Steps::Service) => (Steps::Service, &self.service_steps),
            Some(Steps::Deploy) => return Steps::Deploy.read(&self.deploy_steps),
            Some(Steps::Runbook) | None => return Ok(Vec::new()),
        };
        if list.is_empty() && self.runbook.is_none() {
            let (argument, target) = (kind.argument(), &self.target);
            return Err(Class::Invalid
                .error(format!("\"{argument}\" is required when setting target provision state to {target}")));
        }
        kind.read(list)
    }

    fn password(&self, verb: Verb) -> Result<Option<String>, Error> {
        let empty = self.rescue_password.as_deref().is_none_or(|password| password.trim().is_empty());
        if verb == Verb::Rescue && empty {
            return Err(Class::Invalid
                .error("A non-empty \"rescue_password\" is required when setting target provision state to rescue"));
        }
        Ok(self.rescue_password.clone())
    }
}

/// Fails if an argument is used with a verb that does not have it.
fn only(misplaced: bool, argument: &str, target: &str) -> Result<(), Error> {
    if !misplaced {
        return Ok(());
    }
    Err(Class::Invalid.error(format!("\"{argument}\" is only valid when setting target provision state to {target}")))
}

fn parts_of_drive(version: Version, parts: &Map<String, Value>) -> Result<ConfigDrive, Error> {
    for (name, value) in parts {
        let has_valid_type = match name.as_str() {
            "meta_data" | "network_data" | "vendor_data" => value.is_object(),
            "user_data" => !value.is_boolean() && !value.is_number(),
            _ => {
                let name = python::quoted_text(name);
                return Err(Class::Invalid.error(format!(
                    "Invalid configdrive format: Additional properties are not allowed ({name} was unexpected)"
                )));
            }
        };
        if !has_valid_type {
            return Err(Class::Invalid.error(format!("Invalid configdrive format: {name} has a wrong type")));
        }
    }
    let too_old = |what, minor| format!("Providing {what} is only supported starting with API version 1.{minor}");
    if !version.has(DRIVE_PARTS_SINCE) {
        return Err(Class::Invalid.error(too_old("a JSON object for configdrive", DRIVE_PARTS_SINCE)));
    }
    if parts.contains_key("vendor_data") && !version.has(VENDOR_DATA_SINCE) {
        return Err(Class::Invalid.error(too_old("vendor_data in configdrive", VENDOR_DATA_SINCE)));
    }
    Ok(ConfigDrive::Parts(parts.clone()))
}

/// Base64 contains no colon, so a URL can be distinguished from a config drive.
fn packed_drive(text: &str) -> Result<ConfigDrive, Error> {
    if text.contains("://") {
        return Ok(ConfigDrive::Url(text.to_owned()));
    }
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=\n\r\t ".contains(&byte)) {
        return Ok(ConfigDrive::Packed(text.to_owned()));
    }
    Err(no_drive())
}

fn no_drive() -> Error {
    Class::Invalid.error("Invalid configdrive format: it is neither a JSON, nor a URL, nor a base64 string")
}
