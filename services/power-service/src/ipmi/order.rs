//! Boot orders in IPMI's words, and back (IPMI 2.0 Table 28-14, parameter 5). Pure.

use domain::power::{Boot, BootDevice, BootMode, Persistence};
use wire_ipmi::chassis::boot;

use crate::bmc::BootOrder;

/// A choice in our words. What is of the console's side (remote media) is what it stands for to the machine.
pub(super) const fn order(chosen: boot::Choice) -> BootOrder {
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

/// A boot order in IPMI's words; none: they have none for it (Table 28-14 is older than booting over HTTP).
pub(super) const fn choice(order: Boot) -> Option<boot::Choice> {
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
                let chosen = choice(Boot { device, persistence, mode: BootMode::Uefi });
                let wanted = BootOrder { device: Some(device), persistence: Some(persistence) };
                assert_eq!(chosen.map(order), (device != BootDevice::UefiHttp).then_some(wanted));
            }
        }
    }
}
