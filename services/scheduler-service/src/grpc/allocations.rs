//! Allocations.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::time::Timestamp;
use keyspace::value::{
    AllocationSpec, AllocationState, AntiAffinity, Placement as PlacementSpec, PlacementOrder as OrderSpec,
};
use proto::{
    api::v1::{
        Allocation as WireAllocation, AllocationSpec as WireSpec, AllocationState as WireState,
        AntiAffinity as WireAntiAffinity, CreateAllocationRequest, CreateAllocationResponse, DeleteAllocationRequest,
        DeleteAllocationResponse, GetAllocationRequest, GetAllocationResponse, ListAllocationsRequest,
        ListAllocationsResponse, PlacementOrder, PlanAllocationRequest, PlanAllocationResponse, PlanReason,
        PlanVerdict, allocation_service_server::AllocationService,
    },
    convert::{
        Invalid, required,
        time::{duration, wire_time},
    },
};
use service_kit::clock;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Shared,
    pages::{Page, Position},
};
use scheduler_core::{Error, RequestContext, allocation::is_free, etag, node_view::NodeView, resource_store::Stored};

/// Verdicts in one answer.
const VERDICTS: usize = 1000;
/// The longest wait in the queue: 30 days.
const MAX_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);

type Answer<T> = Result<Response<T>, Status>;

/// Who waits, the longest first, and for what; and what is free.
struct Queue {
    ids: Vec<Uuid>,
    specs: Vec<AllocationSpec>,
    free: Vec<Arc<NodeView>>,
}

impl Queue {
    fn of(shared: &Shared) -> Self {
        let (ids, specs) = shared.waiting_allocations().into_iter().unzip();
        Self { ids, specs, free: shared.node_cache.those(is_free) }
    }
}

impl Shared {
    /// Reads what is asked for.
    fn allocation_spec(
        &self,
        name: String,
        wire: WireSpec,
        queue_until: Option<Timestamp>,
    ) -> Result<AllocationSpec, Error> {
        if wire.resource_class.is_empty() {
            return Err(Invalid::Missing("spec.resource_class").into());
        }
        let (anti_affinity, order) = (anti_affinity(wire.anti_affinity()), order(wire.order()));
        if anti_affinity != AntiAffinity::None && wire.group.is_empty() {
            let why = "needs a group: set spec.group to the allocations that must not share it".to_owned();
            return Err(Invalid::wrong("spec.anti_affinity", why).into());
        }
        let candidates = wire.candidates.iter().map(|candidate| Ok(self.registry.find(candidate)?.1));
        Ok(AllocationSpec {
            candidate_nodes: candidates.collect::<Result<_, Error>>()?,
            resource_class: Some(wire.resource_class),
            traits: wire.traits,
            owner: Some(wire.owner).filter(|owner| !owner.is_empty()),
            name: Some(name).filter(|name| !name.is_empty()),
            placement: PlacementSpec {
                capabilities: wire.capabilities.into_iter().collect(),
                group: wire.group,
                order,
                anti_affinity,
                queue_until,
            },
            ..AllocationSpec::default()
        })
    }

    async fn create_allocation(
        &self,
        context: &RequestContext,
        id: Uuid,
        request: CreateAllocationRequest,
    ) -> Result<WireAllocation, Error> {
        let queue =
            request.queue_timeout.map(|queue| duration("queue_timeout", queue)).transpose()?.unwrap_or_default();
        if queue > MAX_WAIT {
            let why = format!("must be at most {} s", MAX_WAIT.as_secs());
            return Err(Invalid::wrong("queue_timeout", why).into());
        }
        let until = (!queue.is_zero()).then(|| clock::now().plus(queue));
        let spec = self.allocation_spec(request.name, required("spec", request.spec)?, until)?;
        self.allocate(context, id, spec).await?;
        self.shown_allocation(&id.to_string())
    }

