//! Who may read and write what in etcd: its users and roles.
//!
//! etcd takes the common name of a client's certificate for the name of its user. Each service of a rack has a user of
//! its own.

use domain::service::Service;

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
