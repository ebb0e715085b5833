//! What nodes become, as it happens: a table that is drawn anew on a terminal, a line for each change elsewhere.

use std::{collections::BTreeMap, time::Duration};

use proto::api::v1::{Node, NodeSelector, WatchNodesRequest, WatchNodesResponse, watch_nodes_response::News};
use serde_json::json;
use tokio::time::sleep;
use tonic::Status;

use super::show::{by_place, note, parts, power, table_of};
use crate::{
    Format,
    call::Api,
    error::{Error, interruption, is_of_login, may_continue},
    human::{clean, second},
    json,
    output::Screen,
};

/// Delay between two tries to reach a scheduler-service.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Puts the cursor at home and clears the screen (ECMA-48 §8.3.21, §8.3.39).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Watches until it is interrupted. If the scheduler-service fails, it continues with another one.
pub(super) async fn run(screen: &Screen, api: &Api, selector: Option<NodeSelector>) -> Result<(), Error> {
    let (mut state, mut before, mut said) = (WatchState::default(), 0, None);
    loop {
        let status = match follow(screen, api, selector.clone(), &mut state).await {
            Err(Error::Call(status)) if may_continue(&status) => status,
            Err(error) => return Err(error),
            Ok(()) => Status::unavailable("the stream ended"),
        };
        // The same is not repeated each second while it lasts.
        if state.revision != before {
            (before, said) = (state.revision, None);
        }
        let words = interruption(&status);
        // A table on a terminal stands still meanwhile; what the login needs is not seen in it.
        let is_shown = !is_live(screen) || is_of_login(&status);
        if let Some(words) = words.as_ref().filter(|words| is_shown && said.as_ref() != Some(*words)) {
            screen.note(words);
        }
        said = words;
        sleep(RETRY_DELAY).await;
    }
}

/// Prints messages until the stream ends.
async fn follow(
    screen: &Screen,
    api: &Api,
    selector: Option<NodeSelector>,
    state: &mut WatchState,
) -> Result<(), Error> {
    let request = WatchNodesRequest { selector, since_revision: state.revision, since_incarnation: state.incarnation };
    let mut stream = api.node_streams().watch_nodes(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let is_whole = message.revision > 0;
        match screen.format {
            Format::Json | Format::Yaml | Format::Name => screen.piece(&told(&message))?,
            Format::Table if is_live(screen) => {}
            Format::Table => {
                if let Some(line) = state.line(screen, &message) {
                    screen.line(&line)?;
                }
            }
        }
        state.apply(message);
        if is_whole && screen.format == Format::Table && is_live(screen) {
            let nodes = by_place(state.nodes.values().cloned().collect());
            let count = nodes.len();
            screen.raw(format!("{CLEAR}{}\n{count} nodes; ends with ^C\n", table_of(screen, &nodes)).as_bytes())?;
        }
    }
    Ok(())
}

fn is_live(screen: &Screen) -> bool {
    screen.has_bars && screen.edge.is_some()
}

/// Nodes as of the last message, and its revision.
#[derive(Debug, Default)]
struct WatchState {
    nodes: BTreeMap<String, Node>,
    revision: u64,
    incarnation: u64,
}

impl WatchState {
    fn apply(&mut self, message: WatchNodesResponse) {
        (self.revision, self.incarnation) = (message.revision, message.incarnation);
        match message.news {
            Some(News::Begin(_)) => self.nodes.clear(),
            Some(News::Node(node)) => drop(self.nodes.insert(node.id.clone(), node)),
            Some(News::Gone(node)) => drop(self.nodes.remove(&node)),
            Some(News::Settled(_)) | None => {}
        }
    }

    /// Returns the line for a message that is not applied yet, or `None` if the line would be the same as before.
    fn line(&self, screen: &Screen, message: &WatchNodesResponse) -> Option<String> {
        let at = second(screen.now());
        match message.news.as_ref()? {
            News::Node(node) => {
                let before = self.nodes.get(&node.id).map(words);
                let now = words(node);
                (before.as_ref() != Some(&now)).then(|| format!("{at}  {:<14} {now}", clean(&node.name)))
            }
            News::Gone(id) => {
                let name = self.nodes.get(id).map_or(id, |node| &node.name);
                Some(format!("{at}  {:<14} gone", clean(name)))
            }
            News::Begin(_) | News::Settled(_) => None,
        }
    }
}

fn words(node: &Node) -> String {
    let (intent, observed) = parts(node);
    let power = power(observed.power());
    let words = [observed.state.as_str(), power, intent.image.as_str(), &note(&observed)].map(str::to_owned);
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A message for programs.
fn told(message: &WatchNodesResponse) -> serde_json::Value {
    let (revision, incarnation) = (message.revision, message.incarnation);
    let (event, node, id) = match &message.news {
        Some(News::Begin(_)) => ("begin", None, None),
        Some(News::Node(node)) => ("node", Some(json::node(node)), Some(&node.id)),
        Some(News::Gone(id)) => ("gone", None, Some(id)),
        Some(News::Settled(_)) | None => ("settled", None, None),
    };
    json!({ "event": event, "id": id, "node": node, "revision": revision, "incarnation": incarnation })
}
