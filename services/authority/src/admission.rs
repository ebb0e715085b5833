//! Decides which hosts may join, and what they are then. Pure.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use domain::{service::Service, time::Timestamp};
use keyspace::value::{Host, HostRack, JoinToken, TokenUse};
use service_kit::{
    config::{FULL_WEIGHT, HOST_NAME_RULE, MAX_WEIGHT, is_host_name},
    ports::MAX_RACKS,
};

use crate::{client::MAX_CLOCK_DIFFERENCE, purpose::Roles};

/// A host that asks to join.
#[derive(Debug, Clone)]
pub struct Applicant<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address.
    pub advertise: IpAddr,
    /// SHA-256 of its public key, in hexadecimal.
    pub key: &'a str,
    /// What it is to run.
    pub roles: &'a Roles,
    /// Its weight; zero: the default.
    pub weight: u32,
    /// Its time.
    pub time: Timestamp,
}

/// The datacenter that it asks to join.
#[derive(Debug, Clone)]
pub struct Datacenter<'a> {
    /// Its hosts.
    pub hosts: &'a [Host],
    /// Names of its racks.
    pub racks: &'a BTreeSet<String>,
    /// Whether etcd is the built-in one.
    pub built_in_etcd: bool,
    /// The authority's time.
    pub now: Timestamp,
}

/// What a host that is admitted changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its record.
    pub host: Host,
    /// The token, with this use.
    pub token: JoinToken,
}

/// Why a host may not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token is none of this datacenter.
    #[error(
        "the join token is not one of this datacenter, or was deleted; create another one with: ironmesh token create"
    )]
    UnknownToken,
    /// The token has expired.
    #[error("the join token has expired at {at}; create another one with: ironmesh token create")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// As many hosts as it allows have joined.
    #[error(
        "the join token has been used by {}, as often as it allows; create another one with: ironmesh token create",
        .hosts.join(", ")
    )]
    Used {
        /// The hosts.
        hosts: Vec<String>,
    },
    /// The name is invalid.
    #[error("invalid name {0:?}: it {HOST_NAME_RULE}; pass another one with --name")]
    Name(String),
    /// The address is invalid.
    #[error("{0} is no address at which others reach a host; pass another one with --advertise")]
    Address(IpAddr),
    /// The clocks differ.
    #[error(
        "the clocks of the host and of the authority differ by {} s ({here} and {there}); set them, for instance with: \
         systemctl restart systemd-timesyncd", .difference.as_secs()
    )]
    Clock {
        /// The time of the host.
        here: Timestamp,
        /// The time of the authority.
        there: Timestamp,
        /// By how much they differ.
        difference: Duration,
    },
    /// Another host has the name.
    #[error(
        "another host is named {0:?}; pass another name with --name. If this host was set up anew, remove the old one first: \
         ironmesh host remove {0} --force"
    )]
    NameTaken(String),
    /// Another host has the address.
    #[error(
        "host {host:?} has the address {address}; pass another one with --advertise, or remove that host: ironmesh host \
             remove {host} --force"
    )]
    AddressTaken {
        /// The other host.
        host: String,
        /// The address.
        address: IpAddr,
    },
    /// The host has another address than before.
    #[error(
        "host {host:?} joined with the address {before}; join with --advertise {before}, or remove it first: ironmesh host \
             remove {host}"
    )]
    AddressChanged {
        /// The host.
        host: String,
        /// Its address.
        before: IpAddr,
    },
    /// The host is being removed.
    #[error("host {0:?} was removed; join with an empty data directory, when it is gone from ironmesh host list")]
    Removed(String),
    /// The token is for another rack.
    #[error("the join token is {}, not for rack {asked:?}; create one with: ironmesh token create --rack {asked}",
            .allowed.as_ref().map_or_else(|| "for no rack".to_owned(), |rack| format!("for rack {rack:?}")))]
    Rack {
        /// The rack that the host asks for.
        asked: String,
        /// The rack that the token allows.
        allowed: Option<String>,
    },
    /// The token does not allow these services.
    #[error("the join token does not allow {}; create one with: ironmesh token create --rack {rack} --services NAMES",
            .services.iter().map(Service::to_string).collect::<Vec<_>>().join(", "))]
    Services {
        /// The rack.
        rack: String,
        /// The services.
        services: Vec<Service>,
    },
    /// The token does not allow a role.
    #[error("the join token does not allow a {what}; create one with: ironmesh token create {option}")]
    Role {
        /// What it does not allow.
        what: &'static str,
        /// The option with which it would.
        option: &'static str,
    },
    /// There is no such rack.
    #[error("there is no rack named {0:?}; create it with: ironmesh rack create {0}")]
    NoRack(String),
    /// The host serves too many racks.
    #[error("host {host:?} serves {MAX_RACKS} racks already, which is the most; join another host")]
    TooManyRacks {
        /// The host.
        host: String,
    },
    /// etcd is not the built-in one.
    #[error(
        "this datacenter uses an etcd of the operator's own, which hosts do not become members of; join without --store"
    )]
    OwnEtcd,
    /// The host asks to run nothing.
    #[error("the host asks to run nothing; pass --store, --scheduler, or services of the token's rack")]
    Nothing,
    /// The weight is too large.
    #[error("the weight {0} is too large: from 1 to {MAX_WEIGHT}; 100 is a full share")]
    Weight(u32),
}

