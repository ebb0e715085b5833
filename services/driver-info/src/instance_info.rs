//! The keys of `instance_info` that Ironic 39 documents or reads, and what becomes of each. Pure.
//!
//! [`InstanceInfo`] reads those that act.

use domain::{
    disk_hints::{self, HintUse},
    driver::Driver,
    power::BootMode,
};
use keyspace::value::{ExtraFields, InstanceInfo, Properties};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error};

use crate::{
    capabilities,
    keys::{Fate, Key, key, refuse, refused},
    values::{FALSE, check_urls},
};

const OF_CONDUCTOR: Fate = Fate::Kept("Ironic's conductor sets it for itself; here the image is served by its digest");
const NO_PARTITION_IMAGE: Fate =
    refused("images are of whole disks, and a partition image is not written; remove it, and name the image of a disk");
const NO_PARTITION: Fate = Fate::Kept("images are of whole disks, in which it has no meaning");
const NO_PARTITION_MADE: Fate = Fate::Refused {
    unless: &["0"],
    why: "images are of whole disks, and no partition is made beside them; set it to 0, or remove it",
};
const NOVA: Fate = Fate::Kept("Nova notes it for itself");
const NO_ANACONDA: Fate = Fate::Kept("only deploy_interface anaconda reads it, which is not carried out");
const NO_BOOTC: Fate = Fate::Kept("only deploy_interface bootc reads it, which is not carried out");
const NO_RESCUE: Fate = Fate::Kept("no driver rescues: rescue_interface is no-rescue");
const NO_CREDENTIALS: Fate =
    refused("images are downloaded without credentials; remove it, and serve the image where the rack may read it");
const A_FIELD: Fate =
    refused("an interface is chosen for the node and not for an instance; set the node's field instead");

/// Keys whose values may be URLs.
const URLS: &[&str] = &["image_source", "image_checksum", "image_os_hash_value", "configdrive"];

/// The keys. Sources: Ironic 39, `drivers/modules/{agent,deploy_utils,ramdisk,pxe_base,image_utils,boot_mode_utils}.py`,
/// `common/{images,checksum_utils,image_service,pxe_utils,driver_factory}.py`, `conductor/{deployments,steps,utils}.py`,
/// `objects/deployment.py`; ironic-python-agent 13, `extensions/standby.py`; Nova, `virt/ironic/patcher.py`.
pub const KEYS: &[Key] = &[
    key("image_source", Fate::Acts),
    key("image_checksum", Fate::Acts),
    key("image_os_hash_algo", Fate::Acts),
    key("image_os_hash_value", Fate::Acts),
    key("image_disk_format", Fate::Acts),
    key("image_container_format", Fate::Acts),
    key("configdrive", Fate::Acts),
    key("traits", Fate::Acts),
    key("capabilities", Fate::Acts),
    key("deploy_boot_mode", Fate::Acts),
    key("root_device", Fate::Acts),
    key("kernel_append_params", Fate::Acts),
    key("display_name", Fate::Acts),
    key(
        "image_type",
        Fate::Refused { unless: &["whole-disk"], why: "images are of whole disks; set it to whole-disk, or remove it" },
    ),
    key("kernel", NO_PARTITION_IMAGE),
    key("ramdisk", NO_PARTITION_IMAGE),
    key("swap_mb", NO_PARTITION_MADE),
    key("ephemeral_gb", NO_PARTITION_MADE),
    key("ephemeral_mb", NO_PARTITION_MADE),
    key(
        "preserve_ephemeral",
        Fate::Refused { unless: FALSE, why: "an image overwrites the disk; set it to false, or remove it" },
    ),
    key("ephemeral_format", NO_PARTITION),
    key("root_gb", NO_PARTITION),
    key("root_mb", NO_PARTITION),
    key("image_rootfs_uuid", NO_PARTITION),
    key("boot_iso", refused("a machine is not booted from an ISO image; remove it, and name image_source")),
    key(
        "ironic_ramdisk_deploy",
        Fate::Refused {
            unless: FALSE,
            why: "an image is written to the disk: no ramdisk is run in its place; remove it",
        },
    ),
    key("ramdisk_kernel_arguments", Fate::Kept("only deploy_interface ramdisk reads it, which is not carried out")),
    key("ramdisk_image_download_source", Fate::Kept("no boot medium is built or published")),
    key(
        "image_download_source",
        Fate::Kept("agents download every image from the rack's storage-service, as with local"),
    ),
    key("image_url", OF_CONDUCTOR),
    key("original_image_source", OF_CONDUCTOR),
    key("image_properties", OF_CONDUCTOR),
    key("image_tags", OF_CONDUCTOR),
    key("oci_image_manifest_url", OF_CONDUCTOR),
    key("container_image_type", OF_CONDUCTOR),
    key("image_request_authorization", NO_CREDENTIALS),
    key("image_request_authorization_secret", NO_CREDENTIALS),
    key("image_pull_secret", NO_CREDENTIALS),
    key("bootc_authorized_keys", NO_BOOTC),
    key("bootc_tpm2_luks", NO_BOOTC),
    key("ks_template", NO_ANACONDA),
    key("ks_cfg", NO_ANACONDA),
    key("stage2", NO_ANACONDA),
    key("liveimg_url", NO_ANACONDA),
    key("rescue_password", NO_RESCUE),
    key("hashed_rescue_password", NO_RESCUE),
    key("project_id", Fate::Kept("a lessee is set at the node, as with automatic_lessee_source none")),
    key("vcpus", NOVA),
    key("memory_mb", NOVA),
    key("local_gb", NOVA),
    key("nova_host_id", NOVA),
    key("bios_interface", A_FIELD),
    key("boot_interface", A_FIELD),
    key("console_interface", A_FIELD),
    key("deploy_interface", A_FIELD),
    key("firmware_interface", A_FIELD),
    key("inspect_interface", A_FIELD),
    key("management_interface", A_FIELD),
    key("network_interface", A_FIELD),
    key("power_interface", A_FIELD),
    key("raid_interface", A_FIELD),
    key("rescue_interface", A_FIELD),
    key("storage_interface", A_FIELD),
    key("vendor_interface", A_FIELD),
];

