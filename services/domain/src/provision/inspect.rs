//! Transitions of an inspection, and the evaluation of its report.

use std::collections::BTreeSet;

use super::{Effect as F, Event as E, Phase, Stage, State as S, Step, Verb};
use crate::{
    hardware::{Hardware, Nic},
    net::MacAddr,
    power::BootMode,
};

/// Maximum number of ports that one inspection adds. They are stored in one transaction of at most 128 operations.
const MAX_PORTS: usize = 24;
/// Maximum number of remarks of one inspection. A report is untrusted input.
const MAX_REMARKS: usize = 8;
/// Maximum length of an interface's name, in characters (Linux, include/uapi/linux/if.h, `IFNAMSIZ` without the terminator).
const MAX_NIC_NAME_CHARS: usize = 15;

/// Transition of an inspection, if there is one.
pub(super) fn step(state: S, event: E) -> Option<Step> {
    Some(Ok(match (state, event) {
        (S::Manageable | S::Failed { during: Phase::Inspect }, E::Asked(Verb::Inspect)) => {
            (at(Stage::Prepare), vec![F::Open(Phase::Inspect), F::NewGeneration, F::RevokeBoot])
        }
        (S::Failed { during: Phase::Inspect }, E::Asked(Verb::Manage)) => (S::Manageable, vec![]),
        (S::Inspecting { stage: Stage::Prepare }, E::Prepared) => (at(Stage::Boot), vec![]),
        (S::Inspecting { stage: Stage::Prepare | Stage::Boot }, E::Called) => (at(Stage::Work), vec![]),
        (S::Inspecting { stage: Stage::Boot }, E::Again) => (at(Stage::Prepare), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Inspecting { stage: Stage::Work }, E::Worked) => (at(Stage::Finish), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Inspecting { stage: Stage::Finish }, E::Finished) => (S::Manageable, vec![F::TakeFacts, F::Close]),
        (S::Inspecting { .. }, E::GaveUp) | (S::Inspecting { .. }, E::Asked(Verb::Abort)) => {
            (S::Failed { during: Phase::Inspect }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        _ => return None,
    }))
}

fn at(stage: Stage) -> S {
    S::Inspecting { stage }
}

/// State of a node before its report is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Configured boot mode.
    pub boot_mode: BootMode,
    /// MACs of its ports.
    pub ports: &'a [MacAddr],
}

/// Result of evaluating a report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// MACs that become ports of the node.
    pub ports: Vec<MacAddr>,
    /// Remarks for operators.
    pub remarks: Vec<String>,
}

/// Compares a report with the known state. `holder` returns the owner of a MAC, such as `node n2`.
///
/// A MAC of another node causes a remark and not a failure: many machines report a NIC of their BMC with the same MAC, and
/// none of them would pass an inspection otherwise.
#[must_use]
pub fn found(hardware: &Hardware, known: Known<'_>, holder: impl Fn(MacAddr) -> Option<String>) -> Found {
    let mut found = Found::default();
    let mut seen: BTreeSet<MacAddr> = known.ports.iter().copied().collect();
    for nic in hardware.nics.iter().filter(|nic| nic.mac.is_unicast()) {
        if !seen.insert(nic.mac) {
            continue;
        }
        match holder(nic.mac) {
            Some(holder) => {
                found.remarks.push(format!("{} has the MAC {} of {holder}, where it stays", name(nic), nic.mac))
            }
            None => found.ports.push(nic.mac),
        }
    }
    if found.ports.len() > MAX_PORTS {
        let more = found.ports.len() - MAX_PORTS;
        found.ports.truncate(MAX_PORTS);
        found.remarks.push(format!("{more} more NICs did not become ports; inspect it again to add them"));
    }
    let strange = known.ports.iter().filter(|mac| !hardware.nics.iter().any(|nic| nic.mac == **mac));
    found.remarks.extend(strange.map(|mac| format!("it has no NIC with the MAC {mac} of its port")));
    if hardware.boot_mode != known.boot_mode {
        let (is, set) = (word(hardware.boot_mode), word(known.boot_mode));
        found.remarks.push(format!("it booted with {is} and is set to boot with {set}"));
    }
    if hardware.disks.is_empty() {
        found.remarks.push("it has no disk, or the ramdisk has no driver for its controller".to_owned());
    }
    found.remarks = bound(found.remarks);
    found
}

