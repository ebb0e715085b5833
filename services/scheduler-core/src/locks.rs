//! Locks: what the services of the mesh do to nodes, and how an operator takes a node away from one that hangs.

use domain::{service::Service, time::Timestamp};
use keyspace::{
    key,
    key::Scope,
    store::Versioned,
    value::{Broken, Claim},
};
use service_kit::clock;

use crate::{Error, RequestContext, app_state::AppState, registry::Record, work::seen};

/// Work that a service does on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningWork {
    /// What it does.
    pub purpose: String,
    /// When it began.
    pub since: Timestamp,
    /// When it must have ended. `None` if it waits for nothing.
    pub deadline: Option<Timestamp>,
}

impl AppState {
    /// The claim of a service on a node.
    #[must_use]
    pub fn claim_of(&self, service: Service, record: &Record) -> Option<Versioned<Claim>> {
        self.registry.view().get(&key::claim(Scope::of(service, record.rack), service, record.node))
    }

    /// What a service does to a node: the scheduler's operation, or a leaf's command without an outcome.
    #[must_use]
    pub fn running_work(&self, service: Service, record: &Record) -> Option<RunningWork> {
        if service == Service::Scheduler {
            let operation = record.running()?;
            let deadline = seen::waiting(self, record).map(|waiting| waiting.until);
            let purpose = operation.phase.to_string();
            return Some(RunningWork { purpose, since: operation.since, deadline });
        }
        let journal = self.registry.view().get(&key::journal(Scope::of(service, record.rack), service, record.node))?;
        let entry = journal.value.entry.filter(|entry| entry.outcome.is_none())?;
        let deadline = Some(entry.at.plus(self.limits.power));
        Some(RunningWork { purpose: entry.command, since: entry.at, deadline })
    }

    /// Breaks the claim of a service on a node: it must claim the node again before it acts on it.
    ///
    /// # Errors
    /// [`Error::LockChanged`] if the claim is not the one with this token.
    pub async fn break_lock(
        &self,
        context: &RequestContext,
        record: &Record,
        service: Service,
        token: u64,
    ) -> Result<(), Error> {
        let (name, by) = (&record.intent.value.name, context.actor.clone());
        let changed = || Error::LockChanged { node: name.clone(), service };
        let has_token =
            |claim: &Versioned<Claim>| u64::try_from(claim.revision).is_ok_and(|revision| revision == token);
        let claim = self.claim_of(service, record).filter(has_token).ok_or_else(changed)?;
        let key = key::claim(Scope::of(service, record.rack), service, record.node);
        let broken = Claim { broken: Some(Broken { by: by.clone(), since: clock::now() }), ..claim.value.clone() };
        match self.registry.replace(context, &key, &claim, &broken).await {
            Err(error) if error.is_conflict() => return Err(changed()),
            outcome => outcome?,
        }
        tracing::warn!(node = %record.node, %service, by, "lock broken");
        self.live_state.tell(Some(record.node), "LOCK", format!("{by} broke the {service}'s lock"));
        Ok(())
    }
}
