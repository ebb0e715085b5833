//! Hosts, and the tokens with which they join.

use std::{collections::BTreeSet, net::IpAddr};

use domain::{service::Service, time::Timestamp};
use serde::{Deserialize, Serialize};

/// A host: a machine that runs services of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name, unique in the datacenter: a DNS label.
    pub name: String,
    /// The address on which its services listen and at which others call them.
    pub advertise: IpAddr,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER), in hexadecimal: another host cannot take its name.
    pub key: String,
    /// The racks that it serves.
    #[serde(default)]
    pub racks: Vec<HostRack>,
    /// Whether it runs a member of the built-in etcd.
    #[serde(default)]
    pub store: bool,
    /// Whether it runs a scheduler-service.
    #[serde(default)]
    pub scheduler: bool,
    /// Whether it has the keys of the datacenter's CAs and signs certificates.
    #[serde(default)]
    pub authority: bool,
    /// Its weight in the rings of its racks.
    pub weight: u32,
    /// When it joined.
    pub joined: Timestamp,
    /// Set while it hands its nodes to other hosts and takes no new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Mark>,
    /// Set when it was removed, until its certificates are revoked and its member of etcd is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Mark>,
}

/// What a host does for a rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRack {
    /// Name of the rack.
    pub rack: String,
    /// The services that it runs for the rack.
    pub services: BTreeSet<Service>,
    /// Which of the host's racks this is, from 0: its services' ports follow from it.
    pub slot: u8,
}

/// Who asked for something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The operator.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A token with which hosts join the datacenter. Its secret is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of the secret, in hexadecimal.
    pub digest: String,
    /// The rack for which hosts run services; `None` if they serve no rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// The services of the rack that hosts may run.
    #[serde(default)]
    pub services: BTreeSet<Service>,
    /// Whether hosts may run a member of the built-in etcd.
    #[serde(default)]
    pub store: bool,
    /// Whether hosts may run a scheduler-service.
    #[serde(default)]
    pub scheduler: bool,
    /// How many hosts may join with it.
    pub uses: u32,
    /// The hosts that joined with it.
    #[serde(default)]
    pub used: Vec<TokenUse>,
    /// Who created it, and when.
    pub created: Mark,
    /// When it expires.
    pub expires: Timestamp,
}

/// A host that joined with a token. A host that repeats its request with the same key takes no further use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// Name of the host.
    pub host: String,
    /// The host's key, as [`Host::key`].
    pub key: String,
    /// When.
    pub at: Timestamp,
}
