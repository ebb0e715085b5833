//! Bulks: one verb applied to many nodes, a limited number at a time.

mod board;

use std::{collections::HashMap, path::PathBuf};

use clap::{Args, Subcommand};
use domain::provision::Verb;
use proto::api::v1::{
    Bulk, BulkLimits, CancelBulkRequest, CreateBulkRequest, GetBulkRequest, ListBulksRequest, PauseBulkRequest,
    ProvisionVerb, ResumeBulkRequest,
};
use serde_json::Value;
use tokio::time::Instant;

use super::{answered, config_drive::config_drive, filter::Filter};
use crate::{call::Api, error::Error, human::ago, json, once::once, output::Screen, pages, table, words};

/// What can be asked of bulks.
#[derive(Debug, Subcommand)]
pub enum BulkCommand {
    /// Apply one verb to many nodes.
    ///
    /// Selected nodes that accept the verb now are asked, a limited number at a time; nodes in maintenance are left out unless
    /// the filter selects them. The bulk continues if this command ends, and if the scheduler that runs it dies.
    #[command(
        after_help = "Examples:\n  ironmesh bulk start deploy --image debian-12 --resource-class big --count 20 --at-once 5 \
                            --canary 2 --wait\n  ironmesh bulk start inspect --rack r1 --state manageable"
    )]
    Start(Box<Start>),
    /// List bulks, oldest first.
    #[command(after_help = "Example:\n  ironmesh bulk list")]
    List,
    /// Show a bulk and the progress of each of its nodes.
    #[command(after_help = "Example:\n  ironmesh bulk show 3f2a77aa-0000-4000-8000-000000000001")]
    Show(Named),
    /// Wait until a bulk pauses or ends, and show its progress.
    #[command(after_help = "Example:\n  ironmesh bulk wait 3f2a77aa-0000-4000-8000-000000000001")]
    Wait(Named),
    /// Ask no more nodes until it is continued; work that has started continues.
    #[command(after_help = "Example:\n  ironmesh bulk pause 3f2a77aa-0000-4000-8000-000000000001")]
    Pause(Named),
    /// Continue a paused bulk, and reset its count of failures.
    #[command(after_help = "Example:\n  ironmesh bulk continue 3f2a77aa-0000-4000-8000-000000000001")]
    Continue(Named),
    /// Ask no more nodes at all; work that has started continues.
    #[command(after_help = "Example:\n  ironmesh bulk cancel 3f2a77aa-0000-4000-8000-000000000001")]
    Cancel(Named),
}

/// Which bulk.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its id.
    bulk: String,
}

/// What is asked, and of whom.
#[derive(Debug, Clone, Args)]
pub struct Start {
    /// manage, provide, deploy, rebuild, undeploy, inspect, adopt or abort.
    verb: Verb,
    /// The image's name or id, for deploy, rebuild and adopt.
    #[arg(long)]
    image: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// User data for cloud-init, for deploy and rebuild, which becomes openstack/latest/user_data in each config drive.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// Wait until it pauses or ends, and show its progress.
    #[arg(short, long)]
    wait: bool,
}

/// How many, and how many at a time.
#[derive(Debug, Clone, Default, Args)]
pub struct Limits {
    /// Maximum number of nodes; left out: all that are selected.
    #[arg(long, value_name = "N", help_heading = "How many at a time")]
    count: Option<u32>,
    /// Maximum number of nodes at the same time [default: 10].
    #[arg(long, value_name = "N", help_heading = "How many at a time")]
    at_once: Option<u32>,
    /// Pause with more failures than this [default: 0].
    #[arg(long, value_name = "N", help_heading = "How many at a time")]
    max_failures: Option<u32>,
    /// Number of nodes to ask first; the others are asked when these have succeeded.
    #[arg(long, value_name = "N", help_heading = "How many at a time")]
    canary: Option<u32>,
    /// Pause when the canary nodes have succeeded.
    #[arg(long, requires = "canary", help_heading = "How many at a time")]
    pause_after_canary: bool,
}

impl Limits {
    /// Whether anything is said.
    pub(in crate::command) fn is_said(&self) -> bool {
        self.count.is_some() || self.at_once.is_some() || self.max_failures.is_some() || self.canary.is_some()
    }
}

/// Whether it is waited for, and how long at most.
pub(in crate::command) enum Waiting {
    No,
    Until(Option<Instant>),
}

