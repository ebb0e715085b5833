//! Racks.

use std::net::Ipv4Addr;

use domain::{
    id::RackId,
    kernel_arguments::{KernelArguments, KernelArgumentsError},
    net::{MacAddr, Subnet},
    service::Service,
};
use keyspace::{
    key,
    key::Scope,
    store::Versioned,
    value::{Network, Rack},
};
use proto::{
    api::v1::{
        CreateRackRequest, CreateRackResponse, DeleteRackRequest, DeleteRackResponse, GetRackRequest, GetRackResponse,
        Leaving, ListRacksRequest, ListRacksResponse, Rack as WireRack, Replica as WireReplica, Ring as WireRing,
        ServiceKind, UnknownMac, UpdateRackRequest, UpdateRackResponse, rack_service_server::RackService,
    },
    convert::{Invalid, mask::Mask, text, time::wire_time},
};
use service_kit::config::{RACK_NAME_RULE, is_rack_name};
use tonic::{Request, Response, Status};

use super::{
    Shared,
    pages::{Page, Position},
};
use scheduler_core::{Error, RequestContext, etag};

fn kernel_arguments(text: &str) -> Result<KernelArguments, Invalid> {
    text.parse().map_err(|error: KernelArgumentsError| Invalid::wrong("kernel_arguments", error.to_string()))
}

/// The fields of [`UpdateRackRequest`] that a mask may name.
const FIELDS: &[&str] = &[
    "kernel",
    "ramdisk",
    "kernel_arguments",
    "subnet",
    "first_address",
    "last_address",
    "router",
    "server_identifier",
];

type Answer<T> = Result<Response<T>, Status>;

impl Shared {
    fn shown_rack(&self, read: &Versioned<Rack>) -> WireRack {
        let rack = &read.value;
        let image = |id| self.registry.image(id).map(|image| image.value.name);
        let network = NetworkTexts::of(rack.network.as_ref());
        WireRack {
            id: rack.id.to_string(),
            name: rack.name.clone(),
            subnet: network.subnet,
            first_address: network.first_address,
            last_address: network.last_address,
            router: network.router,
            server_identifier: network.server_identifier,
            kernel: rack.kernel.and_then(image).unwrap_or_default(),
            ramdisk: rack.ramdisk.and_then(image).unwrap_or_default(),
            kernel_arguments: rack.kernel_arguments.to_string(),
            replicas: self.replicas_of(rack.id),
            rings: self.rings_of(rack.id),
            unknown_macs: self.unknown_macs(rack.id),
            etag: etag::tag(read.revision),
        }
    }

    fn replicas_of(&self, rack: RackId) -> Vec<WireReplica> {
        let nodes = self.registry.nodes(Some(rack));
        let mut shown = Vec::new();
        for service in Service::ALL {
            let scope = Scope::of(service, rack);
            let ring = self.registry.view().ring(scope, service);
            let leader = self.registry.view().get(&key::election(scope, service));
            for (path, member) in self.registry.view().list(&key::members(scope, service)) {
                let Some(instance) = key::last(&path) else { continue };
                let owned = |(node, _): &&(_, _)| {
                    ring.as_ref().is_some_and(|ring| ring.value.ring.owner(*node) == Some(instance))
                };
                shown.push(WireReplica {
                    service: ServiceKind::from(service).into(),
                    instance: instance.to_string(),
                    endpoint: member.value.endpoint,
                    host: member.value.host,
                    leader: leader.as_ref().is_some_and(|leader| leader.value.instance == instance),
                    stopping: member.value.stopping,
                    owns: u32::try_from(nodes.iter().filter(owned).count()).unwrap_or(u32::MAX),
                    join_time: Some(wire_time(member.value.since)),
                    acknowledged: self
                        .registry
                        .view()
                        .get(&key::ack(scope, service, instance))
                        .map_or(0, |ack| ack.value.epoch),
                });
            }
        }
        shown
    }

