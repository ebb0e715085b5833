//! Every key the mesh keeps in etcd, and how it is read, written, watched and sealed.
//!
//! A key's path is spelled in [`key`] or nowhere; its type decides the type of its value. There are no blind writes:
//! every write says what it expects to find. Futures are returned, never spawned: the caller owns them.

pub mod key;
pub mod maintenance;
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

pub use error::Error;
pub use key::{Key, Prefix, schema as key_schema};
pub use store::{Change, Expect, Store};
pub use store_identity::{Known, Trouble};
pub use view::View;
