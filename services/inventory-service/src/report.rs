//! Merges hardware reports with the stored inventory. Pure.

use domain::{generation::Generation, hardware::Hardware, id::InstanceId, time::Timestamp};
use keyspace::{store::Versioned, value::Inventory};

/// Returns the inventory to store, or `None` if nothing changed. An inspection is recorded once with its boot, even if
/// the hardware is unchanged.
pub(crate) fn merge(
    known: Option<&Versioned<Inventory>>,
    hardware: Hardware,
    inspection: Option<Generation>,
    seen_at: Timestamp,
    seen_by: InstanceId,
) -> Option<Inventory> {
    let before = known.and_then(|known| known.value.inspection);
    let inspection = inspection.or(before);
    if known.is_some_and(|known| known.value.hardware == hardware) && inspection == before {
        return None;
    }
    Some(Inventory { hardware, seen_at, seen_by, inspection, reported: None })
}

/// Describes the hardware, for the timeline.
pub(crate) fn describe(hardware: &Hardware) -> String {
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

    const AT: Timestamp = Timestamp::from_millis(1);

    fn by() -> InstanceId {
        "00000000-0000-0000-0000-000000000001".parse().unwrap()
    }

    fn known(hardware: Hardware, inspection: Option<u64>) -> Versioned<Inventory> {
        let value = merge(None, hardware, inspection.map(Generation::from_number), AT, by()).unwrap();
        Versioned { value, revision: 3, created: 3 }
    }

    #[test]
    fn an_unchanged_machine_costs_no_write() {
        let hardware = Hardware { serial: "SN1".to_owned(), ..Hardware::default() };
        let known = known(hardware.clone(), None);
        assert_eq!(merge(Some(&known), hardware, None, AT, by()), None);
        assert!(merge(Some(&known), Hardware::default(), None, AT, by()).is_some());
    }

    #[test]
    fn an_inspection_is_noted_once_and_outlives_reports_of_other_boots() {
        let (hardware, second) = (Hardware::default(), Some(Generation::from_number(2)));
        let known = known(hardware.clone(), Some(1));
        let noted = merge(Some(&known), hardware.clone(), second, AT, by()).unwrap();
        assert_eq!(noted.inspection, second);
        let known = Versioned { value: noted, revision: 4, created: 3 };
        assert_eq!(merge(Some(&known), hardware, second, AT, by()), None);
        let changed = Hardware { serial: "SN2".to_owned(), ..Hardware::default() };
        assert_eq!(merge(Some(&known), changed, None, AT, by()).unwrap().inspection, second);
    }
}
