//! Compares the tables with the responses of a real Ironic 39.0.0 to five hundred requests.
//!
//! `record/record.py` made the recording. `golden/recorded.jsonl` has the responses, and each resource as it was before the
//! request. Each response is either predicted exactly, or its request is in one of the two lists in [`known`]: with a
//! deliberate difference, or with the facts that the test lacks.

mod known;
mod predict;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::difference::DIFFERENCES;
use crate::error::Error;
use predict::{Prediction, RecordedRequest};

/// Line of the recording.
#[derive(Deserialize)]
struct Record {
    /// Version, method, path and body.
    #[serde(rename = "ask")]
    request: String,
    sent: BTreeMap<String, String>,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
    before: Option<Before>,
}

/// Resource before the request.
#[derive(Deserialize)]
struct Before {
    #[serde(rename = "of")]
    path: String,
    #[serde(rename = "is")]
    fields: Map<String, Value>,
}

fn records() -> Vec<Record> {
    let lines = include_str!("golden/recorded.jsonl").lines().skip(1);
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the JSON inside an error body in any format, or the body itself.
fn inner_json(body: &Value) -> Value {
    let text = body.get("error_message").and_then(Value::as_str);
    text.map_or_else(|| body.clone(), |text| serde_json::from_str(text).unwrap())
}

fn error_line(error: &Error) -> String {
    format!("{} {}", error.status, inner_json(&error.body()))
}

/// Describes how a response differs from its prediction. Returns `None` if it does not.
fn mismatch(record: &Record, prediction: Prediction) -> Option<String> {
    let response = || format!("{} {}", record.status, inner_json(&record.body));
    match prediction {
        Prediction::None => Some(format!("no rule, but {}", response())),
        Prediction::Error(error) if error_line(&error) == response() => None,
        Prediction::Error(error) => Some(format!("{}\n     but {}", error_line(&error), response())),
        Prediction::Status(status) if record.status == status => None,
        Prediction::Status(status) => Some(format!("{status}\n     but {}", response())),
        Prediction::Body(status, body) if record.status == status => predict::body_mismatch(&body, &record.body),
        Prediction::Body(status, _) => Some(format!("{status}\n     but {}", response())),
    }
}

#[test]
fn the_tables_predict_the_responses_of_a_real_ironic() {
    let (mut resources, mut failures, mut predicted) = (BTreeMap::new(), Vec::new(), 0);
    let mut exceptions: BTreeSet<&str> =
        known::DIFFERENT.iter().chain(known::UNPREDICTABLE).map(|(request, _)| *request).collect();
    for record in records() {
        if let Some(before) = &record.before {
            resources.insert(before.path.clone(), before.fields.clone());
        }
        let request = RecordedRequest::new(&record.request, &record.sent);
        let found = mismatch(&record, predict::predict(&request, &resources));
        let is_exception = exceptions.remove(record.request.as_str());
        match found {
            None if is_exception => {
                failures.push(format!("{}\n     is predicted and must not be an exception", record.request))
            }
            None => predicted += 1,
            Some(_) if is_exception => {}
            Some(what) => failures.push(format!("{}\n     {what}", record.request)),
        }
    }
    failures.extend(exceptions.iter().map(|request| format!("{request}\n     is not in the recording")));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(predicted > 500, "{predicted}");
}

#[test]
fn version_headers_are_predicted() {
    for record in records() {
        let request = RecordedRequest::new(&record.request, &record.sent);
        // Errors of the router have no version headers, except for the error of an unsupported version.
        let is_router_error = inner_json(&record.body).get("code").is_some();
        let expected: BTreeMap<String, String> = match &request.version {
            _ if !request.has_collection() => continue,
            Ok(_) if is_router_error => BTreeMap::new(),
            Ok(version) => version.headers().into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect(),
            Err(error) => error.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
        };
        let got: BTreeMap<String, String> = record
            .headers
            .iter()
            .filter(|(name, _)| name.contains("version"))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect();
        assert_eq!(got, expected, "{}", record.request);
    }
}

#[test]
fn a_response_without_body_has_no_content_type() {
    for record in records() {
        if record.status == 204 || (record.status == 202 && record.body.is_null()) {
            assert!(!record.headers.contains_key("content-type"), "{}", record.request);
        }
    }
}

#[test]
fn the_response_to_a_post_has_the_location_of_the_resource() {
    for record in records().iter().filter(|record| record.status == 201) {
        let link = record.body.pointer("/links/0/href").and_then(Value::as_str).unwrap();
        let own = link.replace("/v1/inspection/", "/v1/inspection_rules/");
        assert_eq!(record.headers.get("location"), Some(&own), "{}", record.request);
    }
}

#[test]
fn every_difference_has_a_reason_and_every_exception_a_difference() {
    for (request, name) in known::DIFFERENT {
        assert!(DIFFERENCES.iter().any(|difference| difference.name == *name), "{request}: {name}");
    }
    assert!(DIFFERENCES.iter().all(|difference| !difference.why.is_empty()));
}