    fn rings_of(&self, rack: RackId) -> Vec<WireRing> {
        let view = self.registry.view();
        let shown = Service::ALL.into_iter().filter_map(|service| {
            let scope = Scope::of(service, rack);
            let ring = view.ring(scope, service)?;
            let leader = view.get(&key::election(scope, service));
            let leaving = ring.value.left.iter().map(|(instance, since)| Leaving {
                instance: instance.to_string(),
                leave_time: Some(wire_time(*since)),
                present: view.get(&key::member(scope, service, *instance)).is_some(),
            });
            Some(WireRing {
                service: ServiceKind::from(service).into(),
                epoch: ring.revision,
                update_time: Some(wire_time(ring.value.since)),
                leader: leader.map(|leader| leader.value.instance.to_string()).unwrap_or_default(),
                leaving: leaving.collect(),
            })
        });
        shown.collect()
    }

    fn unknown_macs(&self, rack: RackId) -> Vec<UnknownMac> {
        let mut macs = self.registry.view().list(&key::unknowns(rack));
        macs.sort_by_key(|(_, unknown)| std::cmp::Reverse(unknown.value.seen_at));
        let shown = macs.into_iter().filter_map(|(path, unknown)| {
            Some(UnknownMac {
                mac: key::last::<MacAddr>(&path)?.to_string(),
                last_request_time: Some(wire_time(unknown.value.seen_at)),
                firmware: unknown.value.firmware,
            })
        });
        shown.collect()
    }

    async fn make_rack(&self, context: &RequestContext, request: CreateRackRequest) -> Result<(), Error> {
        if !is_rack_name(&request.name) {
            let why = format!("{:?} {RACK_NAME_RULE}", request.name);
            return Err(Invalid::wrong("name", why).into());
        }
        let rack = Rack {
            id: RackId::new(uuid::Uuid::new_v4()),
            kernel: self.image_id(&request.kernel)?,
            ramdisk: self.image_id(&request.ramdisk)?,
            kernel_arguments: kernel_arguments(&request.kernel_arguments)?,
            name: request.name,
            network: network(&NetworkTexts {
                subnet: request.subnet,
                first_address: request.first_address,
                last_address: request.last_address,
                router: request.router,
                server_identifier: request.server_identifier,
            })?,
        };
        self.registry.create_rack(context, &rack).await
    }

    fn image_id(&self, name: &str) -> Result<Option<domain::id::ImageId>, Error> {
        if name.is_empty() { Ok(None) } else { Ok(Some(self.registry.image_named(name)?.value.id)) }
    }

    async fn change_rack(&self, context: &RequestContext, request: UpdateRackRequest) -> Result<(), Error> {
        let mask = Mask::read(request.update_mask.as_ref(), FIELDS)?;
        let read = self.registry.rack_named(&request.rack)?;
        etag::check(&request.etag, "rack", &format!("{:?}", read.value.name), read.revision)?;
        let mut rack = read.value.clone();
        if let Some(kernel) = mask.value("kernel", request.kernel) {
            rack.kernel = self.image_id(&kernel)?;
        }
        if let Some(ramdisk) = mask.value("ramdisk", request.ramdisk) {
            rack.ramdisk = self.image_id(&ramdisk)?;
        }
        if let Some(arguments) = mask.value("kernel_arguments", request.kernel_arguments) {
            rack.kernel_arguments = kernel_arguments(&arguments)?;
        }
        let mut texts = NetworkTexts::of(rack.network.as_ref());
        let changes = [
            (mask.value("subnet", request.subnet), &mut texts.subnet),
            (mask.value("first_address", request.first_address), &mut texts.first_address),
            (mask.value("last_address", request.last_address), &mut texts.last_address),
            (mask.value("router", request.router), &mut texts.router),
            (mask.value("server_identifier", request.server_identifier), &mut texts.server_identifier),
        ];
        for (new, old) in changes {
            *old = new.unwrap_or_else(|| std::mem::take(old));
        }
        rack.network = network(&texts)?;
        self.registry.update_rack(context, &read, &rack).await
    }
}

