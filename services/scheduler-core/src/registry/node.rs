//! Enrolls, changes and removes nodes. A unique value is a key that is written in the record's transaction.

use std::time::Duration;

use domain::{
    driver::Driver,
    id::{NodeId, RackId},
    net::{BmcAddr, MacAddr},
    power::BootMode,
    provision,
    secret::Secret,
    service::Service,
};
use keyspace::{
    Change, Expect,
    collection::{Collection, delete_from},
    key,
    key::Scope,
    seal::{Place, Sealed},
    store::Versioned,
    value::{Bmc, Holder, Intent, Ipmi, Life, PortgroupSpec, Rack, VolumeConnectorSpec, VolumeTargetSpec, set_bmc},
};
use proto::convert::Invalid;
use service_kit::clock;
use tokio::time::timeout;

use super::{
    Record, Registry, holder,
    port::{keeps_macs, remove_port},
    ports,
};
use crate::{Error, RequestContext, error::PortRefusal};

/// Maximum number of attempts of a write that may conflict with others.
const MAX_ATTEMPTS: u32 = 5;
/// Time to wait for another replica's write to appear in the view.
const VIEW_LAG_TIMEOUT: Duration = Duration::from_millis(200);

/// Node to enroll.
#[derive(Debug, Clone)]
pub struct NewNode {
    /// Name; becomes the host name.
    pub name: String,
    /// Address of the BMC.
    pub bmc: BmcAddr,
    /// User at the BMC.
    pub user: String,
    /// Password of that user.
    pub password: Secret,
    /// Firmware interface.
    pub boot_mode: BootMode,
    /// MACs of its ports.
    pub macs: Vec<MacAddr>,
    /// Time to wait for the deployed system's first sign of life, in seconds.
    pub wait_for_life_seconds: Option<u32>,
    /// Whether boot files are always sent by TFTP.
    pub boot_files_by_tftp: bool,
}

/// Changes of a node. `None` keeps a value.
#[derive(Debug, Clone, Default)]
pub struct NodeChange {
    /// New name.
    pub name: Option<String>,
    /// New address of the BMC.
    pub bmc: Option<BmcAddr>,
    /// New user at the BMC.
    pub user: Option<String>,
    /// New password of that user.
    pub password: Option<Secret>,
    /// New firmware interface.
    pub boot_mode: Option<BootMode>,
    /// MACs of new ports.
    pub add_macs: Vec<MacAddr>,
    /// MACs of removed ports.
    pub remove_macs: Vec<MacAddr>,
    /// New time to wait for the first sign of life, in seconds.
    pub wait_for_life_seconds: Option<u32>,
    /// Whether boot files are always sent by TFTP from now on.
    pub boot_files_by_tftp: Option<bool>,
    /// Whether the node is in maintenance, and the reason.
    pub maintenance: Option<(bool, String)>,
}

