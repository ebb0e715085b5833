//! Bulks.

use domain::bulk::{Bulk, BulkLimits, BulkNode, BulkProgress, BulkState, Count};
use keyspace::{key, store::Versioned};
use proto::{
    api::v1::{
        Bulk as WireBulk, BulkLimits as WireLimits, BulkNode as WireNode, BulkNodeProgress as WireProgress,
        BulkState as WireState, CancelBulkRequest, CancelBulkResponse, CreateBulkRequest, CreateBulkResponse,
        GetBulkRequest, GetBulkResponse, ListBulksRequest, ListBulksResponse, PauseBulkRequest, PauseBulkResponse,
        ProvisionVerb, ResumeBulkRequest, ResumeBulkResponse, bulk_service_server::BulkService,
    },
    convert::time::wire_time,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Shared,
    pages::{Page, Position},
};
use scheduler_core::{AppState, Error, RequestContext, bulk::CreateBulk, etag};

/// Default number of nodes that a bulk works on at the same time.
const DEFAULT_CONCURRENCY: u32 = 10;

type Answer<T> = Result<Response<T>, Status>;

impl Shared {
    async fn create_bulk(
        &self,
        context: &RequestContext,
        id: Uuid,
        request: CreateBulkRequest,
    ) -> Result<WireBulk, Error> {
        let command = CreateBulk {
            id,
            verb: request.verb().try_into()?,
            image: request.image,
            selector: request.selector,
            count: request.count,
            limits: limits(request.limits.unwrap_or_default()),
            config_drive: request.config_drive.into_iter().collect(),
        };
        AppState::create_bulk(self, context, command).await?;
        self.bulk_as_it_is(&id.to_string())
    }

    fn bulk(&self, id: &str) -> Result<(Uuid, Versioned<Bulk>), Error> {
        let missing = || Error::Missing { kind: "bulk", name: id.to_owned() };
        let uuid = Uuid::try_parse(id).map_err(|_| missing())?;
        Ok((uuid, self.registry.view().get(&key::bulk(uuid)).ok_or_else(missing)?))
    }

    fn bulk_as_it_is(&self, id: &str) -> Result<WireBulk, Error> {
        let (id, read) = self.bulk(id)?;
        Ok(self.shown_bulk(id, &read, true))
    }

    async fn steer_bulk(
        &self,
        context: &RequestContext,
        id: &str,
        tag: &str,
        wanted: BulkState,
    ) -> Result<WireBulk, Error> {
        let (id, read) = self.bulk(id)?;
        etag::check(tag, "bulk", &id.to_string(), read.revision)?;
        self.set_bulk_state(context, id, &read, wanted).await?;
        self.bulk_as_it_is(&id.to_string())
    }

    fn shown_bulk(&self, id: Uuid, read: &Versioned<Bulk>, with_nodes: bool) -> WireBulk {
        let bulk = &read.value;
        let count = Count::of(bulk.nodes.iter().map(|one| &one.progress));
        let image = bulk.image.and_then(|image| self.registry.image(image));
        let nodes = bulk.nodes.iter().filter(|_| with_nodes).map(|one| self.shown_one(one));
        WireBulk {
            id: id.to_string(),
            verb: ProvisionVerb::from(bulk.verb).into(),
            image: image.map(|image| image.value.name).unwrap_or_default(),
            limits: Some(WireLimits {
                at_once: bulk.limits.at_once,
                max_failures: Some(bulk.limits.max_failures),
                canary: bulk.limits.canary,
                pause_after_canary: bulk.limits.pause_after_canary,
            }),
            state: shown_state(bulk.state).into(),
            reason: bulk.reason.clone(),
            start_time: Some(wire_time(bulk.since)),
            end_time: bulk.ended.map(wire_time),
            waiting: count.waiting,
            running: count.running,
            done: count.done,
            failed: count.failed,
            skipped: count.skipped,
            nodes: nodes.collect(),
            etag: etag::tag(read.revision),
        }
    }

    fn shown_one(&self, one: &BulkNode) -> WireNode {
        let rack = self.registry.rack_of(one.node);
        let intent = rack.and_then(|rack| self.registry.view().get(&key::intent(rack, one.node)));
        let (progress, operation, failure) = match &one.progress {
            BulkProgress::Waiting => (WireProgress::Waiting, None, ""),
            BulkProgress::Running { operation } => (WireProgress::Running, Some(*operation), ""),
            BulkProgress::Done { operation } => (WireProgress::Done, *operation, ""),
            BulkProgress::Failed { operation, text } => (WireProgress::Failed, *operation, text.as_str()),
            BulkProgress::Skipped => (WireProgress::Skipped, None, ""),
        };
        WireNode {
            node: one.node.to_string(),
            node_name: intent.map(|intent| intent.value.name).unwrap_or_default(),
            progress: progress.into(),
            failure: failure.to_owned(),
            operation: operation.map(|operation| operation.to_string()).unwrap_or_default(),
        }
    }
}

