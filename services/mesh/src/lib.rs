//! Who may act: membership, leadership, rings, claims, permits and the journal.
//!
//! `services/mesh/OWNERSHIP.md` describes the protocol and argues why no two owners act. The rules are pure functions in
//! `domain::ring`; this crate drives them with etcd and a clock. One loop ([`Mesh::live`]) keeps the lease alive, applies
//! rings and does the leader's work. It never waits for work in flight, and [`join()`] runs it on a thread of its own, so
//! that no other work of the process delays it. Work on a node runs under a [`WorkGuard`], which says when the node is
//! lost. A change also needs a [`Claim`], and each datagram of it a [`Permit`].

mod acquire;
mod availability;
mod claim;
mod dangerous;
mod death_proof;
mod error;
mod etcd_members;
mod fenced_write;
mod group_commit;
mod group_view;
mod island;
mod join;
mod journal;
mod journal_cache;
mod leader;
mod live;
mod membership;
mod membership_thread;
mod mesh;
mod permit;
mod revocations;
mod safety_params;
mod store_incarnation;
mod work_guard;

pub use claim::Claim;
pub use dangerous::{DangerousRule, Step};
pub use death_proof::{DataDirError, DataDirLock, Group, SimulatedDataDir, publish as publish_death};
pub use error::Error;
pub use etcd_members::known_etcd_members;
pub use island::{Island, IslandReason};
pub use join::{JoinError, Joined, join, join_with};
pub use journal::JournalWriter;
pub use membership::{Endpoints, HostShare, MemberConfig};
pub use mesh::Mesh;
pub use permit::{Fence, Permit};
pub use safety_params::{Clock, Reading, SafetyParams, boottime};
pub use work_guard::WorkGuard;
