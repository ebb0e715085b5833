//! The rack's DHCP server identifier: an address that the leader of the replicas adds to its interface.
//!
//! A machine renews its lease by unicast to this address (RFC 2131 §4.4.5). The kernel holds the address with a
//! lifetime of [`ADDRESS_LIFETIME`]: a leader that is killed, stopped or cut off loses it automatically, and the next
//! leader
//! checks by ARP that it is free. While there is no leader, as on an island, machines broadcast at seven eighths of
//! their lease, and any replica replies.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, CacheInfo},
};
use service_kit::{Host, status};
use tokio::time::MissedTickBehavior;

use crate::{arp::Arp, config::Pxe, context::PxeContext, metrics};

/// How often leadership is checked and the lifetime renewed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Lifetime of the address in the kernel.
const ADDRESS_LIFETIME: Duration = Duration::from_secs(5);
/// The address is announced at each of the first renewals, while a previous holder may still be in ARP caches, and then
/// periodically.
const INITIAL_ANNOUNCEMENTS: u32 = 8;
const ANNOUNCE_EVERY: u32 = 30;

/// Holds the address while this replica is the leader.
#[derive(Debug)]
pub(crate) struct IdentifierHolder {
    arp: Arp,
    netlink: Handle,
    holding: Holding,
}

/// Whether the address is held.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holding {
    /// This replica is not the leader, or the identifier is its own address.
    Not,
    /// The address is on the interface.
    Held { address: Ipv4Addr, renewals: u32 },
    /// The address could not be added, and why.
    Failed(String),
}

/// Why the address cannot be added.
#[derive(Debug, thiserror::Error)]
enum AcquireError {
    #[error(
        "{address} is in use by {holder}: choose a server identifier that no other host has (`ironmesh rack set --server-identifier`)"
    )]
    InUse { address: Ipv4Addr, holder: domain::net::MacAddr },
    #[error("cannot send or receive ARP")]
    Arp(#[from] io::Error),
    #[error("cannot add {address} to the interface; CAP_NET_ADMIN is required")]
    Add { address: Ipv4Addr, source: rtnetlink::Error },
}

impl IdentifierHolder {
    /// Opens the sockets on the provisioning network.
    pub(crate) fn open(host: &Host, pxe: &Pxe) -> io::Result<Self> {
        let arp = Arp::open(&pxe.device)?;
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        host.spawn(connection);
        Ok(Self { arp, netlink, holding: Holding::Not })
    }

    /// Holds the address whenever this replica is the leader, until the host stops.
    pub(crate) async fn serve(mut self, host: Host, context: Arc<PxeContext>) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = host.stopping() => return,
                _ = ticks.tick() => {}
            }
            let identifier = context.rack.network().map(|network| network.server_identifier);
            let next = match address_to_hold(identifier, context.pxe.address, context.rack.mesh.leads()) {
                None => Holding::Not,
                Some(address) => match self.acquire_or_renew(address).await {
                    Ok(renewals) => Holding::Held { address, renewals },
                    Err(error) => Holding::Failed(status::chain(&error)),
                },
            };
            self.log_change(next);
        }
    }

    /// Adds the address, or renews its lifetime. Returns the number of renewals.
    async fn acquire_or_renew(&self, address: Ipv4Addr) -> Result<u32, AcquireError> {
        let renewals = match self.holding {
            Holding::Held { address: held, renewals } if held == address => renewals.saturating_add(1),
            Holding::Held { .. } | Holding::Not | Holding::Failed(_) => 0,
        };
        if renewals == 0
            && let Some(holder) = self.arp.other_holder(address).await?
        {
            return Err(AcquireError::InUse { address, holder });
        }
        let seconds = u32::try_from(ADDRESS_LIFETIME.as_secs()).unwrap_or(u32::MAX);
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_preferred, lifetime.ifa_valid) = (seconds, seconds);
        let mut request = self.netlink.address().add(self.arp.index, address.into(), 32).replace();
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(lifetime));
        request.execute().await.map_err(|source| AcquireError::Add { address, source })?;
        if renewals < INITIAL_ANNOUNCEMENTS || renewals % ANNOUNCE_EVERY == 0 {
            self.arp.announce(address).await?;
        }
        Ok(renewals)
    }

    /// Logs changes.
    fn log_change(&mut self, next: Holding) {
        match (&self.holding, &next) {
            (Holding::Held { .. }, Holding::Held { renewals: 1.., .. }) | (Holding::Not, Holding::Not) => {}
            (_, Holding::Held { address, .. }) => tracing::info!(%address, "acquired the DHCP server identifier"),
            (Holding::Held { address, .. }, Holding::Not) => {
                tracing::info!(%address, "released the DHCP server identifier")
            }
            (Holding::Failed(_), Holding::Not) => {}
            (before, Holding::Failed(why)) => {
                if before != &next {
                    tracing::warn!(
                        why,
                        "cannot acquire the DHCP server identifier, leases are renewed late by broadcast"
                    );
                }
            }
        }
        metrics::holds_identifier(matches!(next, Holding::Held { .. }));
        self.holding = next;
    }
}

/// Returns the address that this replica is to hold. Returns `None` if it is its own address.
fn address_to_hold(identifier: Option<Ipv4Addr>, own: Ipv4Addr, leads: bool) -> Option<Ipv4Addr> {
    identifier.filter(|identifier| leads && *identifier != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leader_takes_the_address_unless_it_is_its_own() {
        let (identifier, own) = (Ipv4Addr::new(10, 77, 1, 3), Ipv4Addr::new(10, 77, 1, 1));
        assert_eq!(address_to_hold(Some(identifier), own, true), Some(identifier));
        assert_eq!(address_to_hold(Some(identifier), own, false), None);
        assert_eq!(address_to_hold(Some(own), own, true), None);
        assert_eq!(address_to_hold(None, own, true), None);
    }
}
