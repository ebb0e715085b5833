//! Bulks.

use domain::provision::Verb;
use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Bulk, BulkLimits, BulkNode, BulkProgress, BulkState},
};
use proto::{
    api::v1::{
        Bulk as WireBulk, BulkLimits as WireLimits, BulkNode as WireNode, BulkNodeProgress as WireProgress,
        BulkState as WireState, CancelBulkRequest, CancelBulkResponse, CreateBulkRequest, CreateBulkResponse,
        GetBulkRequest, GetBulkResponse, ListBulksRequest, ListBulksResponse, PauseBulkRequest, PauseBulkResponse,
        ProvisionVerb, ResumeBulkRequest, ResumeBulkResponse, bulk_service_server::BulkService,
    },
    convert::{Invalid, time::wire_time},
};
use service_kit::clock;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Shared,
    pages::{Page, Position},
    show,
};
use scheduler_core::{
    Error,
    bulk::{Count, drive_place, steer, takes},
    etag,
    registry::Record,
    request_id::RequestId,
};

/// Nodes of one bulk: its record stays far below what a transaction may have.
const MAX_NODES: usize = 2000;
/// Default number of nodes that a bulk works on at the same time.
const DEFAULT_CONCURRENCY: u32 = 10;

type Answer<T> = Result<Response<T>, Status>;

impl Shared {
    async fn create_bulk(&self, id: Uuid, request: CreateBulkRequest) -> Result<WireBulk, Error> {
        let verb: Verb = request.verb().try_into()?;
        if !takes(verb) {
            let why = format!("{verb} is not available as a bulk; request it for each node");
            return Err(Invalid::wrong("verb", why).into());
        }
        let image = match (verb, request.image.as_str()) {
            (Verb::Deploy, "") => return Err(Invalid::Missing("image").into()),
            (_, "") => None,
            (Verb::Deploy | Verb::Rebuild | Verb::Adopt, name) => Some(self.registry.image_named(name)?.value.id),
            (_, _) => return Err(Invalid::wrong("image", format!("{verb} takes none")).into()),
        };
        let nodes = self.of_bulk(&request, verb)?;
        let limits = limits(request.limits.unwrap_or_default());
        let (state, reason, since) = (BulkState::Running, String::new(), clock::now());
        let (ended, canaries_passed, forgiven) = (None, false, 0);
        let bulk = Bulk { verb, image, limits, state, reason, since, ended, canaries_passed, forgiven, nodes };
        let mut change = self.registry.mesh.as_member()?.put(&key::bulk(id), &bulk, Expect::Absent)?;
        if !request.config_drive.is_empty() {
            if !matches!(verb, Verb::Deploy | Verb::Rebuild) {
                return Err(Invalid::wrong("config_drive", format!("{verb} takes none")).into());
            }
            let sealed = self.registry.sealed_drive(&drive_place(id), &request.config_drive.into_iter().collect())?;
            change = change.put(&key::bulk_drive(id), &sealed, Expect::Absent)?;
        }
        self.registry.commit(change).await?;
        self.bulk_as_it_is(&id.to_string())
    }

