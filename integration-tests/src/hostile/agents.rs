//! Calls of agents with Ironic's protocol, from where no agent of the node is, and with what another agent was given.

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};

use super::{Attack, Work, boot::Segment, raw};

/// Where a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The stranger's address on the segment, to the listener of agents.
    Segment,
    /// Loopback, by the REST API, which passes calls on where nothing tells the caller's address: what is checked there
    /// is what the call has in it.
    Loopback,
}

/// A call, and what must hold.
#[derive(Debug, Clone, Copy)]
pub enum Sent {
    /// A call that is answered with this status: origin, path, more header fields, body.
    Call(From, fn(&Segment) -> String, &'static str, fn(&Segment) -> Value, u16),
    /// Something else.
    Other(Work<Segment>),
}

const fn lookup(
    name: &'static str,
    source: &'static str,
    from: From,
    path: fn(&Segment) -> String,
    fields: &'static str,
) -> Attack<Sent> {
    Attack { name, source, how: Sent::Call(from, path, fields, |_| Value::Null, 404) }
}

const fn beat(
    name: &'static str,
    source: &'static str,
    from: From,
    body: fn(&Segment) -> Value,
    status: u16,
) -> Attack<Sent> {
    Attack { name, source, how: Sent::Call(from, |segment| format!("heartbeat/{}", segment.node), "", body, status) }
}

const fn report(name: &'static str, source: &'static str, from: From) -> Attack<Sent> {
    Attack { name, source, how: Sent::Call(from, |_| "continue_inspection".to_owned(), "", inventory, 404) }
}

/// The attacks, on a node that waits for its agent, whose token was given out once.
pub const TABLE: &[Attack<Sent>] = &[
    lookup("A stranger looks the node up", "ISSUES-SEEN §6", From::Segment, by_mac, ""),
    lookup(
        "A stranger looks the node up with its address in X-Forwarded-For",
        "CWE-348",
        From::Segment,
        by_mac,
        "X-Forwarded-For: 10.77.1.100\r\n",
    ),
    lookup(
        "A stranger looks the node up with its address in Forwarded",
        "RFC 7239 §8.1",
        From::Segment,
        by_mac,
        "Forwarded: for=10.77.1.100\r\n",
    ),
    lookup(
        "A stranger looks the node up by its id",
        "ISSUES-SEEN §6",
        From::Segment,
        |segment| format!("lookup?node_uuid={}", segment.node),
        "",
    ),
    lookup(
        "A proxy passes a lookup on",
        "SECURITY-MODEL, agents",
        From::Loopback,
        by_mac,
        "X-Forwarded-For: 10.77.1.100\r\n",
    ),
    lookup(
        "A MAC of no node is looked up",
        "OSSA-2020-001",
        From::Loopback,
        |_| "lookup?addresses=52:54:00:99:00:01".to_owned(),
        "",
    ),
    Attack {
        name: "The token is asked for again",
        source: "ISSUES-SEEN §6, token replay",
        how: Sent::Other(|segment| asked_again(segment).boxed_local()),
    },
    beat(
        "A stranger has the token",
        "ISSUES-SEEN §6, token replay",
        From::Segment,
        |segment| heartbeat(&segment.token, HERE, PEM),
        404,
    ),
    beat(
        "The token of a heartbeat is another",
        "CWE-287",
        From::Loopback,
        |_| heartbeat(&"0".repeat(64), HERE, PEM),
        400,
    ),
    beat(
        "A heartbeat has no token",
        "CWE-306",
        From::Loopback,
        |_| json!({"callback_url": HERE, "agent_version": "13.0.0"}),
        400,
    ),
    beat(
        "The callback is over plain HTTP",
        "ISSUES-SEEN §6",
        From::Loopback,
        |segment| heartbeat(&segment.token, "http://10.77.1.100:9999", PEM),
        400,
    ),
    beat(
        "The callback has no certificate",
        "ISSUES-SEEN §6",
        From::Loopback,
        |segment| heartbeat(&segment.token, HERE, None),
        400,
    ),
    beat(
        "The callback is at another machine",
        "CWE-918",
        From::Loopback,
        |segment| heartbeat(&segment.token, "https://10.77.1.101:9999", PEM),
        400,
    ),
    beat(
        "The callback is on loopback",
        "CWE-918",
        From::Loopback,
        |segment| heartbeat(&segment.token, "https://127.0.0.1:9999", PEM),
        400,
    ),
    beat(
        "The callback's host is a name",
        "CWE-918, DNS rebinding",
        From::Loopback,
        |segment| heartbeat(&segment.token, "https://metadata.internal", PEM),
        400,
    ),
    beat(
        "The callback's user looks like its host",
        "RFC 3986 §7.6",
        From::Loopback,
        |segment| heartbeat(&segment.token, "https://10.77.1.100@127.0.0.1:9999", PEM),
        400,
    ),
    Attack {
        name: "A heartbeat is for no node",
        source: "CWE-203",
        how: Sent::Call(
            From::Segment,
            |_| "heartbeat/11111111-1111-4111-8111-111111111111".to_owned(),
            "",
            |segment| heartbeat(&segment.token, HERE, PEM),
            404,
        ),
    },
    report("A stranger reports what the node is", "ISSUES-SEEN §6", From::Segment),
    report("A report comes that no boot asked for", "ISSUES-SEEN §6", From::Loopback),
    Attack {
        name: "A report that no boot asked for is repeated",
        source: "ISSUES-SEEN §6, replay",
        how: Sent::Other(|segment| repeated_reports(segment).boxed_local()),
    },
];

const HERE: &str = "https://10.77.1.100:9999";
const PEM: Option<&str> = Some("pem");

fn by_mac(segment: &Segment) -> String {
    format!("lookup?addresses={}", segment.mac)
}

fn heartbeat(token: &str, callback: &str, certificate: Option<&str>) -> Value {
    json!({"agent_token": token, "callback_url": callback, "agent_version": "13.0.0", "agent_verify_ca": certificate})
}

/// A report with one more NIC.
fn inventory(segment: &Segment) -> Value {
    json!({"inventory": {
        "interfaces": [
            {"name": "eth0", "mac_address": segment.mac.to_string()},
            {"name": "eth1", "mac_address": "52:54:00:66:66:66"}
        ],
        "bmc_address": "10.77.2.11", "disks": [], "cpu": {"count": 1, "architecture": "x86_64"},
        "memory": {"physical_mb": 1024}, "boot": {"current_boot_mode": "bios", "pxe_interface": segment.mac.to_string()}
    }, "plugin_data": {}})
}

/// Makes a call.
///
/// # Errors
/// The service does not answer.
pub async fn call(segment: &Segment, from: From, path: &str, fields: &str, body: &Value) -> Result<raw::Exchange> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-OpenStack-Ironic-API-Version: 1.115\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    );
    match from {
        From::Segment => {
            let address = segment.agents.clone();
            segment.stranger.enter(async || raw::exchange(&address, request.as_bytes()).await)?
        }
        From::Loopback => raw::exchange(&segment.rest, request.as_bytes()).await,
    }
}

