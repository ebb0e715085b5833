//! The keys of `driver_info` that Ironic 39 documents, and what becomes of each. Pure. [`crate::instance_info`] and
//! [`crate::properties`] have those of the other two dictionaries.
//!
//! A key acts, or is refused with its name, or is kept because nothing here depends on what it says. Nothing that an
//! operator sets is ignored silently. Keys that Ironic does not document are kept, as in Ironic: clients store notes of their
//! own there. `fake-hardware` nodes take anything.

use domain::driver::Driver;
use serde_json::{Map, Value};
use wire_ironic::{
    error::{Class, Error},
    fields::{MASK, is_secret},
};

use crate::{
    ipmi,
    values::{self, FALSE, TRUE, boot_persistence, given, plain},
};

/// Maximum length of a value that is repeated in an error, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It acts. `drivers.rs` of `ironic-api` describes it.
    Acts,
    /// Clients may set it; the reason why nothing depends on it.
    Kept(&'static str),
    /// It is refused, unless it demands what happens anyway.
    Refused {
        /// The values that demand it, in lower case.
        unless: &'static [&'static str],
        /// The reason, and what to do.
        why: &'static str,
    },
}

/// A key of a dictionary.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The driver that it belongs to. `None` for all.
    pub driver: Option<Driver>,
    /// What becomes of it.
    pub fate: Fate,
}

pub(crate) const fn key(name: &'static str, fate: Fate) -> Key {
    Key { name, driver: None, fate }
}

const fn of_ipmi(name: &'static str, fate: Fate) -> Key {
    Key { name, driver: Some(Driver::Ipmi), fate }
}

const fn of_redfish(name: &'static str, fate: Fate) -> Key {
    Key { name, driver: Some(Driver::Redfish), fate }
}

pub(crate) const fn refused(why: &'static str) -> Fate {
    Fate::Refused { unless: &[], why }
}

const NO_RESCUE: Fate = Fate::Kept("no driver rescues: rescue_interface is no-rescue");
const NO_NETWORKS: Fate = Fate::Kept("network_interface is noop: there are no networks to switch between");
const NO_ANSIBLE: Fate = Fate::Kept("deploy_interface ansible is refused");
const NO_VIRTUAL_MEDIA: Fate = Fate::Kept("machines boot over the network: no boot medium is built or published");
const BRIDGING: Fate =
    refused("requests are sent to the BMC itself, never bridged to a controller behind it; remove it");
const PROXY: Fate = refused("the rack's storage-service downloads images, and the agent from it; remove it");

/// The keys. Sources: Ironic 39, `drivers/utils.py`, `drivers/modules/{agent,agent_base,ipmitool,pxe_base}.py`,
/// `drivers/modules/redfish/{boot,utils}.py`, `common/image_service.py`, and the keys that its sources read without documenting them.
pub const KEYS: &[Key] = &[
    key("deploy_kernel", Fate::Acts),
    key("deploy_ramdisk", Fate::Acts),
    key("kernel_append_params", Fate::Acts),
    key("force_persistent_boot_device", Fate::Acts),
    key("rescue_kernel", NO_RESCUE),
    key("rescue_ramdisk", NO_RESCUE),
    key("rescue_iso", NO_RESCUE),
    key("deploy_iso", refused("machines boot over the network: name deploy_kernel and deploy_ramdisk instead")),
    key("bootloader", NO_VIRTUAL_MEDIA),
    key("external_http_url", NO_VIRTUAL_MEDIA),
    key("vmedia_transport_protocol", NO_VIRTUAL_MEDIA),
    key(
        "config_via_removable",
        Fate::Refused { unless: FALSE, why: "the agent is configured by its kernel's arguments; remove it" },
    ),
    key("image_http_proxy", PROXY),
    key("image_https_proxy", PROXY),
    key("image_no_proxy", Fate::Kept("there is no proxy that it could make an exception of")),
    key(
        "image_download_source",
        Fate::Kept("agents download every image from the rack's storage-service, as with local"),
    ),
    key("deploy_forces_oob_reboot", Fate::Kept("the BMC makes every reboot")),
    key(
        "agent_verify_ca",
        Fate::Refused {
            unless: TRUE,
            why: "the certificate that the agent sends with its heartbeat is verified, and no other; remove it",
        },
    ),
    key("fast_track", Fate::Kept("it saves a boot; here every operation boots its own agent")),
    key("pxe_template", refused("boot scripts are rendered by the pxe-service; use kernel_append_params")),
    key("provisioning_network", NO_NETWORKS),
    key("cleaning_network", NO_NETWORKS),
    key("rescuing_network", NO_NETWORKS),
    key("inspection_network", NO_NETWORKS),
    key("servicing_network", NO_NETWORKS),
    key("ansible_python_interpreter", NO_ANSIBLE),
    key("ansible_playbooks_path", NO_ANSIBLE),
    key(
        "image_pull_secret",
        refused("images are downloaded without credentials, and never from a registry; remove it"),
    ),
    of_ipmi("ipmi_address", Fate::Acts),
    of_ipmi("ipmi_port", Fate::Acts),
    of_ipmi("ipmi_username", Fate::Acts),
    of_ipmi("ipmi_password", Fate::Acts),
    of_ipmi("ipmi_priv_level", Fate::Acts),
    of_ipmi("ipmi_hex_kg_key", Fate::Acts),
    of_ipmi("ipmi_cipher_suite", Fate::Acts),
    of_ipmi("ipmi_disable_boot_timeout", Fate::Acts),
    of_ipmi(
        "ipmi_protocol_version",
        Fate::Refused {
            unless: &["2.0", "2"],
            why: "only IPMI 2.0 is spoken, because 1.5 does not encrypt; remove it",
        },
    ),
    of_ipmi(
        "ipmi_bridging",
        Fate::Refused { unless: &["no"], why: "requests are not bridged; set it to no, or remove it" },
    ),
    of_ipmi("ipmi_local_address", BRIDGING),
    of_ipmi("ipmi_transit_channel", BRIDGING),
    of_ipmi("ipmi_transit_address", BRIDGING),
    of_ipmi("ipmi_target_channel", BRIDGING),
    of_ipmi("ipmi_target_address", BRIDGING),
    of_ipmi(
        "ipmi_force_boot_device",
        Fate::Refused {
            unless: FALSE,
            why: "a boot device is set before each boot of an operation, and not before a power-on that a user asks for; \
                  remove it, and set the device before such a power-on (baremetal node boot device set)",
        },
    ),
    of_ipmi("ipmi_terminal_port", Fate::Kept("console_interface is no-console: no console program listens")),
    of_redfish("redfish_address", Fate::Acts),
    of_redfish("redfish_system_id", Fate::Acts),
    of_redfish("redfish_username", Fate::Acts),
    of_redfish("redfish_password", Fate::Acts),
    of_redfish("redfish_verify_ca", Fate::Acts),
    of_redfish("redfish_auth_type", Fate::Acts),
    of_redfish(
        "redfish_tls_minimum_version",
        Fate::Refused {
            unless: &["1.1", "1.2"],
            why: "TLS 1.2 and 1.3 are accepted; remove it, or forbid TLS 1.2 at the BMC",
        },
    ),
    of_redfish("redfish_tls_ciphers", refused("only ciphers with forward secrecy are accepted; remove it")),
    of_redfish("firmware_update_unresponsive_bmc_wait", Fate::Kept("firmware_interface is no-firmware")),
];

