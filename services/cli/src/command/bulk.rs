//! One move asked of many nodes, some at a time.

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use proto::api::v1::{
    Bulk, BulkLimits, BulkState, CreateBulkRequest, GetBulkRequest, ListBulksRequest, UpdateBulkRequest,
};
use serde_json::Value;
use tokio::time::sleep;
use tonic::Code;

use super::{answered, node::filter::Filter};
use crate::{
    call::Api,
    error::{Error, is_unreachable},
    json,
    once::once,
    output::Screen,
    table,
    words::ago,
};

/// Between two looks at one that is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// What can be asked of bulks.
#[derive(Debug, Subcommand)]
pub enum BulkCommand {
    /// Ask one thing of many nodes.
    ///
    /// Those selected of which it can be asked now are asked, some at a time; those in maintenance are left out unless the
    /// filter names them. It goes on without this command, and with another scheduler where the one that carries it dies.
    #[command(
        after_help = "Examples:\n  ironmesh bulk start deploy --image debian-12 --resource-class big --count 20 --at-once 5 \
                            --canary 2 --wait\n  ironmesh bulk start inspect --rack r1 --state manageable"
    )]
    Start(Box<Start>),
    /// List bulks, oldest first.
    #[command(after_help = "Example:\n  ironmesh bulk list")]
    List,
    /// Show a bulk, and how far each of its nodes is.
    #[command(after_help = "Example:\n  ironmesh bulk show 3f2a77aa-0000-4000-8000-000000000001")]
    Show(Named),
    /// Wait until a bulk pauses or has ended, and show how far it is.
    #[command(after_help = "Example:\n  ironmesh bulk wait 3f2a77aa-0000-4000-8000-000000000001")]
    Wait(Named),
    /// Ask no more nodes until it is continued; what was begun goes on.
    #[command(after_help = "Example:\n  ironmesh bulk pause 3f2a77aa-0000-4000-8000-000000000001")]
    Pause(Named),
    /// Let one that paused go on; the failures up to now count no more.
    #[command(after_help = "Example:\n  ironmesh bulk continue 3f2a77aa-0000-4000-8000-000000000001")]
    Continue(Named),
    /// Ask no more nodes at all; what was begun goes on.
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
    verb: String,
    /// The image's name or id, for deploy, rebuild and adopt.
    #[arg(long)]
    image: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// At most so many nodes; left out: all that are selected.
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// So many at the same time.
    #[arg(long, value_name = "N", default_value_t = 10)]
    at_once: u32,
    /// Pause with more failures than this.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_failures: u32,
    /// Ask so many first, and the others when these are done.
    #[arg(long, value_name = "N", default_value_t = 0)]
    canary: u32,
    /// Pause when these are done, until it is continued.
    #[arg(long, requires = "canary")]
    pause_after_canary: bool,
    /// Wait until it pauses or has ended, and show how far it is.
    #[arg(short, long)]
    wait: bool,
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: BulkCommand) -> Result<(), Error> {
    match command {
        BulkCommand::Start(asked) => start(screen, api, *asked).await,
        BulkCommand::List => {
            let bulks = api.bulks().list_bulks(ListBulksRequest {}).await?.into_inner().bulks;
            let heading = ["BULK", "VERB", "IMAGE", "BEGAN", "STATE", "DONE", "FAILED", "RUNNING", "WAITING", "WHY"];
            screen.show(
                || table::list(screen, &heading, bulks.iter().map(|bulk| row(screen, bulk))),
                || bulks.iter().map(json::bulk).collect::<Value>(),
            )
        }
        BulkCommand::Show(Named { bulk }) => shown(screen, &get(api, bulk).await?),
        BulkCommand::Wait(Named { bulk }) => wait(screen, api, bulk).await,
        BulkCommand::Pause(named) => steer(screen, api, named, BulkState::Paused).await,
        BulkCommand::Continue(named) => steer(screen, api, named, BulkState::Running).await,
        BulkCommand::Cancel(named) => steer(screen, api, named, BulkState::Canceled).await,
    }
}

