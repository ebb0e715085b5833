//! A node's boots, a line each.

use proto::{
    api::v1::{Boot, GetNodeTimelineRequest},
    common::v1::TimelineEntry,
};
use serde_json::Value;

use crate::{
    call::Api,
    error::Error,
    human::{ago, at, length},
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
    let seen = |entry: Option<&TimelineEntry>| at(entry?.observe_time);
    let took = seen(first).zip(seen(last)).map(|(first, last)| length(last.since(first)));
    vec![
        boot.generation.to_string(),
        first.map(|first| ago(screen.now(), first.observe_time)).unwrap_or_default(),
        took.unwrap_or_default(),
        boot.entries.len().to_string(),
        last.map(timeline_chart::sentence).unwrap_or_default(),
    ]
}
