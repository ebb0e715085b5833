//! One call after another at the agents' door, for as long as the machine is on.

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
    door::{Door, Next, Replicas},
    error::Error,
    job::{self, Job},
    machine::Machine,
    report::report,
    shift::Shift,
};

/// Something is said at least this often; the mesh wants it every 5 s.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// An outcome that nobody answered is said again after this long.
const REPEAT: Duration = Duration::from_secs(5);
/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);
/// News on the way to the network; it is there in a moment or the connection is dead.
const ON_THE_WAY: usize = 16;
/// How long disks may take to appear: controllers look for them one after another.
const DISKS: Duration = Duration::from_secs(5);
/// How often we look for them.
const LOOK: Duration = Duration::from_millis(200);

/// Runs the agent: calls the mesh, does what it asks, and stays until the machine is switched off.
///
/// Dropping it, or stopping the host, is to the mesh what a power cut is: work in progress ends, and the disk boots
/// nothing that was not written whole.
///
/// # Errors
/// [`Error::Tls`] where the boot file's CA can not be used; [`Error::Refused`] where the mesh will not have this machine.
pub async fn run(boot: BootFile, machine: Machine, host: Host) -> Result<(), Error> {
    let mut agent = Agent::new(boot, machine, host.clone())?;
    tokio::select! {
        () = host.stopping() => Ok(()),
        ended = agent.call_for_ever() => ended,
    }
}

struct Agent {
    boot: BootFile,
    machine: Machine,
    host: Host,
    door: Door,
    images: reqwest::Client,
    shift: Shift,
    notes: (mpsc::UnboundedSender<Entry>, mpsc::UnboundedReceiver<Entry>),
    outcome: Option<oneshot::Receiver<Result<(), Failure>>>,
}

impl Agent {
    fn new(boot: BootFile, machine: Machine, host: Host) -> Result<Self, Error> {
        let door = Door::new(&boot)?;
        let images = door.image_client(&boot)?;
        let (shift, notes) = (Shift::default(), mpsc::unbounded_channel());
        Ok(Self { boot, machine, host, door, images, shift, notes, outcome: None })
    }

    async fn call_for_ever(&mut self) -> Result<(), Error> {
        let mut replicas = Replicas::new(&self.boot.inventory);
        self.await_disks().await;
        loop {
            let endpoint = replicas.endpoint().to_owned();
            let ended = match self.call(&endpoint, &mut replicas).await {
                Err(ended) => ended,
                Ok(()) => Status::unavailable("it ended the conversation"),
            };
            self.machine.say(format_args!("{endpoint}: {}: {}", ended.code(), ended.message()));
            match replicas.ended(&ended) {
                Next::After(pause) => sleep(pause).await,
                Next::Never { reason, message } => return Err(Error::Refused { reason, message }),
            }
        }
    }

    async fn await_disks(&self) {
        let until = Instant::now() + DISKS;
        while Instant::now() < until && report(&self.machine).disks.is_empty() {
            sleep(LOOK).await;
        }
    }

    /// One conversation with one replica, from hello to its end.
    async fn call(&mut self, endpoint: &str, replicas: &mut Replicas) -> Result<(), Status> {
        let late = |_| Status::unavailable(format!("no answer for {} s", CALL.as_secs()));
        let mut client = AgentServiceClient::new(self.door.connect(endpoint).await?);
        let (node, generation) = (self.boot.node.to_string(), self.boot.generation.number());
        let boot_token = self.boot.boot_token.expose().to_vec();
        let hello = HelloRequest { node: node.clone(), generation, boot_token };
        timeout(CALL, client.hello(hello)).await.map_err(late)??;
        let hardware = Some(report(&self.machine).into());
        timeout(CALL, client.report(ReportRequest { node, generation, hardware })).await.map_err(late)??;
        let (news, instructions) = timeout(CALL, self.open(&mut client)).await.map_err(late)??;
        self.machine.say(format_args!("at work for {endpoint}"));
        replicas.answered();
        self.converse(news, instructions).await
    }

