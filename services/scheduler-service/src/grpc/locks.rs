//! Locks: claims under which something runs.

use domain::service::Service;
use keyspace::{key, key::Scope, store::Versioned, value::Claim};
use proto::{
    api::v1::{
        BreakLockRequest, BreakLockResponse, ListLocksRequest, ListLocksResponse, Lock as WireLock, ServiceKind,
        lock_service_server::LockService,
    },
    convert::time::wire_time,
};
use tonic::{Request, Response, Status};

use super::{
    Shared,
    pages::{Page, Position},
};
use scheduler_core::{AppState, Error, RequestContext, locks::RunningWork, registry::Record};

impl Shared {
    fn locks_of(&self, record: &Record) -> Vec<(Position, WireLock)> {
        let locks = Service::ALL.into_iter().filter_map(|service| {
            let claim = self.claim_of(service, record)?;
            let running = self.running_work(service, record)?;
            let position = Position::of_time(running.since, format!("{}/{service}", record.node));
            Some((position, self.shown_lock(record, service, &claim, running)))
        });
        locks.collect()
    }

    fn shown_lock(
        &self,
        record: &Record,
        service: Service,
        claim: &Versioned<Claim>,
        running: RunningWork,
    ) -> WireLock {
        let holder = claim.value.instance;
        let member = self.registry.view().get(&key::member(Scope::of(service, record.rack), service, holder));
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
        let context = RequestContext::read(&request, "BreakLock", request.get_ref())?;
        let request = request.into_inner();
        let change = async {
            let service: Service = request.service().try_into()?;
            let record = self.registry.named(&request.node)?;
            AppState::break_lock(self, &context, &record, service, request.token).await.map(|()| BreakLockResponse {})
        };
        Ok(Response::new(self.once(&context, change, || Ok(BreakLockResponse {})).await?))
    }
}
