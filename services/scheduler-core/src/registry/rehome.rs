//! Moves a node to another rack: all its records, in one transaction.
//!
//! The claims of its former owners are deleted, so that their later writes fail. The journals move with the node, so that the
//! new owners close the former owners' BMC sessions and refuse older instructions.

use domain::{
    id::{NodeId, RackId},
    net::MacAddr,
    service::Service,
};
use keyspace::{
    Change, Expect, Key,
    key::{self, Scope},
    seal::{reseal_intent, reseal_spec},
    store::Versioned,
    value::{Intent, Life, NodeSpec, Port, PowerSeen, Rack, Stamped},
};
use serde::{Serialize, de::DeserializeOwned};
use service_kit::clock;

use super::{Held, Record, Registry, port, ports, wants_power};
use crate::{Error, RequestContext};

impl Registry {
    /// Moves a node to another rack, together with a change of what is wanted of it and of what Ironic's clients say. Ports
    /// that have an address get one of the new rack's.
    ///
    /// # Errors
    /// [`Error::Busy`]; the rack has no address for it; a conflict, where something was changed meanwhile.
    pub async fn move_with(
        &self,
        context: &RequestContext,
        held: &Held,
        to: &Versioned<Rack>,
        intent: &Intent,
        spec: Option<&Stamped<NodeSpec>>,
    ) -> Result<(), Error> {
        let (node, from) = (held.node, held.rack);
        let missing = || Error::Missing { kind: "node", name: node.to_string() };
        let record = self.record(from, node).ok_or_else(missing)?;
        check_rests(&record)?;
        // Concurrent requests take addresses of the rack, too.
        let _alone = self.enrolling.lock().await;
        let bios = self.mesh.store().get_packed(&key::bios(from, node)).await?;
        let rack = to.value.id;
        let life = Life { generation: held.life.value.generation.next(), ..held.life.value.clone() };
        // A requested power state must be reached before the move.
        let mut intent = Intent { power: None, raw_data: None, ..intent.clone() };
        reseal_intent(&mut intent, node, from, rack, &self.sealer)?;
        let expected = self.mesh.as_member()?.expect(&key::rack(rack), Expect::Revision(to.revision));
        let mut change = self
            .add_unique(expected, held, &intent, spec.map(|spec| &spec.spec))?
            .delete(&key::life(from, node), Expect::Revision(held.life.revision))
            .put(&key::life(rack, node), &life, Expect::Absent)?
            .delete(&key::intent(from, node), Expect::Revision(held.intent.revision))
            .put(&key::intent(rack, node), &intent, Expect::Absent)?
            .clear(&key::pxe(from, node))
            .clear(&key::agent(from, node));
        if let Some(mut spec) = spec.cloned() {
            reseal_spec(&mut spec.spec, node, from, &self.sealer)?;
            change = change.put(&key::node_spec(rack, node), &spec, Expect::Absent)?;
        }
        if let Some(read) = &held.spec {
            change = change.delete(&key::node_spec(from, node), Expect::Revision(read.revision));
        }
        if let Some(boot) = &record.boot {
            change = change.delete(&key::boot(from, node), Expect::Revision(boot.revision));
        }
        if let Some(power) = self.view().get(&key::power(from, node)) {
            let seen = PowerSeen { settled: None, ..power.value.clone() };
            change = change.delete(&key::power(from, node), Expect::Revision(power.revision)).put(
                &key::power(rack, node),
                &seen,
                Expect::Absent,
            )?;
        }
        if let Some(bios) = bios {
            change = change.delete(&key::bios(from, node), Expect::Revision(bios.revision)).put_packed(
                &key::bios(rack, node),
                &bios.value,
                Expect::Absent,
            )?;
        }
        change = self.carry(change, key::operation, (from, rack), node)?;
        change = self.carry(change, key::inventory, (from, rack), node)?;
        change = self.carry(change, key::firmware, (from, rack), node)?;
        change = self.carry_ports(change, (node, &intent.name), from, &to.value, &record.ports)?;
        self.commit(context, self.carry_ownership(change, (from, rack), node)?).await?;
        // A port that was added concurrently causes a conflict; none can be added after this check.
        let left = self.port_index.of(node).into_iter().filter(|((of, _), _)| *of == from);
        let left: Vec<_> = left.map(|((_, mac), port)| (mac, port)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let change = self.carry_ports(self.mesh.as_member()?, (node, &intent.name), from, &to.value, &left)?;
        // The request's own change is made.
        self.commit(&RequestContext { request_id: None, ..context.clone() }, change).await
    }

    /// Copies a value to the other rack.
    fn carry<V: Serialize + DeserializeOwned>(
        &self,
        change: Change,
        key: impl Fn(RackId, NodeId) -> Key<V>,
        (from, to): (RackId, RackId),
        node: NodeId,
    ) -> Result<Change, Error> {
        let Some(read) = self.view().get(&key(from, node)) else { return Ok(change) };
        let gone = change.delete(&key(from, node), Expect::Revision(read.revision));
        Ok(gone.put(&key(to, node), &read.value, Expect::Absent)?)
    }

    fn carry_ports(
        &self,
        mut change: Change,
        (node, name): (NodeId, &str),
        from: RackId,
        to: &Rack,
        all: &[(MacAddr, Versioned<Port>)],
    ) -> Result<Change, Error> {
        let of = super::holder(node, name);
        let had_network = self.rack(from).is_some_and(|rack| rack.value.network.is_some());
        let mut free = to.network.as_ref().map(|network| (network, ports::free_addresses(self.view(), to.id, network)));
        for (mac, read) in all {
            change = port::detach_port(change, from, *mac, read);
            // In a rack without a network no port had an address.
            let boots = read.value.address.is_some() || (!had_network && may_boot(&read.value));
            let address = match &mut free {
                Some((network, free)) if boots => Some(free.next().ok_or_else(|| ports::no_address(to, network))?),
                Some(_) | None => None,
            };
            let moved = Port { address, ..read.value.clone() };
            change = change.put(&key::port(to.id, *mac), &moved, Expect::Absent)?.clear(&key::unknown(to.id, *mac));
            if let Some(address) = address {
                change = change.put(&key::address(to.id, address), &of, Expect::Absent)?;
            }
        }
        Ok(change)
    }

    fn carry_ownership(&self, mut change: Change, (from, to): (RackId, RackId), node: NodeId) -> Result<Change, Error> {
        for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
            let claim = key::claim(Scope::Rack(from), service, node);
            if let Some(held) = self.view().get(&claim) {
                change = change.delete(&claim, Expect::Revision(held.revision));
            }
            let journal = |rack, node| key::journal(Scope::Rack(rack), service, node);
            change = self.carry(change, journal, (from, to), node)?;
        }
        Ok(change)
    }
}

/// Rejects a move of a node that an operation or an operator works on.
fn check_rests(record: &Record) -> Result<(), Error> {
    let (life, intent) = (&record.life.value, &record.intent.value);
    if life.state.is_busy() || wants_power(record).is_some_and(|target| !target.is_too_late(clock::now())) {
        return Err(Error::Busy { name: intent.name.clone(), state: life.state.to_string() });
    }
    Ok(())
}

/// Returns whether PXE is enabled on a port.
fn may_boot(port: &Port) -> bool {
    port.spec.as_ref().is_none_or(|record| record.spec.pxe_enabled)
}
