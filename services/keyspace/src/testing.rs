//! An in-memory store with etcd's semantics, for tests and simulations. Only compiled for tests and with the feature
//! `testing`, which only dev-dependencies enable: no shipped program contains it.
//!
//! [`MemoryEtcd`] is one world: the data, the leases, the watches and the network to it. Each simulated process gets a
//! [`MemoryClient`], whose faults are its own, and from that an ordinary [`Store`](crate::Store):
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), keyspace::Error> {
//! use domain::{id::InstanceId, service::Service};
//! use keyspace::{Change, Expect, key, key::Scope, testing::{Delivery, MemoryEtcd}, value::Ack};
//!
//! let etcd = MemoryEtcd::new();
//! let (one, other) = (etcd.client(), etcd.client());
//! let instance = InstanceId::new(uuid::Uuid::from_u128(1));
//! let (key, value) = (key::ack(Scope::Datacenter, Service::Scheduler, instance), Ack { epoch: 1 });
//! one.store().commit(Change::new().put(&key, &value, Expect::Absent)?).await?;
//! assert_eq!(other.store().get(&key).await?.map(|read| read.value), Some(value));
//! // From now on every request of the first process is carried out, and its answer is lost.
//! one.set_delivery(Delivery::UNANSWERED);
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//! Leases, delays and timeouts follow tokio's clock, so `tokio::time::pause` (or `start_paused`) puts them under the
//! test's control. The world has no task of its own: it is driven by those who wait for an answer or a watch message, and
//! every request first carries out what is due. Events happen in the order of their due times. A simulation of many
//! processes runs [`MemoryEtcd::drive`] beside them, which is faster.
//! The same sequence of polls gives the same sequence of revisions.
//!
//! # Faults
//! * A request or its answer is delayed, lost, or cut off with an error: [`MemoryClient::set_delivery`] for all requests,
//!   [`MemoryClient::set_plan`] for each one by what it is. A delayed request arrives even if its sender has given up.
//! * Watch messages are delayed or held back ([`MemoryClient::set_watch_delivery`]), or the streams break
//!   ([`MemoryClient::break_watches`]).
//! * [`MemoryClient::partition`] is all of it at once.
//! * The store itself is stopped and started, compacted, full, or restored from a backup: see [`MemoryEtcd`].

mod client;
pub mod contract;
mod faults;
mod members;
mod memory;
mod state;
mod streams;
mod world;

pub use client::MemoryClient;
pub use faults::{Call, CallKind, Delivery, Leg, WatchDelivery};
pub use memory::{Backup, ClusterId, MemoryEtcd, Space};
pub use state::Revision;