/// Checks the keys of a node's `driver_info`.
///
/// # Errors
/// 400 with the key, the reason and what to do.
pub fn check(driver: Driver, info: Option<&Value>) -> Result<(), Error> {
    let Some(info) = info.and_then(Value::as_object).filter(|_| driver != Driver::FakeHardware) else { return Ok(()) };
    refuse("driver_info", KEYS, driver, info)?;
    check_urls(driver, info)?;
    check_values(driver, Some(&Value::from(info.clone())))
}

/// Checks the URLs of a node's `driver_info`. The address of a BMC is no text that is requested as it is.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_urls(driver: Driver, info: &Map<String, Value>) -> Result<(), Error> {
    if driver == Driver::FakeHardware {
        return Ok(());
    }
    values::check_urls("driver_info", &["deploy_kernel", "deploy_ramdisk"], info)
}

/// Checks the values of the keys that act.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_values(driver: Driver, info: Option<&Value>) -> Result<(), Error> {
    let Some(info) = info.and_then(Value::as_object).filter(|_| driver != Driver::FakeHardware) else { return Ok(()) };
    if let Some(value) = given(info, "force_persistent_boot_device")
        && boot_persistence(value).is_none()
    {
        return Err(Class::Invalid.error(
            "driver_info/force_persistent_boot_device must be Default, Always or Never; the old values True and False \
             are accepted too"
                .to_owned(),
        ));
    }
    match driver {
        Driver::Ipmi => ipmi::check(info).map_err(|invalid| Class::Invalid.error(invalid.to_string())),
        Driver::Redfish | Driver::FakeHardware | Driver::ManualManagement => Ok(()),
    }
}

/// Refuses the keys of a dictionary that are to be refused.
pub(crate) fn refuse(dictionary: &str, keys: &[Key], driver: Driver, info: &Map<String, Value>) -> Result<(), Error> {
    for known in keys.iter().filter(|key| key.driver.is_none_or(|own| own == driver)) {
        let (Fate::Refused { unless, why }, Some(value)) = (known.fate, given(info, known.name)) else { continue };
        if !unless.contains(&plain(value).trim().to_ascii_lowercase().as_str()) {
            return Err(unsupported(dictionary, known.name, &plain(value), why));
        }
    }
    Ok(())
}

/// Error for a value that is not supported.
pub(crate) fn unsupported(dictionary: &str, key: &str, value: &str, why: &str) -> Error {
    let shown = if is_secret(key, &Value::from(value)) { MASK } else { value };
    let shown: String = shown.chars().filter(|sign| !sign.is_control()).take(MAX_SHOWN_CHARS).collect();
    Class::Invalid.error(format!("{dictionary}/{key} = {shown:?} is not supported: {why}"))
}

#[cfg(test)]
mod tests;
