//! The public gRPC API: decode, one call, encode.

mod allocations;
mod bulks;
mod callers;
mod events;
mod hosts;
mod images;
mod locks;
mod node_requests;
mod nodes;
mod operations;
mod pages;
mod peers;
mod racks;
mod show;
mod status;
mod watch;
mod webhooks;

#[cfg(test)]
mod tests;

pub(crate) use self::hosts::Fleet;

use std::{ops::Deref, sync::Arc};

use scheduler_core::AppState;

/// The gRPC services, over the application layer. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<AppState>);

impl Shared {
    pub(crate) const fn new(app: Arc<AppState>) -> Self {
        Self(app)
    }
}

impl Deref for Shared {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}
