//! Every key the mesh keeps in etcd, and how it is read, written, watched and sealed.
//!
//! A key's path is spelled in [`key`] or nowhere; its type decides the type of its value. There are no blind writes:
//! every write says what it expects to find. Futures are returned, never spawned: the caller owns them.

pub mod care;
pub mod family;
pub mod key;
pub mod lineage;
pub mod seal;
pub mod snapshot;
pub mod store;
pub mod value;
pub mod view;
pub mod watch;

mod error;

pub use error::Error;
pub use key::{Key, Prefix};
pub use lineage::{Known, Trouble};
pub use store::{Change, Expect, Store};
pub use view::View;

/// An error with all its causes, as one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
