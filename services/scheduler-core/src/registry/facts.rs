//! Stores the results of an inspection.

use domain::{
    net::MacAddr,
    provision::inspect::{Known, found},
};
use keyspace::key;

use super::{Moved, Record, Registry};

impl Registry {
    /// Adds the changes that follow from an inspection's report to a transition. If another node takes one of the MACs
    /// before they are stored, the transaction fails, and the next pass evaluates the report again.
    pub(super) fn take_facts(&self, record: &Record, moved: &mut Moved) {
        let ports: Vec<MacAddr> = record.ports.iter().map(|(mac, _)| *mac).collect();
        let known = Known { boot_mode: record.intent.value.boot_mode, ports: &ports };
        let hardware = record.inventory.as_ref().map(|inventory| inventory.hardware.clone()).unwrap_or_default();
        let found = found(&hardware, known, |mac| {
            let holder = self.view().get(&key::mac(mac))?.value;
            Some(format!("{} {}", holder.kind, holder.name))
        });
        moved.ports = found.ports;
        if let Some(inspection) = &mut moved.life.inspection {
            inspection.remarks = found.remarks;
        }
    }
}
