//! Watching nodes until they are where they were asked to be, and showing how far they are.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use proto::api::v1::{Node, WatchNodeRequest};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use super::{
    show::parts,
    verdict::{Goal, Missed, Verdict},
};
use crate::{
    call::Api,
    command::progress::{per_cent, standing, turning},
    error::{Error, interruption, may_continue},
    human::clean,
    output::Screen,
};

/// Delay between two tries to reach a scheduler-service.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Without bars, progress is told in steps of this many per cent.
const STEP: u64 = 10;

/// How watching a node ended.
pub(super) enum Ended {
    Reached(Node),
    Missed(Node, Missed),
    /// It goes on without us.
    Late(Option<Node>),
}

/// Watches one node until the goal is decided or the time is up.
///
/// Survives a scheduler-service that goes away and comes back. Safe to drop at any await.
pub(super) async fn follow(
    api: &Api,
    node: &str,
    goal: &Goal,
    until: Instant,
    row: &mut Row<'_>,
) -> Result<Ended, Error> {
    let mut last = None;
    let watching = async {
        loop {
            match watch(api, node, goal, row, &mut last).await {
                Ok(ended) => return Ok(ended),
                Err(Error::Call(status)) if may_continue(&status) => {
                    if let Some(words) = interruption(&status) {
                        row.say(&words);
                    }
                    sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    };
    let ended = timeout_at(until, watching).await;
    ended.unwrap_or(Ok(None)).map(|ended| ended.unwrap_or(Ended::Late(last)))
}

/// Until the goal is decided; an orderly end of the stream is a replica that stops.
async fn watch(
    api: &Api,
    node: &str,
    goal: &Goal,
    row: &mut Row<'_>,
    last: &mut Option<Node>,
) -> Result<Option<Ended>, Error> {
    let request = WatchNodeRequest { node: node.to_owned() };
    let mut stream = api.node_streams().watch_node(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let Some(node) = message.node else { continue };
        match goal.judge(&node) {
            Verdict::Reached => return Ok(Some(Ended::Reached(node))),
            Verdict::Missed(missed) => return Ok(Some(Ended::Missed(node, missed))),
            Verdict::Underway => row.show(&node),
        }
        *last = Some(node);
    }
    Err(Error::Call(Status::unavailable("the stream ended")))
}

/// One row per node: bars on a terminal, lines elsewhere.
pub(super) struct Board<'a> {
    screen: &'a Screen,
    bars: Option<MultiProgress>,
    longest: usize,
}

/// One node's row.
pub(super) struct Row<'a> {
    screen: &'a Screen,
    bar: Option<ProgressBar>,
    name: String,
    said: String,
}

impl<'a> Board<'a> {
    pub(super) fn new(screen: &'a Screen, names: &[String]) -> Self {
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        Self { screen, bars: screen.has_bars.then(MultiProgress::new), longest }
    }

    pub(super) fn row(&self, name: &str) -> Row<'a> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(100));
            bar.set_prefix(format!("{name:<width$}", width = self.longest));
            turning(bar, "{spinner} {prefix} {bar:20} {elapsed:>4} {wide_msg}")
        });
        Row { screen: self.screen, bar, name: name.to_owned(), said: String::new() }
    }
}

impl Row<'_> {
    fn show(&mut self, node: &Node) {
        let (_, observed) = parts(node);
        let per_cent = per_cent(&observed);
        match &self.bar {
            Some(bar) => {
                bar.set_position(per_cent.unwrap_or(0));
                bar.set_message(standing(&observed, ""));
            }
            None => {
                let step = per_cent.map(|per_cent| format!(" ({} %)", per_cent - per_cent % STEP));
                self.say(&standing(&observed, &step.unwrap_or_default()));
            }
        }
    }

    /// Says something about the node, unless it was the last thing said.
    fn say(&mut self, words: &str) {
        let words = clean(words);
        if self.said == words {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(words.clone()),
            None => self.screen.note(&format!("{}: {words}", self.name)),
        }
        self.said = words;
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
