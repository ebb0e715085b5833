//! The conversation with an agent: what it did so far is asked, what comes next is told, until the work is done.
//!
//! Nothing of it is kept here: an agent remembers all that it was told, so that the next owner of the node goes on where
//! this one stopped as soon as it has heard a heartbeat.

use std::{io::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    failure::{Cause, Failure},
    image::Encoding,
    step::Step,
    timeline::Mark,
};
use flate2::{Compression, write::GzEncoder};
use keyspace::{
    key,
    seal::Sealed,
    value::{ConfigDrive, Work},
};
use mesh::WorkGuard;
use serde_json::{Value, json};
use service_kit::clock;
use tokio::time::{sleep, timeout};
use wire_ironic::agent::{ImageInfo, Kind, Next, RequestedStep, Task, next};

use super::{Booting, Ironic, line::Line};
use crate::agent::{Caller, News};

/// Between two looks at a step that runs.
const LOOK: Duration = Duration::from_secs(2);
/// Octets of a sector of the config drive's volume.
const SECTOR: u16 = 512;
/// How long a scheduler may take to hand an agent the steps that it listed.
const HANDED: Duration = Duration::from_secs(30);
/// Looks in a row without an answer, after which the agent must be heard by itself again.
const DEAF: u32 = 5;

/// Where an agent is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) url: String,
    /// The certificate that it answers with, as PEM; none: it answers without TLS.
    pub(crate) certificate: Option<String>,
}

