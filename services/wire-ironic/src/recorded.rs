//! What a real Ironic 39.0.0 answered to five hundred requests, and what the tables say that it must answer.
//!
//! `record/record.py` asked; `golden/recorded.jsonl` has what was answered, with the whole resource as it was before.
//! Each request is either predicted to the letter, or its line stands in one of the two lists in [`known`], with the
//! deliberate difference or with what the test cannot know about the nodes.

mod known;
mod predict;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::difference::DIFFERENCES;
use crate::error::Error;
use predict::{Ask, Says};

#[derive(Deserialize)]
struct Record {
    ask: String,
    sent: BTreeMap<String, String>,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
    before: Option<Before>,
}

#[derive(Deserialize)]
struct Before {
    of: String,
    is: Map<String, Value>,
}

fn records() -> Vec<Record> {
    let lines = include_str!("golden/recorded.jsonl").lines().skip(1);
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The words inside of a body, whatever its form.
fn inside(body: &Value) -> Value {
    let text = body.get("error_message").and_then(Value::as_str);
    text.map_or_else(|| body.clone(), |text| serde_json::from_str(text).unwrap())
}

fn refusal(error: &Error) -> String {
    format!("{} {}", error.status, inside(&error.body()))
}

/// What is wrong with a prediction, or nothing.
fn wrong(record: &Record, says: Says) -> Option<String> {
    let answered = || format!("{} {}", record.status, inside(&record.body));
    match says {
        Says::Nothing => Some(format!("no rule, but {}", answered())),
        Says::Error(error) if refusal(&error) == answered() => None,
        Says::Error(error) => Some(format!("{}\n     but {}", refusal(&error), answered())),
        Says::Status(status) if record.status == status => None,
        Says::Status(status) => Some(format!("{status}\n     but {}", answered())),
        Says::Body(status, body) if record.status == status => predict::unlike(&body, &record.body),
        Says::Body(status, _) => Some(format!("{status}\n     but {}", answered())),
    }
}

#[test]
fn the_tables_predict_what_a_real_ironic_answers() {
    let (mut whole, mut wrongs, mut predicted) = (BTreeMap::new(), Vec::new(), 0);
    let mut excused: BTreeSet<&str> = known::DIFFERENT.iter().chain(known::BEYOND).map(|(ask, _)| *ask).collect();
    for record in records() {
        if let Some(before) = &record.before {
            whole.insert(before.of.clone(), before.is.clone());
        }
        let ask = Ask::new(&record.ask, &record.sent);
        let found = wrong(&record, predict::says(&ask, &whole));
        let excuse = excused.remove(record.ask.as_str());
        match found {
            None if excuse => wrongs.push(format!("{}\n     is predicted and needs no excuse", record.ask)),
            None => predicted += 1,
            Some(_) if excuse => {}
            Some(what) => wrongs.push(format!("{}\n     {what}", record.ask)),
        }
    }
    wrongs.extend(excused.iter().map(|ask| format!("{ask}\n     was never asked")));
    assert!(wrongs.is_empty(), "{} wrong:\n{}", wrongs.len(), wrongs.join("\n"));
    assert!(predicted > 500, "{predicted}");
}

#[test]
fn version_headers_are_predicted() {
    for record in records() {
        let ask = Ask::new(&record.ask, &record.sent);
        // What the router refuses says nothing of versions, unless it is the version that it refuses.
        let router = inside(&record.body).get("code").is_some();
        let expected: BTreeMap<String, String> = match &ask.version {
            _ if !ask.routed() => continue,
            Ok(_) if router => BTreeMap::new(),
            Ok(version) => version.headers().into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect(),
            Err(refused) => refused.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
        };
        let got: BTreeMap<String, String> = record
            .headers
            .iter()
            .filter(|(name, _)| name.contains("version"))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect();
        assert_eq!(got, expected, "{}", record.ask);
    }
}

#[test]
fn what_has_no_body_has_no_type() {
    for record in records() {
        if record.status == 204 || (record.status == 202 && record.body.is_null()) {
            assert!(!record.headers.contains_key("content-type"), "{}", record.ask);
        }
    }
}

#[test]
fn a_new_resource_says_where_it_is() {
    for record in records().iter().filter(|record| record.status == 201) {
        let link = record.body.pointer("/links/0/href").and_then(Value::as_str).unwrap();
        let own = link.replace("/v1/inspection/", "/v1/inspection_rules/");
        assert_eq!(record.headers.get("location"), Some(&own), "{}", record.ask);
    }
}

#[test]
fn every_difference_has_a_reason_and_every_excuse_a_difference() {
    for (ask, name) in known::DIFFERENT {
        assert!(DIFFERENCES.iter().any(|difference| difference.name == *name), "{ask}: {name}");
    }
    assert!(DIFFERENCES.iter().all(|difference| !difference.why.is_empty()));
}
