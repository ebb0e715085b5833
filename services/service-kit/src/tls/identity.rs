//! The identity in a certificate, and the role of an operator.

use std::fmt;

use domain::service::Service;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer as _, X509Certificate},
};

use super::{NAMELESS_RACK, dns_label};

/// Scheme and trust domain of the URIs in all certificates.
const URI_PREFIX: &str = "spiffe://ironmesh/";

/// The identity of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A service of the mesh.
    Service {
        /// The service.
        service: Service,
        /// The rack that it serves.
        rack: String,
    },
    /// An operator, or a program acting for one.
    Operator {
        /// Name of the operator.
        name: String,
        /// What the operator is authorized to do.
        role: Role,
    },
}

/// The role of an operator. Each role includes the previous ones. The names are those of OpenStack's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads everything.
    Reader,
    /// Uses nodes: allocates, deploys, changes power.
    Member,
    /// Maintains nodes and images for others: enrolls, changes, deletes.
    Service,
    /// Full administrative rights.
    Admin,
}

impl Role {
    /// All roles, the weakest first.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Member, Self::Service, Self::Admin];

    /// Returns the name of the role.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Member => "member",
            Self::Service => "service",
            Self::Admin => "admin",
        }
    }
}

/// The text is not the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}; the roles are reader, member, service and admin")]
pub struct UnknownRole(String);

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        let role = Self::ALL.into_iter().find(|role| role.word() == word);
        role.ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { service, rack } => write!(f, "{service} of rack {rack:?}"),
            Self::Operator { name, role: Role::Admin } => write!(f, "operator {name}"),
            Self::Operator { name, role } => write!(f, "operator {name} ({})", role.word()),
        }
    }
}

impl Identity {
    /// Returns an operator with full administrative rights.
    #[must_use]
    pub fn admin(name: &str) -> Self {
        Self::Operator { name: name.to_owned(), role: Role::Admin }
    }

    /// Returns the URI for a certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Service { service, rack } => format!("{URI_PREFIX}{}/{service}", dns_label(rack)),
            // Administrators have no role in the URI, so that certificates from before roles existed stay valid.
            Self::Operator { name, role: Role::Admin } => format!("{URI_PREFIX}operator/{name}"),
            Self::Operator { name, role } => format!("{URI_PREFIX}operator/{name}/{}", role.word()),
        }
    }

    /// Parses the URI of a certificate. Returns `None` if it is not one of ours.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let (first, second) = uri.strip_prefix(URI_PREFIX)?.split_once('/')?;
        if first == "operator" {
            let (name, role) = match second.split_once('/') {
                None => (second, Role::Admin),
                Some((name, role)) => (name, role.parse().ok()?),
            };
            return (!name.is_empty()).then(|| Self::Operator { name: name.to_owned(), role });
        }
        let rack = if first == NAMELESS_RACK { String::new() } else { first.to_owned() };
        Some(Self::Service { service: second.parse().ok()?, rack })
    }

    /// Returns the identity in a verified certificate. Returns `None` if it has none.
    #[must_use]
    pub fn of_certificate(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        certificate.extensions().iter().find_map(|extension| {
            let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else { return None };
            names.general_names.iter().find_map(|name| {
                let GeneralName::URI(uri) = name else { return None };
                Self::from_uri(uri)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_from_its_uri() {
        for identity in [
            Identity::Service { service: Service::Power, rack: "r1".to_owned() },
            Identity::Service { service: Service::Scheduler, rack: String::new() },
            Identity::Operator { name: "ann".to_owned(), role: Role::Admin },
            Identity::Operator { name: "ann".to_owned(), role: Role::Reader },
        ] {
            assert_eq!(Identity::from_uri(&identity.uri()), Some(identity));
        }
        for wrong in [
            "spiffe://elsewhere/r1/power-service",
            "spiffe://ironmesh/r1/cook",
            "spiffe://ironmesh/operator/",
            "spiffe://ironmesh/operator/ann/king",
            "spiffe://ironmesh/operator//reader",
        ] {
            assert_eq!(Identity::from_uri(wrong), None, "{wrong}");
        }
    }
}
