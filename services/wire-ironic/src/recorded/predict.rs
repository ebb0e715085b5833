//! Predicts the response to a recorded request from the tables: an API front end without a server.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::agent::{Heartbeat, Lookup, Report};
use crate::error::Error;
use crate::fields::{self, Columns, NODE, RESOURCES, Resource};
use crate::query::{self, Shape};
use crate::verb::{NodeState, Power, Provision, Verb};
use crate::version::{self, Collection, Version, VersionError, negotiate};
use crate::{call, documents, limits, links, patch, route};

type Resources = BTreeMap<String, Map<String, Value>>;
const BASE: &str = "http://ironic.test";

/// A recorded request.
pub(super) struct RecordedRequest {
    pub(super) version: Result<Version, VersionError>,
    method: String,
    path: String,
    pairs: Vec<(String, String)>,
    raw: String,
    root: bool,
}

/// Predicted response.
pub(super) enum Prediction {
    /// None: no rule predicts it.
    None,
    /// This error.
    Error(Error),
    /// Success with this status.
    Status(u16),
    /// Success with this status and body; see [`body_mismatch`].
    Body(u16, Value),
}

impl RecordedRequest {
    pub(super) fn new(line: &str, sent: &BTreeMap<String, String>) -> Self {
        let mut words = line.splitn(4, ' ');
        let (_, method, target) = (words.next(), words.next().unwrap(), words.next().unwrap());
        let raw = words.next().unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let header = |name: &str| sent.get(name).map(String::as_str);
        let version = negotiate(header(version::HEADER), header(version::SHARED_HEADER));
        let named = version.as_ref().ok().copied().filter(|_| !sent.is_empty());
        Self {
            version,
            method: method.to_owned(),
            path: version::without_suffix(named, path.strip_prefix("/v1").unwrap_or(path))
                .trim_matches('/')
                .replace("%20", " "),
            pairs: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            raw,
            root: target == "/",
        }
    }

    /// Returns whether the path is in a collection, so that the response has version headers.
    pub(super) fn has_collection(&self) -> bool {
        let first = self.path.split('/').next().unwrap_or_default();
        let is_too_deep = limits::check_shape(self.raw.as_bytes()).is_err();
        let is_other_method = matches!(self.method.as_str(), "HEAD" | "OPTIONS");
        Collection::named(first).is_some() && !is_other_method && !is_too_deep
    }

    fn body(&self) -> Value {
        if self.raw.is_empty() { json!({}) } else { serde_json::from_str(&self.raw).unwrap() }
    }

    fn object(&self) -> Map<String, Value> {
        self.body().as_object().cloned().unwrap_or_default()
    }
}

/// Predicts the response to a request. `resources` has the resources before the request, by path.
pub(super) fn predict(request: &RecordedRequest, resources: &Resources) -> Prediction {
    if let Err(error) = limits::check_shape(request.raw.as_bytes()) {
        return Prediction::Error(error);
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("HEAD", _) => return Prediction::Status(405),
        ("OPTIONS", _) => return Prediction::Status(200),
        ("GET", "") if request.pairs.is_empty() => return documents(request),
        _ => {}
    }
    let version = match &request.version {
        Ok(version) => *version,
        Err(error) => return Prediction::Error(error.error.clone()),
    };
    predict_call(request, version, resources).unwrap_or_else(Prediction::Error)
}

fn documents(request: &RecordedRequest) -> Prediction {
    // The path is "/" for the root document, "/v1" or "/v1/" for the other one.
    let version = request.version.as_ref().ok().copied();
    match version {
        _ if request.root => Prediction::Body(200, documents::root(BASE)),
        Some(version) => Prediction::Body(200, documents::v1(BASE, version)),
        None => Prediction::None,
    }
}

