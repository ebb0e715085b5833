//! Converts boot orders to and from IPMI boot options (IPMI 2.0 Table 28-14, parameter 5). Pure.

use domain::power::{Boot, BootDevice, BootMode, Persistence};
use wire_ipmi::chassis::boot;

use crate::bmc::BootOrder;

/// Converts IPMI boot options. A remote medium is reported as the local device that it emulates.
pub(super) const fn from_choice(chosen: boot::Choice) -> BootOrder {
    let device = match chosen.device {
        boot::Device::Network => Some(BootDevice::Pxe),
        boot::Device::Disk | boot::Device::RemoteDisk => Some(BootDevice::Disk),
        boot::Device::SafeDisk => Some(BootDevice::Safe),
        boot::Device::Cd | boot::Device::RemoteCd => Some(BootDevice::Cdrom),
        boot::Device::Setup => Some(BootDevice::Bios),
        boot::Device::Unchanged
        | boot::Device::Diagnostic
        | boot::Device::RemoteRemovable
        | boot::Device::Removable => None,
    };
    let persistence = match chosen.persistence {
        boot::Persistence::Once => Persistence::Once,
        boot::Persistence::Always => Persistence::Persistent,
    };
    BootOrder { device, persistence: Some(persistence) }
}

/// Converts to IPMI boot options. Returns `None` for devices that IPMI does not have: Table 28-14 predates HTTP boot.
pub(super) const fn to_choice(order: Boot) -> Option<boot::Choice> {
    let device = match order.device {
        BootDevice::Pxe => boot::Device::Network,
        BootDevice::Disk => boot::Device::Disk,
        BootDevice::Cdrom => boot::Device::Cd,
        BootDevice::Bios => boot::Device::Setup,
        BootDevice::Safe => boot::Device::SafeDisk,
        BootDevice::UefiHttp => return None,
    };
    let persistence = match order.persistence {
        Persistence::Once => boot::Persistence::Once,
        Persistence::Persistent => boot::Persistence::Always,
    };
    let firmware = match order.mode {
        BootMode::Bios => boot::Firmware::Bios,
        BootMode::Uefi => boot::Firmware::Uefi,
    };
    Some(boot::Choice { device, persistence, firmware })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_chosen_and_uefis_http_client_has_no_word() {
        for device in BootDevice::ALL {
            for persistence in [Persistence::Once, Persistence::Persistent] {
                let chosen = to_choice(Boot { device, persistence, mode: BootMode::Uefi });
                let wanted = BootOrder { device: Some(device), persistence: Some(persistence) };
                assert_eq!(chosen.map(from_choice), (device != BootDevice::UefiHttp).then_some(wanted));
            }
        }
    }
}