    fn shown_allocation(&self, named: &str) -> Result<WireAllocation, Error> {
        Ok(self.shown_one_allocation(&self.find_resource(named)?, &Queue::of(self)))
    }

    fn shown_one_allocation(&self, stored: &Stored<AllocationSpec>, queue: &Queue) -> WireAllocation {
        let (id, spec) = (stored.id, stored.spec());
        let node = spec.node_uuid.and_then(|node| self.node_cache.get(node));
        let at = queue.ids.iter().position(|other| *other == id);
        let place = at.and_then(|at| u32::try_from(at.saturating_add(1)).ok());
        let reason = if spec.is_allocating() {
            let ahead = queue.specs.get(..at.unwrap_or(queue.specs.len())).unwrap_or_default();
            let chosen = self.surroundings(id, spec, ahead).choose(id, spec, &queue.free);
            chosen.err().map(|why| why.to_string()).unwrap_or_default()
        } else {
            spec.last_error.clone().unwrap_or_default()
        };
        WireAllocation {
            id: id.to_string(),
            name: spec.name.clone().unwrap_or_default(),
            state: state(spec.state).into(),
            node: spec.node_uuid.map(|node| node.to_string()).unwrap_or_default(),
            node_name: node.as_ref().map(|node| node.intent.name.clone()).unwrap_or_default(),
            rack: node.as_ref().map(|node| node.rack_name.clone()).unwrap_or_default(),
            reason,
            create_time: Some(wire_time(stored.record.value.created_at)),
            queue_expire_time: spec.placement.queue_until.filter(|_| place.is_some()).map(wire_time),
            place_in_queue: place.unwrap_or(0),
            spec: Some(shown_spec(spec.clone())),
            etag: etag::tag(stored.record.revision),
        }
    }

    fn plan(&self, request: PlanAllocationRequest) -> Result<PlanAllocationResponse, Error> {
        let id = Uuid::new_v4();
        let spec = self.allocation_spec(request.name, required("spec", request.spec)?, None)?;
        let (queue, all) = (Queue::of(self), self.node_cache.all());
        let surroundings = self.surroundings(id, &spec, &queue.specs);
        let chosen = surroundings.choose(id, &spec, &all);
        let mut reasons = HashMap::<String, u32>::new();
        let mut verdicts: Vec<_> = surroundings
            .check_nodes(&spec, &all)
            .map(|(node, why)| {
                let why_not = why.map(|why| why.to_string()).unwrap_or_default();
                PlanVerdict {
                    node: node.node.to_string(),
                    node_name: node.intent.name.clone(),
                    rack: node.rack_name.clone(),
                    why_not,
                }
            })
            .collect();
        for verdict in &verdicts {
            let count = reasons.entry(verdict.why_not.clone()).or_default();
            *count = count.saturating_add(1);
        }
        let fitting = reasons.remove("").unwrap_or(0);
        let mut reasons: Vec<_> = reasons.into_iter().map(|(why_not, nodes)| PlanReason { why_not, nodes }).collect();
        reasons.sort_by(|one, other| (other.nodes, &one.why_not).cmp(&(one.nodes, &other.why_not)));
        verdicts.sort_by_key(|verdict| !verdict.why_not.is_empty());
        verdicts.truncate(VERDICTS);
        let (node, refusal) =
            chosen.map_or_else(|why| (String::new(), why.to_string()), |node| (node.to_string(), String::new()));
        Ok(PlanAllocationResponse { node, refusal, verdicts, reasons, fitting })
    }
}