    /// The nodes that are asked: those selected of which it can be asked now.
    fn of_bulk(&self, request: &CreateBulkRequest, verb: Verb) -> Result<Vec<BulkNode>, Error> {
        // An allocated node is in use, so it must be named.
        let with_allocated = request.selector.as_ref().is_some_and(|wire| !wire.nodes.is_empty());
        let with_maintenance = request.selector.as_ref().is_some_and(|wire| wire.maintenance.is_some());
        let selector = self.selector(request.selector.clone())?;
        let fits = |record: &Record| {
            let facts = show::facts(self, record);
            selector.selects(&facts)
                && (with_maintenance || !facts.attributes.maintenance)
                && (with_allocated || verb != Verb::Deploy || !facts.attributes.is_allocated)
                && self.registry.check(record, verb, &[]).is_ok()
        };
        let count = if request.count == 0 {
            MAX_NODES
        } else {
            usize::try_from(request.count).unwrap_or(MAX_NODES).min(MAX_NODES)
        };
        let all = self.registry.nodes(None).into_iter();
        let fit = all.filter_map(|(node, rack)| self.registry.record(rack, node)).filter(fits);
        let nodes: Vec<_> = fit
            .take(count.saturating_add(1))
            .map(|record| BulkNode { node: record.node, progress: BulkProgress::Waiting })
            .collect();
        match nodes.len() {
            0 => Err(Error::InUse(format!("of no selected node can {verb} be asked now; see: ironmesh node list"))),
            many if many > count && request.count == 0 => {
                Err(Invalid::wrong("selector", format!("it means more than {MAX_NODES} nodes; say a count")).into())
            }
            _ => Ok(nodes.into_iter().take(count).collect()),
        }
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

    async fn steer_bulk(&self, id: &str, tag: &str, wanted: BulkState) -> Result<WireBulk, Error> {
        let (id, read) = self.bulk(id)?;
        etag::check(tag, "bulk", &id.to_string(), read.revision)?;
        if read.value.ended.is_some() {
            return Err(Error::InUse(format!("bulk {id} has ended")));
        }
        let mut bulk = read.value.clone();
        steer(&mut bulk, wanted);
        let change = self.registry.mesh.as_member()?.put(&key::bulk(id), &bulk, Expect::Revision(read.revision))?;
        self.registry.commit(change).await?;
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
        let asked = RequestId::read_with(request.metadata(), "CreateBulk", &public, &files)?;
        // Under the id of the request it is found again, also where the answer is lost.
        let id = asked.as_ref().map_or_else(Uuid::new_v4, RequestId::id);
        let request = request.into_inner();
        let change = async {
            let bulk = Self::create_bulk(self, id, request).await?;
            Ok(CreateBulkResponse { bulk: Some(bulk) })
        };
        let anew = || {
            let bulk = self.bulk_as_it_is(&id.to_string())?;
            Ok(CreateBulkResponse { bulk: Some(bulk) })
        };
        Ok(Response::new(self.once(asked, change, anew).await?))
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
        let asked = RequestId::read(request.metadata(), "PauseBulk", request.get_ref())?;
        let PauseBulkRequest { bulk: id, etag } = request.into_inner();
        let change =
            async { Ok(PauseBulkResponse { bulk: Some(self.steer_bulk(&id, &etag, BulkState::Paused).await?) }) };
        let anew = || Ok(PauseBulkResponse { bulk: Some(self.bulk_as_it_is(&id)?) });
        Ok(Response::new(self.once(asked, change, anew).await?))
    }

    async fn resume_bulk(&self, request: Request<ResumeBulkRequest>) -> Answer<ResumeBulkResponse> {
        let asked = RequestId::read(request.metadata(), "ResumeBulk", request.get_ref())?;
        let ResumeBulkRequest { bulk: id, etag } = request.into_inner();
        let change =
            async { Ok(ResumeBulkResponse { bulk: Some(self.steer_bulk(&id, &etag, BulkState::Running).await?) }) };
        let anew = || Ok(ResumeBulkResponse { bulk: Some(self.bulk_as_it_is(&id)?) });
        Ok(Response::new(self.once(asked, change, anew).await?))
    }

    async fn cancel_bulk(&self, request: Request<CancelBulkRequest>) -> Answer<CancelBulkResponse> {
        let asked = RequestId::read(request.metadata(), "CancelBulk", request.get_ref())?;
        let CancelBulkRequest { bulk: id, etag } = request.into_inner();
        let change =
            async { Ok(CancelBulkResponse { bulk: Some(self.steer_bulk(&id, &etag, BulkState::Canceled).await?) }) };
        let anew = || Ok(CancelBulkResponse { bulk: Some(self.bulk_as_it_is(&id)?) });
        Ok(Response::new(self.once(asked, change, anew).await?))
    }
}
