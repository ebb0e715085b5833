//! Who may act: membership, leadership, rings, claims, permits and the journal (DESIGN §5).
//!
//! The rules are pure and stand in `domain::ring`; here they meet etcd and a clock. One loop ([`Mesh::live`]) keeps the
//! lease alive, applies rings and does the leader's work, and never waits for work in flight: a process that hangs
//! loses its lease. Work on a node runs under a [`Stake`], which says when the node is lost; a changing act also needs
//! a [`Claim`], and each datagram of it a [`Permit`].

mod begin;
mod claim;
mod error;
mod footing;
mod island;
mod journal;
mod leader;
mod member;
mod permit;
mod proof;
mod root;
mod stake;
mod together;

pub use begin::{Begun, CannotBegin, begin, begin_on};
pub use claim::Claim;
pub use error::Error;
pub use footing::{Clock, Footing, Predecessors, Reading, boottime};
pub use island::{Island, Why};
pub use journal::Ledger;
pub use member::{Mesh, Places, Setting};
pub use permit::{Fence, Permit};
pub use proof::{Busy, Lock, publish as publish_dead};
pub use stake::Stake;
