//! Nodes.

use std::{sync::Arc, time::Duration};

use domain::{power::PowerTarget, provision::Verb, raw_command::BmcRequest};
use futures::{StreamExt as _, stream::BoxStream};
use keyspace::{key, view::News};
use proto::{
    api::v1::{
        Boot, CreateNodeRequest, CreateNodeResponse, DeleteNodeRequest, DeleteNodeResponse, EnsureNodePowerRequest,
        EnsureNodePowerResponse, GetNodeRequest, GetNodeResponse, GetNodeTimelineRequest, GetNodeTimelineResponse,
        ListNodesRequest, ListNodesResponse, Node, ProvisionNodeRequest, ProvisionNodeResponse, ResetNodeBmcRequest,
        ResetNodeBmcResponse, SendNodeRawCommandRequest, SendNodeRawCommandResponse, UpdateNodeRequest,
        UpdateNodeResponse, WatchNodeRequest, WatchNodeResponse, WatchNodesRequest, node_service_server::NodeService,
    },
    convert::{Invalid, required},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    Shared,
    node_requests::{Update, new_node, raw_command, step, update},
    pages::{Page, Position},
    show,
    watch::Stream,
};
use scheduler_core::{
    Error, RequestContext, boot_history,
    nodes::delete_node,
    provision::{ProvisionNode, provision_node},
    registry::Record,
};

/// How often a watcher is told at most.
const PACE: Duration = Duration::from_millis(200);

type Answer<T> = Result<Response<T>, Status>;

impl Shared {
    fn shown(&self, name: &str) -> Result<Node, Error> {
        Ok(show::node(self, &self.registry.named(name)?))
    }

    async fn create(&self, context: &RequestContext, request: CreateNodeRequest) -> Result<CreateNodeResponse, Error> {
        let rack = self.registry.rack_named(&request.rack)?;
        let node = self.registry.create(context, &rack, new_node(request)?).await?;
        let shown = self.shown(&node.to_string())?;
        self.live_state.tell(Some(node), "ENROLLED", shown.name.clone());
        Ok(CreateNodeResponse { node: Some(shown) })
    }

    async fn update(&self, context: &RequestContext, request: UpdateNodeRequest) -> Result<UpdateNodeResponse, Error> {
        let record = self.registry.named(&request.node)?;
        let etag = request.etag.clone();
        let check = || show::check_etag(self, &etag, &record);
        let is_in_maintenance = self.node_cache.get(record.node).is_some_and(|node| node.spec().maintenance);
        match update(request, is_in_maintenance)? {
            Update::Rack(rack) => self.carry(context, &record, &rack, check).await?,
            Update::Fields(change) => self.registry.update(context, &record, *change, check).await?,
        }
        Ok(UpdateNodeResponse { node: Some(self.shown(&record.node.to_string())?) })
    }

    /// The machine was carried to another rack.
    async fn carry(
        &self,
        context: &RequestContext,
        record: &Record,
        rack: &str,
        check: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rack = self.registry.rack_named(rack)?;
        if rack.value.id == record.rack {
            return check();
        }
        let missing = || Error::Missing { kind: "node", name: record.intent.value.name.clone() };
        let held = self.registry.held(record.node).ok_or_else(missing)?;
        check()?;
        let record = held.spec.as_ref().map(|read| &read.value);
        self.registry.move_with(context, &held, &rack, &held.intent.value, record).await
    }

    async fn delete(&self, context: &RequestContext, request: DeleteNodeRequest) -> Result<DeleteNodeResponse, Error> {
        let record = self.registry.named(&request.node)?;
        show::check_etag(self, &request.etag, &record)?;
        delete_node(context, self, &record).await?;
        Ok(DeleteNodeResponse {})
    }

    async fn provision(
        &self,
        context: &RequestContext,
        request: ProvisionNodeRequest,
    ) -> Result<ProvisionNodeResponse, Error> {
        let verb: Verb = request.verb().try_into()?;
        let before = self.registry.named(&request.node)?;
        let command = ProvisionNode {
            node: before.node,
            verb,
            image: request.image,
            config_drive: request.config_drive.into_iter().collect(),
            steps: request.steps.into_iter().map(step).collect(),
            rescue_password: request.rescue_password,
        };
        provision_node(context, self, command).await?;
        let after = self.registry.named(&request.node)?;
        let id = |record: &Record| record.operation.as_ref().map(|operation| operation.value.id);
        let is_of_verb = id(&after) != id(&before) || verb == Verb::Abort;
        let operation = if is_of_verb { show::operation(&after) } else { None };
        Ok(ProvisionNodeResponse { node: Some(show::node(self, &after)), operation })
    }

