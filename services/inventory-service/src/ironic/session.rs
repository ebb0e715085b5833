//! The session with an agent: reads the state of its commands and sends the next one, until the work is done.
//!
//! A session has no state of its own: the agent remembers all commands, so that the next owner of the node continues
//! after the next heartbeat.

use std::{io::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    failure::{Cause, Failure},
    image::Encoding,
    net::MacAddr,
    step::Step,
    timeline::Mark,
};
use flate2::{Compression, write::GzEncoder};
use keyspace::{
    key,
    seal::{Place, Sealed},
    value::Work,
};
use mesh::WorkGuard;
use serde_json::{Value, json};
use service_kit::{clock, status::chain};
use tokio::time::{sleep, timeout};
use wire_ironic::agent::{ImageInfo, Kind, Next, RequestedStep, Task, next};

use super::{
    Ironic, PendingBoot,
    agent_client::{AgentClient, AgentClientError, Peer},
};
use crate::{
    Error,
    agent::{AgentEvent, Caller},
};

/// How often the state of a running command is read.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Sector size of the config drive, in bytes.
const SECTOR: u16 = 512;
/// How long to wait for the scheduler to provide the steps after the agent listed its own.
const STEPS_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of consecutive failed reads after which the session ends until the next heartbeat.
const MAX_FAILED_READS: u32 = 5;

