//! Allocations.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::time::Timestamp;
use keyspace::{key, store::Versioned, value::Sheet};
use proto::{
    api::v1::{
        Allocation as WireAllocation, CreateAllocationRequest, CreateAllocationResponse, DeleteAllocationRequest,
        DeleteAllocationResponse, GetAllocationRequest, GetAllocationResponse, ListAllocationsRequest,
        ListAllocationsResponse, PlacementApart, PlacementOrder, PlanAllocationRequest, PlanAllocationResponse,
        PlanReason, PlanVerdict, Wish as WireWish, allocation_service_server::AllocationService,
    },
    convert::{Invalid, required},
};
use serde_json::Value;
use service_kit::clock;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Shared;
use scheduler_core::node_cache::NodeView;
use scheduler_core::{
    Error,
    allocation::{Apart, COLLECTION, Order, Placement, Wish, is_allocating, is_free},
    request_id::RequestId,
};

/// Verdicts in one answer.
const VERDICTS: usize = 1000;
/// The longest wait in the queue: 30 days.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);

type Answer<T> = Result<Response<T>, Status>;

/// Who waits, the longest first, and for what; and what is free.
struct Queue {
    ids: Vec<Uuid>,
    wishes: Vec<Wish>,
    free: Vec<Arc<NodeView>>,
}

impl Queue {
    fn of(shared: &Shared) -> Self {
        let (ids, wishes) = shared.waiting_allocations().into_iter().unzip();
        Self { ids, wishes, free: shared.node_cache.those(|node| is_free(&node.whole)) }
    }
}

impl Shared {
    /// Reads what is wanted.
    fn wish(&self, id: Uuid, name: String, wire: WireWish, queue_until: Option<Timestamp>) -> Result<Wish, Error> {
        if wire.resource_class.is_empty() {
            return Err(Invalid::Missing("wish.resource_class").into());
        }
        let (apart, order) = (apart(wire.apart()), order(wire.order()));
        if apart != Apart::Nothing && wire.group.is_empty() {
            let why = "apart needs a group: from whom is it to be apart?".to_owned();
            return Err(Invalid::wrong("wish.apart", why).into());
        }
        let candidates = wire.candidates.iter().map(|one| Ok(self.registry.find(one)?.1.to_string()));
        Ok(Wish {
            class: wire.resource_class,
            candidates: candidates.collect::<Result<_, Error>>()?,
            traits: wire.traits,
            owner: Some(wire.owner).filter(|owner| !owner.is_empty()),
            name: Some(name).filter(|name| !name.is_empty()),
            placement: Placement {
                capabilities: wire.capabilities.into_iter().collect(),
                group: wire.group,
                order,
                apart,
                queue_until,
            },
            seed: id.as_u128(),
        })
    }

    fn allocation(&self, named: &str) -> Result<(Uuid, Versioned<Sheet>), Error> {
        let missing = || Error::Missing { kind: COLLECTION, name: named.to_owned() };
        let view = self.registry.view();
        let id = match named.parse() {
            Ok(id) => id,
            Err(_) => view.get(&key::name(COLLECTION, named)).ok_or_else(missing)?.value.id,
        };
        Ok((id, view.get(&key::sheet_of(COLLECTION, id)).ok_or_else(missing)?))
    }

    async fn create_allocation(&self, id: Uuid, request: CreateAllocationRequest) -> Result<WireAllocation, Error> {
        let queue = u64::try_from(request.queue_ms).map(Duration::from_millis).unwrap_or(Duration::MAX);
        if queue > LONGEST_WAIT {
            let why = format!("must be between 0 and {} ms", LONGEST_WAIT.as_millis());
            return Err(Invalid::wrong("queue_ms", why).into());
        }
        let until = (!queue.is_zero()).then(|| clock::now().plus(queue));
        let wish = self.wish(id, request.name, required("wish", request.wish)?, until)?;
        self.allocate(id, &wish).await?;
        self.shown_allocation(&id.to_string())
    }

    fn shown_allocation(&self, named: &str) -> Result<WireAllocation, Error> {
        let (id, sheet) = self.allocation(named)?;
        Ok(self.shown_one_allocation(id, &sheet.value, &Queue::of(self)))
    }

    fn shown_one_allocation(&self, id: Uuid, sheet: &Sheet, queue: &Queue) -> WireAllocation {
        let text = |name: &str| sheet.fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let wish = Wish::read(id, &sheet.fields);
        let node = text("node_uuid").parse().ok().and_then(|node| self.node_cache.get(node));
        let of_node = |name: &str| {
            let value = node.as_ref().and_then(|node| node.whole.get(name)?.as_str());
            value.unwrap_or_default().to_owned()
        };
        let at = queue.ids.iter().position(|other| *other == id);
        let place = at.and_then(|at| u32::try_from(at.saturating_add(1)).ok());
        let reason = if is_allocating(sheet) {
            let ahead = queue.wishes.get(..at.unwrap_or(queue.wishes.len())).unwrap_or_default();
            self.surroundings(id, &wish, ahead).choose(&wish, &queue.free).err().unwrap_or_default()
        } else {
            text("last_error")
        };
        WireAllocation {
            id: id.to_string(),
            name: text("name"),
            state: text("state"),
            node: text("node_uuid"),
            node_name: of_node("name"),
            rack: of_node("conductor_group"),
            reason,
            since_ms: sheet.created_at.millis(),
            queue_until_ms: wish.placement.queue_until.filter(|_| place.is_some()).map_or(0, Timestamp::millis),
            place_in_queue: place.unwrap_or(0),
            wish: Some(shown_wish(wish)),
        }
    }

