//! Decides how the members of etcd change next, so that they become those of the hosts that should have one. Pure.
//!
//! One change at a time, and none that leaves fewer healthy members than a majority. A member that lives is replaced by
//! adding first and removing then; one that is dead by removing first, because a dead member counts for the majority as
//! long as it is listed.

use std::fmt;

use super::{ClusterMember, MemberReport};

/// Maximum number of members: more of them make writes slower and no store safer (etcd's FAQ).
pub const MAX_MEMBERS: usize = 7;

/// A host that should have a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedMember {
    /// Name of the host, which is the name of its member.
    pub name: String,
    /// The URLs at which the other members reach it.
    pub peer_urls: Vec<String>,
    /// Whether the host still has the data of the member that etcd lists for it.
    pub data: MemberData,
}

/// Whether a host has the data of the member that etcd lists for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberData {
    /// It has, or it has never had a member, or this is not known.
    Kept,
    /// It was set up anew: the member that etcd lists for it can never come back.
    Lost,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Add a learner for a host.
    AddLearner {
        /// Name of the host.
        name: String,
        /// Its peer URLs.
        peer_urls: Vec<String>,
    },
    /// Give a learner a vote. etcd refuses it until the learner has caught up: try again then.
    Promote {
        /// The learner.
        id: u64,
    },
    /// Remove a member.
    Remove {
        /// The member.
        id: u64,
        /// Why.
        why: RemoveReason,
    },
    /// Change the peer URLs of a member.
    Update {
        /// The member.
        id: u64,
        /// Its new peer URLs.
        peer_urls: Vec<String>,
    },
    /// Nothing can be done now.
    Wait(WaitReason),
    /// The members are as they should be.
    Done,
}

/// Why a member is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveReason {
    /// No host should have it any more.
    NotWanted,
    /// Its host has lost its data; a new member is added afterwards.
    DataLost,
}

/// Why nothing can be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// Fewer than a majority of the voters are healthy.
    NoQuorum {
        /// Number of healthy voters.
        healthy: usize,
        /// Number of voters.
        voters: usize,
    },
    /// A learner does not run.
    LearnerSilent {
        /// Its name or address.
        label: String,
    },
    /// Removing this member would leave fewer healthy members than a majority.
    WouldLoseQuorum {
        /// Its name or address.
        label: String,
    },
    /// There are [`MAX_MEMBERS`] already.
    TooMany {
        /// The host that gets none.
        name: String,
    },
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQuorum { healthy, voters } => write!(
                f,
                "etcd has no quorum: {healthy} of {voters} members are healthy; start the others, or restore the store \
                 from one of them (deploy/FAILURES.md)"
            ),
            Self::LearnerSilent { label } => write!(
                f,
                "the new member {label} of etcd does not run; start it on its host with: systemctl start ironmesh-host"
            ),
            Self::WouldLoseQuorum { label } => write!(
                f,
                "without member {label} etcd would have no quorum; start the members that are down, or add others first"
            ),
            Self::TooMany { name } => {
                write!(f, "host {name} gets no member: etcd has {MAX_MEMBERS} already; join it without --store")
            }
        }
    }
}

/// What could be better about the number of voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// There is one: the store is gone if that host is.
    Single,
    /// There is an even number.
    Even(usize),
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("the store has one member: if its host fails, nothing can be changed"),
            Self::Even(voters) => {
                let (lost, next) = (tolerated(*voters), voters + 1);
                let tolerated = tolerated(next);
                write!(
                    f,
                    "{voters} members tolerate the loss of {lost}, as {} do; {next} tolerate {tolerated}",
                    voters - 1
                )
            }
        }
    }
}

/// Number of voters that must be healthy.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Number of voters that may be lost.
#[must_use]
pub const fn tolerated(voters: usize) -> usize {
    voters.saturating_sub(majority(voters))
}

/// Returns what could be better about the number of voters.
#[must_use]
pub const fn advice(voters: usize) -> Option<Advice> {
    match voters {
        1 => Some(Advice::Single),
        0 => None,
        even if even.is_multiple_of(2) => Some(Advice::Even(even)),
        _ => None,
    }
}

fn voters(members: &[MemberReport]) -> impl Iterator<Item = &MemberReport> {
    members.iter().filter(|report| !report.member.is_learner)
}

fn healthy_voters(members: &[MemberReport]) -> usize {
    voters(members).filter(|report| report.is_healthy()).count()
}