fn predict_call(request: &RecordedRequest, version: Version, resources: &Resources) -> Result<Prediction, Error> {
    let segments: Vec<&str> = request.path.split('/').collect();
    let found = route::find(version, &request.method, &request.path)?;
    if let Some(error) = found.older() {
        return Err(error);
    }
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["lookup"]) => Lookup::read(version, &request.pairs).map(|_| Prediction::Status(200)),
        ("POST", ["heartbeat", _]) => {
            Heartbeat::read(version, &request.object(), None).map(|_| Prediction::Status(202))
        }
        ("POST", ["continue_inspection"]) => {
            Report::read(version, None, request.object()).map(|_| Prediction::Status(202))
        }
        ("GET", ["volume"]) => {
            let mut body = Map::new();
            body.insert("links".to_owned(), links::resource(BASE, "volume/"));
            body.extend(
                links::below(links::VOLUME, version, BASE, "volume").map(|(name, value)| (name.to_owned(), value)),
            );
            Ok(Prediction::Body(200, Value::Object(body)))
        }
        ("GET", ["nodes", ident, "states"]) => Ok(before(&NODE, ident, resources)
            .map_or(Prediction::None, |node| Prediction::Body(200, Value::Object(fields::node_states(version, node))))),
        ("GET", _) if segments.len() > 2 && first(&segments) == "nodes" => Ok(Prediction::Status(found.route.success)),
        (_, ["nodes", _, rest @ ..]) if !rest.is_empty() && check_subresource_call(request, version, rest)? => {
            Ok(Prediction::Status(found.route.success))
        }
        ("PUT", ["nodes", ident, "states", "provision"]) => provision(request, version, ident, resources),
        ("PUT", ["nodes", ident, "states", "power"]) => power(request, version, ident, resources),
        (_, segments) => {
            let prediction = resource(request, version, segments, resources)?;
            let has_rule = !matches!(prediction, Prediction::None);
            Ok(if has_rule { prediction } else { Prediction::Status(found.route.success) })
        }
    }
}

fn first<'a>(segments: &[&'a str]) -> &'a str {
    segments.first().copied().unwrap_or_default()
}

/// Checks the arguments of a call below a node. Returns `false` if the call has no rule.
fn check_subresource_call(request: &RecordedRequest, version: Version, rest: &[&str]) -> Result<bool, Error> {
    let body = &request.object();
    match (request.method.as_str(), rest) {
        ("PUT", ["maintenance"]) => call::maintenance(body).map(drop),
        ("PUT", ["states", "console"]) => call::console(body).map(drop),
        ("PUT", ["states", "boot_mode"]) => call::boot_mode(body).map(drop),
        ("PUT", ["states", "secure_boot"]) => call::secure_boot(body).map(drop),
        ("PUT", ["management", "boot_device"]) => call::boot_device(body).map(drop),
        ("PUT", ["management", "indicators", _]) => call::indicator(body).map(drop),
        ("PUT", ["traits"]) => call::traits("n", body).map(drop),
        ("PUT", ["traits", text]) => call::one_trait("n", text, 1),
        ("POST", ["vifs"]) => call::vif(version, body).map(drop),
        ("POST", ["vmedia"]) => call::media(body).map(drop),
        ("DELETE", ["vmedia"]) => call::media_types(&request.pairs).map(drop),
        _ => return Ok(false),
    }
    .map(|()| true)
}

fn resource(
    request: &RecordedRequest,
    version: Version,
    segments: &[&str],
    resources: &Resources,
) -> Result<Prediction, Error> {
    let found = RESOURCES
        .iter()
        .find(|resource| request.path == resource.path || request.path.starts_with(&format!("{}/", resource.path)));
    let Some(resource) = found.copied() else { return Ok(Prediction::None) };
    let depth = resource.path.split('/').count();
    let ident = segments.get(depth).copied();
    match (request.method.as_str(), ident, segments.len() - depth) {
        ("GET", None, _) => list(request, resource, version, Shape::Plain, resources),
        ("GET", Some("detail"), 1) => list(request, resource, version, Shape::Detail, resources),
        ("GET", Some(ident), 1) => one(request, resource, version, ident, resources),
        ("POST", None, _) => post(request, resource, version),
        ("DELETE", Some(ident), 1) if resource.path == "nodes" => {
            let node =
                before(resource, ident, resources).ok_or_else(|| crate::error::text::not_found("Node", ident))?;
            patch::node::check_delete(node).map(|()| Prediction::Status(204))
        }
        ("PATCH", Some(ident), 1) => change(request, resource, version, ident, resources),
        _ => Ok(Prediction::None),
    }
}

fn before<'a>(resource: &Resource, ident: &str, resources: &'a Resources) -> Option<&'a Map<String, Value>> {
    resources.get(&format!("{}/{ident}", resource.path))
}

