use keyspace::value::NodeSpec;
use serde_json::json;

use super::*;
use crate::{bmc_access, boot_persistence as boot_persistence_of, ironic_ramdisk};

/// Every key of `driver_info` in Ironic 39, with its source, a value that must have an effect, and what becomes of it: `acts`,
/// `refused`, or `kept`.
const IRONIC_39: &[(&str, &str, &str, &str)] = &[
    ("drivers/utils.py", "force_persistent_boot_device", "Never", "acts"),
    ("agent.py, pxe_base.py", "deploy_kernel", "http://h/k2", "acts"),
    ("agent.py, pxe_base.py", "deploy_ramdisk", "http://h/r2", "acts"),
    ("pxe_base.py", "kernel_append_params", "console=ttyS1", "acts"),
    ("pxe_base.py", "rescue_kernel", "http://h/k", "kept"),
    ("pxe_base.py", "rescue_ramdisk", "http://h/r", "kept"),
    ("agent.py", "image_http_proxy", "http://proxy:3128", "refused"),
    ("agent.py", "image_https_proxy", "http://proxy:3128", "refused"),
    ("agent.py", "image_no_proxy", ".example", "kept"),
    ("agent.py", "image_download_source", "http", "kept"),
    ("agent_base.py", "deploy_forces_oob_reboot", "true", "kept"),
    ("agent_base.py", "agent_verify_ca", "/etc/ca", "refused"),
    ("redfish/boot.py", "deploy_iso", "http://h/i.iso", "refused"),
    ("redfish/boot.py", "rescue_iso", "http://h/i.iso", "kept"),
    ("redfish/boot.py", "bootloader", "http://h/esp", "kept"),
    ("redfish/boot.py", "external_http_url", "http://h", "kept"),
    ("redfish/boot.py", "vmedia_transport_protocol", "HTTPS", "kept"),
    ("redfish/boot.py", "config_via_removable", "true", "refused"),
    ("ipmitool.py", "ipmi_address", "10.0.0.9", "acts"),
    ("ipmitool.py", "ipmi_password", "other", "acts"),
    ("ipmitool.py", "ipmi_hex_kg_key", "6b67", "acts"),
    ("ipmitool.py", "ipmi_port", "1623", "acts"),
    ("ipmitool.py", "ipmi_priv_level", "OPERATOR", "acts"),
    ("ipmitool.py", "ipmi_username", "other", "acts"),
    ("ipmitool.py", "ipmi_bridging", "single", "refused"),
    ("ipmitool.py", "ipmi_transit_channel", "0", "refused"),
    ("ipmitool.py", "ipmi_transit_address", "0x82", "refused"),
    ("ipmitool.py", "ipmi_target_channel", "7", "refused"),
    ("ipmitool.py", "ipmi_target_address", "0x72", "refused"),
    ("ipmitool.py", "ipmi_local_address", "0x20", "refused"),
    ("ipmitool.py", "ipmi_protocol_version", "1.5", "refused"),
    ("ipmitool.py", "ipmi_force_boot_device", "true", "refused"),
    ("ipmitool.py", "ipmi_disable_boot_timeout", "false", "acts"),
    ("ipmitool.py", "ipmi_cipher_suite", "3", "acts"),
    ("ipmitool.py", "ipmi_terminal_port", "9001", "kept"),
    ("redfish/utils.py", "redfish_address", "https://bmc9", "acts"),
    ("redfish/utils.py", "redfish_system_id", "/redfish/v1/Systems/9", "acts"),
    ("redfish/utils.py", "redfish_username", "other", "acts"),
    ("redfish/utils.py", "redfish_password", "other", "acts"),
    ("redfish/utils.py", "redfish_verify_ca", "false", "acts"),
    ("redfish/utils.py", "redfish_verify_ca", "bmc-ca.pem", "acts"),
    ("redfish/utils.py", "redfish_auth_type", "basic", "acts"),
    ("redfish/utils.py", "firmware_update_unresponsive_bmc_wait", "300", "kept"),
    ("redfish/utils.py", "redfish_tls_minimum_version", "1.3", "refused"),
    ("redfish/utils.py", "redfish_tls_ciphers", "HIGH", "refused"),
    ("network interfaces", "provisioning_network", "uuid", "kept"),
    ("network interfaces", "cleaning_network", "uuid", "kept"),
    ("network interfaces", "rescuing_network", "uuid", "kept"),
    ("network interfaces", "inspection_network", "uuid", "kept"),
    ("network interfaces", "servicing_network", "uuid", "kept"),
    ("common/pxe_utils.py", "pxe_template", "/etc/t", "refused"),
    ("deploy_utils.py", "fast_track", "true", "kept"),
    ("ansible/deploy.py", "ansible_python_interpreter", "/usr/bin/python3", "kept"),
    ("ansible/deploy.py", "ansible_playbooks_path", "/p", "kept"),
    ("common/image_service.py", "image_pull_secret", "c2VjcmV0", "refused"),
];

