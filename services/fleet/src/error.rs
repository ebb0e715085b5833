//! Why a use case about hosts, join tokens and racks was refused.

use std::{collections::BTreeMap, fmt};

use domain::service::Service;
use service_kit::status::{Failure, Kind};

/// Services of racks which only one host runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnlyHere(BTreeMap<String, Vec<Service>>);

impl fmt::Display for OnlyHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (rack, services)) in self.0.iter().enumerate() {
            let names: Vec<_> = services.iter().map(|service| service.name()).collect();
            write!(f, "{}rack {rack:?}: {}", if number > 0 { "; " } else { "" }, names.join(", "))?;
        }
        Ok(())
    }
}

impl OnlyHere {
    pub(crate) fn add(&mut self, rack: &str, service: Service) {
        self.0.entry(rack.to_owned()).or_default().push(service);
    }
}

/// Error of a use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One that every use case of the scheduler may have.
    #[error(transparent)]
    Core(#[from] scheduler_core::Error),
    /// Services would run nowhere without the host.
    #[error(
        "host {host} is the only one that runs services which it is to stop ({only}); let another host join for them first, or \
         drain it all the same with --force"
    )]
    OnlyHost {
        /// The host.
        host: String,
        /// The services, by rack.
        only: OnlyHere,
    },
    /// The host has not been drained.
    #[error(
        "host {0} has not been drained, so its nodes would be without owner for a while; drain it first: ironmesh host drain \
         {0} --wait. If it is broken, remove it with --force"
    )]
    NotDrained(String),
    /// The host is being removed.
    #[error("host {0} is being removed; to use the machine again, let it join anew when it is gone")]
    BeingRemoved(String),
    /// The host has the keys of the datacenter's CAs.
    #[error(
        "host {0} has the keys of the datacenter's CAs, without which no certificate is renewed; it cannot be removed"
    )]
    HasAuthority(String),
    /// The store would lose its quorum.
    #[error(
        "without host {host} the store would have no quorum: {up} of {left} other members are up, and {quorum} are needed; add a \
         member first (ironmesh join --store), or bring up the hosts that are down"
    )]
    Quorum {
        /// The host.
        host: String,
        /// Members that would be left.
        left: usize,
        /// Those of them that are up.
        up: usize,
        /// How many are needed.
        quorum: usize,
    },
    /// No host has the keys of the datacenter's CAs.
    #[error(
        "this datacenter has no authority that signs certificates of hosts, so none can join with a token; ironmesh init makes a \
         datacenter with one"
    )]
    NoAuthority,
    /// The CA of this process cannot be read.
    #[error("the CA file of this scheduler-service has no certificate; restore the file in service.ca")]
    NoCa,
    /// Nodes belong to the rack.
    #[error(
        "rack {rack:?} has the nodes {nodes}; delete them (ironmesh node delete) or move them to another rack first \
         (ironmesh node set NODE --rack RACK)"
    )]
    RackHasNodes {
        /// The rack.
        rack: String,
        /// The first of them.
        nodes: String,
    },
    /// Services of the rack run.
    #[error(
        "rack {rack:?} is served by {services}; stop them first, or remove their hosts: ironmesh host drain, ironmesh host remove"
    )]
    RackIsServed {
        /// The rack.
        rack: String,
        /// The first of them.
        services: String,
    },
    /// Hosts are to serve the rack.
    #[error("rack {rack:?} is to be served by the hosts {hosts}; remove them first: ironmesh host remove")]
    RackHasHosts {
        /// The rack.
        rack: String,
        /// The first of them.
        hosts: String,
    },
}

impl From<keyspace::Error> for Error {
    fn from(error: keyspace::Error) -> Self {
        Self::Core(error.into())
    }
}

impl From<mesh::Error> for Error {
    fn from(error: mesh::Error) -> Self {
        Self::Core(error.into())
    }
}

impl From<proto::convert::Invalid> for Error {
    fn from(error: proto::convert::Invalid) -> Self {
        Self::Core(error.into())
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Core(error) => error.kind(),
            Self::NoCa => Kind::Internal,
            Self::OnlyHost { .. }
            | Self::NotDrained(_)
            | Self::BeingRemoved(_)
            | Self::HasAuthority(_)
            | Self::Quorum { .. }
            | Self::NoAuthority
            | Self::RackHasNodes { .. }
            | Self::RackIsServed { .. }
            | Self::RackHasHosts { .. } => Kind::NotNow,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Core(error) => error.reason(),
            Self::OnlyHost { .. } => "ONLY_HOST",
            Self::NotDrained(_) => "NOT_DRAINED",
            Self::BeingRemoved(_) => "BEING_REMOVED",
            Self::HasAuthority(_) => "HAS_AUTHORITY",
            Self::Quorum { .. } => "QUORUM",
            Self::NoAuthority => "NO_AUTHORITY",
            Self::NoCa => "NO_CA",
            Self::RackHasNodes { .. } | Self::RackIsServed { .. } | Self::RackHasHosts { .. } => "IN_USE",
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        if let Self::Core(error) = self { error.facts() } else { Vec::new() }
    }
}

/// For requests that are carried out once, whose errors are those of the scheduler.
impl From<Error> for scheduler_core::Error {
    fn from(error: Error) -> Self {
        if let Error::Core(error) = error { error } else { Self::Elsewhere(Box::new(error)) }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        scheduler_core::Error::from(error).into()
    }
}
