//! Who may act: membership, leadership, rings, claims, permits and the journal (DESIGN §5).
//!
//! The rules are pure and stand in `domain::ring`; here they meet etcd and a clock. One loop ([`Mesh::live`]) keeps the
//! lease alive, applies rings and does the leader's work, and never waits for work in flight: a process that hangs
//! loses its lease. Work on a node runs under a [`WorkGuard`], which says when the node is lost; a changing act also needs
//! a [`Claim`], and each datagram of it a [`Permit`].

mod claim;
mod death_proof;
mod error;
mod group_commit;
mod island;
mod join;
mod journal;
mod leader;
mod member;
mod permit;
mod safety_params;
mod store_incarnation;
mod work_guard;

pub use claim::Claim;
pub use death_proof::{DataDirError, DataDirLock, publish as publish_death};
pub use error::Error;
pub use island::{Island, IslandReason};
pub use join::{JoinError, Joined, join, join_with};
pub use journal::JournalWriter;
pub use member::{Endpoints, MemberConfig, Mesh};
pub use permit::{Fence, Permit};
pub use safety_params::{Clock, Reading, SafetyParams, SessionTakeover, boottime};
pub use work_guard::WorkGuard;