/// `driver_info` of a node of this driver, which is complete.
fn whole(driver: Driver) -> Value {
    let mut info = json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": "http://h/r"});
    let own = match driver {
        Driver::Ipmi => json!({"ipmi_address": "10.0.0.5", "ipmi_username": "admin", "ipmi_password": "p"}),
        Driver::Redfish => json!({"redfish_address": "https://bmc", "redfish_username": "a", "redfish_password": "p"}),
        Driver::FakeHardware | Driver::ManualManagement => json!({}),
    };
    info.as_object_mut().unwrap().extend(own.as_object().cloned().unwrap());
    info
}

/// Everything that acts on a node with this `driver_info`.
fn effects(driver: Driver, info: &Value) -> String {
    let map = info.as_object().unwrap();
    let spec: NodeSpec = serde_json::from_value(json!({ "driver_info": info })).unwrap();
    let access = bmc_access(driver, map).unwrap();
    let named = |key: &str| map.get(key).map(plain);
    // What `nodes.rs` opens and seals: user, password and key.
    let secrets = (named(access.user), named(access.password), named(ipmi::KEY).filter(|_| driver == Driver::Ipmi));
    let ramdisk = ironic_ramdisk(driver, &spec);
    let (address, settings) = (access.address, (access.ipmi, access.redfish));
    format!("{address} {settings:?} {secrets:?} {ramdisk:?} {:?}", boot_persistence_of(&spec))
}

#[test]
fn every_key_that_ironic_documents_acts_or_is_refused_by_name_or_is_kept_for_a_reason() {
    for (source, name, value, wanted) in IRONIC_39 {
        let known = KEYS.iter().find(|key| key.name == *name).unwrap_or_else(|| panic!("{name} of {source}"));
        let driver = known.driver.unwrap_or(Driver::Ipmi);
        let mut info = whole(driver);
        let before = effects(driver, &info);
        info[*name] = json!(value);
        match (known.fate, check(driver, Some(&info))) {
            (Fate::Acts, Ok(())) => {
                assert_eq!(*wanted, "acts", "{name}");
                assert_ne!(effects(driver, &info), before, "{name} of {source} acts");
            }
            (Fate::Refused { .. }, Err(error)) => {
                assert_eq!((*wanted, error.status), ("refused", 400), "{name}");
                assert!(error.text.contains(&format!("driver_info/{name} =")), "{}", error.text);
                assert!(error.text.len() > 60, "what to do: {}", error.text);
            }
            (Fate::Kept(reason), Ok(())) => {
                assert_eq!(*wanted, "kept", "{name}");
                assert_eq!(effects(driver, &info), before, "{name} of {source} is kept: {reason}");
            }
            (fate, checked) => panic!("{name} of {source}: {fate:?}, {checked:?}"),
        }
    }
    for key in KEYS {
        assert!(IRONIC_39.iter().any(|(_, name, ..)| *name == key.name), "{} is no key of Ironic 39", key.name);
    }
}

#[test]
fn a_key_that_demands_what_happens_anyway_is_accepted() {
    for (driver, name, value) in [
        (Driver::Ipmi, "ipmi_bridging", json!("no")),
        (Driver::Ipmi, "ipmi_protocol_version", json!("2.0")),
        (Driver::Ipmi, "ipmi_protocol_version", json!(2.0)),
        (Driver::Ipmi, "ipmi_force_boot_device", json!(false)),
        (Driver::Ipmi, "ipmi_force_boot_device", json!("False")),
        (Driver::Ipmi, "ipmi_target_channel", json!(null)),
        (Driver::Ipmi, "ipmi_target_channel", json!("")),
        (Driver::Ipmi, "agent_verify_ca", json!(true)),
        (Driver::Ipmi, "config_via_removable", json!(false)),
        (Driver::Redfish, "redfish_tls_minimum_version", json!("1.2")),
        // Of another driver, as after a change of the driver.
        (Driver::Redfish, "ipmi_bridging", json!("dual")),
        (Driver::Ipmi, "redfish_tls_ciphers", json!("HIGH")),
        // Ironic does not know it; Metal3 sends it.
        (Driver::Ipmi, "ipmi_verify_ca", json!(true)),
        (Driver::FakeHardware, "deploy_iso", json!("http://h/i")),
    ] {
        assert!(check(driver, Some(&json!({name: value}))).is_ok(), "{driver} {name} = {value}");
    }
}

