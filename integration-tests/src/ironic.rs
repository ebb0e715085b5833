//! Requests that a real Ironic answered, sent to our REST API.
//!
//! `services/wire-ironic/record/requests.txt` is played line by line, and each answer is compared with the one in
//! `golden/recorded.jsonl`. Intended differences and missing features are in a list, each with the name of its reason.

mod rest;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use domain::{
    id::NodeId,
    provision::{Stage, State},
    time::Timestamp,
};
use keyspace::{Change, Expect, Store, key};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use wire_ironic::{
    difference::DIFFERENCES,
    fields::masked,
    version::{HEADER, Version},
};

pub use self::rest::Rest;
use crate::{mesh::Options, peer::Peer};

/// Maximum time for a node to reach a state.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The node whose state the test sets in the store.
const BY_HAND: &str = "11111111-1111-4111-8111-000000000001";
/// A time far in the future: 2100.
const FAR_FUTURE: Timestamp = Timestamp::from_millis(4_102_444_800_000);
/// Ids that the requests name; all others are generated.
const NAMED: [&str; 9] = ["1111", "2222", "3333", "4444", "5555", "6666", "7777", "8888", "9999"];
/// Headers that are compared.
const HEADERS: [&str; 5] = [
    "content-type",
    "location",
    "x-openstack-ironic-api-version",
    "x-openstack-ironic-api-minimum-version",
    "x-openstack-ironic-api-maximum-version",
];
/// Fields with times or with the present conductor.
const OF_THE_MOMENT: [&str; 5] =
    ["created_at", "updated_at", "provision_updated_at", "reservation", "driver_internal_info"];

/// An answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Answer {
    /// The request, as in the file.
    pub ask: String,
    /// The request's headers.
    pub sent: BTreeMap<String, String>,
    /// The status.
    pub status: u16,
    /// The headers that are compared.
    pub headers: BTreeMap<String, String>,
    /// The body; null if there is none.
    pub body: Value,
}

