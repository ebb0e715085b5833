//! What the tables say of a recorded request: a thin face over them, without a server.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::agent::{Heartbeat, Lookup, Report};
use crate::error::Error;
use crate::fields::{self, Columns, NODE, RESOURCES, Resource};
use crate::query::{self, Shape};
use crate::verb::{NodeState, Power, Provision, Verb};
use crate::version::{self, Collection, Version, VersionError, negotiate};
use crate::{call, documents, limits, links, patch, route};

type Whole = BTreeMap<String, Map<String, Value>>;
const BASE: &str = "http://ironic.test";

/// A recorded request.
pub(super) struct Ask {
    pub(super) version: Result<Version, VersionError>,
    method: String,
    path: String,
    pairs: Vec<(String, String)>,
    raw: String,
    root: bool,
}

/// What the tables say.
pub(super) enum Says {
    /// Nothing: no rule of ours.
    Nothing,
    /// It is refused so.
    Error(Error),
    /// It is taken.
    Status(u16),
    /// It is taken, and answered so; see [`unlike`].
    Body(u16, Value),
}

impl Ask {
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

    /// Whether the request comes to a collection at all: only then are there version headers.
    pub(super) fn routed(&self) -> bool {
        let first = self.path.split('/').next().unwrap_or_default();
        let deep = limits::check_levels(self.raw.as_bytes()).is_err();
        let agents = matches!(self.method.as_str(), "HEAD" | "OPTIONS");
        Collection::named(first).is_some() && !agents && !deep
    }

    fn body(&self) -> Value {
        if self.raw.is_empty() { json!({}) } else { serde_json::from_str(&self.raw).unwrap() }
    }

    fn object(&self) -> Map<String, Value> {
        self.body().as_object().cloned().unwrap_or_default()
    }
}

pub(super) fn says(ask: &Ask, whole: &Whole) -> Says {
    if let Err(error) = limits::check_levels(ask.raw.as_bytes()) {
        return Says::Error(error);
    }
    match (ask.method.as_str(), ask.path.as_str()) {
        ("HEAD", _) => return Says::Status(405),
        ("OPTIONS", _) => return Says::Status(200),
        ("GET", "") if ask.pairs.is_empty() => return documents(ask),
        _ => {}
    }
    let version = match &ask.version {
        Ok(version) => *version,
        Err(refused) => return Says::Error(refused.error.clone()),
    };
    routed(ask, version, whole).unwrap_or_else(Says::Error)
}

fn documents(ask: &Ask) -> Says {
    // The line says "/" for the root and "/v1" or "/v1/" for the other.
    let version = ask.version.as_ref().ok().copied();
    match version {
        _ if ask.root => Says::Body(200, documents::root(BASE)),
        Some(version) => Says::Body(200, documents::v1(BASE, version)),
        None => Says::Nothing,
    }
}

fn routed(ask: &Ask, version: Version, whole: &Whole) -> Result<Says, Error> {
    let segments: Vec<&str> = ask.path.split('/').collect();
    let found = route::find(version, &ask.method, &ask.path)?;
    if let Some(refused) = found.older() {
        return Err(refused);
    }
    match (ask.method.as_str(), segments.as_slice()) {
        ("GET", ["lookup"]) => Lookup::read(version, &ask.pairs).map(|_| Says::Status(200)),
        ("POST", ["heartbeat", _]) => Heartbeat::read(version, &ask.object(), None).map(|_| Says::Status(202)),
        ("POST", ["continue_inspection"]) => Report::read(version, None, ask.object()).map(|_| Says::Status(202)),
        ("GET", ["volume"]) => {
            let mut body = Map::new();
            body.insert("links".to_owned(), links::resource(BASE, "volume/"));
            body.extend(
                links::below(links::VOLUME, version, BASE, "volume").map(|(name, value)| (name.to_owned(), value)),
            );
            Ok(Says::Body(200, Value::Object(body)))
        }
        ("GET", ["nodes", ident, "states"]) => Ok(before(&NODE, ident, whole)
            .map_or(Says::Nothing, |node| Says::Body(200, Value::Object(fields::node_states(version, node))))),
        ("GET", _) if segments.len() > 2 && first(&segments) == "nodes" => Ok(Says::Status(found.route.success)),
        (_, ["nodes", _, rest @ ..]) if !rest.is_empty() && small(ask, version, rest)? => {
            Ok(Says::Status(found.route.success))
        }
        ("PUT", ["nodes", ident, "states", "provision"]) => provision(ask, version, ident, whole),
        ("PUT", ["nodes", ident, "states", "power"]) => power(ask, version, ident, whole),
        (_, segments) => {
            let says = resource(ask, version, segments, whole)?;
            Ok(if matches!(says, Says::Nothing) { Says::Status(found.route.success) } else { says })
        }
    }
}

fn first<'a>(segments: &[&'a str]) -> &'a str {
    segments.first().copied().unwrap_or_default()
}

