//! Converts boot orders to and from IPMI boot options (IPMI 2.0 Table 28-14, parameter 5). Pure.

use domain::power::{Boot, BootDevice, BootMode, Persistence};
use keyspace::value;
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

/// Returns the commands that make the choice, in order. With the BMC's timeout kept, none of them disables it.
pub(super) fn steps(choice: boot::Choice, settings: &value::Ipmi) -> Vec<boot::Step> {
    let steps = choice.steps().into_iter();
    steps.filter(|step| !(settings.keeps_boot_timeout && step.is_for_timeout())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_that_is_to_stay_is_not_disabled() {
        let choice = to_choice(Boot { device: BootDevice::Disk, persistence: Persistence::Once, mode: BootMode::Uefi });
        let sent = |settings: &value::Ipmi| -> Vec<u8> {
            let steps = steps(choice.unwrap(), settings);
            steps.iter().filter_map(|step| step.command.data.first().copied()).collect()
        };
        assert_eq!(sent(&value::Ipmi::default()), [0, 3, 4, 5, 0], "Table 28-14: parameter 3 has the timeout");
        let keeps = value::Ipmi { keeps_boot_timeout: true, ..value::Ipmi::default() };
        assert_eq!(sent(&keeps), [0, 4, 5, 0]);
    }

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
