//! The members of etcd: who they are, how they are, and how their number grows and shrinks.
//!
//! Members are changed one at a time, as etcd's user `root`. What to do next is [`plan`]'s decision.

pub mod plan;

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

pub use crate::store::{Alarm, ClusterMember, MemberState, RaisedAlarm};
use crate::{
    Error, Store,
    access::ADMINISTRATOR,
    error,
    store::{Pem, connection::MemberChange},
};

/// How long a change of the members may take: a majority must carry it out, and its leader may have to be elected first.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// Reason why the members of etcd were not changed.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Fewer than a majority of the members respond, or would after the change.
    #[error(
        "etcd has no quorum ({doing}): fewer than a majority of its members respond, or would after the change; start \
         the members that are down; ironmesh store status names them"
    )]
    NoQuorum {
        /// What was being done.
        doing: &'static str,
    },
    /// The learner has not copied the store yet.
    #[error(
        "member {id:x} of etcd is a learner that has not caught up with the leader yet; check that etcd runs on its host, \
         then try again"
    )]
    NotInSync {
        /// The learner.
        id: u64,
    },
    /// The member has a vote already.
    #[error("member {id:x} of etcd is no learner: it has a vote already")]
    NotALearner {
        /// The member.
        id: u64,
    },
    /// etcd has as many learners as it may have, which is one.
    #[error("etcd has a learner already; promote or remove that one first, one member joins at a time")]
    TooManyLearners,
    /// There is no such member.
    #[error("etcd has no member {id:x}; ironmesh store status lists its members")]
    UnknownMember {
        /// The id that was given.
        id: u64,
    },
    /// Another member has that address.
    #[error("etcd has a member at {peer_urls} already; remove it first if it was lost, or use its data")]
    AddressTaken {
        /// The addresses.
        peer_urls: String,
    },
    /// The user of the certificate may not change members.
    #[error(
        "only etcd's user {ADMINISTRATOR} may change its members ({doing}); use the certificate etcd-root.pem of the \
         datacenter's authority"
    )]
    Forbidden {
        /// What was being done.
        doing: &'static str,
    },
    /// etcd does not answer, or refused for another reason. Whether the change was made is unknown: list the members.
    #[error(transparent)]
    Store(#[from] Error),
}

impl MemberError {
    /// Whether it may pass by itself: the same change may be tried again later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::NoQuorum { .. } | Self::NotInSync { .. } | Self::TooManyLearners => true,
            Self::Store(error) => error.is_away(),
            Self::NotALearner { .. }
            | Self::UnknownMember { .. }
            | Self::AddressTaken { .. }
            | Self::Forbidden { .. } => false,
        }
    }

    /// Finds out what etcd's refusal of a change means.
    fn of(error: Error, change: &MemberChange, doing: &'static str) -> Self {
        let id = match change {
            MemberChange::AddLearner { .. } => 0,
            MemberChange::Promote(id)
            | MemberChange::Remove(id)
            | MemberChange::Update { id, .. }
            | MemberChange::MoveLeader(id) => *id,
        };
        if matches!(error, Error::Forbidden { .. }) {
            return Self::Forbidden { doing };
        }
        // The texts are those of etcd's api/v3rpc/rpctypes, which stay the same from 3.4 to 3.6.
        let text = error::chain(&error);
        let says = |part: &str| text.contains(part);
        if says("in sync with leader") {
            Self::NotInSync { id }
        } else if says("can only promote a learner") {
            Self::NotALearner { id }
        } else if says("too many learner") {
            Self::TooManyLearners
        } else if says("member not found") || says("bad leader transferee") {
            Self::UnknownMember { id }
        } else if says("Peer URLs already exists") || says("member ID already exist") {
            let peer_urls = match change {
                MemberChange::AddLearner { peer_urls } | MemberChange::Update { peer_urls, .. } => peer_urls.join(", "),
                MemberChange::Promote(_) | MemberChange::Remove(_) | MemberChange::MoveLeader(_) => String::new(),
            };
            Self::AddressTaken { peer_urls }
        } else if ["not enough started members", "unhealthy cluster", "no leader", "lost quorum"].into_iter().any(says)
        {
            Self::NoQuorum { doing }
        } else {
            Self::Store(error)
        }
    }
}

/// A member and what it says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberReport {
    /// The member, as the list has it.
    pub member: ClusterMember,
    /// What it says of itself; `None` if it does not answer.
    pub state: Option<MemberState>,
    /// Why it does not answer.
    pub trouble: Option<String>,
    /// How long its answer took.
    pub latency: Duration,
    /// The alarms that it raised, as far as etcd could be asked.
    pub alarms: Vec<Alarm>,
}