    async fn open(
        &self,
        client: &mut AgentServiceClient<Channel>,
    ) -> Result<(mpsc::Sender<WorkRequest>, Streaming<WorkResponse>), Status> {
        let (news, said) = mpsc::channel(ON_THE_WAY);
        // The mesh may want to know who we are before it answers.
        drop(news.try_send(self.says(heartbeat())));
        Ok((news, client.work(ReceiverStream::new(said)).await?.into_inner()))
    }

    /// Says what there is to say and hears what there is to hear, until the stream ends.
    async fn converse(
        &mut self,
        news: mpsc::Sender<WorkRequest>,
        mut instructions: Streaming<WorkResponse>,
    ) -> Result<(), Status> {
        let [mut beat, mut repeat] = [HEARTBEAT, REPEAT].map(interval);
        for ticks in [&mut beat, &mut repeat] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
        }
        self.shift.repeat();
        loop {
            while let Some(said) = self.shift.poll() {
                self.say(&news, said).await?;
                beat.reset();
            }
            tokio::select! {
                heard = instructions.message() => match heard?.and_then(|response| response.instruction) {
                    Some(instruction) => self.instruct(instruction),
                    None => return Ok(()),
                },
                Some(entry) = self.notes.1.recv() => self.shift.note(entry),
                outcome = ended(&mut self.outcome) => self.finish(outcome),
                _ = beat.tick() => self.say(&news, heartbeat()).await?,
                _ = repeat.tick() => self.shift.repeat(),
            }
        }
    }

    async fn say(&self, news: &mpsc::Sender<WorkRequest>, said: work_request::News) -> Result<(), Status> {
        let stuck = || Status::unavailable("it does not listen any more");
        timeout(CALL, news.send(self.says(said))).await.map_err(|_| stuck())?.map_err(|_| stuck())
    }

    fn says(&self, news: work_request::News) -> WorkRequest {
        WorkRequest { node: self.boot.node.to_string(), generation: self.boot.generation.number(), news: Some(news) }
    }

    fn instruct(&mut self, instruction: proto::agent::v1::work_response::Instruction) {
        if let Some(job) = self.shift.instruct(instruction) {
            self.begin(job);
        }
    }

    fn begin(&mut self, job: Job) {
        let (tell, outcome) = oneshot::channel();
        self.outcome = Some(outcome);
        let (machine, images, notes) = (self.machine.clone(), self.images.clone(), self.notes.0.clone());
        let (id, host) = (*self.boot.node.uuid().as_bytes(), self.host.clone());
        self.host.spawn(async move {
            // Without the one who asked, as with a power cut, the work ends.
            let mut tell = tell;
            let work = pin!(job::run(job, id, &machine, &images, &notes));
            let done = tokio::select! {
                () = host.stopping() => return,
                () = tell.closed() => return,
                done = work => done,
            };
            drop(tell.send(done.map_err(|trouble| trouble.failure(clock::now()))));
        });
    }

    fn finish(&mut self, outcome: Result<(), Failure>) {
        self.outcome = None;
        // What was noted before the end is said before it.
        while let Ok(entry) = self.notes.1.try_recv() {
            self.shift.note(entry);
        }
        match &outcome {
            Ok(()) => self.machine.say("done"),
            Err(failure) => self.machine.say(format_args!("failed ({}): {}", failure.cause.word(), failure.text)),
        }
        self.shift.over(outcome);
    }
}

const fn heartbeat() -> work_request::News {
    work_request::News::Heartbeat(work_request::Heartbeat {})
}

/// Resolves when the work ends; never where there is none.
async fn ended(outcome: &mut Option<oneshot::Receiver<Result<(), Failure>>>) -> Result<(), Failure> {
    match outcome {
        None => std::future::pending().await,
        Some(outcome) => outcome.await.unwrap_or_else(|_| {
            let text = "the agent's work ended with a panic".to_owned();
            Err(Failure { cause: Cause::AgentCrashed, text, at: clock::now() })
        }),
    }
}

#[cfg(test)]
mod tests;
