use keyspace::value::{Intent, NodeSpec};
use serde_json::json;

use super::*;
use crate::{apply, ironic_ramdisk};

/// Every key of `instance_info` in Ironic 39, with the source that reads it, a value that must have an effect, and what becomes
/// of it: `acts`, `refused`, or `kept`.
const IRONIC_39: &[(&str, &str, &str, &str)] = &[
    ("drivers/modules/agent.py", "image_source", "http://h/other.raw", "acts"),
    ("common/checksum_utils.py", "image_checksum", "http://h/SUMS", "acts"),
    ("common/checksum_utils.py", "image_os_hash_algo", "sha512", "acts"),
    ("common/checksum_utils.py", "image_os_hash_value", "cd", "acts"),
    ("drivers/modules/agent.py", "image_disk_format", "qcow2", "acts"),
    ("drivers/modules/agent.py", "image_container_format", "docker", "acts"),
    ("common/images.py", "image_type", "partition", "refused"),
    ("drivers/modules/agent.py", "image_url", "http://h/x", "kept"),
    ("conductor/deployments.py", "original_image_source", "http://h/x", "kept"),
    ("drivers/modules/deploy_utils.py", "image_properties", "x", "kept"),
    ("drivers/modules/deploy_utils.py", "image_tags", "x", "kept"),
    ("drivers/modules/deploy_utils.py", "oci_image_manifest_url", "https://h/x", "kept"),
    ("drivers/modules/deploy_utils.py", "container_image_type", "oci_artifact", "kept"),
    ("drivers/modules/agent.py", "image_rootfs_uuid", "x", "kept"),
    ("drivers/modules/deploy_utils.py", "image_download_source", "http", "kept"),
    ("drivers/modules/image_utils.py", "ramdisk_image_download_source", "http", "kept"),
    ("common/image_service.py", "image_pull_secret", "c2VjcmV0", "refused"),
    ("drivers/modules/agent.py", "image_request_authorization_secret", "c2VjcmV0", "refused"),
    ("ironic-python-agent standby.py", "image_request_authorization", "c2VjcmV0", "refused"),
    ("common/images.py", "kernel", "http://h/k", "refused"),
    ("common/images.py", "ramdisk", "http://h/r", "refused"),
    ("drivers/modules/ramdisk.py", "boot_iso", "http://h/i.iso", "refused"),
    ("drivers/modules/ramdisk.py", "ironic_ramdisk_deploy", "true", "refused"),
    ("drivers/modules/image_utils.py", "ramdisk_kernel_arguments", "quiet", "kept"),
    ("drivers/utils.py", "kernel_append_params", "console=ttyS1", "acts"),
    ("conductor/configdrive_utils.py", "configdrive", "http://h/d", "acts"),
    ("drivers/modules/deploy_utils.py", "root_gb", "10", "kept"),
    ("drivers/modules/agent.py", "root_mb", "10240", "kept"),
    ("drivers/modules/deploy_utils.py", "swap_mb", "512", "refused"),
    ("drivers/modules/deploy_utils.py", "ephemeral_gb", "10", "refused"),
    ("drivers/modules/agent.py", "ephemeral_mb", "10240", "refused"),
    ("drivers/modules/deploy_utils.py", "ephemeral_format", "ext4", "kept"),
    ("drivers/modules/deploy_utils.py", "preserve_ephemeral", "true", "refused"),
    ("drivers/modules/deploy_utils.py", "root_device", "", "acts"),
    ("common/utils.py", "capabilities", "boot_mode:bios", "acts"),
    ("drivers/modules/boot_mode_utils.py", "deploy_boot_mode", "bios", "acts"),
    ("conductor/steps.py", "traits", "", "acts"),
    ("api/controllers/v1/node.py", "display_name", "web", "acts"),
    ("conductor/deployments.py", "project_id", "p", "kept"),
    ("common/pxe_utils.py", "ks_template", "http://h/t", "kept"),
    ("common/pxe_utils.py", "ks_cfg", "http://h/c", "kept"),
    ("common/pxe_utils.py", "stage2", "http://h/s", "kept"),
    ("common/pxe_utils.py", "liveimg_url", "http://h/l", "kept"),
    ("ironic-python-agent standby.py", "bootc_authorized_keys", "k", "kept"),
    ("ironic-python-agent standby.py", "bootc_tpm2_luks", "true", "kept"),
    ("drivers/modules/agent.py", "rescue_password", "p", "kept"),
    ("drivers/modules/agent_client.py", "hashed_rescue_password", "p", "kept"),
    ("Nova virt/ironic/patcher.py", "vcpus", "4", "kept"),
    ("Nova virt/ironic/patcher.py", "memory_mb", "4096", "kept"),
    ("Nova virt/ironic/patcher.py", "local_gb", "10", "kept"),
    ("Nova virt/ironic/driver.py", "nova_host_id", "h", "kept"),
    ("common/driver_factory.py", "bios_interface", "no-bios", "refused"),
    ("common/driver_factory.py", "boot_interface", "pxe", "refused"),
    ("common/driver_factory.py", "console_interface", "no-console", "refused"),
    ("common/driver_factory.py", "deploy_interface", "ramdisk", "refused"),
    ("common/driver_factory.py", "firmware_interface", "no-firmware", "refused"),
    ("common/driver_factory.py", "inspect_interface", "agent", "refused"),
    ("common/driver_factory.py", "management_interface", "noop", "refused"),
    ("common/driver_factory.py", "network_interface", "noop", "refused"),
    ("common/driver_factory.py", "power_interface", "ipmitool", "refused"),
    ("common/driver_factory.py", "raid_interface", "no-raid", "refused"),
    ("common/driver_factory.py", "rescue_interface", "agent", "refused"),
    ("common/driver_factory.py", "storage_interface", "cinder", "refused"),
    ("common/driver_factory.py", "vendor_interface", "no-vendor", "refused"),
];

