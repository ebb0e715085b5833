//! A node's boots, drawn.

use clap::Args;
use proto::api::v1::{GetNodeTimelineRequest, GetNodeTimelineResponse};
use serde_json::json;

use crate::{
    call::Api,
    error::Error,
    human::clean,
    json,
    output::Screen,
    timeline_chart::{self, Story},
};

/// Which boots.
#[derive(Debug, Clone, Args)]
pub struct Timeline {
    /// Its name or id.
    node: String,
    /// All boots that are remembered, the last one last.
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(screen: &Screen, api: &Api, timeline: Timeline) -> Result<(), Error> {
    let request = GetNodeTimelineRequest { node: timeline.node.clone() };
    let mut answer = api.nodes().get_node_timeline(request).await?.into_inner();
    let mut stories = timeline_chart::stories(std::mem::take(&mut answer.boots));
    let left_out = if timeline.all { 0 } else { stories.len().saturating_sub(1) };
    let shown = stories.split_off(left_out);
    screen.show(
        || drawn(screen.width(), &timeline.node, &shown, left_out, &answer),
        || {
            let boots = shown.iter().flat_map(|story| &story.boots);
            json!({
                "boots": boots.map(json::boot).collect::<Vec<_>>(),
                "diagnosis": (!answer.diagnosis.is_empty()).then_some(&answer.diagnosis),
                "next_step": (!answer.next_step.is_empty()).then_some(&answer.next_step),
            })
        },
    )
}

fn drawn(width: usize, node: &str, stories: &[Story], left_out: usize, answer: &GetNodeTimelineResponse) -> String {
    let mut parts: Vec<_> = stories.iter().map(|story| timeline_chart::story(width, node, story)).collect();
    if parts.is_empty() {
        parts.push(format!("Nothing was seen of a boot of {node}.\n"));
    }
    if left_out > 0 {
        parts.push(format!("Earlier boots: {left_out}; see them with --all.\n"));
    }
    let said = [("diagnosis: ", &answer.diagnosis), ("next step: ", &answer.next_step)];
    let said = said.iter().filter(|(_, words)| !words.is_empty());
    let said: String = said.map(|(heading, words)| timeline_chart::paragraph(width, heading, &clean(words))).collect();
    parts.extend((!said.is_empty()).then_some(said));
    parts.join("\n")
}
