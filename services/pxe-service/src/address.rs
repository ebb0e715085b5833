//! The rack's DHCP server identifier: one address for all replicas, on the interface of the ring's leader.
//!
//! A machine renews its lease by a datagram to that address (RFC 2131 §4.4.5), so somebody must have it. The kernel is
//! lent it for [`LIFETIME`] at a time: a leader that was killed, stopped or cut off loses it without doing anything for
//! it, and the next one finds by ARP when it is free. While nobody leads, as on an island, machines broadcast at seven
//! eighths of their lease and are answered by every replica alike.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, CacheInfo},
};
use service_kit::{Host, status};
use tokio::time::MissedTickBehavior;

use crate::{arp::Arp, metrics, rack::Doors};

/// How often it is looked at who leads, and the loan renewed.
const TICK: Duration = Duration::from_secs(1);
/// How long the address outlives its holder.
const LIFETIME: Duration = Duration::from_secs(5);
/// Announced at each of the first turns, while a holder before us may still be asked; then now and then.
const FIRST_TURNS: u32 = 8;
const NOW_AND_THEN: u32 = 30;

/// What is needed to have an address.
#[derive(Debug)]
pub(crate) struct Keeper {
    arp: Arp,
    netlink: Handle,
    holding: Holding,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holding {
    /// It is not ours to have.
    Not,
    /// It is here since so many turns.
    Held(Ipv4Addr, u32),
    /// It is ours to have, and something is in the way.
    Hindered(String),
}

/// Why it is not here.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error(
        "{address} is in use by {holder}: give the rack a server identifier that no other host has (`ironmesh rack set --server-identifier`)"
    )]
    InUse { address: Ipv4Addr, holder: domain::net::MacAddr },
    #[error("cannot speak ARP")]
    Arp(#[from] io::Error),
    #[error("cannot add {address} to the interface: it needs CAP_NET_ADMIN")]
    Add { address: Ipv4Addr, source: rtnetlink::Error },
}

impl Keeper {
    /// Opens what it needs on the provisioning network.
    pub(crate) fn open(host: &Host, doors: &Doors) -> io::Result<Self> {
        let arp = Arp::open(&doors.pxe.device)?;
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        host.spawn(connection);
        Ok(Self { arp, netlink, holding: Holding::Not })
    }

    /// Holds the address whenever it is this replica's to hold, until the host stops.
    pub(crate) async fn serve(mut self, host: Host, doors: Arc<Doors>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = host.stopping() => return,
                _ = ticks.tick() => {}
            }
            let identifier = doors.rack.network().map(|network| network.server_identifier);
            let next = match to_hold(identifier, doors.pxe.address, doors.rack.mesh.leads()) {
                None => Holding::Not,
                Some(address) => match self.keep(address).await {
                    Ok(turns) => Holding::Held(address, turns),
                    Err(hindrance) => Holding::Hindered(status::chain(&hindrance)),
                },
            };
            self.tell(next);
        }
    }

    /// Takes the address, or renews the loan of it.
    async fn keep(&self, address: Ipv4Addr) -> Result<u32, Hindrance> {
        let turns = match self.holding {
            Holding::Held(held, turns) if held == address => turns.saturating_add(1),
            Holding::Held(..) | Holding::Not | Holding::Hindered(_) => 0,
        };
        if turns == 0
            && let Some(holder) = self.arp.other_holder(address).await?
        {
            return Err(Hindrance::InUse { address, holder });
        }
        let seconds = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_preferred, lifetime.ifa_valid) = (seconds, seconds);
        let mut request = self.netlink.address().add(self.arp.index, address.into(), 32).replace();
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(lifetime));
        request.execute().await.map_err(|source| Hindrance::Add { address, source })?;
        if turns < FIRST_TURNS || turns % NOW_AND_THEN == 0 {
            self.arp.announce(address).await?;
        }
        Ok(turns)
    }

    /// Says what changed.
    fn tell(&mut self, next: Holding) {
        match (&self.holding, &next) {
            (Holding::Held(..), Holding::Held(_, 1..)) | (Holding::Not, Holding::Not) => {}
            (_, Holding::Held(address, _)) => tracing::info!(%address, "has the server identifier: renewals come here"),
            (Holding::Held(address, _), Holding::Not) => tracing::info!(%address, "lets the server identifier go"),
            (Holding::Hindered(_), Holding::Not) => {}
            (before, Holding::Hindered(why)) => {
                if before != &next {
                    tracing::warn!(
                        why,
                        "does not get the server identifier: machines renew their leases late, by broadcast"
                    );
                }
            }
        }
        metrics::holds_identifier(matches!(next, Holding::Held(..)));
        self.holding = next;
    }
}

/// The address that this replica is to take; none where it is its own already.
fn to_hold(identifier: Option<Ipv4Addr>, own: Ipv4Addr, leads: bool) -> Option<Ipv4Addr> {
    identifier.filter(|identifier| leads && *identifier != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leader_takes_the_address_and_nobody_one_that_it_has() {
        let (identifier, own) = (Ipv4Addr::new(10, 77, 1, 3), Ipv4Addr::new(10, 77, 1, 1));
        assert_eq!(to_hold(Some(identifier), own, true), Some(identifier));
        assert_eq!(to_hold(Some(identifier), own, false), None);
        assert_eq!(to_hold(Some(own), own, true), None);
        assert_eq!(to_hold(None, own, true), None);
    }
}
