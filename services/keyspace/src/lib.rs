//! The keys that Ironmesh stores in etcd, and how they are read, written, watched and sealed.
//!
//! All paths are in [`key_schema`]; the type of a key determines the type of its value. There are no blind writes: every
//! write says what it expects to find. Futures are returned, never spawned: the caller owns them.

pub mod access;
pub mod cluster;
pub mod collection;
pub mod key;
pub mod maintenance;
pub mod node_index;
pub mod rack_networks;
pub mod seal;
pub mod snapshot;
pub mod store;
pub mod store_identity;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod value;
pub mod view;
pub mod watch;

mod error;

pub use error::{Error, SealError};
pub use key::{Key, Prefix, schema as key_schema};
pub use store::{Change, Expect, Store, stored_size};
pub use store_identity::{Known, Trouble};
pub use view::View;
