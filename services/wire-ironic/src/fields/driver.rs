//! Drivers: the supported hardware types.

use super::Kind::{List, Name, Text};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of drivers.
pub static DRIVER: Resource = Resource {
    path: "drivers",
    plural: "drivers",
    schema_name: "",
    since: 1,
    key: "name",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &[],
    fields: &[
        Field::new("default_bios_interface", 40, Text),
        Field::new("default_boot_interface", 30, Text),
        Field::new("default_console_interface", 30, Text),
        Field::new("default_deploy_interface", 30, Text),
        Field::new("default_firmware_interface", 86, Text),
        Field::new("default_inspect_interface", 30, Text),
        Field::new("default_management_interface", 30, Text),
        Field::new("default_network_interface", 30, Text),
        Field::new("default_power_interface", 30, Text),
        Field::new("default_raid_interface", 30, Text),
        Field::new("default_rescue_interface", 38, Text),
        Field::new("default_storage_interface", 33, Text),
        Field::new("default_vendor_interface", 30, Text),
        Field::new("enabled_bios_interfaces", 40, List),
        Field::new("enabled_boot_interfaces", 30, List),
        Field::new("enabled_console_interfaces", 30, List),
        Field::new("enabled_deploy_interfaces", 30, List),
        Field::new("enabled_firmware_interfaces", 86, List),
        Field::new("enabled_inspect_interfaces", 30, List),
        Field::new("enabled_management_interfaces", 30, List),
        Field::new("enabled_network_interfaces", 30, List),
        Field::new("enabled_power_interfaces", 30, List),
        Field::new("enabled_raid_interfaces", 30, List),
        Field::new("enabled_rescue_interfaces", 38, List),
        Field::new("enabled_storage_interfaces", 33, List),
        Field::new("enabled_vendor_interfaces", 30, List),
        Field::new("hosts", 1, List).in_summary(),
        Field::new("name", 1, Name).in_summary(),
        Field::new("type", 30, Text).in_summary().initial(Initial::Text("dynamic")),
    ],
};
