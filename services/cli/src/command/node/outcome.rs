//! The outcome of a request for each node, and one exit code for all.

use std::time::Duration;

use proto::api::v1::Node;
use serde_json::{Value, json};

use super::{follow::Ended, verdict::Missed};
use crate::{
    Format,
    call::Api,
    error::{Error, is_unreachable},
    human::{clean, length},
    json,
    output::Screen,
};

/// Outcome of a request for a node.
pub(super) enum Outcome {
    /// The request was accepted, and the command does not wait.
    Accepted(Node),
    /// The node reached the requested state.
    Reached(Node, Duration),
    /// The node stopped in another state.
    Missed(Node, Missed),
    /// The timeout passed, and the operation continues.
    Late(Option<Node>),
    /// The request was not accepted, or no scheduler-service was reached.
    Refused(Error),
}

impl Outcome {
    /// Of watching that took so long.
    pub(super) fn of(ended: Result<Ended, Error>, took: Duration) -> Self {
        match ended {
            Ok(Ended::Reached(node)) => Self::Reached(node, took),
            Ok(Ended::Missed(node, missed)) => Self::Missed(node, missed),
            Ok(Ended::Late(last)) => Self::Late(last),
            Err(error) => Self::Refused(error),
        }
    }

    fn is_good(&self) -> bool {
        match self {
            Self::Accepted(_) | Self::Reached(..) => true,
            Self::Missed(..) | Self::Late(_) | Self::Refused(_) => false,
        }
    }

    fn is_unreachable(&self) -> bool {
        matches!(self, Self::Refused(Error::Call(status)) if is_unreachable(status))
    }

    fn json(&self, name: &str) -> Value {
        let (word, node, error) = match self {
            Self::Accepted(node) => ("accepted", Some(node), Value::Null),
            Self::Reached(node, _) => ("reached", Some(node), Value::Null),
            Self::Missed(node, missed) => {
                let error = json!({ "cause": missed.cause, "text": missed.text, "next_step": missed.next });
                ("failed", Some(node), error)
            }
            Self::Late(node) => ("late", node.as_ref(), Value::Null),
            Self::Refused(error) => ("refused", None, error.json()),
        };
        json!({ "name": name, "outcome": word, "error": error, "node": node.map(json::node) })
    }
}

/// How outcomes are told.
pub(super) struct Telling<'a> {
    pub(super) api: &'a Api,
    /// Where a node is, in a word.
    pub(super) state: fn(&Node) -> String,
    pub(super) timeout: Duration,
}

impl Telling<'_> {
    /// Tells each outcome, the good ones on standard output; an error where one was not good.
    pub(super) fn tell(&self, screen: &Screen, outcomes: &[(String, Outcome)]) -> Result<(), Error> {
        match screen.format {
            Format::Json | Format::Yaml | Format::Name => {
                screen.show(String::new, || outcomes.iter().map(|(name, outcome)| outcome.json(name)).collect())?
            }
            Format::Table => {
                for (name, outcome) in outcomes {
                    let words = self.words(name, outcome);
                    if outcome.is_good() { screen.line(&words)? } else { screen.note(&clean(&words)) }
                }
            }
        }
        let failed = || outcomes.iter().map(|(_, outcome)| outcome).filter(|outcome| !outcome.is_good());
        match failed().count() {
            0 => Ok(()),
            _ if failed().all(Outcome::is_unreachable) => Err(Error::Unreachable),
            _ => Err(Error::Told),
        }
    }

    fn words(&self, name: &str, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Accepted(node) => format!("{name}: {}", (self.state)(node)),
            Outcome::Reached(node, took) => format!("{name}: {} after {}", (self.state)(node), length(*took)),
            Outcome::Missed(node, Missed { cause, text, next }) => {
                let state = (self.state)(node);
                let cause = if cause.is_empty() { String::new() } else { format!("{cause}: ") };
                format!("{name}: {state}: {cause}{text}\n  next: {next}\n  boot: ironmesh node timeline {name}")
            }
            Outcome::Late(node) => {
                let state = node.as_ref().map_or_else(|| "not seen".to_owned(), self.state);
                format!(
                    "{name}: still {state} after {}; the work continues; see: ironmesh node show {name}",
                    length(self.timeout)
                )
            }
            Outcome::Refused(error) => {
                format!("{name}: {}", error.told(&self.api.endpoint).unwrap_or_default())
            }
        }
    }
}
