//! What was learned about BMCs, so that a detour is not repeated with each request. Pure but for the lock.
//!
//! It is kept in memory only: a detour after a restart is cheap, and firmware is updated. An entry belongs to an address
//! and to everything that a record says about access; a changed record starts without it.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use domain::power::Boot;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Login, boot::BootDialect, http_policy::EtagForm};

/// Maximum number of BMCs that are remembered; a power-service owns a few thousand nodes at most.
const MAX_ENTRIES: usize = 4096;
/// How long a quirk is believed. Then the regular way is tried again, because firmware may have been updated.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Deviations of a BMC from the specification, and capabilities that it lacks.
///
/// | quirk | seen at |
/// | --- | --- |
/// | `basic_only` | sessions refused or without a token: proxmox-redfish #42, OpenBMC with sessions disabled |
/// | `etag` | AMI MegaRAC (Gigabyte, Lenovo SR655), Lenovo XCC: community.general #6434, #3268, #11261, gofish #171 |
/// | `boot.once` | UEFI targets at iDRAC (terraform-provider-redfish #138), Ironic's `restore_boot_device` |
/// | `boot.settings` | AMI `/Systems/Self/SD` (Redfish-Tacklebox #111, #144), iDRAC 10 (community.general #11297) |
/// | `boot.parts` | HPE iLO: mode not writable (community.general #3509); Supermicro: all needed (Redfishtool #106) |
/// | `repeat_once` | follows from `boot.once`: the override is set again before each boot |
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Quirks {
    /// Sessions do not work, basic authentication does.
    pub(super) basic_only: bool,
    /// Form of the entity tag that was accepted.
    pub(super) etag: Option<EtagForm>,
    /// How the boot override was accepted.
    pub(super) boot: Option<BootDialect>,
    /// Boot order to set for one boot before each boot, because the BMC does not accept it for all.
    pub(super) repeat_once: Option<Boot>,
}

/// Identifies a BMC and the record that describes it. The record is a keyed hash, so that no password is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BmcIdentity {
    address: String,
    record: u64,
}

#[derive(Debug)]
struct Entry {
    quirks: Quirks,
    learned: Instant,
    used: Instant,
}

/// The quirks of all BMCs. Clones share the same table.
#[derive(Debug, Clone, Default)]
pub(super) struct QuirkTable {
    hasher: Arc<RandomState>,
    entries: Arc<Mutex<HashMap<BmcIdentity, Entry>>>,
}

impl QuirkTable {
    /// Returns the identity of a BMC with everything that its record says.
    pub(super) fn identity(&self, login: &Login) -> BmcIdentity {
        let Login { address, user, password, redfish } = login;
        let record = self.hasher.hash_one((user, password.expose(), format!("{redfish:?}")));
        BmcIdentity { address: address.to_string(), record }
    }

    /// Returns what is known about a BMC.
    pub(super) fn get(&self, bmc: &BmcIdentity, now: Instant) -> Quirks {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(bmc) else { return Quirks::default() };
        entry.used = now;
        if now.duration_since(entry.learned) > MAX_AGE {
            // What a user asked for does not become outdated.
            entry.quirks = Quirks { repeat_once: entry.quirks.repeat_once, ..Quirks::default() };
        }
        entry.quirks.clone()
    }

    /// Stores what was learned about a BMC. Forgets the one that was not used for the longest time if there are too many.
    pub(super) fn learn(&self, bmc: &BmcIdentity, quirks: &Quirks, now: Instant) {
        let mut entries = self.entries.lock();
        if *quirks == Quirks::default() {
            entries.remove(bmc);
            return;
        }
        if !entries.contains_key(bmc) && entries.len() >= MAX_ENTRIES {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.used).map(|(bmc, _)| bmc.clone());
            oldest.map(|bmc| entries.remove(&bmc));
        }
        entries.insert(bmc.clone(), Entry { quirks: quirks.clone(), learned: now, used: now });
    }
}

#[cfg(test)]
mod tests {
    use domain::secret::Secret;
    use keyspace::value;

    use super::*;

    fn login(address: &str) -> Login {
        Login {
            address: address.parse().unwrap(),
            user: "admin".to_owned(),
            password: Secret::new(b"pw".to_vec()),
            redfish: value::Redfish::default(),
        }
    }

    fn basic() -> Quirks {
        Quirks { basic_only: true, ..Quirks::default() }
    }

    #[test]
    fn quirks_are_kept_for_an_address_and_forgotten_when_the_record_changes() {
        let (table, now) = (QuirkTable::default(), Instant::now());
        let known = login("bmc7:443");
        table.learn(&table.identity(&known), &basic(), now);
        assert_eq!(table.get(&table.identity(&login("bmc7:443")), now), basic(), "the same record");
        let redfish = |change: fn(&mut value::Redfish)| {
            let mut login = known.clone();
            change(&mut login.redfish);
            login
        };
        for (changed, what) in [
            (login("bmc8:443"), "address"),
            (login("bmc7:8443"), "port"),
            (Login { user: "root".to_owned(), ..known.clone() }, "user"),
            (Login { password: Secret::new(b"other".to_vec()), ..known.clone() }, "password"),
            (redfish(|redfish| redfish.login = value::Login::Basic), "login"),
            (redfish(|redfish| redfish.trust = value::Trust::Anybody), "trust"),
            (redfish(|redfish| redfish.system = "2".to_owned()), "system"),
            (redfish(|redfish| redfish.transport = value::Transport::Http), "transport"),
        ] {
            assert_eq!(table.get(&table.identity(&changed), now), Quirks::default(), "{what}");
        }
    }

    #[test]
    fn quirks_are_bounded_in_number_and_age() {
        let (table, begun) = (QuirkTable::default(), Instant::now());
        let bmc = |number: usize| BmcIdentity { address: number.to_string(), record: 0 };
        let at = |number: usize| begun + Duration::from_millis(u64::try_from(number).unwrap());
        for number in 0..=MAX_ENTRIES {
            table.learn(&bmc(number), &basic(), at(number));
        }
        let now = at(MAX_ENTRIES);
        assert_eq!(table.entries.lock().len(), MAX_ENTRIES);
        assert_eq!(table.get(&bmc(0), now), Quirks::default(), "the oldest");
        assert_eq!(table.get(&bmc(1), now), basic());
        assert_eq!(table.get(&bmc(1), now + MAX_AGE + Duration::from_secs(1)), Quirks::default(), "too old");
        table.learn(&bmc(2), &Quirks::default(), now);
        assert_eq!(table.entries.lock().len(), MAX_ENTRIES - 1, "nothing to remember");
    }

    #[test]
    fn a_password_is_not_kept() {
        let (table, mut known) = (QuirkTable::default(), login("bmc7:443"));
        known.password = Secret::new(b"hunter2".to_vec());
        table.learn(&table.identity(&known), &basic(), Instant::now());
        assert!(!format!("{table:?}").contains("hunter2"));
    }
}
