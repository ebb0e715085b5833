//! Authorization: the rights of a caller, by its roles, its scope and the ownership of the record.
//!
//! The rules have the names of Ironic's policy (`baremetal:node:get`); each is a row of [`table`]. There are three verdicts,
//! because an unrelated caller must not even learn that a record exists ([`Verdict::Hidden`]).

mod table;
#[cfg(test)]
mod tests;

pub use table::{Rule, all, rule};

use table::{Services, Sight};

/// Role of a user or a program in a scope. The first four are cumulative: a later one includes the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads records.
    Reader,
    /// Uses existing records.
    Member,
    /// Manages records in use.
    Manager,
    /// Has all rights.
    Admin,
    /// A program that acts for others, such as OpenStack's compute service. No role includes it, and it includes none.
    Service,
}

/// Roles of a caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    most: Option<Role>,
    is_service: bool,
}

impl Roles {
    /// Parses role names, ignoring case. Unknown names are ignored.
    pub fn named<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().fold(Self::default(), |roles, word| match word.to_ascii_lowercase().as_str() {
            "reader" => roles.with(Role::Reader),
            "member" => roles.with(Role::Member),
            "manager" => roles.with(Role::Manager),
            "admin" => roles.with(Role::Admin),
            "service" => roles.with(Role::Service),
            _ => roles,
        })
    }

    /// Returns these roles with another one added.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        match role {
            Role::Service => Self { is_service: true, ..self },
            Role::Reader | Role::Member | Role::Manager | Role::Admin => {
                Self { most: self.most.max(Some(role)), ..self }
            }
        }
    }

    /// Returns whether there are no roles.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.most.is_none() && !self.is_service
    }

    /// Returns whether the roles include a role.
    #[must_use]
    pub fn includes(self, role: Role) -> bool {
        match role {
            Role::Service => self.is_service,
            Role::Reader | Role::Member | Role::Manager | Role::Admin => self.reach(Some(role)),
        }
    }

    /// Returns whether the roles include a row's minimum role. A row without a minimum role admits no caller.
    fn reach(self, least: Option<Role>) -> bool {
        least.is_some_and(|least| self.most >= Some(least))
    }
}

/// Scope in which a caller's roles apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole fleet.
    System,
    /// The records that a project owns or leases.
    Project {
        /// The project's id, as nodes name it in `owner` and `lessee`.
        id: String,
        /// Whether it is the project of the cloud's own services, whose service role counts as a member of the system.
        is_services: bool,
    },
    /// No scope: the caller is authenticated and has no rights.
    None,
}

/// Caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name in audit records.
    pub name: String,
    /// What tells the caller from all others, whose names may be the same: source of the credentials, and id there.
    pub account: String,
    /// Roles in the scope.
    pub roles: Roles,
    /// Scope of the roles.
    pub scope: Scope,
}

impl Caller {
    /// Creates a caller with full administrative rights, for deployments whose users have no roles.
    #[must_use]
    pub fn unrestricted(name: impl Into<String>) -> Self {
        let name = name.into();
        let account = format!("local {name}");
        Self { name, account, roles: Roles::default().with(Role::Admin), scope: Scope::System }
    }

    /// Returns whether the caller has full administrative rights, so that no rule needs to be checked.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.scope == Scope::System && self.roles.reach(Some(Role::Admin))
    }

    /// Returns the project that the caller acts for, if any.
    #[must_use]
    pub const fn project(&self) -> Option<&str> {
        match &self.scope {
            Scope::Project { id, .. } => Some(id.as_str()),
            Scope::System | Scope::None => None,
        }
    }

    /// Returns whether a rule allows the caller to act on a record with this ownership, or, if `None`, on no particular
    /// record.
    #[must_use]
    pub fn may(&self, rule: Rule, whose: Option<Ownership<'_>>) -> bool {
        let (row, roles) = (rule.row(), self.roles);
        if self.scope == Scope::None {
            return false;
        }
        if roles.reach(row.anyone) || (roles.is_service && row.services == Services::Anywhere) {
            return true;
        }
        match &self.scope {
            Scope::None => false,
            Scope::System => roles.reach(row.system) || (roles.is_service && row.services != Services::None),
            Scope::Project { id, is_services } => {
                let as_member = Roles::default().with(Role::Member);
                let whose = whose.unwrap_or_default();
                let owns = whose.owner == Some(id.as_str()) && !id.is_empty();
                let leases = whose.lessee == Some(id.as_str()) && !id.is_empty();
                (roles.is_service && *is_services && as_member.reach(row.system))
                    || (owns && roles.reach(row.owner))
                    || (owns && roles.is_service && row.services == Services::OfOwner)
                    || (leases && roles.reach(row.lessee))
            }
        }
    }

    /// Returns the verdict on a call of the caller.
    #[must_use]
    pub fn ask(&self, rule: Rule, whose: Option<Ownership<'_>>) -> Verdict {
        let sight = match rule.row().sight {
            Sight::Node => Some(SEE_NODE),
            Sight::Allocation => Some(SEE_ALLOCATION),
            Sight::Open => None,
        };
        match sight.filter(|_| whose.is_some()) {
            Some(sight) if !self.may(sight, whose) => Verdict::Hidden,
            Some(_) | None if self.may(rule, whose) => Verdict::Allowed,
            Some(_) | None => Verdict::Denied,
        }
    }
}

/// Rule for seeing a node, and with it that the node exists.
pub const SEE_NODE: Rule = rule("baremetal:node:get");
/// Rule for seeing an allocation, and with it that the allocation exists.
pub const SEE_ALLOCATION: Rule = rule("baremetal:allocation:get");

/// Projects with rights to a record, by id. A port or a volume has the ownership of its node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ownership<'a> {
    /// Project that owns the record.
    pub owner: Option<&'a str>,
    /// Project that leases the record.
    pub lessee: Option<&'a str>,
}

/// Decision about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The caller may make the call.
    Allowed,
    /// The caller may know of the record, and may not make the call.
    Denied,
    /// The caller must be told that the record does not exist.
    Hidden,
}