const fn shown_state(state: BulkState) -> WireState {
    match state {
        BulkState::Running => WireState::Running,
        BulkState::Paused => WireState::Paused,
        BulkState::Canceled => WireState::Canceled,
        BulkState::Done => WireState::Done,
    }
}

fn limits(wire: WireLimits) -> BulkLimits {
    BulkLimits {
        at_once: if wire.at_once == 0 { DEFAULT_CONCURRENCY } else { wire.at_once },
        max_failures: wire.max_failures.unwrap_or(0),
        canary: wire.canary,
        pause_after_canary: wire.pause_after_canary,
    }
}

#[tonic::async_trait]
impl BulkService for Shared {
    async fn create_bulk(&self, request: Request<CreateBulkRequest>) -> Answer<CreateBulkResponse> {
        let mut public = request.get_ref().clone();
        let files = std::mem::take(&mut public.config_drive);
        let context = RequestContext::read_with(&request, "CreateBulk", &public, &files)?;
        // Under the id of the request it is found again, also where the answer is lost.
        let id = context.new_id();
        let request = request.into_inner();
        let change = async {
            let bulk = Self::create_bulk(self, &context, id, request).await?;
            Ok(CreateBulkResponse { bulk: Some(bulk) })
        };
        let anew = || {
            let bulk = self.bulk_as_it_is(&id.to_string())?;
            Ok(CreateBulkResponse { bulk: Some(bulk) })
        };
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn get_bulk(&self, request: Request<GetBulkRequest>) -> Answer<GetBulkResponse> {
        let bulk = self.bulk_as_it_is(&request.into_inner().bulk)?;
        Ok(Response::new(GetBulkResponse { bulk: Some(bulk) }))
    }

    async fn list_bulks(&self, request: Request<ListBulksRequest>) -> Answer<ListBulksResponse> {
        let page = Page::read(&mut request.into_inner()).map_err(Error::from)?;
        let all = self.registry.view().list(&key::bulks()).into_iter();
        let positioned = all.filter_map(|(path, read)| {
            let id: Uuid = key::last(&path)?;
            Some((Position::of_time(read.value.since, id), (id, read)))
        });
        let (bulks, next_page_token) = page.cut_unsorted(positioned);
        let bulks = bulks.iter().map(|(id, bulk)| self.shown_bulk(*id, bulk, false)).collect();
        Ok(Response::new(ListBulksResponse { bulks, next_page_token }))
    }

    async fn pause_bulk(&self, request: Request<PauseBulkRequest>) -> Answer<PauseBulkResponse> {
        let context = RequestContext::read(&request, "PauseBulk", request.get_ref())?;
        let PauseBulkRequest { bulk: id, etag } = request.into_inner();
        let change = async {
            Ok(PauseBulkResponse { bulk: Some(self.steer_bulk(&context, &id, &etag, BulkState::Paused).await?) })
        };
        let anew = || Ok(PauseBulkResponse { bulk: Some(self.bulk_as_it_is(&id)?) });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn resume_bulk(&self, request: Request<ResumeBulkRequest>) -> Answer<ResumeBulkResponse> {
        let context = RequestContext::read(&request, "ResumeBulk", request.get_ref())?;
        let ResumeBulkRequest { bulk: id, etag } = request.into_inner();
        let change = async {
            Ok(ResumeBulkResponse { bulk: Some(self.steer_bulk(&context, &id, &etag, BulkState::Running).await?) })
        };
        let anew = || Ok(ResumeBulkResponse { bulk: Some(self.bulk_as_it_is(&id)?) });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn cancel_bulk(&self, request: Request<CancelBulkRequest>) -> Answer<CancelBulkResponse> {
        let context = RequestContext::read(&request, "CancelBulk", request.get_ref())?;
        let CancelBulkRequest { bulk: id, etag } = request.into_inner();
        let change = async {
            Ok(CancelBulkResponse { bulk: Some(self.steer_bulk(&context, &id, &etag, BulkState::Canceled).await?) })
        };
        let anew = || Ok(CancelBulkResponse { bulk: Some(self.bulk_as_it_is(&id)?) });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }
}