fn list(
    request: &RecordedRequest,
    resource: &'static Resource,
    version: Version,
    shape: Shape,
    resources: &Resources,
) -> Result<Prediction, Error> {
    let list = query::list(resource, version, shape, &request.pairs)?;
    let key = |item: &Map<String, Value>| item.get(resource.key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let items = resources.iter().filter(|(of, _)| of.starts_with(&format!("{}/", resource.path)));
    let views = items.map(|(_, item)| (key(item), links::shown(resource, version, BASE, &list.columns, item)));
    let next = query::next_page(resource, &list, BASE, list.page.limit, "LAST");
    let body = json!({"plural": resource.plural, "items": views.collect::<BTreeMap<_, _>>(), "limit": list.page.limit,
        "next": next, "keys": keys(resource, version, &list.columns)});
    Ok(Prediction::Body(200, json!({"list": body})))
}

fn keys(resource: &'static Resource, version: Version, columns: &Columns) -> Vec<String> {
    links::shown(resource, version, BASE, columns, &Map::from_iter([(resource.key.to_owned(), json!("x"))]))
        .keys()
        .cloned()
        .collect()
}

fn one(
    request: &RecordedRequest,
    resource: &'static Resource,
    version: Version,
    ident: &str,
    resources: &Resources,
) -> Result<Prediction, Error> {
    let fields = request.pairs.iter().find(|(name, _)| name == "fields").map(|(_, value)| value.as_str());
    query::unexpected(request.pairs.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "fields"))?;
    let columns = match fields {
        Some(_) => fields::columns(resource, version, fields, None)?,
        None => Columns::All,
    };
    if resource.path == "nodes" && !fields::identifies(Version::MAX, ident) {
        return Err(crate::error::text::bad_identifier("node", ident));
    }
    let named = resource.path != "nodes" || fields::identifies(version, ident);
    let before = before(resource, ident, resources).filter(|_| named);
    let kind = format!(
        "{}{}",
        resource.schema_name.get(..1).unwrap_or("c").to_uppercase(),
        resource.schema_name.get(1..).unwrap_or("")
    );
    let kind = if resource.path == "conductors" { "Conductor" } else { &kind };
    let before = before.ok_or_else(|| crate::error::text::not_found(kind, ident))?;
    Ok(Prediction::Body(200, Value::Object(links::shown(resource, version, BASE, &columns, before))))
}

fn post(request: &RecordedRequest, resource: &'static Resource, version: Version) -> Result<Prediction, Error> {
    let mut stored = fields::check_post(resource, version, &request.body())?;
    if resource.path == "nodes" {
        stored.insert("provision_state".to_owned(), Value::from(fields::first_state(version)));
        stored.get("name").and_then(Value::as_str).map_or(Ok(()), |name| fields::check_new_name(version, name))?;
    }
    let columns = Columns::These(stored.keys().filter_map(|name| Some(resource.field(name)?.name)).collect());
    Ok(Prediction::Body(201, json!({"part": fields::view(resource, version, &columns, &stored)})))
}

fn change(
    request: &RecordedRequest,
    resource: &'static Resource,
    version: Version,
    ident: &str,
    resources: &Resources,
) -> Result<Prediction, Error> {
    let ops = patch::parse(resource, version, &request.body())?;
    let before = before(resource, ident, resources).ok_or_else(|| crate::error::text::not_found("Node", ident))?;
    if resource.path != "nodes" {
        let mut before = before.clone();
        if resource.path == "runbooks" {
            patch::clear_runbook_owner(&mut before, &ops, &request.body())?;
        }
        let after = patch::apply(resource, &before, &ops)?;
        return Ok(Prediction::Body(200, Value::Object(patched_fields(resource, version, &ops, &after))));
    }
    let reset = request.pairs.iter().find(|(name, _)| name == "reset_interfaces");
    let reset = reset.map(|(name, value)| query::boolean(name, value)).transpose()?;
    patch::node::check_reset(version, reset, &ops)?;
    patch::node::check_before(version, ident, before, &ops)?;
    for op in ops.iter().filter(|op| op.field() == "name" && op.inside().is_empty() && op.kind != patch::OpKind::Remove)
    {
        fields::check_patched_name(version, ident, &op.value)?;
    }
    let after = patch::node::check_after(ident, before, patch::apply(&NODE, before, &ops)?)?;
    Ok(Prediction::Body(200, Value::Object(patched_fields(&NODE, version, &ops, &after))))
}

/// Returns the predictable fields of a patched resource: without times and interfaces that the driver determines.
fn patched_fields(
    resource: &Resource,
    version: Version,
    ops: &[patch::Op],
    after: &Map<String, Value>,
) -> Map<String, Value> {
    let mut view = fields::view(resource, version, &Columns::All, after);
    view.remove("updated_at");
    // Ironic reserves the node during the request.
    view.remove("reservation");
    for op in ops.iter().filter(|op| op.kind == patch::OpKind::Remove && op.field().ends_with("_interface")) {
        view.remove(op.field());
    }
    Map::from_iter([("part".to_owned(), Value::Object(view))])
}