/// What stock clients send: Metal3 (`pkg/hardwareutils/bmc`, `pkg/provisioner/ironic`), bifrost and Kayobe (their default
/// inventories), the `baremetal` command of Ironic's documentation.
#[test]
fn what_stock_clients_send_is_accepted() {
    for (client, driver, info) in [
        (
            "Metal3",
            Driver::Ipmi,
            json!({"ipmi_port": "623", "ipmi_username": "a", "ipmi_password": "p", "ipmi_address": "10.0.0.5",
                   "ipmi_verify_ca": false, "ipmi_priv_level": "ADMINISTRATOR", "force_persistent_boot_device": "Default",
                   "deploy_kernel": "http://h/k", "deploy_ramdisk": "http://h/r", "kernel_append_params": "%default% a=b",
                   "deploy_iso": null}),
        ),
        (
            "Metal3",
            Driver::Redfish,
            json!({"redfish_address": "https://h", "redfish_system_id": "/redfish/v1/Systems/1", "redfish_username": "a",
                   "redfish_password": "p", "redfish_verify_ca": false, "force_persistent_boot_device": "Never",
                   "external_http_url": "http://[fd00::1]"}),
        ),
        (
            "bifrost",
            Driver::Ipmi,
            json!({"ipmi_address": "10.0.0.5", "ipmi_username": "a", "ipmi_password": "p", "deploy_kernel": "http://h/k",
                   "deploy_ramdisk": "http://h/r", "rescue_kernel": "http://h/k", "rescue_ramdisk": "http://h/r",
                   "bootloader": "http://h/esp.img"}),
        ),
        (
            "Kayobe",
            Driver::Ipmi,
            json!({"ipmi_address": "10.0.0.5", "ipmi_username": "a", "ipmi_password": "p", "ipmi_terminal_port": 9001,
                   "deploy_kernel": "u", "deploy_ramdisk": "u", "ipmi_cipher_suite": 3}),
        ),
        (
            "baremetal",
            Driver::Ipmi,
            json!({"ipmi_address": "10.0.0.5", "ipmi_username": "a", "ipmi_password": 12345, "ipmi_port": 6230}),
        ),
    ] {
        assert!(check(driver, Some(&info)).is_ok(), "{client}");
        assert!(bmc_access(driver, info.as_object().unwrap()).is_some(), "{client}");
    }
}

#[test]
fn boot_persistence_is_read_in_every_form_of_ironic() {
    use domain::power::BootPersistence::{Always, Default, Never};
    for (value, wanted) in [
        (json!("Default"), Some(Default)),
        (json!("always"), Some(Always)),
        (json!("Never"), Some(Never)),
        (json!("True"), Some(Always)),
        (json!(true), Some(Always)),
        (json!(false), Some(Default)),
        (json!("sometimes"), None),
        (json!(7), None),
    ] {
        assert_eq!(boot_persistence(&value), wanted, "{value}");
        let checked = check(Driver::Redfish, Some(&json!({"force_persistent_boot_device": value})));
        assert_eq!(checked.is_ok(), wanted.is_some(), "{value}");
    }
}

#[test]
fn a_url_that_would_be_requested_otherwise_than_it_is_written_is_refused() {
    // Dictionary, key, value, source, whether it is accepted.
    for (dictionary, key, value, source, is_accepted) in [
        ("driver_info", "deploy_kernel", "http://h/k\r\nboot", "CWE-93, a boot script", false),
        ("driver_info", "deploy_ramdisk", "http://h/\tr", "URL Standard §4.4", false),
        ("driver_info", "deploy_ramdisk", "https://h/a%20b", "RFC 3986 §2.1", true),
        ("driver_info", "deploy_kernel", "my kernel", "a name", true),
        ("driver_info", "redfish_address", "https://h\r\n/", "CWE-93", false),
        ("driver_info", "redfish_address", "https://h/\tredfish", "URL Standard §4.4", false),
        ("instance_info", "image_source", "http://h/i\n", "a line of a file", false),
        ("instance_info", "image_source", "http://h/an image", "RFC 3986 §2", false),
        ("instance_info", "image_source", "an image", "a name", true),
        ("instance_info", "image_checksum", "http://h/\0SUMS", "CWE-158", false),
        ("instance_info", "image_os_hash_value", "http://h/\u{202e}SUMS", "CVE-2021-42574", false),
        ("instance_info", "image_checksum", "0f\n", "no URL, and refused when it is used", true),
        ("instance_info", "configdrive", "http://h/d\r\n", "CWE-93", false),
        ("instance_info", "configdrive", "H4sI\nAAAA", "base64 in lines", true),
    ] {
        let info = json!({ key: value });
        let checked = match (dictionary, key) {
            (_, "redfish_address") => crate::redfish::parse(info.as_object().unwrap()).map(drop).map_err(|_| ()),
            ("driver_info", _) => check(Driver::Redfish, Some(&info)).map_err(|error| {
                assert!(error.text.starts_with(&format!("{dictionary}/{key} is invalid: ")), "{}", error.text);
            }),
            _ => crate::instance_info::check(Driver::Redfish, Some(&info)).map_err(|error| {
                assert!(error.text.starts_with(&format!("{dictionary}/{key} is invalid: ")), "{}", error.text);
            }),
        };
        assert_eq!(checked.is_ok(), is_accepted, "{key} {value:?}: {source}");
    }
}