fn shown_spec(spec: AllocationSpec) -> WireSpec {
    let AllocationSpec { resource_class, traits, candidate_nodes, owner, placement, .. } = spec;
    let PlacementSpec { capabilities, group, order, anti_affinity, .. } = placement;
    let order = match order {
        OrderSpec::Any => PlacementOrder::Unspecified,
        OrderSpec::Spread => PlacementOrder::Spread,
        OrderSpec::Pack => PlacementOrder::Pack,
    };
    let anti_affinity = match anti_affinity {
        AntiAffinity::None => WireAntiAffinity::Unspecified,
        AntiAffinity::Rack => WireAntiAffinity::Rack,
        AntiAffinity::PowerDomain => WireAntiAffinity::PowerDomain,
    };
    WireSpec {
        resource_class: resource_class.unwrap_or_default(),
        traits,
        capabilities: capabilities.into_iter().collect(),
        candidates: candidate_nodes.iter().map(ToString::to_string).collect(),
        owner: owner.unwrap_or_default(),
        order: order.into(),
        group,
        anti_affinity: anti_affinity.into(),
    }
}

const fn state(state: AllocationState) -> WireState {
    match state {
        AllocationState::Allocating => WireState::Allocating,
        AllocationState::Active => WireState::Active,
        AllocationState::Error => WireState::Error,
    }
}

const fn order(wire: PlacementOrder) -> OrderSpec {
    match wire {
        PlacementOrder::Unspecified => OrderSpec::Any,
        PlacementOrder::Spread => OrderSpec::Spread,
        PlacementOrder::Pack => OrderSpec::Pack,
    }
}

const fn anti_affinity(wire: WireAntiAffinity) -> AntiAffinity {
    match wire {
        WireAntiAffinity::Unspecified => AntiAffinity::None,
        WireAntiAffinity::Rack => AntiAffinity::Rack,
        WireAntiAffinity::PowerDomain => AntiAffinity::PowerDomain,
    }
}

#[tonic::async_trait]
impl AllocationService for Shared {
    async fn create_allocation(&self, request: Request<CreateAllocationRequest>) -> Answer<CreateAllocationResponse> {
        let context = RequestContext::read(&request, "CreateAllocation", request.get_ref())?;
        // Under the id of the request it is found again, also where the answer is lost.
        let id = context.new_id();
        let request = request.into_inner();
        let change = async {
            let allocation = Self::create_allocation(self, &context, id, request).await?;
            Ok(CreateAllocationResponse { allocation: Some(allocation) })
        };
        let anew = || Ok(CreateAllocationResponse { allocation: Some(self.shown_allocation(&id.to_string())?) });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn get_allocation(&self, request: Request<GetAllocationRequest>) -> Answer<GetAllocationResponse> {
        let allocation = Some(self.shown_allocation(&request.into_inner().allocation)?);
        Ok(Response::new(GetAllocationResponse { allocation }))
    }

    async fn list_allocations(&self, request: Request<ListAllocationsRequest>) -> Answer<ListAllocationsResponse> {
        let page = Page::read(&mut request.into_inner()).map_err(Error::from)?;
        let (queue, all) = (Queue::of(self), self.resources::<AllocationSpec>().into_iter());
        let positioned = all.map(|stored| (Position::of_time(stored.record.value.created_at, stored.id), stored));
        let (all, next_page_token) = page.cut_unsorted(positioned);
        let shown = all.iter().map(|stored| self.shown_one_allocation(stored, &queue));
        Ok(Response::new(ListAllocationsResponse { allocations: shown.collect(), next_page_token }))
    }

    async fn delete_allocation(&self, request: Request<DeleteAllocationRequest>) -> Answer<DeleteAllocationResponse> {
        let context = RequestContext::read(&request, "DeleteAllocation", request.get_ref())?;
        let DeleteAllocationRequest { allocation, etag } = request.into_inner();
        let change = async {
            let stored = self.find_resource(&allocation)?;
            etag::check(&etag, "allocation", &allocation, stored.record.revision)?;
            self.release(&context, &stored).await?;
            Ok(DeleteAllocationResponse {})
        };
        Ok(Response::new(self.once(&context, change, || Ok(DeleteAllocationResponse {})).await?))
    }

    async fn plan_allocation(&self, request: Request<PlanAllocationRequest>) -> Answer<PlanAllocationResponse> {
        Ok(Response::new(self.plan(request.into_inner())?))
    }
}