/// Checks the keys of a node's `instance_info`.
///
/// # Errors
/// 400 with the key, the reason and what to do.
pub fn check(driver: Driver, info: Option<&Value>) -> Result<(), Error> {
    let Some(info) = info.and_then(Value::as_object).filter(|_| driver != Driver::FakeHardware) else { return Ok(()) };
    refuse("instance_info", KEYS, driver, info)?;
    check_urls("instance_info", URLS, info)?;
    capabilities::check("instance_info", info)?;
    capabilities::check_boot_mode(
        "instance_info/deploy_boot_mode",
        info.get("deploy_boot_mode").and_then(Value::as_str),
    )?;
    let info = ExtraFields::from(info.clone());
    let used = HintUse { by_ironics_agent: true, skips: false };
    let checked = disk_hints::check(&InstanceInfo::of(&info).root_device(), used);
    checked.map_err(|error| Class::Invalid.error(format!("instance_info/root_device is invalid: {error}")))
}

/// Checks that the boot modes of `instance_info` and of `properties` are the same.
///
/// # Errors
/// 400 with both and what to do.
pub fn check_boot_modes(driver: Driver, info: Option<&Value>, properties: Option<&Value>) -> Result<(), Error> {
    if driver == Driver::FakeHardware {
        return Ok(());
    }
    let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let (info, properties): (Map<_, _>, Map<_, _>) = (fields(info), fields(properties));
    let (info, properties) = (ExtraFields::from(info), ExtraFields::from(properties));
    let (info, properties) = (InstanceInfo::of(&info), Properties::of(&properties));
    match info.boot_mode().zip(properties.boot_mode()) {
        Some((wanted, has)) if wanted != has => Err(Class::Invalid.error(format!(
            "the boot mode {} of instance_info contradicts properties/capabilities, which has boot_mode:{}; change one of \
             them",
            name(wanted),
            name(has)
        ))),
        Some(_) | None => Ok(()),
    }
}

const fn name(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Uefi => "uefi",
        BootMode::Bios => "bios",
    }
}

#[cfg(test)]
mod tests;