/// Whether a small call is one that has a rule, which then is checked.
fn small(ask: &Ask, version: Version, rest: &[&str]) -> Result<bool, Error> {
    let body = &ask.object();
    match (ask.method.as_str(), rest) {
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
        ("DELETE", ["vmedia"]) => call::media_types(&ask.pairs).map(drop),
        _ => return Ok(false),
    }
    .map(|()| true)
}

fn resource(ask: &Ask, version: Version, segments: &[&str], whole: &Whole) -> Result<Says, Error> {
    let found = RESOURCES
        .iter()
        .find(|resource| ask.path == resource.path || ask.path.starts_with(&format!("{}/", resource.path)));
    let Some(resource) = found.copied() else { return Ok(Says::Nothing) };
    let depth = resource.path.split('/').count();
    let ident = segments.get(depth).copied();
    match (ask.method.as_str(), ident, segments.len() - depth) {
        ("GET", None, _) => list(ask, resource, version, Shape::Plain, whole),
        ("GET", Some("detail"), 1) => list(ask, resource, version, Shape::Detail, whole),
        ("GET", Some(ident), 1) => one(ask, resource, version, ident, whole),
        ("POST", None, _) => post(ask, resource, version),
        ("DELETE", Some(ident), 1) if resource.path == "nodes" => {
            let node = before(resource, ident, whole).ok_or_else(|| crate::error::text::not_found("Node", ident))?;
            patch::node::check_delete(node).map(|()| Says::Status(204))
        }
        ("PATCH", Some(ident), 1) => change(ask, resource, version, ident, whole),
        _ => Ok(Says::Nothing),
    }
}

fn before<'a>(resource: &Resource, ident: &str, whole: &'a Whole) -> Option<&'a Map<String, Value>> {
    whole.get(&format!("{}/{ident}", resource.path))
}

fn list(ask: &Ask, resource: &'static Resource, version: Version, shape: Shape, whole: &Whole) -> Result<Says, Error> {
    let list = query::list(resource, version, shape, &ask.pairs)?;
    let key = |item: &Map<String, Value>| item.get(resource.key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let items = whole.iter().filter(|(of, _)| of.starts_with(&format!("{}/", resource.path)));
    let views = items.map(|(_, item)| (key(item), links::shown(resource, version, BASE, &list.columns, item)));
    let next = query::next_page(resource, &list, BASE, list.page.limit, "LAST");
    let body = json!({"plural": resource.plural, "items": views.collect::<BTreeMap<_, _>>(), "limit": list.page.limit,
        "next": next, "keys": keys(resource, version, &list.columns)});
    Ok(Says::Body(200, json!({"list": body})))
}

fn keys(resource: &'static Resource, version: Version, columns: &Columns) -> Vec<String> {
    links::shown(resource, version, BASE, columns, &Map::from_iter([(resource.key.to_owned(), json!("x"))]))
        .keys()
        .cloned()
        .collect()
}

fn one(ask: &Ask, resource: &'static Resource, version: Version, ident: &str, whole: &Whole) -> Result<Says, Error> {
    let fields = ask.pairs.iter().find(|(name, _)| name == "fields").map(|(_, value)| value.as_str());
    query::unexpected(ask.pairs.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "fields"))?;
    let columns = match fields {
        Some(_) => fields::columns(resource, version, fields, None)?,
        None => Columns::All,
    };
    if resource.path == "nodes" && !fields::identifies(Version::MAX, ident) {
        return Err(crate::error::text::bad_identifier("node", ident));
    }
    let named = resource.path != "nodes" || fields::identifies(version, ident);
    let before = before(resource, ident, whole).filter(|_| named);
    let kind = format!(
        "{}{}",
        resource.schema_name.get(..1).unwrap_or("c").to_uppercase(),
        resource.schema_name.get(1..).unwrap_or("")
    );
    let kind = if resource.path == "conductors" { "Conductor" } else { &kind };
    let before = before.ok_or_else(|| crate::error::text::not_found(kind, ident))?;
    Ok(Says::Body(200, Value::Object(links::shown(resource, version, BASE, &columns, before))))
}

fn post(ask: &Ask, resource: &'static Resource, version: Version) -> Result<Says, Error> {
    let mut stored = fields::check_post(resource, version, &ask.body())?;
    if resource.path == "nodes" {
        stored.insert("provision_state".to_owned(), Value::from(fields::first_state(version)));
        stored.get("name").and_then(Value::as_str).map_or(Ok(()), |name| fields::check_new_name(version, name))?;
    }
    let columns = Columns::These(stored.keys().filter_map(|name| Some(resource.field(name)?.name)).collect());
    Ok(Says::Body(201, json!({"part": fields::view(resource, version, &columns, &stored)})))
}

