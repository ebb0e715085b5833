//! gRPC handlers for agents: decode the request, make one call, encode the response.

use futures::{StreamExt as _, stream::BoxStream};
use proto::{
    agent::v1::{
        HelloRequest, HelloResponse, ReportRequest, ReportResponse, WorkRequest, WorkResponse,
        agent_service_server::AgentService, work_request, work_response,
    },
    convert::{Invalid, required, text},
};
use service_kit::serve::PeerCertificate;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::{
    Error,
    agent::{AgentEvent, Agents, Caller, key_of},
};

/// Maximum number of instructions queued for one agent.
const MAX_QUEUED_INSTRUCTIONS: usize = 4;

pub(crate) struct AgentApi {
    pub(crate) agents: Agents,
}

fn caller(extensions: &Extensions, node: &str, generation: u64) -> Result<Caller, Error> {
    let certificate = extensions.get::<PeerCertificate>().ok_or(Error::NoCertificate)?;
    Ok(Caller {
        node: text("node", node)?,
        generation: domain::generation::Generation::from_number(generation),
        key: key_of(&certificate.0).ok_or(Error::NoCertificate)?,
    })
}

fn decode_event(request: WorkRequest) -> Result<AgentEvent, Invalid> {
    Ok(match required("news", request.news)? {
        work_request::News::Heartbeat(_) => AgentEvent::Heartbeat,
        work_request::News::Entry(entry) => AgentEvent::Entry(entry.try_into()?),
        work_request::News::Finished(_) => AgentEvent::Finished(None),
        work_request::News::Failed(failure) => AgentEvent::Failed(failure.try_into()?),
    })
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let (_, extensions, hello) = request.into_parts();
        let caller = caller(&extensions, &hello.node, hello.generation)?;
        self.agents.hello(&caller, &hello.boot_token, hello.feature_level).await?;
        Ok(Response::new(HelloResponse {}))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let (_, extensions, report) = request.into_parts();
        let caller = caller(&extensions, &report.node, report.generation)?;
        let hardware = required("hardware", report.hardware).map_err(Error::from)?;
        self.agents.report(&caller, hardware.try_into().map_err(Error::from)?).await?;
        Ok(Response::new(ReportResponse {}))
    }

    type WorkStream = BoxStream<'static, Result<WorkResponse, Status>>;

    async fn work(&self, request: Request<Streaming<WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        let (_, extensions, mut incoming) = request.into_parts();
        let first = incoming.message().await?.ok_or_else(|| Error::from(Invalid::Missing("news")))?;
        let caller = caller(&extensions, &first.node, first.generation)?;
        let (guard, instruction) = self.agents.begin(&caller).await?;
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_INSTRUCTIONS);
        let agents = self.agents.clone();
        self.agents.host.spawn(async move {
            let stream = run_stream(&agents, &guard, &caller, first, instruction, &mut incoming, &sender);
            let outcome = tokio::select! {
                outcome = stream => outcome,
                () = guard.lost() => Err(mesh::Error::HandingOver { node: caller.node }.into()),
                () = agents.host.stopping() => Err(mesh::Error::HandingOver { node: caller.node }.into()),
            };
            if let Err(error) = outcome {
                // If the agent is still there it calls again.
                let _ = sender.send(Err(error.into())).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }
}

async fn run_stream(
    agents: &Agents,
    guard: &mesh::WorkGuard,
    caller: &Caller,
    first: WorkRequest,
    instruction: WorkResponse,
    incoming: &mut Streaming<WorkRequest>,
    sender: &mpsc::Sender<Result<WorkResponse, Status>>,
) -> Result<(), Error> {
    if sender.send(Ok(instruction)).await.is_err() {
        return Ok(());
    }
    let mut next = Some(first);
    while let Some(said) = next {
        if agents.handle_event(guard, caller, decode_event(said)?).await? {
            let rest = work_response::Instruction::Rest(work_response::Rest {});
            if sender.send(Ok(WorkResponse { instruction: Some(rest) })).await.is_err() {
                return Ok(());
            }
        }
        next = match incoming.message().await {
            Ok(said) => said,
            Err(status) => {
                tracing::info!(node = %caller.node, %status, "agent stream ended");
                None
            }
        };
    }
    Ok(())
}
