//! Who may read and write what in etcd: its users and roles.
//!
//! etcd takes the common name of a client's certificate for the name of its user. Each service of a rack has a user of
//! its own, with a role of the same name that follows from the table of keys: it writes everything under its own prefix
//! and nothing else, and reads what its view follows. The schedulers write everything: they create racks while they run,
//! and move, delete and unlock what leaves have written.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use domain::{id::RackId, service::Service};

pub use self::steps::{Step, steps};
use crate::key::{self, ROOT, Scope};

/// etcd's administrator: the user that may change roles and maintain the members. etcd requires this name.
pub const ADMINISTRATOR: &str = "root";
/// The rack named "" in names of users.
const NAMELESS_RACK: &str = "default";

/// The etcd user of a service of a rack, which is also the name of its role. The schedulers serve all racks and share
/// one user.
#[must_use]
pub fn user(service: Service, rack: &str) -> String {
    match service {
        Service::Scheduler => service.to_string(),
        Service::Power | Service::Pxe | Service::Storage | Service::Inventory => {
            format!("{service}.{}", if rack.is_empty() { NAMELESS_RACK } else { rack })
        }
    }
}

/// The etcd user of a host, which is also the name of its role.
#[must_use]
pub fn host_user(host: &str) -> String {
    format!("host.{host}")
}

/// What a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Reading, watching and comparing.
    Read,
    /// Writing and deleting.
    Write,
    /// Both.
    ReadWrite,
}

/// A permission of a role: etcd's own form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// What it allows.
    pub access: Access,
    /// The first key.
    pub key: String,
    /// The key after the last one; empty for one key.
    pub range_end: String,
}

impl Permission {
    fn prefix(access: Access, prefix: &str) -> Self {
        Self { access, key: prefix.to_owned(), range_end: end_of_prefix(prefix) }
    }

    /// Whether it allows `access` to a key.
    #[must_use]
    pub fn allows(&self, access: Access, key: &str) -> bool {
        let covers = if self.range_end.is_empty() {
            key == self.key
        } else {
            self.key.as_str() <= key && key < self.range_end.as_str()
        };
        covers && (self.access == access || self.access == Access::ReadWrite)
    }
}

/// A role, and the user of the same name that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub permissions: BTreeSet<Permission>,
}

impl Role {
    /// Whether it allows `access` to a key.
    #[must_use]
    pub fn allows(&self, access: Access, key: &str) -> bool {
        self.permissions.iter().any(|permission| permission.allows(access, key))
    }
}

/// The role of the schedulers.
#[must_use]
pub fn scheduler_role() -> Role {
    let all = Permission::prefix(Access::ReadWrite, ROOT);
    Role { name: user(Service::Scheduler, ""), permissions: BTreeSet::from([all]) }
}

/// The roles of the services of a rack.
#[must_use]
pub fn rack_roles(rack: RackId, name: &str) -> Vec<Role> {
    let leaves = Service::ALL.into_iter().filter(|service| *service != Service::Scheduler);
    leaves.map(|service| leaf_role(service, rack, name)).collect()
}

/// The role of a host: its supervisor reads what operators order of hosts, and where the schedulers are.
#[must_use]
pub fn host_role(host: &str) -> Role {
    let (hosts, revoked) = (key::hosts(), key::revoked_certificates());
    let schedulers = key::members(Scope::Datacenter, Service::Scheduler);
    let prefixes = [hosts.path(), revoked.path(), schedulers.path()];
    let mut permissions: BTreeSet<_> = prefixes.map(|prefix| Permission::prefix(Access::Read, prefix)).into();
    let incarnation = key::incarnation().path().to_owned();
    permissions.insert(Permission { access: Access::Read, key: incarnation, range_end: String::new() });
    Role { name: host_user(host), permissions }
}

fn leaf_role(service: Service, rack: RackId, name: &str) -> Role {
    let followed = key::followed(Scope::Rack(rack), service);
    let own = key::service_prefix(Scope::Rack(rack), service);
    let read = followed.iter().filter(|prefix| **prefix != own);
    let mut permissions: BTreeSet<_> = read.map(|prefix| Permission::prefix(Access::Read, prefix)).collect();
    permissions.insert(Permission::prefix(Access::ReadWrite, &own));
    // It knows the name of its rack from its configuration, and looks up the id.
    let holder = key::rack_name(name).path().to_owned();
    permissions.insert(Permission { access: Access::Read, key: holder, range_end: String::new() });
    Role { name: user(service, name), permissions }
}

/// What etcd has of users and roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// The permissions of each role.
    pub roles: BTreeMap<String, BTreeSet<Permission>>,
    /// The roles of each user.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Whether etcd checks permissions at all.
    pub enabled: bool,
}

/// The smallest key that does not begin with this prefix, whose last character is ASCII.
pub(crate) fn end_of_prefix(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    if let Some(last) = end.pop() {
        end.push(char::from_u32(u32::from(last).saturating_add(1)).unwrap_or(char::MAX));
    }
    end
}

#[cfg(test)]
mod tests;