fn change(ask: &Ask, resource: &'static Resource, version: Version, ident: &str, whole: &Whole) -> Result<Says, Error> {
    let ops = patch::parse(resource, version, &ask.body())?;
    let before = before(resource, ident, whole).ok_or_else(|| crate::error::text::not_found("Node", ident))?;
    if resource.path != "nodes" {
        let mut before = before.clone();
        if resource.path == "runbooks" {
            patch::clear_runbook_owner(&mut before, &ops, &ask.body())?;
        }
        let after = patch::apply(resource, &before, &ops)?;
        return Ok(Says::Body(200, Value::Object(touched(resource, version, &ops, &after))));
    }
    let reset = ask.pairs.iter().find(|(name, _)| name == "reset_interfaces");
    let reset = reset.map(|(name, value)| query::boolean(name, value)).transpose()?;
    patch::node::check_reset(version, reset, &ops)?;
    patch::node::check_before(version, ident, before, &ops)?;
    for op in ops.iter().filter(|op| op.field() == "name" && op.inside().is_empty() && op.verb != patch::Verb::Remove) {
        fields::check_patched_name(version, ident, &op.value)?;
    }
    let after = patch::node::check_after(ident, before, patch::apply(&NODE, before, &ops)?)?;
    Ok(Says::Body(200, Value::Object(touched(&NODE, version, &ops, &after))))
}

/// All but times, and interfaces that the driver chose.
fn touched(resource: &Resource, version: Version, ops: &[patch::Op], after: &Map<String, Value>) -> Map<String, Value> {
    let mut view = fields::view(resource, version, &Columns::All, after);
    view.remove("updated_at");
    // A real one holds it while it answers.
    view.remove("reservation");
    for op in ops.iter().filter(|op| op.verb == patch::Verb::Remove && op.field().ends_with("_interface")) {
        view.remove(op.field());
    }
    Map::from_iter([("part".to_owned(), Value::Object(view))])
}

fn provision(ask: &Ask, version: Version, ident: &str, whole: &Whole) -> Result<Says, Error> {
    let Some(node) = before(&NODE, ident, whole) else { return Ok(Says::Nothing) };
    let text = |name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default();
    let request = Provision::read(&ask.object())?;
    Verb::check_version(version, &request.target)?;
    if node.get("maintenance") == Some(&json!(true)) {
        Verb::check_maintenance(&request.target, text("uuid"))?;
    }
    let state = text("provision_state");
    let verb = Verb::read(&request.target).filter(|verb| takes(state, *verb));
    let verb = verb.ok_or_else(|| crate::error::text::wrong_state(&request.target, text("uuid"), Some(state)))?;
    request.check(version, verb, state)?;
    if node.get("protected") == Some(&json!(true)) {
        verb.check_protected(text("uuid"))?;
    }
    Ok(Says::Status(202))
}

/// The states that the recording went through.
fn takes(state: &str, verb: Verb) -> bool {
    match state {
        "enroll" => verb == Verb::Manage,
        "manageable" => matches!(verb, Verb::Provide | Verb::Inspect | Verb::Clean | Verb::Adopt),
        "available" => matches!(verb, Verb::Active | Verb::Manage),
        "active" => matches!(verb, Verb::Deleted | Verb::Rebuild | Verb::Rescue | Verb::Service),
        _ => false,
    }
}

fn power(ask: &Ask, version: Version, ident: &str, whole: &Whole) -> Result<Says, Error> {
    let Some(node) = before(&NODE, ident, whole) else { return Ok(Says::Nothing) };
    let text = |name: &str| node.get(name).and_then(Value::as_str);
    let seen = NodeState {
        ident,
        power: text("power_state"),
        provision: text("provision_state").unwrap_or_default(),
        stays_on: node.get("disable_power_off") == Some(&json!(true)),
    };
    Power::read(version, &ask.object(), seen).map(|_| Says::Status(202))
}

/// How a body is unlike what was predicted, or nothing.
pub(super) fn unlike(predicted: &Value, got: &Value) -> Option<String> {
    if let Some(list) = predicted.get("list") {
        return unlike_list(list, got);
    }
    if let Some(part) = predicted.get("part").and_then(Value::as_object) {
        let differs = |(name, value): &(&String, &Value)| got.get(*name) != Some(*value);
        let names = part.iter().find(differs);
        return names.map(|(name, value)| format!("{name} {value}\n     but {:?}", got.get(name)));
    }
    (predicted != got).then(|| format!("{predicted}\n     but {got}"))
}

fn unlike_list(list: &Value, got: &Value) -> Option<String> {
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
    let full = items.len() as u64 == at("limit").as_u64().unwrap();
    let (ours, theirs) = (at("next").as_str().filter(|_| full), got.get("next").and_then(Value::as_str));
    (query_of(ours) != query_of(theirs)).then(|| format!("{ours:?}\n     but {theirs:?}"))
}

/// A link as its path and its parameters, fields in any order, without the marker.
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