    fn plan(&self, request: PlanAllocationRequest) -> Result<PlanAllocationResponse, Error> {
        let id = Uuid::new_v4();
        let wish = self.wish(id, request.name, required("wish", request.wish)?, None)?;
        let (queue, all) = (Queue::of(self), self.node_cache.all());
        let surroundings = self.surroundings(id, &wish, &queue.wishes);
        let chosen = surroundings.choose(&wish, &all);
        let mut reasons = HashMap::<String, u32>::new();
        let mut verdicts: Vec<_> = surroundings
            .judge(&wish, &all)
            .map(|(node, why)| {
                let why_not = why.map(|why| why.to_string()).unwrap_or_default();
                let word = |name: &str| node.whole.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                PlanVerdict {
                    node: node.node.to_string(),
                    node_name: word("name"),
                    rack: word("conductor_group"),
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
        let (node, refusal) = chosen.map_or_else(|why| (String::new(), why), |node| (node, String::new()));
        Ok(PlanAllocationResponse { node, refusal, verdicts, reasons, fitting })
    }
}

fn shown_wish(wish: Wish) -> WireWish {
    let Wish { class, traits, candidates, owner, placement, .. } = wish;
    let Placement { capabilities, group, order, apart, .. } = placement;
    let order = match order {
        Order::Any => PlacementOrder::Unspecified,
        Order::Spread => PlacementOrder::Spread,
        Order::Pack => PlacementOrder::Pack,
    };
    let apart = match apart {
        Apart::Nothing => PlacementApart::Unspecified,
        Apart::Rack => PlacementApart::Rack,
        Apart::PowerDomain => PlacementApart::PowerDomain,
    };
    WireWish {
        resource_class: class,
        traits,
        capabilities: capabilities.into_iter().collect(),
        candidates,
        owner: owner.unwrap_or_default(),
        order: order.into(),
        group,
        apart: apart.into(),
    }
}

const fn order(wire: PlacementOrder) -> Order {
    match wire {
        PlacementOrder::Unspecified => Order::Any,
        PlacementOrder::Spread => Order::Spread,
        PlacementOrder::Pack => Order::Pack,
    }
}

const fn apart(wire: PlacementApart) -> Apart {
    match wire {
        PlacementApart::Unspecified => Apart::Nothing,
        PlacementApart::Rack => Apart::Rack,
        PlacementApart::PowerDomain => Apart::PowerDomain,
    }
}

#[tonic::async_trait]
impl AllocationService for Shared {
    async fn create_allocation(&self, request: Request<CreateAllocationRequest>) -> Answer<CreateAllocationResponse> {
        let asked = RequestId::read(request.metadata(), "CreateAllocation", request.get_ref())?;
        // Under the id of the request it is found again, also where the answer is lost.
        let id = asked.as_ref().map_or_else(Uuid::new_v4, RequestId::id);
        let request = request.into_inner();
        let change = async {
            let allocation = Self::create_allocation(self, id, request).await?;
            Ok(CreateAllocationResponse { allocation: Some(allocation) })
        };
        let anew = || Ok(CreateAllocationResponse { allocation: Some(self.shown_allocation(&id.to_string())?) });
        Ok(Response::new(self.once(asked, change, anew).await?))
    }

    async fn get_allocation(&self, request: Request<GetAllocationRequest>) -> Answer<GetAllocationResponse> {
        let allocation = Some(self.shown_allocation(&request.into_inner().allocation)?);
        Ok(Response::new(GetAllocationResponse { allocation }))
    }

    async fn list_allocations(&self, _: Request<ListAllocationsRequest>) -> Answer<ListAllocationsResponse> {
        let (queue, all) = (Queue::of(self), self.allocations());
        let shown = all.iter().map(|(id, sheet)| self.shown_one_allocation(*id, &sheet.value, &queue));
        Ok(Response::new(ListAllocationsResponse { allocations: shown.collect() }))
    }

    async fn delete_allocation(&self, request: Request<DeleteAllocationRequest>) -> Answer<DeleteAllocationResponse> {
        let asked = RequestId::read(request.metadata(), "DeleteAllocation", request.get_ref())?;
        let named = request.into_inner().allocation;
        let change = async {
            let (id, sheet) = self.allocation(&named)?;
            self.release(id, &sheet).await?;
            Ok(DeleteAllocationResponse {})
        };
        Ok(Response::new(self.once(asked, change, || Ok(DeleteAllocationResponse {})).await?))
    }

    async fn plan_allocation(&self, request: Request<PlanAllocationRequest>) -> Answer<PlanAllocationResponse> {
        Ok(Response::new(self.plan(request.into_inner())?))
    }
}