impl Registry {
    /// Enrolls a node.
    pub async fn create(
        &self,
        context: &RequestContext,
        rack: &Versioned<Rack>,
        new: NewNode,
    ) -> Result<NodeId, Error> {
        let node = NodeId::new(uuid::Uuid::new_v4());
        let _alone = self.enrolling.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let mut news = self.view().subscribe();
            self.check_free(&new.name, Some(&new.bmc), &new.macs)?;
            match self.commit(context, self.creation(rack, node, &new)?).await {
                Ok(()) => return Ok(node),
                // Another replica took a name, an address or a MAC: check again when the view shows it.
                Err(error) if error.is_conflict() => drop(timeout(VIEW_LAG_TIMEOUT, news.next()).await),
                Err(error) => return Err(error),
            }
        }
        Err(keyspace::Error::Conflict.into())
    }

    fn creation(&self, rack: &Versioned<Rack>, node: NodeId, new: &NewNode) -> Result<Change, Error> {
        let password = self.seal_password(rack.value.id, node, &new.password)?;
        let bmc =
            Bmc { address: new.bmc.clone(), user: new.user.clone(), password, ipmi: Ipmi::default(), redfish: None };
        let intent = Intent {
            bmc: Some(bmc),
            boot_mode: new.boot_mode,
            wait_for_life_seconds: new.wait_for_life_seconds,
            boot_files_by_tftp: new.boot_files_by_tftp,
            ..Intent::new(new.name.clone(), Driver::Ipmi, clock::now())
        };
        let holder = holder(node, &new.name);
        let id = rack.value.id;
        let change = self
            .mesh
            .as_member()?
            .expect(&key::rack(id), Expect::Revision(rack.revision))
            .put(&key::node_name(&new.name), &holder, Expect::Absent)?
            .put(&key::bmc(&new.bmc), &holder, Expect::Absent)?
            .put(&key::intent(id, node), &intent, Expect::Absent)?
            .put(&key::life(id, node), &Life::newborn(clock::now()), Expect::Absent)?;
        ports::add(change, self.view(), &rack.value, node, &holder, &new.macs)
    }

    /// Seals the password of a node's BMC.
    pub fn seal_password(&self, rack: RackId, node: NodeId, password: &Secret) -> Result<Sealed, Error> {
        let sealed = self.sealer.seal(&Place::bmc_password(rack, node), password.expose());
        sealed.map_err(|source| Error::Sealed { node, source })
    }

    /// Seals the key K_G of a node's BMC.
    pub fn seal_bmc_key(&self, rack: RackId, node: NodeId, key: &[u8]) -> Result<Sealed, Error> {
        self.sealer.seal(&Place::bmc_key(rack, node), key).map_err(|source| Error::Sealed { node, source })
    }

    /// Checks that name, BMC and MACs are free.
    fn check_free(&self, name: &str, bmc: Option<&BmcAddr>, macs: &[MacAddr]) -> Result<(), Error> {
        let taken = |what: &'static str, value: String, holder: Versioned<Holder>| Error::Taken {
            what,
            value,
            kind: holder.value.kind,
            holder: holder.value.name,
        };
        if let Some(holder) = self.view().get(&key::node_name(name)) {
            return Err(taken("the name", name.to_owned(), holder));
        }
        if let Some(bmc) = bmc
            && let Some(holder) = self.view().get(&key::bmc(bmc))
        {
            return Err(taken("the BMC", bmc.to_string(), holder));
        }
        self.check_macs_are_free(macs)
    }

    /// Changes a node. `check` is asked in each attempt, after everything that the change depends on was read.
    ///
    /// # Errors
    /// Those of `check`; [`Error::Port`] if it exchanges a MAC of a node in use; a conflict where the node's records changed since they were read.
    pub async fn update(
        &self,
        context: &RequestContext,
        record: &Record,
        wanted: NodeChange,
        check: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key = key::intent(record.rack, record.node);
        for _ in 0..MAX_ATTEMPTS {
            let mut news = self.view().subscribe();
            let change = self.changed(record, &wanted)?;
            check()?;
            match self.commit(context, change).await {
                // Another replica took an address or a MAC, or changed this node.
                Err(error) if error.is_conflict() => drop(timeout(VIEW_LAG_TIMEOUT, news.next()).await),
                outcome => return outcome,
            }
            if self.view().get(&key).is_none_or(|intent| intent.revision != record.intent.revision) {
                break;
            }
        }
        Err(keyspace::Error::Conflict.into())
    }

    fn changed(&self, record: &Record, wanted: &NodeChange) -> Result<Change, Error> {
        let old = &record.intent.value;
        let name = wanted.name.clone().filter(|name| *name != old.name);
        let address = old.bmc.as_ref().map(|bmc| &bmc.address);
        let bmc = wanted.bmc.clone().filter(|bmc| Some(bmc) != address);
        if record.life.value.state.is_busy() && (bmc.is_some() || !wanted.remove_macs.is_empty()) {
            return Err(Error::Busy { name: old.name.clone(), state: record.life.value.state.to_string() });
        }
        self.check_free(name.as_deref().unwrap_or_default(), bmc.as_ref(), &wanted.add_macs)?;
        let mut intent = old.clone();
        let node = record.node;
        let mut change = self.mesh.as_member()?;
        let new_name = name.clone().unwrap_or_else(|| old.name.clone());
        let holder = holder(node, &new_name);
        if let Some(name) = name {
            change = change.clear(&key::node_name(&old.name)).put(&key::node_name(&name), &holder, Expect::Absent)?;
            intent.name = name;
        }
        if let Some(bmc) = &bmc {
            if let Some(before) = address {
                change = self.give_up_bmc(change, before, &holder);
            }
            change = change.put(&key::bmc(bmc), &holder, Expect::Absent)?;
        }
        intent.bmc = self.changed_bmc((record.rack, node), old.bmc.as_ref(), bmc, wanted)?;
        intent.boot_mode = wanted.boot_mode.unwrap_or(intent.boot_mode);
        intent.boot_files_by_tftp = wanted.boot_files_by_tftp.unwrap_or(intent.boot_files_by_tftp);
        if let Some(seconds) = wanted.wait_for_life_seconds {
            intent.wait_for_life_seconds = (seconds > 0).then_some(seconds);
        }
        let read = self.view().get(&key::node_spec(record.rack, node));
        let spec = read.as_ref().map(|read| read.value.spec.clone()).unwrap_or_default();
        let keeps_macs = !wanted.add_macs.is_empty() && keeps_macs(record.life.value.state, &spec);
        for mac in &wanted.remove_macs {
            let port = record.ports.iter().find(|(known, _)| known == mac);
            let (_, port) =
                port.ok_or_else(|| Error::Missing { kind: "port", name: format!("{mac} of node {}", old.name) })?;
            if keeps_macs {
                return Err(PortRefusal::Address { port: port.value.id, node }.into());
            }
            change = remove_port(change, record.rack, *mac, port);
        }
        let rack =
            self.rack(record.rack).ok_or_else(|| Error::Missing { kind: "rack", name: record.rack.to_string() })?;
        change = ports::add(change, self.view(), &rack.value, node, &holder, &wanted.add_macs)?;
        if read.is_some() || wanted.maintenance.is_some() {
            let mut after = read.as_ref().map(|read| read.value.clone()).unwrap_or_default();
            if let (Some(bmc), Some(info)) = (&intent.bmc, &mut after.spec.driver_info) {
                set_bmc(info, bmc);
            }
            if let Some((is_on, reason)) = &wanted.maintenance {
                after.spec.set_maintenance(*is_on, reason);
            }
            change = change.put(&key::node_spec(record.rack, node), &after, Expect::same(read.as_ref()))?;
        }
        let key = key::intent(record.rack, node);
        Ok(change.put(&key, &intent, Expect::Revision(record.intent.revision))?)
    }

    fn changed_bmc(
        &self,
        (rack, node): (RackId, NodeId),
        old: Option<&Bmc>,
        address: Option<BmcAddr>,
        wanted: &NodeChange,
    ) -> Result<Option<Bmc>, Error> {
        if let (Some(_), Some(old), None) = (&address, old, &wanted.password) {
            let why = format!("it was given for {}: give it again together with another address", old.address);
            return Err(Invalid::wrong("bmc_password", why).into());
        }
        let Some(address) = address.or_else(|| old.map(|bmc| bmc.address.clone())) else { return Ok(None) };
        let password = match (&wanted.password, old) {
            (Some(password), _) => self.seal_password(rack, node, password)?,
            (None, Some(old)) => old.password.clone(),
            (None, None) => self.seal_password(rack, node, &Secret::new(Vec::new()))?,
        };
        let user = wanted.user.clone().or_else(|| old.map(|bmc| bmc.user.clone())).unwrap_or_default();
        let (ipmi, redfish) = old.map(|bmc| (bmc.ipmi.clone(), bmc.redfish.clone())).unwrap_or_default();
        Ok(Some(Bmc { address, user, password, ipmi, redfish }))
    }

    /// Removes a node: its records, unique keys, claims and journals, and the port groups and volumes that belong to it, in
    /// one transaction. Resources for which that has no room are deleted before: after a failure the node is still stored,
    /// and the request can be repeated.
    ///
    /// # Errors
    /// [`Error::Refused`] by `domain::provision::remove`; a conflict where its records changed since they were read.
    pub(crate) async fn remove(&self, context: &RequestContext, record: &Record) -> Result<(), Error> {
        provision::remove(record.life.value.state, self.facts(record, &[]))?;
        let intent = &record.intent.value;
        let (rack, node) = (record.rack, record.node);
        let mut change = self
            .mesh
            .as_member()?
            .delete(&key::life(rack, node), Expect::Revision(record.life.revision))
            .delete(&key::intent(rack, node), Expect::Revision(record.intent.revision))
            .clear(&key::operation(rack, node))
            .clear(&key::boot(rack, node))
            .clear(&key::power(rack, node))
            .clear(&key::pxe(rack, node))
            .clear(&key::agent(rack, node))
            .clear(&key::inventory(rack, node))
            .clear(&key::firmware(rack, node))
            .clear(&key::bios(rack, node))
            .clear(&key::history(node));
        if !intent.name.is_empty() {
            change = change.clear(&key::node_name(&intent.name));
        }
        if let Some(bmc) = &intent.bmc {
            change = self.give_up_bmc(change, &bmc.address, &holder(node, &intent.name));
        }
        if let Some(read) = self.view().get(&key::node_spec(rack, node)) {
            change = self.give_up_instance(change, node, read.value.spec.instance());
            change = change.delete(&key::node_spec(rack, node), Expect::Revision(read.revision));
        }
        for (mac, port) in &record.ports {
            change = remove_port(change, record.rack, *mac, port);
        }
        for service in Service::ALL {
            let scope = Scope::of(service, rack);
            let claim = key::claim(scope, service, node);
            // A worker that is still active finds its claim gone at the next write, and stops.
            if let Some(held) = self.view().get(&claim) {
                change = change.delete(&claim, Expect::Revision(held.revision));
            }
            change = change.clear(&key::journal(scope, service, node));
        }
        let resources = self.deletions::<PortgroupSpec>(node).chain(self.deletions::<VolumeConnectorSpec>(node));
        let mut earlier: Vec<Change> = Vec::new();
        for deletion in resources.chain(self.deletions::<VolumeTargetSpec>(node)) {
            if has_room(&change, &deletion) {
                change = change.and(deletion);
            } else if let Some(last) = earlier.pop_if(|last| has_room(last, &deletion)) {
                earlier.push(last.and(deletion));
            } else {
                let unchanged = Expect::Revision(record.life.revision);
                earlier.push(self.mesh.as_member()?.expect(&key::life(rack, node), unchanged).and(deletion));
            }
        }
        for deletions in earlier {
            self.mesh.commit(deletions).await?;
        }
        self.commit(context, change).await
    }

    /// The deletion of each resource of a collection that belongs to a node.
    fn deletions<T: Collection>(&self, node: NodeId) -> impl Iterator<Item = Change> + use<T> {
        let all = self.view().list(&T::all()).into_iter();
        let of_node = all.filter(move |(_, read)| read.value.spec.node() == Some(node));
        of_node.filter_map(|(path, read)| Some(delete_from(Change::new(), key::last(&path)?, &read)))
    }
}

/// Returns whether another change can be added to a change that gets the record of its request too.
const fn has_room(change: &Change, other: &Change) -> bool {
    change.operations() + other.operations() < Change::MAX_OPERATIONS
}