    /// Makes the answer to a repeated request from the present state.
    fn provisioned(&self, name: &str) -> Result<ProvisionNodeResponse, Error> {
        let record = self.registry.named(name)?;
        let operation = record.running().and_then(|_| show::operation(&record));
        Ok(ProvisionNodeResponse { node: Some(show::node(self, &record)), operation })
    }

    async fn power(&self, context: &RequestContext, request: EnsureNodePowerRequest) -> Result<u64, Error> {
        let record = self.registry.named(&request.node)?;
        let target: PowerTarget = required("target", request.target)?.try_into()?;
        if target.is_ipmi_command() {
            let why = "commands to the BMC have RPCs of their own: ResetNodeBmc and SendNodeRawCommand";
            return Err(Invalid::wrong("target", why).into());
        }
        Ok(self.registry.accept_power(context, &record, target).await?.number())
    }

    /// Accepts a command to the BMC.
    async fn command(&self, context: &RequestContext, node: &str, to: impl Into<BmcRequest>) -> Result<u64, Error> {
        let record = self.registry.named(node)?;
        Ok(self.registry.accept_power(context, &record, to).await?.number())
    }

    async fn timeline(&self, name: &str) -> Result<GetNodeTimelineResponse, Error> {
        let record = self.registry.named(name)?;
        let boots = boot_history::boots(&self.registry, &self.live_state, record.node).await?;
        let observed = show::node(self, &record).observed.unwrap_or_default();
        let failure = observed.last_failure.map(|failure| failure.text).unwrap_or_default();
        Ok(GetNodeTimelineResponse {
            boots: boots
                .into_iter()
                .map(|boot| Boot {
                    generation: boot.generation.number(),
                    entries: boot.entries.into_iter().map(Into::into).collect(),
                })
                .collect(),
            diagnosis: if failure.is_empty() { observed.diagnosis } else { failure },
            next_step: observed.next_step,
        })
    }
}