/// Returns whether a majority of the voters is healthy.
#[must_use]
pub fn has_quorum(members: &[MemberReport]) -> bool {
    healthy_voters(members) >= majority(voters(members).count())
}

/// Returns whether etcd keeps its quorum without this member. A learner has no part in it.
#[must_use]
pub fn may_remove(members: &[MemberReport], id: u64) -> bool {
    let rest: Vec<_> = members.iter().filter(|report| report.member.id != id).cloned().collect();
    let is_voter = voters(members).any(|report| report.member.id == id);
    !is_voter || (voters(&rest).next().is_some() && has_quorum(&rest))
}

/// Whether this is the host's member: by its name, or by its address. A dead member at the host's address with another name is
/// that of a host that had the address before.
fn is_of(report: &MemberReport, wanted: &WantedMember) -> bool {
    let member = &report.member;
    let has_address = member.peer_urls.iter().any(|url| wanted.peer_urls.contains(url));
    member.name == wanted.name || (has_address && (member.name.is_empty() || report.is_healthy()))
}

/// Decides what to do next.
#[must_use]
pub fn next_action(members: &[MemberReport], wanted: &[WantedMember]) -> Action {
    let host_of = |report: &MemberReport| wanted.iter().find(|wanted| is_of(report, wanted));
    let count = voters(members).count();
    if !has_quorum(members) {
        return Action::Wait(WaitReason::NoQuorum { healthy: healthy_voters(members), voters: count });
    }
    // A member that has moved only seems dead.
    for report in members {
        if let Some(host) = host_of(report).filter(|host| host.data == MemberData::Kept)
            && report.member.peer_urls != host.peer_urls
        {
            return Action::Update { id: report.member.id, peer_urls: host.peer_urls.clone() };
        }
    }
    let lost = |report: &MemberReport| match host_of(report) {
        None => Some(RemoveReason::NotWanted),
        // A learner that has never run has no data to lose.
        Some(host) if host.data == MemberData::Lost && !report.member.name.is_empty() && !report.is_healthy() => {
            Some(RemoveReason::DataLost)
        }
        Some(_) => None,
    };
    let would_lose = |report: &MemberReport| WaitReason::WouldLoseQuorum { label: report.label().to_owned() };
    let mut blocked = None;
    let dead = members.iter().filter(|report| report.member.is_learner || !report.is_healthy());
    for (report, why) in dead.filter_map(|report| Some((report, lost(report)?))) {
        if may_remove(members, report.member.id) {
            return Action::Remove { id: report.member.id, why };
        }
        blocked = Some(would_lose(report));
    }
    if let Some(learner) = members.iter().find(|report| report.member.is_learner) {
        return if learner.state.is_some() {
            Action::Promote { id: learner.member.id }
        } else {
            Action::Wait(WaitReason::LearnerSilent { label: learner.label().to_owned() })
        };
    }
    let missing = wanted.iter().find(|wanted| !members.iter().any(|report| is_of(report, wanted)));
    if let Some(WantedMember { name, peer_urls, .. }) = missing {
        return if members.len() >= MAX_MEMBERS {
            Action::Wait(WaitReason::TooMany { name: name.clone() })
        } else {
            Action::AddLearner { name: name.clone(), peer_urls: peer_urls.clone() }
        };
    }
    // Those that live and are not wanted any more: the leader last.
    let mut leaving: Vec<_> =
        voters(members).filter(|report| host_of(report).is_none() && report.is_healthy()).collect();
    leaving.sort_by_key(|report| report.leads());
    match leaving.first() {
        Some(report) if may_remove(members, report.member.id) => {
            Action::Remove { id: report.member.id, why: RemoveReason::NotWanted }
        }
        Some(report) => Action::Wait(would_lose(report)),
        None => blocked.map_or(Action::Done, Action::Wait),
    }
}

/// Returns etcd's `--initial-cluster` for a member that joins these: every member, each as `NAME=URL`.
#[must_use]
pub fn initial_cluster(members: &[ClusterMember], own: u64, own_name: &str) -> String {
    let parts = members.iter().flat_map(|member| {
        let name = match (member.id == own, member.name.as_str()) {
            (true, _) => own_name.to_owned(),
            (false, "") => format!("member-{:x}", member.id),
            (false, name) => name.to_owned(),
        };
        member.peer_urls.iter().map(move |url| format!("{name}={url}")).collect::<Vec<_>>()
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
