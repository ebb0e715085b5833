//! Who may do what: a caller's roles and scope, and whose thing it is that he asks for.
//!
//! The rules are those that Ironic's clients know by name (`baremetal:node:get`), each a row of [`table`]. Three answers
//! are possible, because a stranger must not even learn that a thing is there ([`Verdict::Hidden`]).

mod table;
#[cfg(test)]
mod tests;

pub use table::{Rule, all, rule};

use table::{Services, Sight};

/// What a person or a program may do in a scope. Of the first four each includes the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Reader,
    /// Uses what is there.
    Member,
    /// Decides on what is used.
    Manager,
    /// Decides on everything.
    Admin,
    /// A program that works for others, such as OpenStack's compute service. Includes nothing, and nothing includes it.
    Service,
}

/// The roles of one caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    most: Option<Role>,
    is_service: bool,
}

impl Roles {
    /// The roles that these words name, in any case; others mean nothing here.
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

    /// These and another one.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        match role {
            Role::Service => Self { is_service: true, ..self },
            Role::Reader | Role::Member | Role::Manager | Role::Admin => {
                Self { most: self.most.max(Some(role)), ..self }
            }
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.most.is_none() && !self.is_service
    }

    /// Whether they reach a row's least role; a row without one is reached by nobody.
    fn reach(self, least: Option<Role>) -> bool {
        least.is_some_and(|least| self.most >= Some(least))
    }
}

/// Where a caller's roles count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// For the whole fleet.
    System,
    /// For what a project owns or leases.
    Project {
        /// The project's id, as nodes name it in `owner` and `lessee`.
        id: String,
        /// It is the project of the cloud's own services: its service role counts as a member of the system.
        is_services: bool,
    },
    /// For nothing: who he is is known, and no more.
    None,
}

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What he is called in records of what was done.
    pub name: String,
    /// His roles.
    pub roles: Roles,
    /// Where they count.
    pub scope: Scope,
}

impl Caller {
    /// Somebody who may do everything: any user, where users have no roles.
    #[must_use]
    pub fn unrestricted(name: impl Into<String>) -> Self {
        Self { name: name.into(), roles: Roles::default().with(Role::Admin), scope: Scope::System }
    }

    /// Whether there is nothing that he may not do, so that nothing need be asked.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.scope == Scope::System && self.roles.reach(Some(Role::Admin))
    }

    /// The project that he acts for.
    #[must_use]
    pub const fn project(&self) -> Option<&str> {
        match &self.scope {
            Scope::Project { id, .. } => Some(id.as_str()),
            Scope::System | Scope::None => None,
        }
    }

    /// Whether he may do this to a thing of these; `None`: it is about no one thing.
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

    /// What he is to be told.
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

/// To see a node, and with it that it is there.
pub const SEE_NODE: Rule = rule("baremetal:node:get");
/// To see an allocation, and with it that it is there.
pub const SEE_ALLOCATION: Rule = rule("baremetal:allocation:get");

/// Whose a thing is, by projects' ids. A port, a volume and the like are whose their node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ownership<'a> {
    /// The project that it belongs to.
    pub owner: Option<&'a str>,
    /// The project that it is lent to.
    pub lessee: Option<&'a str>,
}

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// He may know of it, and may not do this.
    Denied,
    /// For him it is not there.
    Hidden,
}