/// What is asked of whom.
pub(in crate::command) struct Wanted {
    pub(in crate::command) verb: Verb,
    pub(in crate::command) image: String,
    pub(in crate::command) filter: Filter,
    pub(in crate::command) limits: Limits,
    pub(in crate::command) config_drive: HashMap<String, Vec<u8>>,
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: BulkCommand) -> Result<(), Error> {
    match command {
        BulkCommand::Start(asked) => start(screen, api, *asked).await,
        BulkCommand::List => {
            let page = async |page_token| {
                let request = ListBulksRequest { page_token, ..Default::default() };
                let answer = api.bulks().list_bulks(request).await?.into_inner();
                Ok((answer.bulks, answer.next_page_token))
            };
            let bulks = pages::all(page).await?;
            let heading = ["BULK", "VERB", "IMAGE", "BEGAN", "STATE", "DONE", "FAILED", "RUNNING", "WAITING", "WHY"];
            screen.show(
                || table::list(screen, &heading, bulks.iter().map(|bulk| row(screen, bulk))),
                || bulks.iter().map(json::bulk).collect::<Value>(),
            )
        }
        BulkCommand::Show(Named { bulk }) => shown(screen, &get(api, bulk).await?),
        BulkCommand::Wait(Named { bulk }) => board::wait(screen, api, bulk, None).await,
        BulkCommand::Pause(Named { bulk }) => {
            let call = async |request| api.bulks().pause_bulk(request).await;
            shown(screen, &answered(once(PauseBulkRequest { bulk, ..Default::default() }, call).await?.bulk)?)
        }
        BulkCommand::Continue(Named { bulk }) => {
            let call = async |request| api.bulks().resume_bulk(request).await;
            shown(screen, &answered(once(ResumeBulkRequest { bulk, ..Default::default() }, call).await?.bulk)?)
        }
        BulkCommand::Cancel(Named { bulk }) => {
            let call = async |request| api.bulks().cancel_bulk(request).await;
            shown(screen, &answered(once(CancelBulkRequest { bulk, ..Default::default() }, call).await?.bulk)?)
        }
    }
}

async fn start(screen: &Screen, api: &Api, asked: Start) -> Result<(), Error> {
    let Start { verb, image, filter, limits, user_data, wait } = asked;
    let config_drive = config_drive(user_data, Vec::new())?;
    let wanted = Wanted { verb, image: image.unwrap_or_default(), filter, limits, config_drive };
    begin(screen, api, wanted, if wait { Waiting::Until(None) } else { Waiting::No }).await
}

/// Begins one, and shows how far it is until it is over where that is waited for.
pub(in crate::command) async fn begin(
    screen: &Screen,
    api: &Api,
    wanted: Wanted,
    waiting: Waiting,
) -> Result<(), Error> {
    let Wanted { verb, image, filter, limits, config_drive } = wanted;
    let request = CreateBulkRequest {
        selector: filter.wire(),
        verb: ProvisionVerb::from(verb).into(),
        image,
        count: limits.count.unwrap_or(0),
        limits: Some(BulkLimits {
            at_once: limits.at_once.unwrap_or(0),
            max_failures: limits.max_failures,
            canary: limits.canary.unwrap_or(0),
            pause_after_canary: limits.pause_after_canary,
        }),
        config_drive,
    };
    let bulk = answered(once(request, async |request| api.bulks().create_bulk(request).await).await?.bulk)?;
    let Waiting::Until(until) = waiting else { return shown(screen, &bulk) };
    screen.note(&format!("bulk {} asks {} of {} nodes", bulk.id, words::verb(bulk.verb()), bulk.nodes.len()));
    board::wait(screen, api, bulk.id, until).await
}

async fn get(api: &Api, bulk: String) -> Result<Bulk, Error> {
    answered(api.bulks().get_bulk(GetBulkRequest { bulk }).await?.into_inner().bulk)
}

fn progress(bulk: &Bulk) -> String {
    let mut words = format!(
        "{}: {} done, {} failed, {} running, {} waiting",
        words::bulk_state(bulk.state()),
        bulk.done,
        bulk.failed,
        bulk.running,
        bulk.waiting
    );
    if !bulk.reason.is_empty() {
        words.push_str(&format!(" ({})", bulk.reason));
    }
    words
}

fn row(screen: &Screen, bulk: &Bulk) -> Vec<String> {
    vec![
        bulk.id.clone(),
        words::verb(bulk.verb()),
        bulk.image.clone(),
        ago(screen.now(), bulk.start_time),
        words::bulk_state(bulk.state()).to_owned(),
        bulk.done.to_string(),
        bulk.failed.to_string(),
        bulk.running.to_string(),
        bulk.waiting.to_string(),
        bulk.reason.clone(),
    ]
}

fn shown(screen: &Screen, bulk: &Bulk) -> Result<(), Error> {
    let drawn = || {
        let facts = vec![
            ("bulk", bulk.id.clone()),
            ("asks for", format!("{} {}", words::verb(bulk.verb()), bulk.image).trim_end().to_owned()),
            ("began", ago(screen.now(), bulk.start_time)),
            ("stands", progress(bulk)),
        ];
        let rows = bulk
            .nodes
            .iter()
            .map(|one| vec![one.node_name.clone(), words::progress(one.progress()).to_owned(), one.failure.clone()]);
        format!("{}\n\n{}", table::facts(screen, facts), table::list(screen, &["NODE", "STANDS", "WHY"], rows))
    };
    screen.show(drawn, || json::bulk(bulk))
}