impl MemberReport {
    /// Whether it answers and knows a leader.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.leader != 0)
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.leader != 0 && state.leader == state.id)
    }

    /// Name for people: that of the member, or its address if it has never run.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.member.name.is_empty() {
            self.member.peer_urls.first().map_or("unnamed", String::as_str)
        } else {
            &self.member.name
        }
    }
}

impl Store {
    /// Adds a member without a vote, which etcd then starts at these peer URLs. Returns its id. etcd has one learner at a
    /// time.
    ///
    /// # Errors
    /// [`MemberError`]
    pub async fn add_learner(&self, peer_urls: &[String]) -> Result<u64, MemberError> {
        self.change_members("adding a member", MemberChange::AddLearner { peer_urls: peer_urls.to_vec() }).await
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`MemberError::NotInSync`] until it has copied the store.
    pub async fn promote_member(&self, id: u64) -> Result<(), MemberError> {
        self.change_members("promoting a learner", MemberChange::Promote(id)).await.map(drop)
    }

    /// Removes a member. Its etcd ends, and its data is of no use any more.
    ///
    /// # Errors
    /// [`MemberError::NoQuorum`] if fewer than a majority of the remaining members run.
    pub async fn remove_member(&self, id: u64) -> Result<(), MemberError> {
        self.change_members("removing a member", MemberChange::Remove(id)).await.map(drop)
    }

    /// Changes the URLs at which the other members reach a member, before it is started there.
    ///
    /// # Errors
    /// [`MemberError`]
    pub async fn update_member(&self, id: u64, peer_urls: &[String]) -> Result<(), MemberError> {
        let change = MemberChange::Update { id, peer_urls: peer_urls.to_vec() };
        self.change_members("changing the address of a member", change).await.map(drop)
    }

    /// Makes another member the leader. Only the leader accepts this, so that `self` must be connected to that one alone.
    ///
    /// # Errors
    /// [`MemberError`]
    pub async fn move_leader(&self, id: u64) -> Result<(), MemberError> {
        self.change_members("moving the leadership", MemberChange::MoveLeader(id)).await.map(drop)
    }

    async fn change_members(&self, doing: &'static str, change: MemberChange) -> Result<u64, MemberError> {
        let sent = change.clone();
        let outcome = self.endpoints().ask(doing, CHANGE_TIMEOUT, move |member| member.change_members(sent)).await;
        outcome.map_err(|error| MemberError::of(error, &change, doing))
    }

    /// Lists the members and asks each of them how it is, all at the same time, by connections of its own. Works without
    /// a quorum: alarms are unknown then.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no member answers.
    pub async fn survey(&self, pem: Pem<'_>) -> Result<Vec<MemberReport>, Error> {
        let mut members = self.cluster_members().await;
        // Each request asks one member, and the next one the next member.
        for _ in 1..self.addresses().len() {
            if members.as_ref().is_err_and(Error::is_away) {
                members = self.cluster_members().await;
            }
        }
        let mut reports = join_all(members?.into_iter().map(|member| report(member, pem))).await;
        if reports.iter().any(MemberReport::is_healthy)
            && let Ok(raised) = self.raised_alarms().await
        {
            for report in &mut reports {
                let own = raised.iter().filter(|raised| raised.member == report.member.id);
                report.alarms = own.map(|raised| raised.alarm).collect();
            }
        }
        Ok(reports)
    }
}

/// Asks a member how it is, at each of its client URLs until one answers.
async fn report(member: ClusterMember, pem: Pem<'_>) -> MemberReport {
    let mut trouble = "it has never run: it advertises no client URL".to_owned();
    for url in &member.client_urls {
        let asked = async {
            let store = Store::connect(std::slice::from_ref(url), pem).await?;
            let begun = Instant::now();
            let state = store.member_state().await?;
            Ok::<_, Error>((state, begun.elapsed()))
        };
        match tokio::time::timeout(STATUS_TIMEOUT, asked).await {
            Ok(Ok((state, latency))) => {
                return MemberReport { member, state: Some(state), latency, ..MemberReport::default() };
            }
            Ok(Err(error)) => trouble = format!("{url}: {}", reason(&error)),
            Err(_) => trouble = format!("{url}: no answer within {} s", STATUS_TIMEOUT.as_secs()),
        }
    }
    MemberReport { member, trouble: Some(trouble), ..MemberReport::default() }
}

/// The cause of an error, without what it says about the whole cluster.
fn reason(error: &Error) -> String {
    if let Error::Unavailable { source, .. } = error {
        return source.as_ref().map_or_else(|| "no answer in time".to_owned(), |source| error::chain(source.as_ref()));
    }
    error::chain(error)
}

#[cfg(test)]
mod tests;