#[tonic::async_trait]
impl NodeService for Shared {
    async fn create_node(&self, request: Request<CreateNodeRequest>) -> Answer<CreateNodeResponse> {
        let public = CreateNodeRequest { bmc_password: String::new(), ..request.get_ref().clone() };
        let context = RequestContext::read(&request, "CreateNode", &public)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let anew = || Ok(CreateNodeResponse { node: Some(self.shown(&name)?) });
        Ok(Response::new(self.once(&context, self.create(&context, request), anew).await?))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Answer<GetNodeResponse> {
        let node = self.shown(&request.into_inner().node)?;
        Ok(Response::new(GetNodeResponse { node: Some(node) }))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        let mut request = request.into_inner();
        let page = Page::read(&mut request).map_err(Error::from)?;
        let only = request.rack.map(|rack| self.registry.rack_named(&rack)).transpose()?;
        let selector = self.selector(request.selector)?;
        let nodes = self.registry.nodes(only.map(|rack| rack.value.id)).into_iter();
        let rest = nodes.map(|(node, rack)| (Position::of_id(node), node, rack));
        let rest = rest.filter(|(position, ..)| page.may_have(position));
        let rest = rest.filter(|(_, node, _)| self.selects(&selector, *node));
        let records = rest.filter_map(|(position, node, rack)| Some((position, self.registry.record(rack, node)?)));
        let (records, next_page_token) = page.cut(records);
        let nodes = records.iter().map(|record| show::node(self, record)).collect();
        Ok(Response::new(ListNodesResponse { nodes, next_page_token }))
    }

    async fn update_node(&self, request: Request<UpdateNodeRequest>) -> Answer<UpdateNodeResponse> {
        let public = UpdateNodeRequest { bmc_password: None, ..request.get_ref().clone() };
        let context = RequestContext::read(&request, "UpdateNode", &public)?;
        let request = request.into_inner();
        let name = request.name.clone().unwrap_or_else(|| request.node.clone());
        let anew = || Ok(UpdateNodeResponse { node: Some(self.shown(&name)?) });
        Ok(Response::new(self.once(&context, self.update(&context, request), anew).await?))
    }

    async fn delete_node(&self, request: Request<DeleteNodeRequest>) -> Answer<DeleteNodeResponse> {
        let context = RequestContext::read(&request, "DeleteNode", request.get_ref())?;
        let delete = self.delete(&context, request.into_inner());
        Ok(Response::new(self.once(&context, delete, || Ok(DeleteNodeResponse {})).await?))
    }

    async fn provision_node(&self, request: Request<ProvisionNodeRequest>) -> Answer<ProvisionNodeResponse> {
        let mut public = request.get_ref().clone();
        public.rescue_password.clear();
        let files = std::mem::take(&mut public.config_drive);
        let context = RequestContext::read_with(&request, "ProvisionNode", &public, &files)?;
        let request = request.into_inner();
        let anew = || self.provisioned(&public.node);
        Ok(Response::new(self.once(&context, self.provision(&context, request), anew).await?))
    }

    async fn ensure_node_power(&self, request: Request<EnsureNodePowerRequest>) -> Answer<EnsureNodePowerResponse> {
        let context = RequestContext::read(&request, "EnsureNodePower", request.get_ref())?;
        let request = request.into_inner();
        let name = request.node.clone();
        let change = async { Ok(EnsureNodePowerResponse { generation: self.power(&context, request).await? }) };
        // Of all instructions up to the last one it is settled when that is.
        let anew = || Ok(EnsureNodePowerResponse { generation: self.shown(&name)?.generation });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn reset_node_bmc(&self, request: Request<ResetNodeBmcRequest>) -> Answer<ResetNodeBmcResponse> {
        let context = RequestContext::read(&request, "ResetNodeBmc", request.get_ref())?;
        let request = request.into_inner();
        let reset = request.kind().try_into().map_err(Error::from)?;
        let change = async {
            let generation = self.command(&context, &request.node, PowerTarget::BmcReset { reset, by: None }).await?;
            Ok(ResetNodeBmcResponse { generation })
        };
        let anew = || Ok(ResetNodeBmcResponse { generation: self.shown(&request.node)?.generation });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn send_node_raw_command(
        &self,
        request: Request<SendNodeRawCommandRequest>,
    ) -> Answer<SendNodeRawCommandResponse> {
        let public = SendNodeRawCommandRequest { data: Vec::new(), ..request.get_ref().clone() };
        let context = RequestContext::read(&request, "SendNodeRawCommand", &public)?;
        let request = request.into_inner();
        let raw = raw_command(request).map_err(Error::from)?;
        let change =
            async { Ok(SendNodeRawCommandResponse { generation: self.command(&context, &public.node, raw).await? }) };
        let anew = || Ok(SendNodeRawCommandResponse { generation: self.shown(&public.node)?.generation });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn get_node_timeline(&self, request: Request<GetNodeTimelineRequest>) -> Answer<GetNodeTimelineResponse> {
        Ok(Response::new(self.timeline(&request.into_inner().node).await?))
    }

    type WatchNodeStream = BoxStream<'static, Result<WatchNodeResponse, Status>>;

    async fn watch_node(&self, request: Request<WatchNodeRequest>) -> Answer<Self::WatchNodeStream> {
        let record = self.registry.named(&request.into_inner().node)?;
        let (sender, receiver) = mpsc::channel(4);
        let watcher = Watcher { view: self.registry.view().subscribe(), live_state: self.live_state.touched() };
        let shared = Arc::new(self.clone());
        self.host.spawn(watch(shared, record.node, watcher, sender));
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    type WatchNodesStream = Stream;

    async fn watch_nodes(&self, request: Request<WatchNodesRequest>) -> Answer<Self::WatchNodesStream> {
        Ok(self.watch_all(request.into_inner())?)
    }
}

struct Watcher {
    view: keyspace::view::Subscription,
    live_state: tokio::sync::broadcast::Receiver<domain::id::NodeId>,
}

/// Sends the node whenever it differs from the one sent last, until the client disconnects.
async fn watch(
    shared: Arc<Shared>,
    node: domain::id::NodeId,
    mut watcher: Watcher,
    sender: mpsc::Sender<Result<WatchNodeResponse, Status>>,
) {
    let mut last = None;
    loop {
        let shown = match shared.shown(&node.to_string()) {
            Ok(shown) => shown,
            Err(error) => {
                // The node was deleted: the stream ends with the reason.
                let _ = sender.send(Err(error.into())).await;
                return;
            }
        };
        if last.as_ref() != Some(&shown) {
            last = Some(shown.clone());
            if sender.send(Ok(WatchNodeResponse { node: Some(shown) })).await.is_err() {
                return;
            }
        }
        loop {
            let is_mine = tokio::select! {
                () = sender.closed() => return,
                () = shared.host.stopping() => return,
                news = watcher.view.next() => match news {
                    Some(News::Path(path)) => key::node_of(&path).is_some_and(|(_, of)| of == node),
                    Some(News::Everything) => true,
                    None => return,
                },
                touched = watcher.live_state.recv() => touched.map_or(true, |of| of == node),
            };
            if is_mine {
                break;
            }
        }
        tokio::time::sleep(PACE).await;
    }
}
