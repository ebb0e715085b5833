//! Calls the inventory-service for as long as the machine is on, and runs the jobs that it requests.

use std::{pin::pin, time::Duration};

use domain::{
    failure::{Cause, Failure},
    timeline::Entry,
};
use proto::agent::v1::{
    HelloRequest, ReportRequest, WorkRequest, WorkResponse, agent_service_client::AgentServiceClient, work_request,
};
use service_kit::{Host, clock};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    config::BootFile,
    error::Error,
    inventory_client::{InventoryClient, NextCall, Replicas},
    job::{self, Job},
    machine::Machine,
    outbox::Outbox,
    report::report,
};

/// Interval of heartbeats; the mesh expects one every 5 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Delay before an unconfirmed result is sent again.
const RESULT_REPEAT_DELAY: Duration = Duration::from_secs(5);
/// Maximum duration of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of queued events; a healthy connection sends them immediately.
const MAX_QUEUED_EVENTS: usize = 16;
/// How long to wait for disks to appear: controllers detect them one after another.
const DISKS_TIMEOUT: Duration = Duration::from_secs(5);
/// How often to look for disks.
const DISKS_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// What this agent is able to do, as `HelloRequest.feature_level` defines it.
const FEATURE_LEVEL: u32 = 1;

/// Runs the agent: calls the mesh, executes its instruction, and stays until the machine is switched off.
///
/// Dropping the future or stopping the host is equivalent to a power failure: the work ends, and a partially written
/// disk does not boot.
///
/// # Errors
/// [`Error::Tls`] if the CA of the boot file cannot be used; [`Error::Refused`] if the mesh refuses this machine.
pub async fn run(boot: BootFile, machine: Machine, host: Host) -> Result<(), Error> {
    let mut agent = Agent::new(boot, machine, host.clone())?;
    tokio::select! {
        () = host.stopping() => Ok(()),
        ended = agent.call_forever() => ended,
    }
}

struct Agent {
    boot: BootFile,
    machine: Machine,
    host: Host,
    client: InventoryClient,
    images: reqwest::Client,
    outbox: Outbox,
    entries: (mpsc::UnboundedSender<Entry>, mpsc::UnboundedReceiver<Entry>),
    outcome: Option<oneshot::Receiver<Result<(), Failure>>>,
}

impl Agent {
    fn new(boot: BootFile, machine: Machine, host: Host) -> Result<Self, Error> {
        let client = InventoryClient::new(&boot)?;
        let images = client.image_client(&boot)?;
        let (outbox, entries) = (Outbox::default(), mpsc::unbounded_channel());
        Ok(Self { boot, machine, host, client, images, outbox, entries, outcome: None })
    }

    async fn call_forever(&mut self) -> Result<(), Error> {
        let mut replicas = Replicas::new(&self.boot.inventory);
        self.await_disks().await;
        loop {
            let endpoint = replicas.endpoint().to_owned();
            let ended = match self.call(&endpoint, &mut replicas).await {
                Err(ended) => ended,
                Ok(()) => Status::unavailable("the stream ended"),
            };
            self.machine.say(format_args!("{endpoint}: {}: {}", ended.code(), ended.message()));
            match replicas.ended(&ended) {
                NextCall::After(delay) => sleep(delay).await,
                NextCall::Never { reason, message } => return Err(Error::Refused { reason, message }),
            }
        }
    }

    async fn await_disks(&self) {
        let until = Instant::now() + DISKS_TIMEOUT;
        while Instant::now() < until && report(&self.machine).disks.is_empty() {
            sleep(DISKS_CHECK_INTERVAL).await;
        }
    }

    /// Runs one session with one replica, from hello to the end of the stream.
    async fn call(&mut self, endpoint: &str, replicas: &mut Replicas) -> Result<(), Status> {
        let late = |_| Status::unavailable(format!("no response within {} s", CALL_TIMEOUT.as_secs()));
        let mut client = AgentServiceClient::new(self.client.connect(endpoint).await?);
        let (node, generation) = (self.boot.node.to_string(), self.boot.generation.number());
        let boot_token = self.boot.boot_token.expose().to_vec();
        let hello = HelloRequest { node: node.clone(), generation, boot_token, feature_level: FEATURE_LEVEL };
        timeout(CALL_TIMEOUT, client.hello(hello)).await.map_err(late)??;
        let hardware = Some(report(&self.machine).into());
        timeout(CALL_TIMEOUT, client.report(ReportRequest { node, generation, hardware })).await.map_err(late)??;
        let (events, instructions) = timeout(CALL_TIMEOUT, self.open(&mut client)).await.map_err(late)??;
        self.machine.say(format_args!("connected to {endpoint}"));
        replicas.answered();
        self.run_stream(events, instructions).await
    }

