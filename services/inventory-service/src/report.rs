//! What an agent says, merged with what we knew.

use domain::{hardware::Hardware, id::InstanceId, time::Timestamp};
use keyspace::{store::Revised, value::Inventory};

/// The record to write, or none where nothing is new: an unchanged machine costs no write.
pub(crate) fn merge(
    known: Option<&Revised<Inventory>>,
    hardware: Hardware,
    seen_at: Timestamp,
    seen_by: InstanceId,
) -> Option<Inventory> {
    if known.is_some_and(|known| known.value.hardware == hardware) {
        return None;
    }
    Some(Inventory { hardware, seen_at, seen_by })
}

/// In words for the timeline.
pub(crate) fn words(hardware: &Hardware) -> String {
    let gib = |octets: u64| octets >> 30;
    let disks: Vec<_> =
        hardware.disks.iter().map(|disk| format!("{} {} MiB", disk.name, disk.size_bytes >> 20)).collect();
    format!(
        "{} {}, {} × {}, {} GiB, {}",
        hardware.manufacturer,
        hardware.product,
        hardware.cpu_count,
        hardware.cpu_arch,
        gib(hardware.memory_bytes),
        if disks.is_empty() { "no disk".to_owned() } else { disks.join(", ") },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_machine_costs_no_write() {
        let at = Timestamp::from_millis(1);
        let by = InstanceId::new("00000000-0000-0000-0000-000000000001".parse::<InstanceId>().unwrap().uuid());
        let hardware = Hardware { serial: "SN1".to_owned(), ..Hardware::default() };
        let value = merge(None, hardware.clone(), at, by).unwrap();
        let known = Revised { value, revision: 3, created: 3 };
        assert_eq!(merge(Some(&known), hardware, at, by), None);
        assert!(merge(Some(&known), Hardware::default(), at, by).is_some());
    }
}
