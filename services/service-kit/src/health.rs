//! Health is earned: a service says that it serves once it does.

use tonic_health::{ServingStatus, server::HealthReporter};

/// Says how the service is, under two names: `""` (it answers) and `changes` (it may change things).
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
}

/// The name under which health says whether changes are possible; they are not on an island.
pub const CHANGES: &str = "changes";

impl Health {
    pub(crate) fn new(reporter: HealthReporter) -> Self {
        Self { reporter }
    }

    /// It answers, or does not any more.
    pub async fn serving(&self, serving: Serving) {
        self.reporter.set_service_status("", serving.into()).await;
    }

    /// Changes are possible, or are not.
    pub async fn changes(&self, serving: Serving) {
        self.reporter.set_service_status(CHANGES, serving.into()).await;
    }
}

/// Whether something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl From<Serving> for ServingStatus {
    fn from(serving: Serving) -> Self {
        match serving {
            Serving::Yes => Self::Serving,
            Serving::No => Self::NotServing,
        }
    }
}
