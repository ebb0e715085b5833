//! Who a certificate says that its bearer is, and what he may do.

use std::fmt;

use domain::service::Service;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer as _, X509Certificate},
};

use super::{NAMELESS_RACK, dns_label};

/// The scheme and trust domain of all our certificates' URIs.
const URI_PREFIX: &str = "spiffe://ironmesh/";

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A service of the mesh.
    Service {
        /// Which.
        service: Service,
        /// The rack that it serves.
        rack: String,
    },
    /// A person, or a program that acts for one.
    Operator {
        /// Who.
        name: String,
        /// What he may do.
        role: Role,
    },
}

/// What an operator may do; each may what those before may. The words are those of OpenStack's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See everything.
    Reader,
    /// Use nodes: allocate, deploy, switch power.
    Member,
    /// Look after nodes and images for others: enrol, change, forget.
    Service,
    /// Everything.
    Admin,
}

impl Role {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Member, Self::Service, Self::Admin];

    /// Its word.
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

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.word() == word);
        role.ok_or_else(|| format!("{word:?} is no role; there are reader, member, service and admin"))
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
    /// An operator who may do everything.
    #[must_use]
    pub fn admin(name: &str) -> Self {
        Self::Operator { name: name.to_owned(), role: Role::Admin }
    }

    /// The URI that a certificate carries.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Service { service, rack } => format!("{URI_PREFIX}{}/{service}", dns_label(rack)),
            // As certificates of before roles have it: they were made for who may do everything.
            Self::Operator { name, role: Role::Admin } => format!("{URI_PREFIX}operator/{name}"),
            Self::Operator { name, role } => format!("{URI_PREFIX}operator/{name}/{}", role.word()),
        }
    }

    /// Reads the URI of a certificate.
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

    /// Who a verified certificate says that its bearer is.
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
