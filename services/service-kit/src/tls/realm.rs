//! The trust domain and the datacenter of identities.

use crate::names::{DATACENTER_RULE, TRUST_DOMAIN_RULE, is_datacenter_name, is_trust_domain};

/// Where an identity is valid: a datacenter of a trust domain (SPIFFE-ID §2.1). Peers of another realm have no identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Realm {
    trust_domain: String,
    datacenter: String,
}

/// The names are not those of a realm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRealm {
    /// The trust domain is invalid.
    #[error("invalid trust domain {0:?}: it {TRUST_DOMAIN_RULE}")]
    TrustDomain(String),
    /// The name of the datacenter is invalid.
    #[error("invalid datacenter {0:?}: it {DATACENTER_RULE}")]
    Datacenter(String),
}

impl Realm {
    /// Creates a realm.
    ///
    /// # Errors
    /// [`InvalidRealm`] names the part that is invalid.
    pub fn new(trust_domain: &str, datacenter: &str) -> Result<Self, InvalidRealm> {
        if !is_trust_domain(trust_domain) {
            return Err(InvalidRealm::TrustDomain(trust_domain.to_owned()));
        }
        if !is_datacenter_name(datacenter) {
            return Err(InvalidRealm::Datacenter(datacenter.to_owned()));
        }
        Ok(Self { trust_domain: trust_domain.to_owned(), datacenter: datacenter.to_owned() })
    }

    /// Returns the trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Returns the name of the datacenter.
    #[must_use]
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }
}

impl Default for Realm {
    /// Returns the realm of a datacenter that was not given a name.
    fn default() -> Self {
        Self { trust_domain: "ironmesh".to_owned(), datacenter: "default".to_owned() }
    }
}

impl std::fmt::Display for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "datacenter {} of trust domain {}", self.datacenter, self.trust_domain)
    }
}