/// A provisioning network as the fields of messages describe it; absent values are empty.
#[derive(Debug, Default)]
struct NetworkTexts {
    subnet: String,
    first_address: String,
    last_address: String,
    router: String,
    server_identifier: String,
}

impl NetworkTexts {
    fn of(network: Option<&Network>) -> Self {
        let Some(network) = network else { return Self::default() };
        Self {
            subnet: network.subnet.to_string(),
            first_address: network.first.to_string(),
            last_address: network.last.to_string(),
            router: network.router.map(|router| router.to_string()).unwrap_or_default(),
            server_identifier: network.server_identifier.to_string(),
        }
    }
}

/// Parses a provisioning network; `None` if its subnet is empty.
fn network(wire: &NetworkTexts) -> Result<Option<Network>, Invalid> {
    if wire.subnet.is_empty() {
        return Ok(None);
    }
    let subnet: Subnet = text("subnet", &wire.subnet)?;
    let inside = |field: &'static str, value: &str| {
        let address: Ipv4Addr = text(field, value)?;
        if subnet.contains(address) {
            Ok(address)
        } else {
            Err(Invalid::wrong(field, format!("{address} is not in {subnet}")))
        }
    };
    let (first, last) = (inside("first_address", &wire.first_address)?, inside("last_address", &wire.last_address)?);
    if first > last {
        return Err(Invalid::wrong("last_address", format!("{last} comes before {first}")));
    }
    Ok(Some(Network {
        subnet,
        first,
        last,
        router: if wire.router.is_empty() { None } else { Some(inside("router", &wire.router)?) },
        name_servers: Vec::new(),
        server_identifier: inside("server_identifier", &wire.server_identifier)?,
    }))
}

#[tonic::async_trait]
impl RackService for Shared {
    async fn create_rack(&self, request: Request<CreateRackRequest>) -> Answer<CreateRackResponse> {
        let context = RequestContext::read(&request, "CreateRack", request.get_ref())?;
        let request = request.into_inner();
        let name = request.name.clone();
        let anew = || Ok(CreateRackResponse { rack: Some(self.shown_rack(&self.registry.rack_named(&name)?)) });
        let change = async {
            self.make_rack(&context, request).await?;
            anew()
        };
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn get_rack(&self, request: Request<GetRackRequest>) -> Answer<GetRackResponse> {
        let rack = self.registry.rack_named(&request.into_inner().rack)?;
        Ok(Response::new(GetRackResponse { rack: Some(self.shown_rack(&rack)) }))
    }

    async fn list_racks(&self, request: Request<ListRacksRequest>) -> Answer<ListRacksResponse> {
        let page = Page::read(&mut request.into_inner()).map_err(Error::from)?;
        let racks = self.registry.view().list(&key::racks()).into_iter();
        let positioned = racks.map(|(_, rack)| (Position::of_id(rack.value.id), rack));
        let (racks, next_page_token) = page.cut_unsorted(positioned);
        let racks = racks.iter().map(|rack| self.shown_rack(rack)).collect();
        Ok(Response::new(ListRacksResponse { racks, next_page_token }))
    }

    async fn update_rack(&self, request: Request<UpdateRackRequest>) -> Answer<UpdateRackResponse> {
        let context = RequestContext::read(&request, "UpdateRack", request.get_ref())?;
        let request = request.into_inner();
        let name = request.rack.clone();
        let anew = || Ok(UpdateRackResponse { rack: Some(self.shown_rack(&self.registry.rack_named(&name)?)) });
        let change = async {
            self.change_rack(&context, request).await?;
            anew()
        };
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn delete_rack(&self, request: Request<DeleteRackRequest>) -> Answer<DeleteRackResponse> {
        let context = RequestContext::read(&request, "DeleteRack", request.get_ref())?;
        let DeleteRackRequest { rack, etag } = request.into_inner();
        let change = async {
            fleet::racks::delete(&context, self, &rack, &etag).await?;
            Ok(DeleteRackResponse {})
        };
        Ok(Response::new(self.once(&context, change, || Ok(DeleteRackResponse {})).await?))
    }
}
