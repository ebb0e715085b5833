//! Shows the progress of a bulk: a bar for all of it and a row for each running node.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar};
use proto::api::v1::{Bulk, BulkNodeProgress, BulkState, ListNodesRequest, Node, NodeSelector};
use tokio::time::{Instant, sleep};

use super::{get, progress, shown};
use crate::{
    call::Api,
    command::progress::{per_cent, standing, turning},
    error::{Error, may_continue},
    output::Screen,
};

/// Interval at which the bulk is read.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Rows of nodes: more scroll off a terminal.
const ROWS: usize = 20;

/// Shows how far it is until it pauses or has ended, or the time is up; one that did not end well is an error.
pub(super) async fn wait(screen: &Screen, api: &Api, id: String, until: Option<Instant>) -> Result<(), Error> {
    let mut board = Board::new(screen);
    let bulk = loop {
        if until.is_some_and(|until| Instant::now() >= until) {
            board.end();
            screen.note(&format!("the bulk continues; see: ironmesh bulk show {id}"));
            return Err(Error::Told);
        }
        let bulk = match get(api, id.clone()).await {
            Ok(bulk) => bulk,
            // It goes on with another scheduler.
            Err(Error::Call(status)) if may_continue(&status) => {
                sleep(POLL_INTERVAL).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        board.show(&bulk, &running(screen, api, &bulk).await);
        if bulk.end_time.is_some() || bulk.state() == BulkState::Paused && bulk.running == 0 {
            break bulk;
        }
        sleep(POLL_INTERVAL).await;
    };
    board.end();
    shown(screen, &bulk)?;
    if bulk.state() == BulkState::Done && bulk.failed == 0 { Ok(()) } else { Err(Error::Told) }
}

/// Returns the running nodes; none if rows cannot be drawn or the call fails.
async fn running(screen: &Screen, api: &Api, bulk: &Bulk) -> Vec<Node> {
    let running = bulk.nodes.iter().filter(|one| one.progress() == BulkNodeProgress::Running).take(ROWS);
    let nodes: Vec<String> = running.map(|one| one.node.clone()).collect();
    if nodes.is_empty() || !screen.has_bars {
        return Vec::new();
    }
    let selector = Some(NodeSelector { nodes, ..Default::default() });
    let request = ListNodesRequest { selector, ..Default::default() };
    api.nodes().list_nodes(request).await.map(|answer| answer.into_inner().nodes).unwrap_or_default()
}

/// Bars on a terminal, a line for each change elsewhere.
struct Board<'a> {
    screen: &'a Screen,
    bars: Option<(MultiProgress, ProgressBar)>,
    rows: BTreeMap<String, ProgressBar>,
    said: String,
}

impl<'a> Board<'a> {
    fn new(screen: &'a Screen) -> Self {
        let bars = screen.has_bars.then(|| {
            let (all, bar) = (MultiProgress::new(), ProgressBar::new(0));
            let bar = turning(all.add(bar), "{spinner} {bar:30} {pos}/{len} {elapsed:>4} {wide_msg}");
            (all, bar)
        });
        Self { screen, bars, rows: BTreeMap::new(), said: String::new() }
    }

    fn show(&mut self, bulk: &Bulk, running: &[Node]) {
        let words = progress(bulk);
        let Some((all, bar)) = &self.bars else {
            if words != self.said {
                self.screen.note(&words);
                self.said = words;
            }
            return;
        };
        bar.set_length(bulk.nodes.len().try_into().unwrap_or(u64::MAX));
        bar.set_position(u64::from(bulk.done).saturating_add(u64::from(bulk.failed)));
        bar.set_message(words);
        self.rows.retain(|id, row| {
            let stays = running.iter().any(|node| node.id == *id);
            if !stays {
                row.finish_and_clear();
            }
            stays
        });
        for node in running {
            let observed = node.observed.clone().unwrap_or_default();
            let row = self.rows.entry(node.id.clone()).or_insert_with(|| {
                let row = all.add(ProgressBar::new(100));
                row.set_prefix(crate::human::clean(&node.name));
                turning(row, "  {spinner} {prefix:20} {bar:20} {elapsed:>4} {wide_msg}")
            });
            row.set_position(per_cent(&observed).unwrap_or(0));
            row.set_message(standing(&observed, ""));
        }
    }

    fn end(self) {
        self.rows.into_values().for_each(|row| row.finish_and_clear());
        if let Some((_, bar)) = self.bars {
            bar.finish_and_clear();
        }
    }
}