    async fn open(
        &self,
        client: &mut AgentServiceClient<Channel>,
    ) -> Result<(mpsc::Sender<WorkRequest>, Streaming<WorkResponse>), Status> {
        let (events, event) = mpsc::channel(MAX_QUEUED_EVENTS);
        // The service may wait for the identity of the agent before it responds.
        drop(events.try_send(self.request(heartbeat())));
        Ok((events, client.work(ReceiverStream::new(event)).await?.into_inner()))
    }

    /// Sends events and handles instructions until the stream ends.
    async fn run_stream(
        &mut self,
        events: mpsc::Sender<WorkRequest>,
        mut instructions: Streaming<WorkResponse>,
    ) -> Result<(), Status> {
        let [mut beat, mut repeat] = [HEARTBEAT_INTERVAL, RESULT_REPEAT_DELAY].map(interval);
        for ticks in [&mut beat, &mut repeat] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
        }
        self.outbox.repeat();
        loop {
            while let Some(event) = self.outbox.poll() {
                self.say(&events, event).await?;
                beat.reset();
            }
            tokio::select! {
                heard = instructions.message() => match heard?.and_then(|response| response.instruction) {
                    Some(instruction) => self.instruct(instruction),
                    None => return Ok(()),
                },
                Some(entry) = self.entries.1.recv() => self.outbox.note(entry),
                outcome = ended(&mut self.outcome) => self.finish(outcome),
                _ = beat.tick() => self.say(&events, heartbeat()).await?,
                _ = repeat.tick() => self.outbox.repeat(),
            }
        }
    }

    async fn say(&self, events: &mpsc::Sender<WorkRequest>, event: work_request::News) -> Result<(), Status> {
        let stuck = || Status::unavailable("the connection is stuck");
        timeout(CALL_TIMEOUT, events.send(self.request(event))).await.map_err(|_| stuck())?.map_err(|_| stuck())
    }

    fn request(&self, event: work_request::News) -> WorkRequest {
        WorkRequest { node: self.boot.node.to_string(), generation: self.boot.generation.number(), news: Some(event) }
    }

    fn instruct(&mut self, instruction: proto::agent::v1::work_response::Instruction) {
        if let Some(job) = self.outbox.instruct(instruction) {
            self.begin(job);
        }
    }

    fn begin(&mut self, job: Job) {
        let (tell, outcome) = oneshot::channel();
        self.outcome = Some(outcome);
        let (machine, images, entries) = (self.machine.clone(), self.images.clone(), self.entries.0.clone());
        let (id, host) = (*self.boot.node.uuid().as_bytes(), self.host.clone());
        self.host.spawn(async move {
            // If the requester is dropped, the work ends as with a power failure.
            let mut tell = tell;
            let work = pin!(job::run(job, id, &machine, &images, &entries));
            let done = tokio::select! {
                () = host.stopping() => return,
                () = tell.closed() => return,
                done = work => done,
            };
            drop(tell.send(done.map_err(|error| error.failure(clock::now()))));
        });
    }

    fn finish(&mut self, outcome: Result<(), Failure>) {
        self.outcome = None;
        // Entries recorded before the end are sent before the result.
        while let Ok(entry) = self.entries.1.try_recv() {
            self.outbox.note(entry);
        }
        match &outcome {
            Ok(()) => self.machine.say("done"),
            Err(failure) => self.machine.say(format_args!("failed ({}): {}", failure.cause.word(), failure.text)),
        }
        self.outbox.finish(outcome);
    }
}

const fn heartbeat() -> work_request::News {
    work_request::News::Heartbeat(work_request::Heartbeat {})
}

/// Resolves when the work ends; never if there is none.
async fn ended(outcome: &mut Option<oneshot::Receiver<Result<(), Failure>>>) -> Result<(), Failure> {
    match outcome {
        None => std::future::pending().await,
        Some(outcome) => outcome.await.unwrap_or_else(|_| {
            let text = "the agent panicked during the work".to_owned();
            Err(Failure { cause: Cause::AgentCrashed, text, at: clock::now() })
        }),
    }
}

#[cfg(test)]
mod tests;