async fn start(screen: &Screen, api: &Api, asked: Start) -> Result<(), Error> {
    let limits = BulkLimits {
        at_once: asked.at_once,
        max_failures: Some(asked.max_failures),
        canary: asked.canary,
        pause_after_canary: asked.pause_after_canary,
    };
    let request = CreateBulkRequest {
        selector: asked.filter.wire(),
        verb: asked.verb,
        image: asked.image.unwrap_or_default(),
        count: asked.count.unwrap_or(0),
        limits: Some(limits),
    };
    let bulk = answered(once(request, async |request| api.bulks().create_bulk(request).await).await?.bulk)?;
    if !asked.wait {
        return shown(screen, &bulk);
    }
    screen.note(&format!("bulk {} asks {} of {} nodes", bulk.id, bulk.verb, bulk.nodes.len()));
    wait(screen, api, bulk.id).await
}

async fn get(api: &Api, bulk: String) -> Result<Bulk, Error> {
    answered(api.bulks().get_bulk(GetBulkRequest { bulk }).await?.into_inner().bulk)
}

async fn steer(screen: &Screen, api: &Api, named: Named, state: BulkState) -> Result<(), Error> {
    let request = UpdateBulkRequest { bulk: named.bulk, state: state.into() };
    shown(screen, &answered(once(request, async |request| api.bulks().update_bulk(request).await).await?.bulk)?)
}

/// Shows how far it is until it pauses or has ended; one that did not end well is an error.
async fn wait(screen: &Screen, api: &Api, id: String) -> Result<(), Error> {
    let (bar, mut said) = (screen.has_bars.then(bar), String::new());
    let bulk = loop {
        let bulk = match get(api, id.clone()).await {
            Ok(bulk) => bulk,
            // It goes on with another scheduler.
            Err(Error::Call(status)) if is_unreachable(&status) || status.code() == Code::Unavailable => {
                sleep(LOOK).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let words = words(&bulk);
        match &bar {
            Some(bar) => {
                bar.set_length(bulk.nodes.len().try_into().unwrap_or(u64::MAX));
                bar.set_position(u64::from(bulk.done).saturating_add(u64::from(bulk.failed)));
                bar.set_message(words);
            }
            None if words != said => {
                screen.note(&words);
                said = words;
            }
            None => {}
        }
        if bulk.ended_ms > 0 || bulk.state() == BulkState::Paused && bulk.running == 0 {
            break bulk;
        }
        sleep(LOOK).await;
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    shown(screen, &bulk)?;
    if bulk.state() == BulkState::Done && bulk.failed == 0 { Ok(()) } else { Err(Error::Told) }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} {elapsed:>4} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn words(bulk: &Bulk) -> String {
    let mut words = format!(
        "{}: {} done, {} failed, {} running, {} waiting",
        state(bulk),
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

fn state(bulk: &Bulk) -> &'static str {
    match bulk.state() {
        BulkState::Unspecified => "",
        BulkState::Running => "running",
        BulkState::Paused => "paused",
        BulkState::Canceled => "canceled",
        BulkState::Done => "done",
    }
}

fn row(screen: &Screen, bulk: &Bulk) -> Vec<String> {
    vec![
        bulk.id.clone(),
        bulk.verb.clone(),
        bulk.image.clone(),
        ago(screen.now(), bulk.since_ms),
        state(bulk).to_owned(),
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
            ("asks for", format!("{} {}", bulk.verb, bulk.image).trim_end().to_owned()),
            ("began", ago(screen.now(), bulk.since_ms)),
            ("stands", words(bulk)),
        ];
        let rows = bulk.nodes.iter().map(|one| vec![one.node_name.clone(), one.progress.clone(), one.failure.clone()]);
        format!("{}\n\n{}", table::facts(screen, facts), table::list(screen, &["NODE", "STANDS", "WHY"], rows))
    };
    screen.show(drawn, || json::bulk(bulk))
}
