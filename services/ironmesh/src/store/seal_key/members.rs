//! The running services and the sealing keys that they use.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use domain::{
    id::{InstanceId, RackId},
    service::Service,
};
use keyspace::{
    Store,
    key::{self, Scope},
    seal::{KeyState, Permission, SealingKey, permission},
};

/// A running service.
#[derive(Debug, Clone)]
struct Running {
    service: Service,
    /// Name of its rack. `None` for a scheduler-service.
    rack: Option<String>,
    instance: InstanceId,
    keys: BTreeMap<String, KeyState>,
}

impl Running {
    fn name(&self) -> String {
        let Self { service, rack, instance, .. } = self;
        let of = rack.as_ref().map(|name| format!(" of rack {name:?}")).unwrap_or_default();
        format!("{service}{of} (instance {instance})")
    }
}

/// The running services.
#[derive(Debug, Clone, Default)]
pub(super) struct Members(Vec<Running>);

impl Members {
    /// Reads the services of all racks.
    pub(super) async fn read(store: &Store, racks: &BTreeMap<RackId, String>) -> Result<Self> {
        let leaves = Service::ALL.into_iter().filter(|service| *service != Service::Scheduler);
        let of_racks = leaves.flat_map(|service| {
            racks.iter().map(move |(rack, name)| (Scope::Rack(*rack), service, Some(name.clone())))
        });
        let mut members = Vec::new();
        for (scope, service, rack) in of_racks.chain([(Scope::Datacenter, Service::Scheduler, None)]) {
            let found = store.list(&key::members(scope, service)).await.context("cannot read the running services")?;
            members.extend(found.into_iter().filter_map(|(path, member)| {
                let (rack, keys) = (rack.clone(), member.value.sealing_keys);
                Some(Running { service, rack, instance: key::last(&path)?, keys })
            }));
        }
        Ok(Self(members))
    }
}

/// Names the running services that must have a key and do not.
pub(super) fn lacking(members: &Members, key: &SealingKey) -> Vec<String> {
    let must_have = |running: &&Running| {
        permission(running.service, key.purpose) != Permission::Nothing
            && (running.service == Service::Scheduler || key.is_for(key.purpose, running.rack.as_deref()))
    };
    let lacking = members.0.iter().filter(must_have).filter(|running| !running.keys.contains_key(&key.id));
    lacking.map(Running::name).collect()
}

/// Names the running services that seal with a key, as far as they have said.
pub(super) fn sealing(members: &Members, id: &str) -> Vec<String> {
    let seals =
        |running: &&Running| running.service == Service::Scheduler && running.keys.get(id) == Some(&KeyState::Active);
    members.0.iter().filter(seals).map(Running::name).collect()
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;
    use keyspace::seal::{KeyFile, Purpose};
    use uuid::Uuid;

    use super::*;

    fn running(service: Service, rack: Option<&str>, keys: &KeyFile) -> Running {
        let instance = InstanceId::new(Uuid::from_u128(1));
        Running { service, rack: rack.map(str::to_owned), instance, keys: keys.states() }
    }

    #[test]
    fn a_key_is_lacked_by_those_that_open_its_purpose_and_do_not_have_it() {
        let now = Timestamp::default();
        let before = KeyFile::create(now).unwrap();
        let (mut after, mut of_rack) = (before.clone(), before.clone());
        let id = after.add_next(Purpose::Bmc, None, now).unwrap();
        let own = of_rack.add_next(Purpose::Bmc, Some("r1"), now).unwrap();
        let (key, own) = (after.key(&id).unwrap(), of_rack.key(&own).unwrap());
        for (service, rack, keys, lacks_key, lacks_own) in [
            (Service::Scheduler, None, &before, true, true),
            (Service::Scheduler, None, &after, false, true),
            (Service::Scheduler, None, &of_rack, true, false),
            (Service::Power, Some("r1"), &before, true, true),
            (Service::Power, Some("r1"), &after, false, true),
            (Service::Power, Some("r2"), &before, true, false),
            (Service::Pxe, Some("r1"), &before, false, false),
            (Service::Inventory, Some("r1"), &before, false, false),
            (Service::Storage, Some("r1"), &before, false, false),
        ] {
            let members = Members(vec![running(service, rack, keys)]);
            let lacks = [key, own].map(|key| !lacking(&members, key).is_empty());
            assert_eq!(lacks, [lacks_key, lacks_own], "{service} {rack:?}");
        }
        let text = lacking(&Members(vec![running(Service::Power, Some("r1"), &before)]), key).concat();
        assert!(text.starts_with("power-service of rack \"r1\" (instance "), "{text}");
    }

    #[test]
    fn a_scheduler_that_missed_the_activation_still_seals_with_the_old_key() {
        let mut keys = KeyFile::create(Timestamp::default()).unwrap();
        let old = keys.keys.first().unwrap().id.clone();
        let next = keys.add_next(Purpose::Bmc, None, Timestamp::default()).unwrap();
        let missed = running(Service::Scheduler, None, &keys);
        let power = running(Service::Power, Some("r1"), &keys);
        keys.activate(&next).unwrap();
        let told = running(Service::Scheduler, None, &keys);
        for (members, seals) in [
            (vec![missed.clone()], true),
            (vec![told.clone()], false),
            (vec![told, missed], true),
            (vec![power], false),
        ] {
            assert_eq!(!sealing(&Members(members.clone()), &old).is_empty(), seals, "{members:?}");
        }
    }
}