/// Why a session ended before the work was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The boot token cannot be decrypted.
    #[error("cannot decrypt the boot token")]
    Token,
    /// No storage-service can provide the image.
    #[error("the rack has no available storage-service for the image")]
    NoStorage,
    /// A call to the agent failed.
    #[error(transparent)]
    Client(#[from] AgentClientError),
    /// The result could not be stored.
    #[error(transparent)]
    Service(#[from] Error),
}

impl Ironic {
    /// Starts a session with an agent, unless one is running.
    pub(super) fn start_session(&self, guard: WorkGuard, mut booting: PendingBoot, peer: Peer) {
        {
            let mut sessions = self.sessions.lock();
            if sessions.contains_key(&booting.node) {
                return;
            }
            sessions.insert(booting.node, peer.clone());
        }
        let ironic = self.clone();
        self.agents.host.spawn(async move {
            let node = booting.node;
            let stopping = ironic.agents.host.clone();
            let talking = async {
                while let Some(handed) = ironic.run_session(&guard, &booting, &peer).await? {
                    booting = handed;
                }
                Ok(())
            };
            let outcome: Result<(), SessionError> = tokio::select! {
                outcome = talking => outcome,
                () = guard.lost() => Ok(()),
                () = stopping.stopping() => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::info!(%node, error = %chain(&error), "session with an agent ended, its next heartbeat resumes it");
            }
            ironic.sessions.lock().remove(&node);
        });
    }

    /// Runs the session until the work is done. Returns the boot with new steps if there is more work.
    async fn run_session(
        &self,
        guard: &WorkGuard,
        booting: &PendingBoot,
        peer: &Peer,
    ) -> Result<Option<PendingBoot>, SessionError> {
        let token = self.token(booting).map_err(|_| SessionError::Token)?;
        let caller = Self::caller(booting, &token);
        let line = AgentClient::new(&self.outbound, peer, token)?;
        let task = match self.task_of(booting) {
            Ok(OwnedTask::Write(image, _)) if image.urls.is_empty() => {
                return Err(SessionError::NoStorage);
            }
            Ok(task) => task,
            Err(failure) => return self.finish(guard, &caller, AgentEvent::Failed(failure)).await,
        };
        let (node, mut failures, mut last_step) = (self.node_document(booting.node)?, 0, String::new());
        loop {
            let read = line.commands().await;
            if !self.is_current(booting) {
                // A new boot has its own session, which waits for this one to end. Its agent may remember no commands: the
                // steps of this boot would be sent to it.
                return Ok(None);
            }
            let said = match read {
                Ok(said) => said,
                Err(error) if failures >= MAX_FAILED_READS => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(node = %booting.node, error = %chain(&error), "cannot read commands, will retry");
                    failures += 1;
                    sleep(POLL_INTERVAL).await;
                    continue;
                }
            };
            failures = 0;
            self.agents.heartbeats.record(booting.node);
            match next(&task.task(), &said, &node, &self.ports(booting)) {
                Next::Send(command) => line.send(&command).await?,
                Next::Wait(step) => {
                    self.note(booting, task.mark(), &mut last_step, step);
                    sleep(POLL_INTERVAL).await;
                }
                Next::Done => {
                    self.note(booting, task.mark(), &mut last_step, "done".to_owned());
                    let reaches = booting.decision.value.reaches();
                    return self.finish(guard, &caller, AgentEvent::Finished(Some(reaches))).await;
                }
                Next::Listed(own) => {
                    let lists: Vec<_> = own.into_iter().map(step).collect();
                    if let Some(step) = lists.iter().find(|step| step.reserved().is_some()) {
                        let text = format!(
                            "the agent lists the clean step {}.{}, whose name is reserved",
                            step.interface, step.step
                        );
                        let failure = Failure { cause: Cause::UnknownStep, text, at: clock::now() };
                        return self.finish(guard, &caller, AgentEvent::Failed(failure)).await;
                    }
                    self.report_event(guard, &caller, AgentEvent::Lists(lists)).await?;
                    return Ok(self.wait_for_steps(booting).await);
                }
                Next::Reboot(made) => {
                    self.note(booting, task.mark(), &mut last_step, "rebooting".to_owned());
                    let from = booting.decision.value.part.map_or(0, |part| part.from);
                    let made = from.saturating_add(u32::try_from(made).unwrap_or(u32::MAX));
                    return self.finish(guard, &caller, AgentEvent::Reboots(made)).await;
                }
                Next::Failed(text) => {
                    let failure = Failure { cause: Cause::AgentCrashed, text, at: clock::now() };
                    return self.finish(guard, &caller, AgentEvent::Failed(failure)).await;
                }
            }
        }
    }

    /// Reports the final event of a session.
    async fn finish(
        &self,
        guard: &WorkGuard,
        caller: &Caller,
        news: AgentEvent,
    ) -> Result<Option<PendingBoot>, SessionError> {
        self.report_event(guard, caller, news).await.map(|()| None)
    }

    async fn report_event(&self, guard: &WorkGuard, caller: &Caller, news: AgentEvent) -> Result<(), SessionError> {
        self.agents.handle_event(guard, caller, news).await?;
        Ok(())
    }

    /// Waits until this boot has new steps. Returns `None` on timeout; the next heartbeat resumes the work.
    async fn wait_for_steps(&self, booting: &PendingBoot) -> Option<PendingBoot> {
        let mut news = self.agents.mesh.view().subscribe();
        let handing = async {
            loop {
                let now = self.pending_boot(booting.node)?;
                if now.generation() != booting.generation() {
                    return None;
                }
                if now.decision.revision != booting.decision.revision {
                    return Some(now);
                }
                news.next().await?;
            }
        };
        timeout(STEPS_TIMEOUT, handing).await.ok().flatten()
    }

    fn note(&self, booting: &PendingBoot, mark: Mark, last_step: &mut String, step: String) {
        if *last_step != step {
            self.agents.timeline.note(booting.node, booting.generation(), mark, step.as_str());
            *last_step = step;
        }
    }

    /// Returns the node's ports as the agent expects them.
    fn ports(&self, booting: &PendingBoot) -> Value {
        let ports = self.agents.mesh.view().list(&key::ports(self.agents.rack)).into_iter();
        let own = ports.filter(|(_, port)| port.value.node == booting.node);
        let macs = own.filter_map(|(path, _)| key::last::<MacAddr>(&path));
        macs.map(|address| json!({"address": address.to_string(), "node_uuid": booting.node})).collect()
    }

    /// Returns the config drive as the agent expects it: a volume, compressed with gzip, in base64.
    fn config_drive(&self, booting: &PendingBoot, sealed: &Sealed) -> Result<String, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure {
            cause: Cause::AgentCrashed,
            text: format!("cannot build the config drive: {error}"),
            at: clock::now(),
        };
        let files = self.agents.sealer.open_files(&Place::config_drive(self.agents.rack, booting.node), sealed);
        let files = files.map_err(|error| failed(&error))?;
        let id = booting.node.uuid().into_bytes();
        let volume = wire_config_drive::volume(&files, id, SECTOR).map_err(|error| failed(&error))?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&volume).map_err(|error| failed(&error))?;
        Ok(STANDARD.encode(packed.finish().map_err(|error| failed(&error))?))
    }

    /// Returns the work of the boot in the agent's terms.
    fn task_of(&self, booting: &PendingBoot) -> Result<OwnedTask, Failure> {
        let decision = &booting.decision.value;
        let named = &decision.steps;
        match &decision.work {
            Work::Wipe if named.is_empty() && decision.part.is_none() => Ok(OwnedTask::Clean),
            Work::Wipe => Ok(OwnedTask::Steps(Kind::Clean, named.iter().map(wish).collect())),
            Work::Service => Ok(OwnedTask::Steps(Kind::Service, named.iter().map(wish).collect())),
            Work::Inspect => {
                let text = "the ramdisk of an inspection sent a heartbeat instead of a report".to_owned();
                Err(Failure { cause: Cause::NoReport, text, at: clock::now() })
            }
            Work::Write { name, digest, encoding, config_drive, .. } => {
                if *encoding != Encoding::Plain {
                    let text = format!(
                        "image {name} is compressed, which ironic-python-agent does not support: register it \
                         uncompressed"
                    );
                    return Err(Failure { cause: Cause::ImageCorrupt, text, at: clock::now() });
                }
                let course = decision.part.map(|_| named.iter().map(wish).collect());
                let image = Box::new(ImageInfo {
                    id: name.clone(),
                    urls: self.agents.urls(digest),
                    checksum: None,
                    os_hash_algo: Some(digest.algorithm.word().to_owned()),
                    os_hash_value: Some(digest.hex().to_owned()),
                    disk_format: "raw".to_owned(),
                    container_format: "bare".to_owned(),
                    stream_raw_images: true,
                    node_uuid: booting.node.to_string(),
                    configdrive: Some(self.config_drive(booting, config_drive)?),
                    proxies: None,
                    other: serde_json::Map::new(),
                });
                Ok(OwnedTask::Write(image, course))
            }
        }
    }
}

/// The work of a boot, with its data.
enum OwnedTask {
    Clean,
    Steps(Kind, Vec<RequestedStep>),
    Write(Box<ImageInfo>, Option<Vec<RequestedStep>>),
}

/// Converts a step listed by an agent.
fn step(wish: RequestedStep) -> Step {
    Step { interface: wish.interface, step: wish.step, args: wish.args }
}

/// Converts a step for an agent.
fn wish(step: &Step) -> RequestedStep {
    RequestedStep { interface: step.interface.clone(), step: step.step.clone(), args: step.args.clone() }
}

impl OwnedTask {
    fn task(&self) -> Task<'_> {
        match self {
            Self::Clean => Task::Clean,
            Self::Steps(kind, named) => Task::Steps(*kind, named),
            Self::Write(image, named) => Task::Write(image, named.as_deref()),
        }
    }

    const fn mark(&self) -> Mark {
        match self {
            Self::Clean | Self::Steps(..) => Mark::Wiped,
            Self::Write(..) => Mark::ImageProgress,
        }
    }
}