impl Ironic {
    /// Begins to talk with an agent, or goes on doing so.
    pub(super) fn talk(&self, guard: WorkGuard, mut booting: Booting, peer: Peer) {
        {
            let mut talks = self.talks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if talks.contains_key(&booting.node) {
                return;
            }
            talks.insert(booting.node, peer.clone());
        }
        let ironic = self.clone();
        self.agents.host.spawn(async move {
            let node = booting.node;
            let stopping = ironic.agents.host.clone();
            let talking = async {
                while let Some(handed) = ironic.carry_on(&guard, &booting, &peer).await? {
                    booting = handed;
                }
                Ok(())
            };
            let outcome: Result<(), String> = tokio::select! {
                outcome = talking => outcome,
                () = guard.lost() => Ok(()),
                () = stopping.stopping() => Ok(()),
            };
            if let Err(why) = outcome {
                tracing::info!(%node, why, "the talk with an agent broke off; its next heartbeat takes it up");
            }
            ironic.talks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&node);
        });
    }

    /// Goes on until the work is done; some: the agent was handed more of it.
    async fn carry_on(&self, guard: &WorkGuard, booting: &Booting, peer: &Peer) -> Result<Option<Booting>, String> {
        let words = |error: &dyn std::error::Error| service_kit::status::chain(error);
        let token = self.token(booting).map_err(|_| "its token can not be opened".to_owned())?;
        let caller = Self::caller(booting, &token);
        let line = Line::new(peer, token).map_err(|error| words(&error))?;
        let errand = match self.errand(booting) {
            Ok(Errand::Write(image, _)) if image.urls.is_empty() => {
                return Err("no storage-service of the rack is there to hand out the image".to_owned());
            }
            Ok(errand) => errand,
            Err(failure) => return self.ends(guard, &caller, News::Failed(failure)).await,
        };
        let (node, mut deaf, mut noted) = (self.shown(booting.node), 0, String::new());
        loop {
            let said = match line.commands().await {
                Ok(said) => said,
                Err(error) if deaf >= DEAF => return Err(words(&error)),
                Err(error) => {
                    tracing::debug!(node = %booting.node, error = %words(&error), "asking again");
                    deaf += 1;
                    sleep(LOOK).await;
                    continue;
                }
            };
            deaf = 0;
            self.agents.census.heard(booting.node);
            match next(&errand.task(), &said, &node, &self.ports(booting)) {
                Next::Send(command) => line.tell(&command).await.map_err(|error| words(&error))?,
                Next::Wait(step) => {
                    self.note(booting, errand.mark(), &mut noted, step);
                    sleep(LOOK).await;
                }
                Next::Done => {
                    self.note(booting, errand.mark(), &mut noted, "done".to_owned());
                    let reaches = booting.decision.value.reaches();
                    return self.ends(guard, &caller, News::Finished(Some(reaches))).await;
                }
                Next::Lists(own) => {
                    let lists: Vec<_> = own.into_iter().map(step).collect();
                    if let Some(step) = lists.iter().find(|step| step.reserved().is_some()) {
                        let text = format!("the agent would clean by {}.{}, a name of ours", step.interface, step.step);
                        let failure = Failure { cause: Cause::UnknownStep, text, at: clock::now() };
                        return self.ends(guard, &caller, News::Failed(failure)).await;
                    }
                    self.tell(guard, &caller, News::Lists(lists)).await?;
                    return Ok(self.handed(booting).await);
                }
                Next::Reboots(made) => {
                    self.note(booting, errand.mark(), &mut noted, "rebooting".to_owned());
                    let from = booting.decision.value.part.map_or(0, |part| part.from);
                    let made = from.saturating_add(u32::try_from(made).unwrap_or(u32::MAX));
                    return self.ends(guard, &caller, News::Reboots(made)).await;
                }
                Next::Failed(text) => {
                    let failure = Failure { cause: Cause::AgentCrashed, text, at: clock::now() };
                    return self.ends(guard, &caller, News::Failed(failure)).await;
                }
            }
        }
    }

    /// Tells what the talk came to: nothing more is handed out.
    async fn ends(&self, guard: &WorkGuard, caller: &Caller, news: News) -> Result<Option<Booting>, String> {
        self.tell(guard, caller, news).await.map(|()| None)
    }

    async fn tell(&self, guard: &WorkGuard, caller: &Caller, news: News) -> Result<(), String> {
        let told = self.agents.news(guard, caller, news).await;
        told.map(drop).map_err(|error| service_kit::status::chain(&error))
    }

    /// Waits until the same boot's agent is handed steps. None: it was not in time, and its next heartbeat takes that up.
    async fn handed(&self, booting: &Booting) -> Option<Booting> {
        let mut news = self.agents.mesh.view().subscribe();
        let handing = async {
            loop {
                let now = self.of(booting.node)?;
                if now.generation() != booting.generation() {
                    return None;
                }
                if now.decision.revision != booting.decision.revision {
                    return Some(now);
                }
                news.next().await?;
            }
        };
        timeout(HANDED, handing).await.ok().flatten()
    }

    fn note(&self, booting: &Booting, mark: Mark, noted: &mut String, step: String) {
        if *noted != step {
            self.agents.timeline.note(booting.node, booting.generation(), mark, step.as_str());
            *noted = step;
        }
    }

    /// The node's ports as the agent is told of them.
    fn ports(&self, booting: &Booting) -> Value {
        let ports = self.agents.mesh.view().list(&key::ports(self.agents.rack)).into_iter();
        let own = ports.filter(|(_, port)| port.value.node == booting.node);
        let macs = own.filter_map(|(path, _)| path.rsplit('/').next().map(str::to_owned));
        macs.map(|address| json!({"address": address, "node_uuid": booting.node})).collect()
    }

    /// The config drive as the agent wants it: a volume, packed, in base64.
    fn config_drive(&self, booting: &Booting, sealed: &Sealed) -> Result<String, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure {
            cause: Cause::AgentCrashed,
            text: format!("the config drive can not be made: {error}"),
            at: clock::now(),
        };
        let opened = self.agents.sealer.open(&format!("{}/config-drive", booting.node), sealed);
        let opened = opened.map_err(|error| failed(&error))?;
        let files: ConfigDrive = serde_json::from_slice(opened.expose()).map_err(|error| failed(&error))?;
        let id = booting.node.uuid().into_bytes();
        let volume = wire_config_drive::volume(&files, id, SECTOR).map_err(|error| failed(&error))?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&volume).map_err(|error| failed(&error))?;
        Ok(STANDARD.encode(packed.finish().map_err(|error| failed(&error))?))
    }

    /// What the agent is to do, in its own terms.
    fn errand(&self, booting: &Booting) -> Result<Errand, Failure> {
        let decision = &booting.decision.value;
        let named = &decision.steps;
        match &decision.work {
            Work::Wipe if named.is_empty() && decision.part.is_none() => Ok(Errand::Clean),
            Work::Wipe => Ok(Errand::Steps(Kind::Clean, named.iter().map(wish).collect())),
            Work::Service => Ok(Errand::Steps(Kind::Service, named.iter().map(wish).collect())),
            Work::Inspect => {
                let text = "a ramdisk that is to inspect sent a heartbeat instead of its report".to_owned();
                Err(Failure { cause: Cause::NoReport, text, at: clock::now() })
            }
            Work::Write { name, digest, encoding, config_drive, .. } => {
                if *encoding != Encoding::Plain {
                    let text = format!("image {name} is packed, and the stock agent unpacks nothing: register it raw");
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
                Ok(Errand::Write(image, course))
            }
        }
    }
}

/// The work, held.
enum Errand {
    Clean,
    Steps(Kind, Vec<RequestedStep>),
    Write(Box<ImageInfo>, Option<Vec<RequestedStep>>),
}

/// A step of an agent's own as it is kept.
fn step(wish: RequestedStep) -> Step {
    Step { interface: wish.interface, step: wish.step, args: wish.args }
}

/// A step as it is asked for.
fn wish(step: &Step) -> RequestedStep {
    RequestedStep { interface: step.interface.clone(), step: step.step.clone(), args: step.args.clone() }
}

impl Errand {
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
