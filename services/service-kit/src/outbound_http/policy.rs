//! Which destinations a purpose may reach.

use std::{
    fmt,
    net::{IpAddr, UdpSocket},
    sync::Arc,
};

pub use super::address::AddressClass;
use super::{
    address::{class, embedded},
    range::{AddressRange, AllowedRange},
};

/// What a request is for, which decides who named its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An image that a user named.
    Image,
    /// A kernel or ramdisk that a user named.
    BootFile,
    /// A config drive that a user named.
    ConfigDrive,
    /// A list of checksums that a user named.
    ChecksumList,
    /// A receiver of events that a user named.
    Webhook,
    /// The Keystone of the configuration.
    Keystone,
    /// The keys of the OpenID provider of the configuration.
    Jwks,
    /// The OpenID provider at which the user of the command line logs in.
    Login,
    /// A BMC that a user named.
    Redfish,
    /// An agent that named its own address.
    AgentCallback,
    /// A stand-in for an agent, which named its own address and runs on this host.
    StandInCallback,
}

impl Purpose {
    /// Returns whether an address of a class is refused, unless a configuration allows it.
    const fn refuses(self, class: AddressClass) -> bool {
        match self {
            Self::Image | Self::BootFile | Self::ConfigDrive | Self::ChecksumList | Self::Webhook => true,
            // The operator names the destination.
            Self::Keystone | Self::Jwks | Self::Login => false,
            // BMCs and agents are where BMCs and agents are.
            Self::Redfish | Self::AgentCallback => !matches!(class, AddressClass::Internal),
            Self::StandInCallback => !matches!(class, AddressClass::Loopback),
        }
    }
}

/// A destination that is not allowed. For logs: an answer to a user does not say more than that it is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} ({class:?}) is not an allowed destination")]
pub struct Refused {
    /// The address.
    pub address: IpAddr,
    /// Why it is refused.
    pub class: AddressClass,
}

/// Decides whether an address belongs to something.
type Contains = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The rules for destinations.
#[derive(Clone)]
pub struct Policy {
    allow: Vec<AllowedRange>,
    internal: Vec<AddressRange>,
    is_registered: Option<Contains>,
    is_own: Contains,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allow, internal, .. } = self;
        f.debug_struct("Policy").field("allow", allow).field("internal", internal).finish_non_exhaustive()
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl Policy {
    /// Creates a policy: `allow` are addresses that are allowed in addition, `internal` those of BMCs and provisioning
    /// networks.
    #[must_use]
    pub fn new(allow: Vec<AllowedRange>, internal: Vec<AddressRange>) -> Self {
        Self { allow, internal, is_registered: None, is_own: Arc::new(is_own) }
    }

    pub(super) fn with_internal(&self, is_registered: Contains) -> Self {
        Self { is_registered: Some(is_registered), ..self.clone() }
    }

    #[cfg(test)]
    pub(super) fn with_own(&self, is_own: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { is_own: Arc::new(is_own), ..self.clone() }
    }

    /// Checks an address before a connection to one of its ports.
    ///
    /// # Errors
    /// [`Refused`] if the purpose may not reach it.
    pub fn check(&self, purpose: Purpose, address: IpAddr, port: u16) -> Result<(), Refused> {
        self.check_for(purpose, address, Some(port))
    }

    /// Checks an address for a connection whose port is not known: only exceptions for all ports count.
    pub(super) fn check_for(&self, purpose: Purpose, address: IpAddr, port: Option<u16>) -> Result<(), Refused> {
        let address = address.to_canonical();
        if self.allow.iter().any(|range| range.contains(address, port)) {
            return Ok(());
        }
        let all = std::iter::once(address).chain(embedded(address).into_iter().map(IpAddr::V4));
        let refused = all.filter_map(|part| self.class(part)).find(|class| purpose.refuses(*class));
        refused.map_or(Ok(()), |class| Err(Refused { address, class }))
    }

    /// Returns whether an exception is for this port and not for all of them.
    pub(super) fn singles_out(&self, port: u16) -> bool {
        self.allow.iter().any(|range| range.singles_out(port))
    }

    fn class(&self, address: IpAddr) -> Option<AddressClass> {
        let is_internal = || {
            self.internal.iter().any(|range| range.contains(address))
                || self.is_registered.as_ref().is_some_and(|contains| contains(address))
        };
        let by_registry = class(address);
        let own = || (self.is_own)(address).then_some(AddressClass::ThisHost);
        by_registry.or_else(own).or_else(|| is_internal().then_some(AddressClass::Internal))
    }
}

/// Returns whether this host has an address. Our listeners, and those of others that trust the host, are there.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    // Without netlink: a socket can be bound to own addresses only.
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return UdpSocket::bind((address, 0)).is_ok() };
    interfaces.filter_map(|interface| interface.address).any(|own| {
        own.as_sockaddr_in().is_some_and(|own| IpAddr::V4(own.ip()) == address)
            || own.as_sockaddr_in6().is_some_and(|own| IpAddr::V6(own.ip()) == address)
    })
}

#[cfg(test)]
mod tests;
