//! What the certificates of a host are for, and which ones a host needs. Both sides of the authority's API use it.

use std::{collections::BTreeSet, net::IpAddr};

use domain::service::Service;
use keyspace::{access, value};
use proto::authority::v1 as wire;
use service_kit::tls::{Bearer, Identity};

use crate::ledger::Issuer;

/// Name in the certificate of a member of etcd, by which members know each other: users of etcd have certificates of the same
/// CA.
pub const ETCD_PEER: &str = "etcd-member.ironmesh.internal";

/// What a certificate of a host is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The host itself, for calls to the authority.
    Host,
    /// The host as a user of etcd.
    HostForEtcd,
    /// The member of etcd that the host runs.
    EtcdMember,
    /// A service of a rack; the rack of a scheduler-service is empty.
    Service(Service, String),
    /// A service of a rack, as a user of etcd.
    ServiceForEtcd(Service, String),
}

/// The subject of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectOf {
    /// An identity of the mesh.
    Identity(Identity),
    /// A user of etcd.
    EtcdUser(String),
    /// A server with these names.
    Hosts(Vec<String>),
}

impl SubjectOf {
    /// Calls `sign` with the bearer.
    pub fn with_bearer<T>(&self, sign: impl FnOnce(Bearer<'_>) -> T) -> T {
        match self {
            Self::Identity(identity) => sign(Bearer::Mesh(identity)),
            Self::EtcdUser(user) => sign(Bearer::EtcdUser(user)),
            Self::Hosts(hosts) => {
                let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
                sign(Bearer::Host(&hosts))
            }
        }
    }
}

impl Purpose {
    /// Name of the files, without extension.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::Host => "host".to_owned(),
            Self::HostForEtcd => "host-etcd".to_owned(),
            Self::EtcdMember => "etcd-member".to_owned(),
            Self::Service(service, rack) => certificate_name(*service, rack),
            Self::ServiceForEtcd(service, rack) => etcd_certificate_name(*service, rack),
        }
    }

    /// The CA that signs it.
    #[must_use]
    pub const fn issuer(&self) -> Issuer {
        match self {
            Self::Host | Self::Service(..) => Issuer::Mesh,
            Self::HostForEtcd | Self::EtcdMember | Self::ServiceForEtcd(..) => Issuer::Etcd,
        }
    }

    /// What it certifies, of a host with this name and address.
    #[must_use]
    pub fn subject(&self, host: &str, advertise: IpAddr) -> SubjectOf {
        match self {
            Self::Host => SubjectOf::Identity(Identity::Host { name: host.to_owned() }),
            Self::HostForEtcd => SubjectOf::EtcdUser(access::host_user(host)),
            Self::EtcdMember => SubjectOf::Hosts(member_names(advertise)),
            Self::Service(service, rack) => {
                SubjectOf::Identity(Identity::Service { service: *service, rack: rack.clone() })
            }
            Self::ServiceForEtcd(service, rack) => SubjectOf::EtcdUser(access::user(*service, rack)),
        }
    }

    /// As in messages.
    #[must_use]
    pub fn to_wire(&self) -> wire::CertificatePurpose {
        use wire::certificate_purpose::{Host, Kind, Service as WireService};
        let service =
            |service: &Service, rack: &str| WireService { service: service.to_string(), rack: rack.to_owned() };
        let kind = match self {
            Self::Host => Kind::Host(Host {}),
            Self::HostForEtcd => Kind::HostForEtcd(Host {}),
            Self::EtcdMember => Kind::EtcdMember(Host {}),
            Self::Service(kind, rack) => Kind::Service(service(kind, rack)),
            Self::ServiceForEtcd(kind, rack) => Kind::ServiceForEtcd(service(kind, rack)),
        };
        wire::CertificatePurpose { name: self.file_name(), kind: Some(kind) }
    }

    /// Reads it from a message. `None` if it is unknown. The name in the message is not used.
    #[must_use]
    pub fn from_wire(purpose: &wire::CertificatePurpose) -> Option<Self> {
        use wire::certificate_purpose::{Kind, Service as WireService};
        let service = |service: &WireService| Some((service.service.parse::<Service>().ok()?, service.rack.clone()));
        Some(match purpose.kind.as_ref()? {
            Kind::Host(_) => Self::Host,
            Kind::HostForEtcd(_) => Self::HostForEtcd,
            Kind::EtcdMember(_) => Self::EtcdMember,
            Kind::Service(of) => {
                let (kind, rack) = service(of)?;
                Self::Service(kind, rack)
            }
            Kind::ServiceForEtcd(of) => {
                let (kind, rack) = service(of)?;
                Self::ServiceForEtcd(kind, rack)
            }
        })
    }
}

/// Returns the name of the files of a service's certificate for calls.
#[must_use]
pub fn certificate_name(service: Service, rack: &str) -> String {
    let rack = if service == Service::Scheduler || rack.is_empty() { "default" } else { rack };
    format!("{rack}-{service}")
}

/// Returns the name of the files of a service's certificate as a user of etcd.
#[must_use]
pub fn etcd_certificate_name(service: Service, rack: &str) -> String {
    format!("{}-etcd", certificate_name(service, rack))
}

