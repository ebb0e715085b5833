//! What went wrong in us, in the words of the protocol.

use service_kit::status::{Failure as _, Kind, chain};
use wire_ironic::error::{Class, Error as Wire, text};

use crate::Error;

/// The refusal of a change of `node` that came to `error`.
pub fn fault(node: &str, error: &Error) -> Wire {
    match error.kind() {
        Kind::Invalid => Class::Invalid.says(chain(error)),
        Kind::Missing => Class::NotFound.says(chain(error)),
        Kind::Taken => Class::Conflict.says(chain(error)),
        Kind::NotNow => Class::Invalid.says(chain(error)),
        // Somebody else wrote in between, again and again: as good as locked.
        Kind::Conflict => text::locked(node, "another request"),
        Kind::Denied => Class::Forbidden.says(chain(error)),
        Kind::NotOwner | Kind::Unavailable | Kind::Island => text::busy(&chain(error)),
        Kind::Internal => {
            tracing::error!(node, error = %chain(error), "a request came to nothing");
            Class::Server.says("Ironmesh could not do it; its log says why")
        }
    }
}
