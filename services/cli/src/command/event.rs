//! Events, as they happen.

use std::time::Duration;

use clap::Args;
use proto::api::v1::{Event, WatchEventsRequest};
use tokio::time::timeout;

use crate::{
    Format,
    call::Api,
    error::{Error, is_token_expired},
    human::{at, clean, second},
    json,
    output::Screen,
};

/// Silence after which the remembered events are over. They come at once, and nothing marks their end.
const REPLAY_END_SILENCE: Duration = Duration::from_millis(500);

/// Show events: state changes, boots, failures.
///
/// Shows the newest events that are still remembered, oldest first; with --follow, also new ones. With JSON each
/// event is one line.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  ironmesh events --last 20\n  ironmesh events --follow --last 0 -o json | jq .text"
)]
pub struct Events {
    /// Continue with new events until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Number of remembered events to show first; at most 1000.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(..=1000))]
    last: u32,
}

pub(crate) async fn run(screen: &Screen, api: &Api, events: Events) -> Result<(), Error> {
    match follow(screen, api, &events, events.last).await {
        // Events of the moment between the two streams are not shown.
        Err(Error::Call(status)) if events.follow && is_token_expired(&status) => loop {
            match follow(screen, api, &events, 0).await {
                Err(Error::Call(status)) if is_token_expired(&status) => {}
                outcome => return outcome,
            }
        },
        outcome => outcome,
    }
}

/// Shows events until the stream ends.
async fn follow(screen: &Screen, api: &Api, events: &Events, mut left: u32) -> Result<(), Error> {
    let request = WatchEventsRequest { remembered: left };
    let mut stream = api.event_streams().watch_events(request).await?.into_inner();
    while events.follow || left > 0 {
        let next = if events.follow {
            stream.message().await?
        } else {
            match timeout(REPLAY_END_SILENCE, stream.message()).await {
                Ok(message) => message?,
                Err(_) => None,
            }
        };
        let Some(message) = next else { break };
        left = left.saturating_sub(1);
        if let Some(event) = message.event {
            match screen.format {
                Format::Table => screen.line(&line(&event))?,
                Format::Json | Format::Yaml | Format::Name => screen.piece(&json::event(&event))?,
            }
        }
    }
    Ok(())
}

fn line(event: &Event) -> String {
    let node = if event.node_name.is_empty() { &event.node } else { &event.node_name };
    let when = at(event.occur_time).map(second).unwrap_or_default();
    format!("{when}  {:<14} {:<9} {}", clean(node), event.kind, event.text.replace('\n', " "))
}