/// Carries out a row.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(segment: &Segment, sent: &Sent) -> Result<String> {
    match sent {
        Sent::Call(from, path, fields, body, status) => {
            let answer = call(segment, *from, &path(segment), fields, &body(segment)).await?;
            ensure!(answer.statuses == [*status], "{}", answer.text);
            ensure!(!answer.text.contains(&segment.token), "the response has the token");
            Ok(status.to_string())
        }
        Sent::Other(work) => work(segment).await,
    }
}

async fn asked_again(segment: &Segment) -> Result<String> {
    for _ in 0..3 {
        let answer = call(segment, From::Loopback, &by_mac(segment), "", &Value::Null).await?;
        ensure!(answer.statuses == [200] && !answer.text.contains(&segment.token), "{}", answer.text);
        ensure!(answer.text.contains("\"******\""), "{}", answer.text);
    }
    Ok("it is not given again".to_owned())
}

/// Number of the node's ports.
async fn ports(segment: &Segment) -> Result<usize> {
    let node = segment.api.clone().node("n1").await?;
    Ok(node.intent.context("no intent")?.ports.len())
}

async fn repeated_reports(segment: &Segment) -> Result<String> {
    let before = ports(segment).await?;
    for _ in 0..5 {
        let answer = call(segment, From::Loopback, "continue_inspection", "", &inventory(segment)).await?;
        ensure!(answer.statuses == [404] && !answer.text.contains("agent_token\":\""), "{}", answer.text);
    }
    ensure!(ports(segment).await? == before, "a report made a port");
    Ok("it makes no port and gets no token".to_owned())
}