/// Everything that acts on a node with this `instance_info`.
fn effects(info: &Value) -> String {
    let driver_info = json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": "http://h/r"});
    let spec = json!({"driver_info": driver_info, "instance_info": info});
    let spec: NodeSpec = serde_json::from_value(spec).unwrap();
    let mut intent = Intent::new("n".to_owned(), Driver::Ipmi, domain::time::Timestamp::from_millis(1));
    apply(&mut intent, None, &spec).unwrap();
    let read = InstanceInfo::of(spec.instance_info.as_ref().unwrap());
    let image = (read.image_source(), read.image_checksum(), read.image_os_hash());
    let format = (read.image_disk_format(), read.image_container_format());
    // `deploy.rs` of ironic-api opens the config drive, `wire_ironic::patch` takes the name of the instance.
    let others = (info.get("configdrive"), info.get("display_name"), read.traits().collect::<Vec<_>>());
    let ramdisk = ironic_ramdisk(Driver::Ipmi, &spec);
    format!("{image:?} {format:?} {:?} {ramdisk:?} {:?} {others:?}", intent.boot_mode, spec.root_device())
}

#[test]
fn every_key_of_instance_info_acts_or_is_refused_by_name_or_is_kept_for_a_reason() {
    let whole = json!({"image_source": "http://h/i.raw", "image_os_hash_algo": "sha256", "image_os_hash_value": "ab"});
    for (source, name, value, wanted) in IRONIC_39 {
        let known = KEYS.iter().find(|key| key.name == *name).unwrap_or_else(|| panic!("{name} of {source}"));
        let before = effects(&whole);
        let mut info = whole.clone();
        info[*name] = match *name {
            "root_device" => json!({"serial": "S1"}),
            "traits" => json!(["CUSTOM_A"]),
            _ => json!(value),
        };
        match (known.fate, check(Driver::Ipmi, Some(&info))) {
            (Fate::Acts, Ok(())) => {
                assert_eq!(*wanted, "acts", "{name}");
                assert_ne!(effects(&info), before, "{name} of {source} acts");
            }
            (Fate::Refused { .. }, Err(error)) => {
                assert_eq!((*wanted, error.status), ("refused", 400), "{name}");
                assert!(error.text.contains(&format!("instance_info/{name} =")), "{}", error.text);
                assert!(error.text.len() > 60, "what to do: {}", error.text);
                assert!(!error.text.contains("c2VjcmV0"), "{}", error.text);
            }
            (Fate::Kept(reason), Ok(())) => {
                assert_eq!(*wanted, "kept", "{name}");
                assert_eq!(effects(&info), before, "{name} of {source} is kept: {reason}");
            }
            (fate, checked) => panic!("{name} of {source}: {fate:?}, {checked:?}"),
        }
    }
    for key in KEYS {
        assert!(IRONIC_39.iter().any(|(_, name, ..)| *name == key.name), "{} is no key of Ironic 39", key.name);
    }
}

