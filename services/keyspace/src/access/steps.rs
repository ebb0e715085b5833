//! What has to be done so that etcd has the wanted users and roles.

use std::{collections::BTreeSet, fmt};

use super::{ADMINISTRATOR, Access, Permission, Present, Role};

/// One change of etcd's users and roles. As text, the command of etcdctl that does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Adds a role.
    AddRole(String),
    /// Adds a user that has no password: it is known by its certificate only.
    AddUser(String),
    /// Gives a role a permission, or changes what it allows.
    Grant {
        /// The role.
        role: String,
        /// The permission.
        permission: Permission,
    },
    /// Takes a permission from a role.
    Revoke {
        /// The role.
        role: String,
        /// The permission.
        permission: Permission,
    },
    /// Gives a user a role.
    Assign {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Takes a role from a user.
    Withdraw {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Makes etcd check permissions.
    Enable,
}

impl Step {
    /// Steps of one stage do not depend on each other.
    pub(crate) const fn stage(&self) -> u8 {
        match self {
            Self::AddRole(_) | Self::AddUser(_) => 0,
            Self::Revoke { .. } | Self::Withdraw { .. } => 1,
            Self::Grant { .. } | Self::Assign { .. } => 2,
            Self::Enable => 3,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddRole(role) => write!(f, "role add {role}"),
            Self::AddUser(user) => write!(f, "user add --no-password {user}"),
            Self::Grant { role, permission: Permission { access, key, range_end } } => {
                let access = match access {
                    Access::Read => "read",
                    Access::Write => "write",
                    Access::ReadWrite => "readwrite",
                };
                write!(f, "role grant-permission {role} {access} {key} {range_end}")
            }
            Self::Revoke { role, permission: Permission { key, range_end, .. } } => {
                write!(f, "role revoke-permission {role} {key} {range_end}")
            }
            Self::Assign { user, role } => write!(f, "user grant-role {user} {role}"),
            Self::Withdraw { user, role } => write!(f, "user revoke-role {user} {role}"),
            Self::Enable => f.write_str("auth enable"),
        }
    }
}

/// Determines the steps from what etcd has to these roles, in the order in which they can be carried out. Roles and
/// users of other names are left alone.
#[must_use]
pub fn steps(present: &Present, wanted: &[Role], enable: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let administrator = Role { name: ADMINISTRATOR.to_owned(), permissions: BTreeSet::new() };
    for Role { name, permissions } in wanted.iter().chain([&administrator]) {
        let held = present.roles.get(name);
        if held.is_none() {
            steps.push(Step::AddRole(name.clone()));
        }
        let held = held.cloned().unwrap_or_default();
        let is_replaced = |old: &Permission| permissions.iter().any(|new| is_same_range(old, new));
        // etcd's own role allows everything, whatever permissions are listed.
        for old in held.iter().filter(|old| !is_replaced(old) && name != ADMINISTRATOR) {
            steps.push(Step::Revoke { role: name.clone(), permission: old.clone() });
        }
        for new in permissions.difference(&held) {
            steps.push(Step::Grant { role: name.clone(), permission: new.clone() });
        }
        let roles = present.users.get(name);
        if roles.is_none() {
            steps.push(Step::AddUser(name.clone()));
        }
        let roles = roles.cloned().unwrap_or_default();
        for other in roles.iter().filter(|role| *role != name && name != ADMINISTRATOR) {
            steps.push(Step::Withdraw { user: name.clone(), role: other.clone() });
        }
        if !roles.contains(name) {
            steps.push(Step::Assign { user: name.clone(), role: name.clone() });
        }
    }
    if enable && !present.enabled {
        steps.push(Step::Enable);
    }
    steps.sort_by_key(Step::stage);
    steps
}

/// Granting a permission for a range replaces the one that there is for the same range.
fn is_same_range(one: &Permission, other: &Permission) -> bool {
    one.key == other.key && one.range_end == other.range_end
}
