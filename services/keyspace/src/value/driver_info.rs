//! `driver_info`: how the BMC is reached, in Ironic's words.

use serde_json::Value;

use super::{Bmc, ExtraFields};

/// Sets the keys of a BMC that was changed by other means than a client of Ironic's API.
pub fn set_bmc(info: &mut ExtraFields, bmc: &Bmc) {
    if let Some(redfish) = &bmc.redfish {
        info.set_text("redfish_address", redfish.url(&bmc.address));
        info.set_text("redfish_username", bmc.user.as_str());
        info.set_sealed("redfish_password", &bmc.password);
    } else {
        info.set_text("ipmi_address", bmc.address.host.as_str());
        info.as_map_mut().insert("ipmi_port".to_owned(), Value::from(bmc.address.port));
        info.set_text("ipmi_username", bmc.user.as_str());
        info.set_sealed("ipmi_password", &bmc.password);
    }
}
