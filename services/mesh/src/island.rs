//! A rack without etcd: what repeats goes on, what changes is refused and says since when.

use std::time::Duration;

use domain::time::Timestamp;
use service_kit::{
    Host,
    health::{Health, Serving},
};

use crate::Mesh;

/// Between two looks at whether changes are possible.
const LOOK: Duration = Duration::from_millis(250);

/// etcd is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Island {
    /// Since when.
    pub since: Timestamp,
}

impl Mesh {
    /// Keeps the health named [`CHANGES`](service_kit::health::CHANGES) up to date: whether this instance has joined and
    /// etcd is there.
    pub async fn tell(self, health: Health, host: Host) {
        let mut told = None;
        loop {
            let serving = if self.instance().is_some() && self.island().is_none() { Serving::Yes } else { Serving::No };
            if told.replace(serving) != Some(serving) {
                health.changes(serving).await;
            }
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