fn wire_ironic(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/wire-ironic").join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The recorded answers.
///
/// # Errors
/// The recording cannot be read.
pub fn recorded() -> Result<Vec<Answer>> {
    let text = wire_ironic("src/golden/recorded.jsonl")?;
    text.lines().skip(1).map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Sends the requests to a service.
#[derive(Debug)]
pub struct Player<'p> {
    client: reqwest::Client,
    address: String,
    hand: Hand<'p>,
}

/// Sets a state that no request reaches quickly.
#[derive(Debug)]
enum Hand<'p> {
    Ours(Store),
    Real(&'p Peer),
}

/// The host that all requests name, as when the answers were recorded.
const HOST: &str = "ironic.test";

/// Returns options of a mesh that answers the requests of a [`Player`].
#[must_use]
pub fn options() -> Options {
    Options { set: vec![format!("scheduler.rest_hosts=[{HOST:?}]")], ..Options::default() }
}

impl<'p> Player<'p> {
    /// A player for our service at `address` (`http://host:port`), which sets states in this store.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(address: String, store: Store) -> Result<Self> {
        Ok(Self { client: reqwest::Client::builder().no_proxy().build()?, address, hand: Hand::Ours(store) })
    }

    /// A player for a real Ironic.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn of_real(peer: &'p Peer) -> Result<Self> {
        // Ironic closes idle connections; a request at that moment would be lost.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
        Ok(Self { client, address: peer.address(), hand: Hand::Real(peer) })
    }

    /// Sends all requests. Returns the answers to the requests of `recorded`, in its order.
    ///
    /// # Errors
    /// The service does not answer, or a node does not reach a state that is waited for.
    pub async fn play(&self, recorded: &[Answer]) -> Result<Vec<Answer>> {
        let (text, mut answers, mut next) = (wire_ironic("record/requests.txt")?, Vec::new(), recorded.iter());
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if let Some(change) = line.strip_prefix("sql ") {
                self.by_hand(change).await.with_context(|| line.to_owned())?;
            } else if let Some((what, state)) = line.split_once(' ').filter(|(what, _)| what.starts_with("wait")) {
                self.wait(what, state).await.with_context(|| line.to_owned())?;
            } else {
                let record = next.next().filter(|record| record.ask == line);
                let record = record.with_context(|| format!("it was never recorded: {line}"))?;
                answers.push(self.ask(record).await.with_context(|| line.to_owned())?);
            }
        }
        Ok(answers)
    }

    /// Reads these paths in every version. Each answer is named `VERSION GET PATH`.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn read_in_every_version(&self, paths: &[&str]) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for path in paths {
            for minor in Version::MIN.minor()..=Version::MAX.minor() {
                let ask = format!("1.{minor} GET {path}");
                let sent = BTreeMap::from([(HEADER.to_owned(), format!("1.{minor}"))]);
                let request = Answer { ask, sent, status: 0, headers: BTreeMap::new(), body: Value::Null };
                answers.push(self.ask(&request).await?);
            }
        }
        Ok(answers)
    }

    /// Sends the request of one line.
    async fn ask(&self, record: &Answer) -> Result<Answer> {
        let mut words = record.ask.splitn(4, ' ').skip(1);
        let (method, path) = words.next().zip(words.next()).context("no request")?;
        let url = format!("{}{path}", self.address);
        let mut request = self.client.request(method.parse()?, url).header("host", HOST);
        for (name, value) in &record.sent {
            request = request.header(name, value);
        }
        if let Some(body) = words.next() {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = request.send().await?;
        let kept = HEADERS.iter().filter_map(|name| {
            let value = answer.headers().get(*name)?.to_str().ok()?;
            Some(((*name).to_owned(), value.to_owned()))
        });
        let (status, headers) = (answer.status().as_u16(), kept.collect());
        let text = answer.text().await?;
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_else(|_| json!(text)) };
        Ok(Answer { ask: record.ask.clone(), sent: record.sent.clone(), status, headers, body })
    }

    async fn whole(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.address));
        let answer = request.header("X-OpenStack-Ironic-API-Version", "1.115").send().await?.error_for_status()?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    async fn wait(&self, what: &str, state: &str) -> Result<()> {
        let (path, field) = match what {
            "wait" => ("/v1/nodes/node-1", "provision_state"),
            _ => ("/v1/allocations/alloc-1", "state"),
        };
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let now = self.whole(path).await?;
            // Ironic shows the state before it releases the node.
            if now[field] == state && now.get("reservation").is_none_or(Value::is_null) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{path} is {} and not {state}: {}", now[field], now["last_error"]);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sets a state that no request reaches quickly.
    async fn by_hand(&self, change: &str) -> Result<()> {
        match &self.hand {
            Hand::Ours(store) => self.by_our_hand(store, change).await,
            Hand::Real(peer) => peer.sql(change),
        }
    }

    async fn by_our_hand(&self, store: &Store, change: &str) -> Result<()> {
        let word = |name: &str| {
            let rest = change.split_once(&format!("{name}="))?.1;
            Some(rest.split([',', ' ']).next().unwrap_or(rest).trim_matches('\''))
        };
        let quoted = change.split_once("provision_state='").and_then(|(_, rest)| rest.split_once('\''));
        let state = match quoted.map(|(state, _)| state) {
            Some("inspect wait") => State::Inspecting { stage: Stage::Boot },
            Some("inspecting") => State::Inspecting { stage: Stage::Work },
            Some("clean wait") => State::Cleaning { stage: Stage::Boot, manual: false },
            Some("active") => State::Active,
            Some("available") => State::Available,
            Some("manageable") => State::Manageable,
            other => bail!("no state {other:?}"),
        };
        let node: NodeId = BY_HAND.parse().map_err(|_| anyhow::anyhow!("no id"))?;
        let racks = store.list(&key::racks()).await?;
        let rack = racks.first().context("no rack")?.1.value.id;
        let life = store.get(&key::life(rack, node)).await?.context("no life")?;
        let mut value = life.value.clone();
        (value.state, value.failure) = (state, None);
        // Time that the node's owner waits for starts late, so the owner leaves the node alone.
        value.since = FAR_FUTURE;
        let mut all = Change::new().put(&key::life(rack, node), &value, Expect::Revision(life.revision))?;
        if let Some(instance) = word("instance_uuid") {
            let read = store.get(&key::node_spec(rack, node)).await?.context("no specification")?;
            let mut value = read.value.clone();
            value.spec.instance_uuid = (instance != "NULL").then(|| instance.to_owned());
            all = all.put(&key::node_spec(rack, node), &value, Expect::Revision(read.revision))?;
        }
        store.commit(all).await?;
        // That the view has it can only be seen in an answer.
        let until = Instant::now() + WAIT_TIMEOUT;
        let shown = format!("/v1/nodes/{BY_HAND}");
        while self.whole(&shown).await?["provision_state"] != state.ironic_name() {
            ensure!(Instant::now() < until, "it is not shown as {state}");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Intended differences: requests with the names of their reasons.
#[derive(Debug)]
pub struct Rules {
    asks: BTreeMap<String, String>,
    /// Reads that differ in every version.
    reads: BTreeMap<String, String>,
}

impl Rules {
    /// Parses `golden/ironic.txt`: one `reason<TAB>request` per line; version `*` means all.
    ///
    /// # Errors
    /// A reason is not in [`DIFFERENCES`].
    pub fn written() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/ironic.txt");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut rules = Self { asks: BTreeMap::new(), reads: BTreeMap::new() };
        for (reason, ask) in text.lines().filter_map(|line| line.split_once('\t')) {
            let known = DIFFERENCES.iter().any(|difference| difference.name == reason);
            ensure!(known, "{reason:?} is no difference of wire_ironic's: {ask}");
            match ask.strip_prefix("* ") {
                Some(read) => rules.reads.insert(read.to_owned(), reason.to_owned()),
                None => rules.asks.insert(ask.to_owned(), reason.to_owned()),
            };
        }
        Ok(rules)
    }

    /// Number of requests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.asks.len()
    }

    /// Returns how many answers are equal, if every other one is listed and every entry is needed.
    ///
    /// # Errors
    /// They are not; the error lists which, and how they differ.
    pub fn hold(&self, real: &[Answer], ours: &[Answer]) -> Result<usize> {
        ensure!(real.len() == ours.len(), "{} answers of {}", ours.len(), real.len());
        let (mut wrong, mut alike) = (Vec::new(), 0);
        let mut unused: BTreeSet<&str> = self.asks.keys().map(String::as_str).collect();
        for (real, ours) in real.iter().zip(ours) {
            match unlike(real, ours) {
                None => alike += 1,
                Some(how) if !self.asks.contains_key(&real.ask) => wrong.push(format!("{}\n     {how}", real.ask)),
                Some(_) => drop(unused.remove(real.ask.as_str())),
            }
        }
        wrong.extend(unused.iter().map(|ask| format!("{ask}\n     is answered alike and needs no excuse")));
        ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        Ok(alike)
    }

    /// Returns how many of these reads are equal, if every other one is listed and every entry is needed.
    ///
    /// # Errors
    /// They are not; the error lists which, and how they differ.
    pub fn hold_in_every_version(&self, real: &[Answer], ours: &[Answer]) -> Result<usize> {
        ensure!(real.len() == ours.len(), "{} answers of {}", ours.len(), real.len());
        let (mut wrong, mut alike) = (BTreeMap::<String, Vec<&str>>::new(), 0);
        let mut unused: BTreeSet<&str> = self.reads.keys().map(String::as_str).collect();
        for (real, ours) in real.iter().zip(ours) {
            let (version, read) = real.ask.split_once(' ').context("no version")?;
            match unlike(real, ours) {
                None => alike += 1,
                Some(_) if self.reads.contains_key(read) => drop(unused.remove(read)),
                Some(how) => wrong.entry(format!("{read}\n     {how}")).or_default().push(version),
            }
        }
        let mut wrong: Vec<String> =
            wrong.into_iter().map(|(how, versions)| format!("{} {how}", versions.join(","))).collect();
        wrong.extend(unused.iter().map(|read| format!("* {read}\n     is answered alike and needs no excuse")));
        ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        Ok(alike)
    }

    /// Checks that a real Ironic still answers as recorded, except where our answers differ on purpose.
    ///
    /// # Errors
    /// It does not; the error lists where.
    pub fn still(&self, recorded: &[Answer], now: &[Answer]) -> Result<()> {
        ensure!(recorded.len() == now.len(), "{} answers of {}", now.len(), recorded.len());
        let pairs = recorded.iter().zip(now).filter(|(then, _)| !self.asks.contains_key(&then.ask));
        let wrong: Vec<String> =
            pairs.filter_map(|(then, now)| Some(format!("{}\n     {}", then.ask, unlike(then, now)?))).collect();
        ensure!(wrong.is_empty(), "{} not as recorded:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    }
}

/// Describes how a response differs from Ironic's. Returns `None` if it does not. Generated ids and hosts are not compared.
#[must_use]
pub fn unlike(real: &Answer, ours: &Answer) -> Option<String> {
    let mut words = Vec::new();
    if real.status != ours.status {
        words.push(format!("status {} and not {}", ours.status, real.status));
    }
    let headers = |answer: &Answer| -> BTreeMap<String, String> {
        answer.headers.iter().map(|(name, value)| (name.clone(), unnamed(value))).collect()
    };
    if headers(real) != headers(ours) {
        words.push(format!("headers {:?} and not {:?}", ours.headers, real.headers));
    }
    let (real, ours) = (plain(&inside(&real.body)), plain(&inside(&ours.body)));
    if real != ours {
        let names: BTreeSet<&String> =
            [&real, &ours].iter().filter_map(|body| body.as_object()).flat_map(Map::keys).collect();
        let differs = names.into_iter().filter(|name| real.get(*name) != ours.get(*name));
        let told: Vec<String> =
            differs.map(|name| format!("{name} {:?} and not {:?}", ours.get(name), real.get(name))).collect();
        words.push(if told.is_empty() { format!("{ours} and not {real}") } else { told.join("; ") });
    }
    (!words.is_empty()).then(|| words.join("\n     "))
}

/// All words of a body, in any form.
fn inside(body: &Value) -> Value {
    let text = body.get("error_message").and_then(Value::as_str);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| body.clone())
}

fn plain(body: &Value) -> Value {
    match body {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !OF_THE_MOMENT.contains(&name.as_str()));
            // The difference `more-secrets`: Ironic shows secrets in these.
            let shown = |(name, value): (&String, &Value)| match name.as_str() {
                "extra" | "properties" => (name.clone(), masked(plain(value))),
                _ => (name.clone(), plain(value)),
            };
            Value::Object(kept.map(shown).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Value::String(text) => json!(unnamed(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => body.clone(),
    }
}

/// A text without generated ids and hosts, and with the fields of a link in a fixed order.
fn unnamed(text: &str) -> String {
    let parts = text.split(['/', '=']).map(|part| {
        let is_fresh =
            part.len() == 36 && uuid::Uuid::try_parse(part).is_ok() && !NAMED.iter().any(|of| part.starts_with(of));
        let is_host = part.starts_with("127.0.0.1:") || part == "conductor-a";
        if is_fresh {
            "an id".to_owned()
        } else if is_host {
            "a host".to_owned()
        } else {
            part.to_owned()
        }
    });
    let mut parts: Vec<String> = parts.collect();
    for part in parts.iter_mut().filter(|part| part.contains(',')) {
        let (fields, rest) = part.split_once('&').map_or((part.as_str(), None), |(fields, rest)| (fields, Some(rest)));
        let mut fields: Vec<&str> = fields.split(',').collect();
        fields.sort_unstable();
        let sorted = fields.join(",");
        *part = rest.map_or_else(|| sorted.clone(), |rest| format!("{sorted}&{rest}"));
    }
    parts.join("/")
}
