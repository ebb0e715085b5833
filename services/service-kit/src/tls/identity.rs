//! The identity in a certificate, and the role of an operator.
//!
//! An identity is a SPIFFE ID (SPIFFE-ID §2), the only URI among the certificate's names. Nothing else in a certificate
//! authorizes its bearer. There are four forms, in which the [`Realm`] is `<domain>` and `<dc>`:
//!
//! ```text
//! spiffe://<domain>/dc/<dc>/rack/<rack>/service/<service>
//! spiffe://<domain>/dc/<dc>/operator/<name>/<role>
//! spiffe://<domain>/dc/<dc>/host/<name>
//! spiffe://<domain>/dc/<dc>/authority
//! ```
//!
//! Each variable segment follows a word that says what it is, so that no name can be taken for a thing of another kind.

use std::fmt;

use domain::service::Service;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use super::{NAMELESS_RACK, Realm, dns_label};
use crate::names::{is_host_name, is_rack_name, is_reserved};

/// Scheme of the URIs in all certificates.
const SCHEME: &str = "spiffe://";
/// Maximum length of an operator's name.
const MAX_NAME_BYTES: usize = 64;

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
    /// A host: the process that supervises its services.
    Host {
        /// Name of the host.
        name: String,
    },
    /// The authority of the datacenter, which signs certificates.
    Authority,
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
            Self::Host { name } => write!(f, "host {name}"),
            Self::Authority => f.write_str("the authority"),
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
    pub fn uri(&self, realm: &Realm) -> String {
        let prefix = format!("{SCHEME}{}/dc/{}", realm.trust_domain(), realm.datacenter());
        match self {
            Self::Service { service, rack } => format!("{prefix}/rack/{}/service/{service}", dns_label(rack)),
            Self::Operator { name, role } => format!("{prefix}/operator/{name}/{}", role.word()),
            Self::Host { name } => format!("{prefix}/host/{name}"),
            Self::Authority => format!("{prefix}/authority"),
        }
    }

    /// Parses the URI of a certificate. Returns `None` if it is not one of this realm in every byte.
    #[must_use]
    pub fn from_uri(uri: &str, realm: &Realm) -> Option<Self> {
        let (found, identity) = Self::parse(uri)?;
        (found == *realm).then_some(identity)
    }

    /// Parses the URI of a certificate of any realm. Returns `None` if it is not one of ours in every byte:
    /// percent-encoding, other cases, empty or further segments, queries and fragments are not accepted (SPIFFE-ID §2.1,
    /// §2.2).
    #[must_use]
    pub fn parse(uri: &str) -> Option<(Realm, Self)> {
        let segments: Vec<_> = uri.strip_prefix(SCHEME)?.split('/').collect();
        let [trust_domain, "dc", datacenter, path @ ..] = segments.as_slice() else { return None };
        let identity = match *path {
            ["rack", rack, "service", service] => {
                let service = service.parse().ok()?;
                let is_nameless = rack == NAMELESS_RACK;
                // The schedulers serve all racks.
                let has_name = !rack.is_empty() && is_rack_name(rack) && service != Service::Scheduler;
                let rack = if is_nameless { String::new() } else { rack.to_owned() };
                (is_nameless || has_name).then_some(Self::Service { service, rack })
            }
            ["operator", name, role] => {
                let role = role.parse().ok()?;
                is_operator_name(name).then(|| Self::Operator { name: name.to_owned(), role })
            }
            ["host", name] => is_host_name(name).then(|| Self::Host { name: name.to_owned() }),
            ["authority"] => Some(Self::Authority),
            _ => None,
        };
        Some((Realm::new(trust_domain, datacenter).ok()?, identity?))
    }

    /// Returns the identity in a verified certificate, relative to a realm: its only URI. Returns `None` if it has none,
    /// one of another realm, or several.
    #[must_use]
    pub fn of_certificate(certificate: &[u8], realm: &Realm) -> Option<Self> {
        let (found, identity) = Self::in_certificate(certificate)?;
        (found == *realm).then_some(identity)
    }

    /// Returns the identity in a certificate (DER) with its realm.
    #[must_use]
    pub fn in_certificate(certificate: &[u8]) -> Option<(Realm, Self)> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = &certificate.subject_alternative_name().ok()??.value.general_names;
        let mut uris = names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
        let uri = uris.next()?;
        if uris.next().is_some() { None } else { Self::parse(uri) }
    }
}

/// Returns whether `name` is a valid name of an operator: letters, digits and `-_.` (SPIFFE-ID §2.2), at most 64, and
/// no reserved word.
#[must_use]
pub fn is_operator_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_relative = name == "." || name == "..";
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_legal) && !is_relative && !is_reserved(name)
}

#[cfg(test)]
mod tests;
