//! One record of everything that somebody changed, or tried to: who, from where, what, and what came of it.
//!
//! Records are events of the log with the target and the message `audit`, at the level `info`: `service.log =
//! "warn,audit=info"` shows them and little else. Secrets are masked; that one was changed is said.

use std::net::IpAddr;

use axum::{extract::Request, middleware::Next, response::Response};
use domain::policy::Caller;
use serde_json::{Map, Value, json};
use service_kit::tls::Identity;
use tonic::service::Routes;

/// The target of the records.
const TARGET: &str = "audit";

/// The most that a record says of changes, in bytes; of more it names the fields alone.
const LONGEST: usize = 16 << 10;
/// Fields that change with every change.
const ALWAYS: &[&str] = &["updated_at", "created_at", "links", "provision_updated_at"];
/// Methods that change nothing.
const READS: &[&str] = &["GET", "HEAD", "OPTIONS"];
/// Calls of the gRPC API that change nothing begin so.
const READING_CALLS: &[&str] = &["Get", "List", "Plan", "Watch"];

/// Where a request came from, and what it is called.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
    /// Whom a proxy says that it asks for; nobody proves that.
    pub forwarded: Option<String>,
    /// The id of the request, which its answer has too.
    pub request: String,
}

/// What was asked at the REST API, and what came of it.
#[derive(Debug)]
pub struct Record<'a> {
    pub origin: &'a Origin,
    /// Nobody: he did not prove who he is.
    pub who: Option<&'a Caller>,
    pub method: &'a str,
    pub path: &'a str,
    /// What it was about, by its id where that is known.
    pub resource: &'a str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// What was there, and what is.
    pub changes: &'a Value,
}

/// Whether anybody listens.
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// Whether a method may change something.
pub fn is_change(method: &str) -> bool {
    !READS.contains(&method)
}

impl Record<'_> {
    /// Writes it.
    pub fn write(&self) {
        let Self { origin, who, method, path, resource, status, changes } = self;
        tracing::info!(
            target: TARGET,
            api = "rest",
            who = who.map(|who| who.name.as_str()).unwrap_or_default(),
            project = who.and_then(|who| who.project()).unwrap_or_default(),
            from = origin.peer.map(tracing::field::display),
            forwarded = origin.forwarded,
            method, path, resource, status,
            request = origin.request,
            changes = changes.to_string(),
            "audit"
        );
    }
}

/// What differs, field by field, with what each was and is; `mask` hides the secrets in
/// them. Where a thing is new or gone, all of it.
pub fn changes(
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
    mask: impl Fn(&mut Map<String, Value>),
) -> Value {
    let empty = Map::new();
    let (before, after) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let differs = |name: &&String| !ALWAYS.contains(&name.as_str()) && value(before, name) != value(after, name);
    let shown = |of: &Map<String, Value>, name: &String| {
        let mut field = Map::from_iter([(name.clone(), value(of, name))]);
        mask(&mut field);
        field.remove(name).unwrap_or_default()
    };
    let all: Map<String, Value> = names
        .filter(differs)
        .map(|name| (name.clone(), json!({"before": shown(before, name), "after": shown(after, name)})))
        .collect();
    if Value::Object(all.clone()).to_string().len() > LONGEST {
        return all.keys().map(String::as_str).collect();
    }
    Value::Object(all)
}

/// Has changes over gRPC recorded, with who called what and what came of it.
pub fn recorded(routes: Routes) -> Routes {
    routes.into_axum_router().layer(axum::middleware::from_fn(record)).into()
}

async fn record(request: Request, next: Next) -> Response {
    let (service, call) = request.uri().path().trim_start_matches('/').split_once('/').unwrap_or_default();
    let is_read = READING_CALLS.iter().any(|read| call.starts_with(read));
    let who = match request.extensions().get::<Identity>() {
        Some(Identity::Operator { name, .. }) if !is_read && is_on() => name.clone(),
        Some(Identity::Operator { .. } | Identity::Service { .. }) | None => return next.run(request).await,
    };
    let (service, call) = (service.to_owned(), call.to_owned());
    let answer = next.run(request).await;
    // A refusal stands in the headers; what succeeds says so in trailers (gRPC over HTTP/2, "Responses").
    let status = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok()).unwrap_or("0");
    tracing::info!(target: TARGET, api = "grpc", who, service, call, status, "audit");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(fields: &mut Map<String, Value>) {
        if let Some(Value::Object(info)) = fields.get_mut("driver_info") {
            info.insert("ipmi_password".to_owned(), json!("******"));
        }
    }

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_change_says_what_was_and_what_is_and_nothing_of_the_rest() {
        let before = fields(json!({"name": "n1", "driver": "ipmi", "updated_at": 1}));
        let after = fields(json!({"name": "n2", "driver": "ipmi", "updated_at": 2, "owner": "p"}));
        let expected = json!({"name": {"before": "n1", "after": "n2"}, "owner": {"before": null, "after": "p"}});
        assert_eq!(changes(Some(&before), Some(&after), mask), expected);
        assert_eq!(changes(None, None, mask), json!({}));
    }

    #[test]
    fn a_secret_that_was_changed_is_named_and_not_shown() {
        let before = fields(json!({"driver_info": {"ipmi_password": "hunter1", "ipmi_address": "a"}}));
        let after = fields(json!({"driver_info": {"ipmi_password": "hunter2", "ipmi_address": "a"}}));
        let said = changes(Some(&before), Some(&after), mask);
        assert_eq!(said["driver_info"]["after"], json!({"ipmi_password": "******", "ipmi_address": "a"}));
        assert!(!said.to_string().contains("hunter"), "{said}");
    }

    #[test]
    fn a_change_that_is_too_long_is_named_by_its_fields() {
        let after = fields(json!({"extra": {"a": "x".repeat(LONGEST)}, "name": "n"}));
        assert_eq!(changes(None, Some(&after), mask), json!(["extra", "name"]));
    }
}