#[test]
fn what_stock_clients_deploy_with_is_accepted() {
    for (client, info) in [
        (
            "Nova",
            json!({"image_source": "http://h/i", "root_gb": "10", "swap_mb": "0", "display_name": "web", "vcpus": "4",
                   "nova_host_id": "h", "memory_mb": "4096", "local_gb": "10", "ephemeral_gb": 0, "traits": [],
                   "capabilities": "{\"boot_mode\": \"uefi\"}", "project_id": "p"}),
        ),
        (
            "Metal3",
            json!({"image_source": "http://h/i.qcow2", "image_os_hash_algo": "sha256", "image_os_hash_value": "http://h/S",
                   "image_checksum": "http://h/S", "image_disk_format": "qcow2", "boot_iso": null, "kernel": null,
                   "ramdisk": null, "capabilities": {"boot_mode": "uefi"}}),
        ),
        (
            "bifrost",
            json!({"image_source": "http://h/i.qcow2", "image_checksum": "http://h/i.CHECKSUMS", "image_disk_format": "qcow2",
                   "root_gb": 10, "configdrive": "http://h/d.iso.gz"}),
        ),
        ("metalsmith", json!({"image_source": "http://h/i", "root_gb": 19, "capabilities": {"boot_option": "local"}})),
        ("Kayobe", json!({"image_source": "http://h/i", "image_type": "whole-disk", "preserve_ephemeral": false})),
        (
            "openstacksdk",
            json!({"image_source": "file:///i", "image_checksum": "ab", "root_device": {"size": ">= 10"}}),
        ),
    ] {
        let checked = check(Driver::Ipmi, Some(&info));
        assert!(checked.is_ok(), "{client}: {checked:?}");
    }
}

#[test]
fn what_would_boot_or_write_something_else_is_refused_with_its_place() {
    let has_bios = json!({"capabilities": "boot_mode:bios"});
    for (info, properties, place) in [
        (json!({"capabilities": {"boot_mode": "uefi"}}), Some(&has_bios), "contradicts properties/capabilities"),
        (json!({"deploy_boot_mode": "uefi"}), Some(&has_bios), "contradicts properties/capabilities"),
        (json!({"capabilities": {"boot_mode": "efi"}}), None, "instance_info/capabilities boot_mode must be"),
        (json!({"deploy_boot_mode": "legacy"}), None, "instance_info/deploy_boot_mode must be"),
        (json!({"capabilities": {"secure_boot": "true"}}), None, "instance_info/capabilities = \"secure_boot:true\""),
        (json!({"capabilities": {"secure_boot": true}}), None, "instance_info/capabilities = \"secure_boot:true\""),
        (json!({"capabilities": "{\"secure_boot\": \"True\"}"}), None, "\"secure_boot:True\""),
        (json!({"capabilities": ["boot_mode:bios"]}), None, "instance_info/capabilities must be"),
        (json!({"root_device": {"color": "red"}}), None, "instance_info/root_device is invalid"),
        (json!({"root_device": "/dev/sda"}), None, "instance_info/root_device is invalid"),
    ] {
        let checked = |driver| {
            let of_itself = check(driver, Some(&info));
            of_itself.and_then(|()| check_boot_modes(driver, Some(&info), properties))
        };
        let error = checked(Driver::Redfish).unwrap_err();
        assert!(error.status == 400 && error.text.contains(place), "{info}: {}", error.text);
        assert!(checked(Driver::FakeHardware).is_ok());
    }
    let same = json!({"capabilities": "boot_mode:bios"});
    assert!(check_boot_modes(Driver::Redfish, Some(&same), Some(&has_bios)).is_ok());
}
