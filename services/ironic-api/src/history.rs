//! History of a node: observations of its boots, and its last failures.

use domain::{failure::Failure, id::NodeId, timeline::Mark};
use keyspace::value::{Life, PastBoot};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use wire_ironic::{
    error::{Class, Error},
    page, query,
};

use super::{ApiRequest, RestApi, fault::fault, records::time, response::ApiResponse};
use scheduler_core::boot_history;

/// Maximum length of an event in a list without details, in characters.
const MAX_EVENT_CHARS: usize = 255;
/// Observations that count as errors.
const ERROR_MARKS: &[Mark] =
    &[Mark::FileMissing, Mark::FileLost, Mark::LoaderLost, Mark::AgentFailed, Mark::AgentRefused];
/// First minor versions that show an entry's project and its provision state.
const PROJECT: u16 = 113;
const STATES: u16 = 115;

impl RestApi {
    pub(super) async fn history(&self, request: &ApiRequest, ident: &str, rest: &[&str]) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let boots = boot_history::boots(&self.app.registry, &self.app.live_state, node.node).await;
        let boots = boots.map_err(|error| fault(ident, &error))?;
        let life = self.app.registry.held(node.node).map(|held| held.life.value);
        let mut all = entries(node.node, &boots);
        all.extend(life.iter().flat_map(Life::failures).map(|failure| failed(node.node, failure)));
        all.sort_by(|one, other| one["created_at"].as_str().cmp(&other["created_at"].as_str()));
        if let [id] = rest {
            let found = all.into_iter().find(|entry| entry["uuid"] == *id);
            let missing = || Class::NotFound.error(format!("Node history record {id} could not be found."));
            return found.map(|entry| ApiResponse::ok(shown(request, node.node, entry, true))).ok_or_else(missing);
        }
        request.only(&["detail", "limit", "marker", "sort_key", "sort_dir"])?;
        let detail =
            request.parameter("detail").map(|word| query::boolean("detail", word)).transpose()?.unwrap_or(false);
        if request.parameter("sort_dir") == Some("desc") {
            all.reverse();
        }
        let marker = request.parameter("marker");
        let from = marker
            .map_or(0, |marker| all.iter().position(|entry| entry["uuid"] == marker).map_or(all.len(), |at| at + 1));
        let page = all.into_iter().skip(from).take(page::limit_of(request.parameter("limit"))?);
        let history: Vec<Value> = page.map(|entry| shown(request, node.node, entry, detail)).collect();
        Ok(ApiResponse::ok(json!({"history": history})))
    }
}

/// Encodes the observations of boots.
fn entries(node: NodeId, boots: &[PastBoot]) -> Vec<Value> {
    let all = boots.iter().flat_map(|boot| boot.entries.iter().map(move |entry| (boot.generation, entry)));
    all.map(|(generation, entry)| {
        let severity = if ERROR_MARKS.contains(&entry.mark) { "ERROR" } else { "INFO" };
        // Later progress of an image replaces the entry, which stays the same one for its readers.
        let (mark, by) = (entry.mark.word(), &entry.by);
        let seed = if entry.mark == Mark::ImageProgress {
            format!("{node}/{generation}/{mark}/{by}")
        } else {
            format!("{node}/{generation}/{}/{mark}/{by}/{}", entry.at, entry.subject)
        };
        json!({
            "uuid": id(&seed), "created_at": time(Some(entry.at)), "severity": severity,
            "event": entry.to_string(), "event_type": "boot", "conductor": entry.by,
        })
    })
    .collect()
}

fn failed(node: NodeId, failure: &Failure) -> Value {
    let seed = format!("{node}/{}/{}", failure.at, failure.cause.word());
    json!({
        "uuid": id(&seed), "created_at": time(Some(failure.at)), "severity": "ERROR", "event": failure.text,
        "event_type": failure.cause.word(), "conductor": null,
    })
}

/// Derives an entry's id from its content (RFC 9562 §5.8), because entries are stored without one.
fn id(seed: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(seed.as_bytes()).into();
    let mut octets = [0; 16];
    octets.iter_mut().zip(digest).for_each(|(octet, own)| *octet = own);
    uuid::Builder::from_custom_bytes(octets).into_uuid().to_string()
}

fn shown(request: &ApiRequest, node: NodeId, entry: Value, detail: bool) -> Value {
    let mut members: Map<String, Value> = entry.as_object().cloned().unwrap_or_default();
    let id = members.get("uuid").and_then(Value::as_str).unwrap_or_default().to_owned();
    if detail {
        for (name, since) in [
            ("user", 78),
            ("project", PROJECT),
            ("state", STATES),
            ("target_provision_state", STATES),
            ("duration_seconds", STATES),
        ] {
            if request.version.has(since) {
                members.insert(name.to_owned(), Value::Null);
            }
        }
    } else {
        members.retain(|name, _| matches!(name.as_str(), "uuid" | "created_at" | "severity" | "event"));
        if let Some(Value::String(event)) = members.get_mut("event")
            && event.chars().count() > MAX_EVENT_CHARS
        {
            *event = event.chars().take(MAX_EVENT_CHARS - 4).chain("...".chars()).collect();
        }
    }
    let href = format!("{}/v1/nodes/{node}/history/{id}", request.base);
    members.insert("links".to_owned(), json!([{"href": href, "rel": "self"}]));
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use domain::{generation::Generation, time::Timestamp, timeline::Entry};

    use super::*;

    #[test]
    fn an_entry_keeps_its_id_and_shows_what_went_wrong() {
        let node = NodeId::new(uuid::Uuid::from_u128(7));
        let entry = |at, mark: Mark, subject: &str| Entry {
            at: Timestamp::from_millis(at),
            by: "pxe 10.0.0.1".to_owned(),
            mark,
            subject: subject.to_owned(),
            amount: None,
        };
        let boots = [PastBoot {
            generation: Generation::from_number(3),
            entries: vec![entry(1, Mark::DhcpAck, "10.0.0.7"), entry(2, Mark::FileMissing, "vmlinuz")],
        }];
        let read = entries(node, &boots);
        assert_eq!(read, entries(node, &boots));
        assert_ne!(read[0]["uuid"], read[1]["uuid"]);
        assert_eq!((&read[0]["severity"], &read[1]["severity"]), (&json!("INFO"), &json!("ERROR")));
        assert_eq!(read[1]["event"], "boot file missing: vmlinuz");
        // A progress that was listed is still found when a later one has replaced it.
        let progress = |at| PastBoot {
            generation: Generation::from_number(3),
            entries: vec![entry(at, Mark::ImageProgress, &at.to_string())],
        };
        let (first, later) = (entries(node, &[progress(5)]), entries(node, &[progress(6)]));
        assert_eq!(first[0]["uuid"], later[0]["uuid"]);
        assert_ne!(first[0]["created_at"], later[0]["created_at"]);
    }
}
