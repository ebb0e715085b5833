//! Connections that were refused: no program listens there.

use std::{error::Error, io};

/// Whether the connection was refused, if that is among the causes.
pub(crate) fn is_refused(mut cause: Option<&(dyn Error + 'static)>) -> bool {
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
