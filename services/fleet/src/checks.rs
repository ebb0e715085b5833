//! Whether a host may be drained or removed, and a rack deleted.

use keyspace::value::Host;

use crate::{
    error::{Error, OnlyHere},
    host_state::{self, HostState},
    survey::{Running, Survey},
};

/// Whether an instance can take the nodes of a host that stops.
fn is_successor(survey: &Survey, running: &Running, leaving: &str) -> bool {
    let goes_on = |host: &Host| host.drain.is_none() && host.removal.is_none();
    let host_goes_on = survey.host(&running.host).is_none_or(|host| goes_on(&host.value));
    running.host != leaving && !running.stopping && host_goes_on
}

/// The services of racks that would run nowhere without a host.
#[must_use]
pub fn only_on(survey: &Survey, host: &Host) -> OnlyHere {
    let mut only = OnlyHere::default();
    for planned in &host.racks {
        for service in &planned.services {
            let serves = |running: &&Running| running.service == *service && running.rack == planned.rack;
            let mut others = survey.running.iter().filter(serves);
            if !others.any(|running| is_successor(survey, running, &host.name)) {
                only.add(&planned.rack, *service);
            }
        }
    }
    only
}

/// Whether a host may be drained.
///
/// # Errors
/// [`Error::BeingRemoved`]; without `force` also [`Error::OnlyHost`].
pub fn may_drain(survey: &Survey, host: &Host, force: bool) -> Result<(), Error> {
    if host.removal.is_some() {
        return Err(Error::BeingRemoved(host.name.clone()));
    }
    let only = only_on(survey, host);
    if force || only == OnlyHere::default() { Ok(()) } else { Err(Error::OnlyHost { host: host.name.clone(), only }) }
}

/// Whether a host may be removed.
///
/// # Errors
/// [`Error::HasAuthority`], [`Error::Quorum`]; without `force` also [`Error::NotDrained`].
pub fn may_remove(survey: &Survey, host: &Host, force: bool) -> Result<(), Error> {
    let name = host.name.clone();
    if host.authority {
        return Err(Error::HasAuthority(name));
    }
    if host.store {
        let others = survey.hosts.iter().map(|host| &host.value);
        let others = others.filter(|other| other.store && other.removal.is_none() && other.name != name);
        let others: Vec<_> = others.map(|other| state_of(survey, other)).collect();
        let up = others.iter().filter(|state| **state != HostState::Down).count();
        // What is left has to agree without the members that are down (Raft §5.2).
        let quorum = others.len() / 2 + 1;
        if up < quorum {
            return Err(Error::Quorum { host: name, left: others.len(), up, quorum });
        }
    }
    if force || state_of(survey, host) == HostState::Drained { Ok(()) } else { Err(Error::NotDrained(name)) }
}

/// The state of a host of the survey.
#[must_use]
pub fn state_of(survey: &Survey, host: &Host) -> HostState {
    let running: Vec<_> = survey.running_on(&host.name).collect();
    host_state::state(host, &host_state::services(host, &running))
}

/// Whether a rack may be deleted.
///
/// # Errors
/// [`Error::RackHasNodes`], [`Error::RackIsServed`], [`Error::RackHasHosts`]
pub fn may_delete_rack(survey: &Survey, rack: &str, nodes: &[String], running: &[Running]) -> Result<(), Error> {
    /// Names that are told.
    const TOLD: usize = 5;
    let told = |all: &[String]| {
        let more = if all.len() > TOLD { format!(" and {} more", all.len() - TOLD) } else { String::new() };
        format!("{}{more}", all.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", "))
    };
    let rack_name = || rack.to_owned();
    if !nodes.is_empty() {
        return Err(Error::RackHasNodes { rack: rack_name(), nodes: told(nodes) });
    }
    let services: Vec<_> =
        running.iter().map(|running| format!("{} at {}", running.service, running.endpoint)).collect();
    if !services.is_empty() {
        return Err(Error::RackIsServed { rack: rack_name(), services: told(&services) });
    }
    let serves = |host: &&Host| host.racks.iter().any(|planned| planned.rack == rack);
    let hosts = survey.hosts.iter().map(|host| &host.value).filter(serves);
    let hosts: Vec<_> = hosts.map(|host| host.name.clone()).collect();
    if hosts.is_empty() { Ok(()) } else { Err(Error::RackHasHosts { rack: rack_name(), hosts: told(&hosts) }) }
}

#[cfg(test)]
pub(crate) mod tests;
