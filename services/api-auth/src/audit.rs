//! Audit records of changes and attempted changes: the caller, its address, the change and the result.
//!
//! Records are events of the log with the target and the message `audit`, at the level `info`: `service.log =
//! "warn,audit=info"` shows little else. Secrets are masked; a record still tells that one changed.

use std::net::IpAddr;

use axum::{extract::Request, middleware::Next, response::Response};
use domain::policy::Caller;
use serde_json::{Map, Value, json};
use service_kit::{bearer_token::TokenBearer, tls::Identity};
use tonic::service::Routes;

/// The target of the records.
const TARGET: &str = "audit";

/// Maximum size of the changes in a record, in bytes. Longer changes are recorded as field names only.
const MAX_CHANGES_BYTES: usize = 16 << 10;
/// Fields that every change touches; they are not recorded.
const IGNORED_FIELDS: &[&str] = &["updated_at", "created_at", "links", "provision_updated_at"];
/// HTTP methods that change nothing.
const READ_METHODS: &[&str] = &["GET", "HEAD", "OPTIONS"];
/// Prefixes of the RPCs that change nothing.
const READ_RPC_PREFIXES: &[&str] = &["Get", "List", "Plan", "Watch"];

/// The source and the id of a request.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Address of the client.
    pub client: Option<IpAddr>,
    /// Address of the trusted proxy that named the client, if one did.
    pub proxy: Option<IpAddr>,
    /// The request id, which the response has too.
    pub request: String,
}

/// A change over the REST API and its result.
#[derive(Debug)]
pub struct Record<'a> {
    /// Origin of the request.
    pub origin: &'a Origin,
    /// `None` if the client is not authenticated.
    pub caller: Option<&'a Caller>,
    /// HTTP method.
    pub method: &'a str,
    /// Path of the request.
    pub path: &'a str,
    /// Path of the resource, with its id if known.
    pub resource: &'a str,
    /// HTTP status of the response.
    pub status: u16,
    /// The changed fields, as [`changes`] returns them.
    pub changes: &'a Value,
}

/// Returns whether audit records are logged.
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// Returns whether an HTTP method may change something.
pub fn is_change(method: &str) -> bool {
    !READ_METHODS.contains(&method)
}

impl Record<'_> {
    /// Writes the record to the log.
    pub fn write(&self) {
        let Self { origin, caller, method, path, resource, status, changes } = self;
        tracing::info!(
            target: TARGET,
            api = "rest",
            who = caller.map(|caller| caller.name.as_str()).unwrap_or_default(),
            project = caller.and_then(|caller| caller.project()).unwrap_or_default(),
            from = origin.client.map(tracing::field::display),
            proxy = origin.proxy.map(tracing::field::display),
            method, path, resource, status,
            request = origin.request,
            changes = changes.to_string(),
            "audit"
        );
    }
}

/// Returns the fields that differ, with the values before and after. `mask` hides the secrets in them. For a created or
/// deleted resource these are all its fields.
pub fn changes(
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
    mask: impl Fn(&mut Map<String, Value>),
) -> Value {
    let empty = Map::new();
    let (before, after) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let differs =
        |name: &&String| !IGNORED_FIELDS.contains(&name.as_str()) && value(before, name) != value(after, name);
    let shown = |of: &Map<String, Value>, name: &String| {
        let mut field = Map::from_iter([(name.clone(), value(of, name))]);
        mask(&mut field);
        field.remove(name).unwrap_or_default()
    };
    let all: Map<String, Value> = names
        .filter(differs)
        .map(|name| (name.clone(), json!({"before": shown(before, name), "after": shown(after, name)})))
        .collect();
    if Value::Object(all.clone()).to_string().len() > MAX_CHANGES_BYTES {
        return all.keys().map(String::as_str).collect();
    }
    Value::Object(all)
}

/// Adds a layer that records changes over gRPC: the caller, the RPC and the result.
pub fn recorded(routes: Routes) -> Routes {
    routes.into_axum_router().layer(axum::middleware::from_fn(record)).into()
}

async fn record(request: Request, next: Next) -> Response {
    let (service, call) = request.uri().path().trim_start_matches('/').split_once('/').unwrap_or_default();
    let is_read = READ_RPC_PREFIXES.iter().any(|read| call.starts_with(read));
    let who = match request.extensions().get::<Identity>() {
        Some(Identity::Operator { name, .. }) if !is_read && is_on() => name.clone(),
        Some(Identity::Operator { .. } | Identity::Service { .. } | Identity::Host { .. } | Identity::Authority)
        | None => return next.run(request).await,
    };
    let (service, call) = (service.to_owned(), call.to_owned());
    // The name of a user may change at the provider, the account does not.
    let account = request.extensions().get::<TokenBearer>().map(|bearer| bearer.account.clone());
    let answer = next.run(request).await;
    // An error without messages has its status in the headers, success in the trailers (gRPC over HTTP/2, "Responses").
    let status = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok()).unwrap_or("0");
    tracing::info!(target: TARGET, api = "grpc", who, account, service, call, status, "audit");
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
    fn a_change_has_the_values_before_and_after_of_changed_fields_only() {
        let before = fields(json!({"name": "n1", "driver": "ipmi", "updated_at": 1}));
        let after = fields(json!({"name": "n2", "driver": "ipmi", "updated_at": 2, "owner": "p"}));
        let expected = json!({"name": {"before": "n1", "after": "n2"}, "owner": {"before": null, "after": "p"}});
        assert_eq!(changes(Some(&before), Some(&after), mask), expected);
        assert_eq!(changes(None, None, mask), json!({}));
    }

    #[test]
    fn a_changed_secret_is_named_but_not_shown() {
        let before = fields(json!({"driver_info": {"ipmi_password": "hunter1", "ipmi_address": "a"}}));
        let after = fields(json!({"driver_info": {"ipmi_password": "hunter2", "ipmi_address": "a"}}));
        let said = changes(Some(&before), Some(&after), mask);
        assert_eq!(said["driver_info"]["after"], json!({"ipmi_password": "******", "ipmi_address": "a"}));
        assert!(!said.to_string().contains("hunter"), "{said}");
    }

    #[test]
    fn a_change_that_is_too_long_lists_field_names() {
        let after = fields(json!({"extra": {"a": "x".repeat(MAX_CHANGES_BYTES)}, "name": "n"}));
        assert_eq!(changes(None, Some(&after), mask), json!(["extra", "name"]));
    }

    #[test]
    fn a_created_and_a_deleted_resource_show_no_secret() {
        let node = fields(json!({"driver_info": {"ipmi_password": "hunter1"}, "name": "n1"}));
        for (before, after) in [(None, Some(&node)), (Some(&node), None)] {
            let said = changes(before, after, mask);
            assert!(said.get("driver_info").is_some() && !said.to_string().contains("hunter"), "{said}");
        }
    }

    #[test]
    fn a_change_that_is_too_long_shows_no_secret() {
        let after = fields(json!({"driver_info": {"ipmi_password": "hunter1", "x": "x".repeat(MAX_CHANGES_BYTES)}}));
        assert_eq!(changes(None, Some(&after), mask), json!(["driver_info"]));
    }

    #[test]
    fn only_methods_that_change_something_are_recorded() {
        assert!(["POST", "PUT", "PATCH", "DELETE"].iter().all(|method| is_change(method)));
        assert!(!["GET", "HEAD", "OPTIONS"].iter().any(|method| is_change(method)));
    }
}
