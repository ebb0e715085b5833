//! Events, as they happen.

use std::{collections::VecDeque, time::Duration};

use clap::Args;
use domain::time::Timestamp;
use proto::api::v1::{Event, WatchEventsRequest};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::{
    Format,
    call::Api,
    error::{Error, interruption, may_continue},
    human::{at, clean, second},
    json,
    output::Screen,
};

/// Silence after which the remembered events are over. They come at once, and nothing marks their end.
const REPLAY_END_SILENCE: Duration = Duration::from_millis(500);

/// Maximum number of events that a scheduler-service remembers for a stream.
const MAX_REMEMBERED: u32 = 1000;
/// Delay between two tries to reach a scheduler-service.
const RETRY_DELAY: Duration = Duration::from_secs(1);

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

/// Shows events. With `--follow` it survives a scheduler-service that goes away and comes back.
pub(crate) async fn run(screen: &Screen, api: &Api, events: Events) -> Result<(), Error> {
    let mut shown = Shown::since(screen.now());
    let mut remembered = events.last;
    loop {
        let status = match follow(screen, api, &events, remembered, &mut shown).await {
            Err(Error::Call(status)) if events.follow && shown.has_begun && may_continue(&status) => status,
            Ok(()) if events.follow => Status::unavailable("the stream ended"),
            outcome => return outcome,
        };
        let words = interruption(&status);
        if let Some(words) = words.as_ref().filter(|words| shown.said.as_ref() != Some(*words)) {
            screen.note(words);
        }
        shown.said = words;
        // The events of the moment between the two streams are among them.
        remembered = MAX_REMEMBERED;
        sleep(RETRY_DELAY).await;
    }
}

/// Shows events until the stream ends.
async fn follow(screen: &Screen, api: &Api, events: &Events, remembered: u32, shown: &mut Shown) -> Result<(), Error> {
    let is_first = !shown.has_begun;
    let mut stream = api.event_streams().watch_events(WatchEventsRequest { remembered }).await?.into_inner();
    (shown.has_begun, shown.said) = (true, None);
    let mut left = remembered;
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
        if let Some(event) = message.event.filter(|event| is_first || shown.is_new(event)) {
            match screen.format {
                Format::Table => screen.line(&line(&event))?,
                Format::Json | Format::Yaml | Format::Name => screen.piece(&json::event(&event))?,
            }
            shown.add(event);
        }
    }
    Ok(())
}

/// The events that were shown, so that a new stream continues where the last one broke off: events have no number.
#[derive(Debug)]
struct Shown {
    /// Whether a stream was opened.
    has_begun: bool,
    /// What was said about the interruption that lasts, so that it is said once.
    said: Option<String>,
    /// Older events were not asked for.
    begin: Timestamp,
    last: VecDeque<Event>,
}

impl Shown {
    fn since(now: Timestamp) -> Self {
        Self { has_begun: false, said: None, begin: now, last: VecDeque::new() }
    }

    /// Returns whether an event of a later stream is to be shown: it was not, and it is no older one than the first that was.
    fn is_new(&self, event: &Event) -> bool {
        let is_later = at(event.occur_time).is_none_or(|time| time >= self.begin);
        is_later && !self.last.contains(event)
    }

    fn add(&mut self, event: Event) {
        if let Some(time) = at(event.occur_time) {
            self.begin = self.begin.min(time);
        }
        self.last.push_back(event);
        // More than this are not remembered by a scheduler-service.
        if self.last.len() > usize::try_from(MAX_REMEMBERED).unwrap_or(usize::MAX)
            && let Some(oldest) = self.last.pop_front()
            && let Some(time) = at(oldest.occur_time)
        {
            // It is not known any more whether an event of that time was shown.
            self.begin = self.begin.max(time);
        }
    }
}

fn line(event: &Event) -> String {
    let node = if event.node_name.is_empty() { &event.node } else { &event.node_name };
    let when = at(event.occur_time).map(second).unwrap_or_default();
    format!("{when}  {:<14} {:<9} {}", clean(node), event.kind, event.text.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use proto::convert::time::wire_time;

    use super::*;

    fn event(millis: i64, text: &str) -> Event {
        let occur_time = Some(wire_time(Timestamp::from_millis(millis)));
        Event { occur_time, text: text.to_owned(), ..Event::default() }
    }

    #[test]
    fn a_new_stream_shows_what_the_last_one_did_not() {
        // The events that were shown, the one of the new stream, and whether it is shown. The command began at 1000.
        for (before, (millis, text), expected) in [
            (&[][..], (999, "a"), false),
            (&[], (1000, "a"), true),
            (&[(1000, "a")], (1000, "a"), false),
            (&[(1000, "a")], (1000, "b"), true),
            (&[(1000, "a")], (1001, "a"), true),
            (&[(500, "a"), (1000, "b")], (400, "c"), false),
            (&[(500, "a"), (1000, "b")], (500, "a"), false),
            (&[(500, "a"), (1000, "b")], (999, "c"), true),
        ] {
            let mut shown = Shown::since(Timestamp::from_millis(1000));
            before.iter().for_each(|(millis, text)| shown.add(event(*millis, text)));
            assert_eq!(shown.is_new(&event(millis, text)), expected, "{before:?}, {millis} {text}");
        }
    }

    #[test]
    fn what_was_shown_is_kept_within_bounds() {
        let mut shown = Shown::since(Timestamp::from_millis(0));
        (0..5000).for_each(|millis| shown.add(event(millis, "a")));
        assert_eq!(shown.last.len(), 1000);
        for (millis, expected) in [(0, false), (3998, false), (4000, false), (4999, false), (5000, true), (6000, true)]
        {
            assert_eq!(shown.is_new(&event(millis, "a")), expected, "{millis}");
        }
    }
}
