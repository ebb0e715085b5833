//! One module per noun: decodes arguments, calls the API, shows the answer.

pub mod allocation;
pub mod bulk;
mod config_drive;
pub mod event;
pub mod filter;
pub mod host;
pub mod image;
pub mod lock;
pub mod login;
pub mod node;
pub mod operation;
mod progress;
pub mod rack;
mod repeat;
mod secret;
pub mod status;
pub mod token;
pub mod webhook;

use tonic::Status;

use crate::error::Error;

/// Returns the required part of an answer.
fn answered<T>(part: Option<T>) -> Result<T, Error> {
    part.ok_or_else(|| {
        Error::Call(Status::data_loss(
            "the scheduler-service's answer is empty; check that it has the version of this program",
        ))
    })
}