/// Checks a token for a host with this name and key, if they are known already.
///
/// # Errors
/// [`Refusal::Expired`] or [`Refusal::Used`]; a host that repeats its request is not refused because all uses are taken.
pub fn check_token(token: &JoinToken, host: Option<(&str, &str)>, now: Timestamp) -> Result<(), Refusal> {
    if now >= token.expires {
        return Err(Refusal::Expired { at: token.expires });
    }
    let is_repeated = host.is_some_and(|(name, key)| has_used(token, name, key));
    if !is_repeated && token.used.len() >= usize::try_from(token.uses).unwrap_or(usize::MAX) {
        return Err(Refusal::Used { hosts: token.used.iter().map(|used| used.host.clone()).collect() });
    }
    Ok(())
}

/// Whether a host with this name and key has joined with a token. With the same key and another name it is another host.
fn has_used(token: &JoinToken, name: &str, key: &str) -> bool {
    token.used.iter().any(|used| used.host == name && used.key == key)
}

/// Admits a host, or says why not. What it ran before it goes on running.
///
/// # Errors
/// [`Refusal`]
pub fn admit(token: &JoinToken, applicant: &Applicant<'_>, datacenter: &Datacenter<'_>) -> Result<Admitted, Refusal> {
    let before = datacenter.hosts.iter().find(|host| host.name == applicant.name);
    // The use and the record are written together: without its record the host was removed since.
    if before.is_none() && has_used(token, applicant.name, applicant.key) {
        return Err(Refusal::Removed(applicant.name.to_owned()));
    }
    check_token(token, Some((applicant.name, applicant.key)), datacenter.now)?;
    check_host(applicant, datacenter)?;
    check_roles(token, applicant.roles, datacenter)?;
    let mut racks = before.map(|host| host.racks.clone()).unwrap_or_default();
    for asked in &applicant.roles.racks {
        add_rack(&mut racks, asked, applicant.name)?;
    }
    let weight = match (applicant.weight, before) {
        (0, Some(before)) => before.weight,
        (0, None) => FULL_WEIGHT,
        (asked, _) => asked,
    };
    let host = Host {
        name: applicant.name.to_owned(),
        advertise: applicant.advertise,
        key: applicant.key.to_owned(),
        racks,
        store: applicant.roles.store || before.is_some_and(|host| host.store),
        scheduler: applicant.roles.scheduler || before.is_some_and(|host| host.scheduler),
        authority: before.is_some_and(|host| host.authority),
        weight,
        joined: before.map_or(datacenter.now, |host| host.joined),
        drain: before.and_then(|host| host.drain.clone()),
        removal: None,
    };
    let mut token = token.clone();
    if !has_used(&token, applicant.name, applicant.key) {
        let (host, key, at) = (applicant.name.to_owned(), applicant.key.to_owned(), datacenter.now);
        token.used.push(TokenUse { host, key, at });
    }
    Ok(Admitted { host, token })
}

fn check_host(applicant: &Applicant<'_>, datacenter: &Datacenter<'_>) -> Result<(), Refusal> {
    let Applicant { name, advertise, key, weight, time, .. } = *applicant;
    let now = datacenter.now;
    if !is_host_name(name) {
        return Err(Refusal::Name(name.to_owned()));
    }
    if advertise.is_unspecified() || advertise.is_multicast() {
        return Err(Refusal::Address(advertise));
    }
    if weight > MAX_WEIGHT {
        return Err(Refusal::Weight(weight));
    }
    let difference = time.since(now).max(now.since(time));
    if difference > MAX_CLOCK_DIFFERENCE {
        return Err(Refusal::Clock { here: time, there: now, difference });
    }
    for host in datacenter.hosts {
        if host.name != name {
            if host.advertise == advertise {
                return Err(Refusal::AddressTaken { host: host.name.clone(), address: advertise });
            }
            continue;
        }
        if host.key != key {
            return Err(Refusal::NameTaken(name.to_owned()));
        }
        if host.removal.is_some() {
            return Err(Refusal::Removed(name.to_owned()));
        }
        if host.advertise != advertise {
            return Err(Refusal::AddressChanged { host: name.to_owned(), before: host.advertise });
        }
    }
    Ok(())
}

fn check_roles(token: &JoinToken, roles: &Roles, datacenter: &Datacenter<'_>) -> Result<(), Refusal> {
    for asked in &roles.racks {
        let rack = &asked.rack;
        if token.rack.as_ref() != Some(rack) {
            return Err(Refusal::Rack { asked: rack.clone(), allowed: token.rack.clone() });
        }
        let others: Vec<_> = asked.services.difference(&token.services).copied().collect();
        if !others.is_empty() {
            return Err(Refusal::Services { rack: rack.clone(), services: others });
        }
        if !datacenter.racks.contains(rack) {
            return Err(Refusal::NoRack(rack.clone()));
        }
    }
    if roles.store && !token.store {
        return Err(Refusal::Role { what: "member of the store", option: "--store" });
    }
    if roles.store && !datacenter.built_in_etcd {
        return Err(Refusal::OwnEtcd);
    }
    if roles.scheduler && !token.scheduler {
        return Err(Refusal::Role { what: "scheduler-service", option: "--scheduler" });
    }
    let runs_services = roles.racks.iter().any(|rack| !rack.services.is_empty());
    if runs_services || roles.store || roles.scheduler { Ok(()) } else { Err(Refusal::Nothing) }
}

fn add_rack(racks: &mut Vec<HostRack>, asked: &HostRack, host: &str) -> Result<(), Refusal> {
    if let Some(present) = racks.iter_mut().find(|present| present.rack == asked.rack) {
        present.services.extend(asked.services.iter().copied());
        return Ok(());
    }
    let slot = (0..MAX_RACKS).find(|slot| racks.iter().all(|rack| rack.slot != *slot));
    let slot = slot.ok_or_else(|| Refusal::TooManyRacks { host: host.to_owned() })?;
    racks.push(HostRack { rack: asked.rack.clone(), services: asked.services.clone(), slot });
    Ok(())
}

#[cfg(test)]
mod tests;