fn bound(mut remarks: Vec<String>) -> Vec<String> {
    if remarks.len() > MAX_REMARKS {
        let more = remarks.len() - (MAX_REMARKS - 1);
        remarks.truncate(MAX_REMARKS - 1);
        remarks.push(format!("and {more} more such things"));
    }
    remarks
}

fn name(nic: &Nic) -> String {
    nic.name.chars().take(MAX_NIC_NAME_CHARS).collect()
}

const fn word(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Bios => "bios",
        BootMode::Uefi => "uefi",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Disk;

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([0x52, 0x54, 0, 0, 0, last])
    }

    fn machine(macs: impl IntoIterator<Item = MacAddr>) -> Hardware {
        let nic = |(number, mac)| Nic { name: format!("eth{number}"), mac, carrier: true, booted_from: number == 0 };
        let nics = macs.into_iter().enumerate().map(nic).collect();
        Hardware { boot_mode: BootMode::Bios, disks: vec![Disk::default()], nics, ..Hardware::default() }
    }

    fn look(hardware: &Hardware, ports: &[MacAddr], holder: impl Fn(MacAddr) -> Option<String>) -> Found {
        found(hardware, Known { boot_mode: BootMode::Bios, ports }, holder)
    }

    #[test]
    fn each_free_mac_becomes_one_port_and_an_invalid_mac_none() {
        let group = MacAddr::new([0x01, 0, 0x5e, 0, 0, 1]);
        let hardware = machine([mac(1), mac(2), mac(2), mac(3), group, MacAddr::new([0; 6])]);
        let found = look(&hardware, &[mac(1)], |_| None);
        assert_eq!((found.ports, found.remarks), (vec![mac(2), mac(3)], vec![]));
    }

    #[test]
    fn a_mac_of_another_node_causes_a_remark() {
        let holder = |of| (of == mac(2)).then(|| "node n2".to_owned());
        let found = look(&machine([mac(1), mac(2), mac(3)]), &[mac(1)], holder);
        assert_eq!(found.ports, [mac(3)]);
        assert_eq!(found.remarks, ["eth1 has the MAC 52:54:00:00:00:02 of node n2, where it stays"]);
    }

    #[test]
    fn a_missing_port_another_boot_mode_and_a_missing_disk_cause_remarks() {
        let hardware = Hardware { boot_mode: BootMode::Uefi, disks: vec![], ..machine([mac(1)]) };
        let remarks = look(&hardware, &[mac(1), mac(9)], |_| None).remarks;
        let [port, firmware, disk] = remarks.as_slice() else { panic!("{remarks:?}") };
        assert!(port.contains("52:54:00:00:00:09"), "{port}");
        assert_eq!(firmware, "it booted with uefi and is set to boot with bios");
        assert!(disk.contains("no disk"), "{disk}");
    }

    #[test]
    fn a_report_of_a_thousand_nics_is_limited_in_ports_and_remarks() {
        let macs = (0..1000_u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            MacAddr::new([0x52, 0x54, 0, 1, high, low])
        });
        let hardware = machine(macs);
        let free = look(&hardware, &[], |_| None);
        assert_eq!((free.ports.len(), free.remarks.len()), (MAX_PORTS, 1));
        let taken = look(&hardware, &[], |_| Some("node n2".to_owned()));
        assert_eq!((taken.ports.len(), taken.remarks.len()), (0, MAX_REMARKS));
        assert_eq!(taken.remarks.last().map(String::as_str), Some("and 993 more such things"));
    }
}