/// Returns the names in the certificate of a member of etcd: its own host reaches it by loopback.
#[must_use]
pub fn member_names(advertise: IpAddr) -> Vec<String> {
    let mut names = ["127.0.0.1", "localhost", ETCD_PEER].map(str::to_owned).to_vec();
    if advertise != IpAddr::from([127, 0, 0, 1]) {
        names.push(advertise.to_string());
    }
    names
}

/// What a host runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// The services of each rack.
    pub racks: Vec<value::HostRack>,
    /// Whether it runs a member of the built-in etcd.
    pub store: bool,
    /// Whether it runs a scheduler-service.
    pub scheduler: bool,
}

impl Roles {
    /// Returns the certificates that a host with these roles needs, that of the host first.
    #[must_use]
    pub fn purposes(&self) -> Vec<Purpose> {
        let mut all = vec![Purpose::Host, Purpose::HostForEtcd];
        all.extend(self.store.then_some(Purpose::EtcdMember));
        let of_racks =
            self.racks.iter().flat_map(|rack| rack.services.iter().map(|service| (*service, rack.rack.clone())));
        for (service, rack) in of_racks.chain(self.scheduler.then_some((Service::Scheduler, String::new()))) {
            all.push(Purpose::Service(service, rack.clone()));
            all.push(Purpose::ServiceForEtcd(service, rack));
        }
        all
    }

    /// As in messages.
    #[must_use]
    pub fn to_wire(&self) -> wire::HostRoles {
        let rack = |rack: &value::HostRack| wire::HostRack {
            rack: rack.rack.clone(),
            services: rack.services.iter().map(Service::to_string).collect(),
            slot: rack.slot.into(),
        };
        wire::HostRoles { racks: self.racks.iter().map(rack).collect(), store: self.store, scheduler: self.scheduler }
    }

    /// Reads it from a message. The error names the service that is unknown.
    ///
    /// # Errors
    /// [`UnknownService`]
    pub fn from_wire(roles: &wire::HostRoles) -> Result<Self, UnknownService> {
        let rack = |rack: &wire::HostRack| {
            let parse = |name: &String| match name.parse() {
                Ok(Service::Scheduler) | Err(_) => Err(UnknownService(name.clone())),
                Ok(service) => Ok(service),
            };
            let services = rack.services.iter().map(parse).collect::<Result<BTreeSet<_>, _>>()?;
            Ok(value::HostRack { rack: rack.rack.clone(), services, slot: u8::try_from(rack.slot).unwrap_or(u8::MAX) })
        };
        let racks = roles.racks.iter().map(rack).collect::<Result<_, _>>()?;
        Ok(Self { racks, store: roles.store, scheduler: roles.scheduler })
    }

    /// What a registered host runs.
    #[must_use]
    pub fn of_host(host: &value::Host) -> Self {
        Self { racks: host.racks.clone(), store: host.store, scheduler: host.scheduler }
    }
}

/// A message names a service that a rack does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no service of a rack; they are power-service, pxe-service, storage-service and inventory-service")]
pub struct UnknownService(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        let services = [Service::Power, Service::Pxe].into();
        Roles {
            racks: vec![value::HostRack { rack: "r7".to_owned(), services, slot: 0 }],
            store: true,
            scheduler: true,
        }
    }

    #[test]
    fn a_host_needs_certificates_for_itself_and_for_what_it_runs() {
        let names: Vec<_> = roles().purposes().iter().map(Purpose::file_name).collect();
        let expected = [
            "host",
            "host-etcd",
            "etcd-member",
            "r7-power-service",
            "r7-power-service-etcd",
            "r7-pxe-service",
            "r7-pxe-service-etcd",
            "default-scheduler-service",
            "default-scheduler-service-etcd",
        ];
        assert_eq!(names, expected);
        assert_eq!(Roles::default().purposes(), [Purpose::Host, Purpose::HostForEtcd]);
    }

    #[test]
    fn purposes_and_roles_are_read_as_they_were_written() {
        for purpose in roles().purposes() {
            assert_eq!(Purpose::from_wire(&purpose.to_wire()), Some(purpose));
        }
        assert_eq!(Roles::from_wire(&roles().to_wire()).unwrap(), roles());
        for service in ["scheduler-service", "power", "", "etcd"] {
            let rack = wire::HostRack { rack: "r7".to_owned(), services: vec![service.to_owned()], slot: 0 };
            let error = Roles::from_wire(&wire::HostRoles { racks: vec![rack], ..Default::default() }).unwrap_err();
            assert_eq!(error, UnknownService(service.to_owned()));
        }
    }

    #[test]
    fn a_member_of_etcd_is_known_by_its_address_and_on_its_own_host() {
        for (advertise, last) in
            [("10.0.0.11", "10.0.0.11"), ("fd00::11", "fd00::11"), ("127.0.0.1", ETCD_PEER), ("127.0.0.2", "127.0.0.2")]
        {
            assert_eq!(member_names(advertise.parse().unwrap()).last().map(String::as_str), Some(last), "{advertise}");
        }
    }
}
