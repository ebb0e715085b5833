//! A node's boots, a line each.

use domain::time::Timestamp;
use proto::api::v1::{Boot, GetNodeTimelineRequest};
use serde_json::Value;

use crate::{
    call::Api,
    error::Error,
    human::{ago, length},
    json,
    output::Screen,
    table, timeline_chart,
};

pub(super) async fn run(screen: &Screen, api: &Api, node: String) -> Result<(), Error> {
    let boots = api.nodes().get_node_timeline(GetNodeTimelineRequest { node }).await?.into_inner().boots;
    let heading = ["GENERATION", "BEGAN", "TOOK", "SEEN", "LAST SEEN"];
    screen.show(
        || table::list(screen, &heading, boots.iter().map(|boot| row(screen, boot))),
        || boots.iter().map(json::boot).collect::<Value>(),
    )
}

fn row(screen: &Screen, boot: &Boot) -> Vec<String> {
    let (first, last) = (boot.entries.first(), boot.entries.last());
    let at = |at_ms| Timestamp::from_millis(at_ms);
    let took = first.zip(last).map(|(first, last)| length(at(last.at_ms).since(at(first.at_ms))));
    vec![
        boot.generation.to_string(),
        first.map(|first| ago(screen.now(), first.at_ms)).unwrap_or_default(),
        took.unwrap_or_default(),
        boot.entries.len().to_string(),
        last.map(timeline_chart::sentence).unwrap_or_default(),
    ]
}
