//! Locks: claims under which something runs.

use domain::{
    id::{NodeId, RackId},
    service::Service,
    time::Timestamp,
};
use keyspace::{
    Expect, key,
    key::Scope,
    store::Versioned,
    value::{Broken, Claim},
};
use proto::{
    api::v1::{
        BreakLockRequest, BreakLockResponse, ListLocksRequest, ListLocksResponse, Lock as WireLock, ServiceKind,
        lock_service_server::LockService,
    },
    convert::time::wire_time,
};
use service_kit::{clock, tls::Identity};
use tonic::{Request, Response, Status};

use super::{
    Shared,
    pages::{Page, Position},
};
use scheduler_core::{Error, registry::Record, request_id::RequestId, work::seen};

/// What runs under a claim.
#[derive(Debug)]
struct Running {
    purpose: String,
    since: Timestamp,
    deadline: Option<Timestamp>,
}

/// Where a service's claims of a rack's nodes are.
pub(super) const fn scope(service: Service, rack: RackId) -> Scope {
    match service {
        Service::Scheduler => Scope::Datacenter,
        Service::Power | Service::Pxe | Service::Storage | Service::Inventory => Scope::Rack(rack),
    }
}

impl Shared {
    fn locks_of(&self, record: &Record) -> Vec<(Position, WireLock)> {
        let locks = Service::ALL.into_iter().filter_map(|service| {
            let claim = self.claim(service, record.rack, record.node)?;
            let running = self.running(service, record)?;
            let position = Position::of_time(running.since, format!("{}/{service}", record.node));
            Some((position, self.shown_lock(record, service, &claim, running)))
        });
        locks.collect()
    }

    fn claim(&self, service: Service, rack: RackId, node: NodeId) -> Option<Versioned<Claim>> {
        self.registry.view().get(&key::claim(scope(service, rack), service, node))
    }

    /// What a service does to a node: the scheduler's operation, or a leaf's command without an outcome.
    fn running(&self, service: Service, record: &Record) -> Option<Running> {
        if service == Service::Scheduler {
            let operation = record.running()?;
            let deadline = seen::waiting(self, record).map(|waiting| waiting.until);
            let purpose = operation.phase.to_string();
            return Some(Running { purpose, since: operation.since, deadline });
        }
        let journal = self.registry.view().get(&key::journal(scope(service, record.rack), service, record.node))?;
        let entry = journal.value.entry.filter(|entry| entry.outcome.is_none())?;
        let deadline = Some(entry.at.plus(self.limits.power));
        Some(Running { purpose: entry.command, since: entry.at, deadline })
    }

    fn shown_lock(&self, record: &Record, service: Service, claim: &Versioned<Claim>, running: Running) -> WireLock {
        let holder = claim.value.instance;
        let member = self.registry.view().get(&key::member(scope(service, record.rack), service, holder));
        let broken = claim.value.broken.as_ref();
        WireLock {
            node: record.node.to_string(),
            node_name: record.intent.value.name.clone(),
            rack: self.registry.rack(record.rack).map(|rack| rack.value.name).unwrap_or_default(),
            service: ServiceKind::from(service).into(),
            holder: holder.to_string(),
            endpoint: member.map(|member| member.value.endpoint).unwrap_or_default(),
            purpose: running.purpose,
            start_time: Some(wire_time(running.since)),
            expire_time: running.deadline.map(wire_time),
            token: u64::try_from(claim.revision).unwrap_or(0),
            broken_by: broken.map(|broken| broken.by.clone()).unwrap_or_default(),
            break_time: broken.map(|broken| wire_time(broken.since)),
        }
    }

    async fn break_lock(&self, request: BreakLockRequest, by: String) -> Result<(), Error> {
        let service: Service = request.service().try_into()?;
        let record = self.registry.named(&request.node)?;
        let name = &record.intent.value.name;
        let claim = self.claim(service, record.rack, record.node);
        let seen = claim.filter(|claim| u64::try_from(claim.revision).is_ok_and(|token| token == request.token));
        let changed = || Error::LockChanged { node: name.clone(), service };
        let claim = seen.ok_or_else(changed)?;
        let key = key::claim(scope(service, record.rack), service, record.node);
        let broken = Claim { broken: Some(Broken { by: by.clone(), since: clock::now() }), ..claim.value };
        let change = self.registry.mesh.as_member()?.put(&key, &broken, Expect::Revision(claim.revision))?;
        match self.registry.commit(change).await {
            Err(error) if error.is_conflict() => return Err(changed()),
            outcome => outcome?,
        }
        tracing::warn!(node = %record.node, %service, by, "a lock was broken");
        self.live_state.tell(Some(record.node), "LOCK", format!("{by} broke the {service}'s lock"));
        Ok(())
    }
}

#[tonic::async_trait]
impl LockService for Shared {
    async fn list_locks(&self, request: Request<ListLocksRequest>) -> Result<Response<ListLocksResponse>, Status> {
        let mut request = request.into_inner();
        let page = Page::read(&mut request).map_err(Error::from)?;
        let records: Vec<Record> =
            if request.node.is_empty() { self.records().collect() } else { vec![self.registry.named(&request.node)?] };
        let (locks, next_page_token) = page.cut_unsorted(records.iter().flat_map(|record| self.locks_of(record)));
        Ok(Response::new(ListLocksResponse { locks, next_page_token }))
    }

    async fn break_lock(&self, request: Request<BreakLockRequest>) -> Result<Response<BreakLockResponse>, Status> {
        let by = request.extensions().get::<Identity>().map(Identity::to_string).unwrap_or_default();
        let asked = RequestId::read(request.metadata(), "BreakLock", request.get_ref())?;
        let change = async { Self::break_lock(self, request.into_inner(), by).await.map(|()| BreakLockResponse {}) };
        Ok(Response::new(self.once(asked, change, || Ok(BreakLockResponse {})).await?))
    }
}