fn provision(
    request: &RecordedRequest,
    version: Version,
    ident: &str,
    resources: &Resources,
) -> Result<Prediction, Error> {
    let Some(node) = before(&NODE, ident, resources) else { return Ok(Prediction::None) };
    let text = |name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default();
    let request = Provision::read(&request.object())?;
    Verb::check_version(version, &request.target)?;
    if node.get("maintenance") == Some(&json!(true)) {
        Verb::check_maintenance(&request.target, text("uuid"))?;
    }
    let state = text("provision_state");
    let verb = Verb::read(&request.target).filter(|verb| allows(state, *verb));
    let verb = verb.ok_or_else(|| crate::error::text::wrong_state(&request.target, text("uuid"), Some(state)))?;
    request.check(version, verb, state)?;
    if node.get("protected") == Some(&json!(true)) {
        verb.check_protected(text("uuid"))?;
    }
    Ok(Prediction::Status(202))
}

/// Returns whether a state allows a verb, for the states in the recording.
fn allows(state: &str, verb: Verb) -> bool {
    match state {
        "enroll" => verb == Verb::Manage,
        "manageable" => matches!(verb, Verb::Provide | Verb::Inspect | Verb::Clean | Verb::Adopt),
        "available" => matches!(verb, Verb::Active | Verb::Manage),
        "active" => matches!(verb, Verb::Deleted | Verb::Rebuild | Verb::Rescue | Verb::Service),
        _ => false,
    }
}

fn power(request: &RecordedRequest, version: Version, ident: &str, resources: &Resources) -> Result<Prediction, Error> {
    let Some(node) = before(&NODE, ident, resources) else { return Ok(Prediction::None) };
    let text = |name: &str| node.get(name).and_then(Value::as_str);
    let node_state = NodeState {
        ident,
        power: text("power_state"),
        provision: text("provision_state").unwrap_or_default(),
        stays_on: node.get("disable_power_off") == Some(&json!(true)),
    };
    Power::read(version, &request.object(), node_state).map(|_| Prediction::Status(202))
}

/// Describes how a body differs from the predicted one. Returns `None` if it does not.
pub(super) fn body_mismatch(predicted: &Value, got: &Value) -> Option<String> {
    if let Some(list) = predicted.get("list") {
        return list_mismatch(list, got);
    }
    let got = &more_secrets(got);
    if let Some(part) = predicted.get("part").and_then(Value::as_object) {
        let differs = |(name, value): &(&String, &Value)| got.get(*name) != Some(*value);
        let names = part.iter().find(differs);
        return names.map(|(name, value)| format!("{name} {value}\n     but {:?}", got.get(name)));
    }
    (predicted != got).then(|| format!("{predicted}\n     but {got}"))
}

/// The recorded response as it is with the difference `more-secrets`: Ironic shows secrets in `extra` and `properties`.
fn more_secrets(recorded: &Value) -> Value {
    let mut ours = recorded.clone();
    for name in ["extra", "properties"] {
        if let Some(fields) = ours.get_mut(name) {
            *fields = fields::masked(fields.take());
        }
    }
    ours
}

fn list_mismatch(list: &Value, got: &Value) -> Option<String> {
    let at = |name: &str| list.get(name).unwrap();
    let items = got.get(at("plural").as_str().unwrap()).and_then(Value::as_array);
    let Some(items) = items else { return Some(format!("no {} but {got}", at("plural"))) };
    for item in items {
        let mut keys: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        if json!(keys) != *at("keys") {
            return Some(format!("{}\n     but {keys:?}", at("keys")));
        }
    }
    let is_full = items.len() as u64 == at("limit").as_u64().unwrap();
    let (predicted, recorded) = (at("next").as_str().filter(|_| is_full), got.get("next").and_then(Value::as_str));
    (query_of(predicted) != query_of(recorded)).then(|| format!("{predicted:?}\n     but {recorded:?}"))
}

/// Returns the path and the parameters of a link, with sorted fields and without the marker.
fn query_of(link: Option<&str>) -> Option<BTreeMap<String, Vec<String>>> {
    let (path, query) = link?.split_once('?')?;
    let mut parts = BTreeMap::from([("path".to_owned(), vec![path.to_owned()])]);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name != "marker")
    {
        let mut words: Vec<String> = value.split(',').map(str::to_owned).collect();
        words.sort_unstable();
        parts.insert(name.to_owned(), words);
    }
    Some(parts)
}
