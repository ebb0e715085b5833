//! The gRPC health service. A service reports `SERVING` only once it serves.

use tonic_health::{ServingStatus, server::HealthReporter};

/// Reports the health of a service under two names: `""` (it answers) and `changes` (it accepts changes).
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
}

/// The health service name that reports whether changes are accepted; they are not while the rack is an island.
pub const CHANGES: &str = "changes";

impl Health {
    pub(crate) fn new(reporter: HealthReporter) -> Self {
        Self { reporter }
    }

    /// Reports whether the service answers.
    pub async fn serving(&self, serving: Serving) {
        self.reporter.set_service_status("", serving.into()).await;
    }

    /// Reports whether changes are accepted.
    pub async fn changes(&self, serving: Serving) {
        self.reporter.set_service_status(CHANGES, serving.into()).await;
    }
}

/// Whether something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// It is served.
    Yes,
    /// It is not served.
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
