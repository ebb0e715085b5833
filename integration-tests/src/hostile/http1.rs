//! HTTP/1.1 as no client sends it: what a proxy in front could understand differently, and what a parser could be made to
//! keep or to do.

use std::io::Write as _;

use anyhow::{Result, ensure};
use flate2::{Compression, write::GzEncoder};

use super::{Attack, raw};

/// Bytes of one connection, and what must hold of what comes back before the service closes it.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Makes the bytes.
    pub bytes: fn() -> Vec<u8>,
    /// Statuses of which the only response must have one. The service may also close the connection without a response
    /// while a large request is being sent.
    pub statuses: &'static [u16],
    /// What must not be in the response; empty if anything may.
    pub absent: &'static str,
}

/// What a proxy in front might take for the next request: it would list the nodes.
fn smuggled() -> String {
    format!("GET /v1/nodes?smuggled HTTP/1.1\r\nHost: h\r\n{}\r\n", raw::as_user("ann"))
}

/// A request head of a user, up to the empty line.
fn head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: h\r\n{}{fields}", raw::as_user("ann"))
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("{}\r\n{body}", head("POST /v1/nodes", fields)).into_bytes()
}

fn get(path: &str, fields: &str) -> Vec<u8> {
    format!("{}\r\n", head(&format!("GET {path}"), &format!("Connection: close\r\n{fields}"))).into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn json(body: &[u8], fields: &str) -> Vec<u8> {
    let fields = format!("Connection: close\r\nContent-Length: {}\r\n{fields}", body.len());
    [head("POST /v1/nodes", &fields).as_bytes(), b"\r\n", body].concat()
}

/// 100 MiB of brackets, of which gzip makes 100 KiB.
fn bomb() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    (0..100).for_each(|_| drop(packed.write_all(&vec![b'['; 1 << 20])));
    packed.finish().unwrap_or_default()
}

const fn refused(name: &'static str, source: &'static str, bytes: fn() -> Vec<u8>) -> Attack<Sent> {
    Attack { name, source, how: Sent { bytes, statuses: &[400], absent: "" } }
}

const fn answered(
    name: &'static str,
    source: &'static str,
    bytes: fn() -> Vec<u8>,
    statuses: &'static [u16],
    absent: &'static str,
) -> Attack<Sent> {
    Attack { name, source, how: Sent { bytes, statuses, absent } }
}

/// The attacks. Each is sent to the REST API with valid credentials, so that a smuggled request would be answered.
pub const TABLE: &[Attack<Sent>] = &[
    refused("A request has both a length and chunks", "RFC 9112 §6.1, CL.TE", || {
        let body = format!("0\r\n\r\n{}", smuggled());
        post(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len()), &body)
    }),
    refused("A request has two lengths", "RFC 9112 §6.3 rule 5", || {
        post("Content-Length: 2\r\nContent-Length: 99\r\n", &format!("{{}}{}", smuggled()))
    }),
    refused("A list of lengths disagrees", "RFC 9110 §8.6", || post("Content-Length: 2, 99\r\n", "{}")),
    refused("A length has a sign", "CVE-2018-7159", || post("Content-Length: +2\r\n", "{}")),
    refused("A length is hexadecimal", "RFC 9110 §8.6", || post("Content-Length: 0x2\r\n", "{}")),
    refused("A length overflows", "CVE-2005-2088", || post("Content-Length: 99999999999999999999999\r\n", "{}")),
    refused("The last transfer coding is not chunked", "RFC 9112 §6.3 rule 4", || {
        post("Transfer-Encoding: chunked, identity\r\n", &format!("0\r\n\r\n{}", smuggled()))
    }),
    refused("The transfer coding is a word like chunked", "TE.TE", || {
        post("Transfer-Encoding: xchunked\r\n", &format!("0\r\n\r\n{}", smuggled()))
    }),
    refused("A blank precedes the colon of a field", "RFC 9112 §5.1, CVE-2019-16869", || {
        post("Transfer-Encoding : chunked\r\n", &format!("0\r\n\r\n{}", smuggled()))
    }),
    refused("A field goes on in the next line", "RFC 9112 §5.2", || {
        get("/v1/nodes", "X: a\r\n Transfer-Encoding: chunked\r\n")
    }),
    refused("A field has a NUL", "RFC 9110 §5.5", || get("/v1/nodes", "X: a\0b\r\n")),
    refused("A field has a bare carriage return", "RFC 9112 §2.2", || {
        get("/v1/nodes", "X: a\rTransfer-Encoding: chunked\r\n")
    }),
    refused("HTTP/1.0 has chunks", "RFC 9112 §6.1", || {
        format!("POST /v1/nodes HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}", smuggled()).into_bytes()
    }),
    refused("The request has no host", "RFC 9112 §3.2", || {
        format!("GET /v1/nodes HTTP/1.1\r\nConnection: close\r\n{}\r\n", raw::as_user("ann")).into_bytes()
    }),
    refused("The request has two hosts", "RFC 9112 §3.2, CVE-2020-28361", || {
        get("/v1/nodes", "Host: evil.example\r\n")
    }),
    answered(
        "The host is markup that links would contain",
        "RFC 3986 §3.2.2, host header poisoning",
        || {
            let fields = format!("Host: <b>evil</b>\r\nConnection: close\r\n{}", raw::as_user("ann"));
            format!("GET /v1/nodes HTTP/1.1\r\n{fields}\r\n").into_bytes()
        },
        &[400],
        "<b>",
    ),
    refused("A chunk's lines end in a line feed alone", "RFC 9112 §7.1, CVE-2024-9622", || {
        chunked(&format!("2\n{{}}\n0\n\n{}", smuggled()))
    }),
    refused("The size of a chunk overflows", "CVE-2013-2028", || chunked("FFFFFFFFFFFFFFFFF\r\n{}")),
    refused("The size of a chunk is negative", "RFC 9112 §7.1", || chunked("-2\r\n{}\r\n0\r\n\r\n")),
    refused("A chunk is longer than its size", "RFC 9112 §7.1", || {
        chunked(&format!("2\r\n{{}}XX0\r\n\r\n{}", smuggled()))
    }),
    refused("A chunk has an endless extension", "CVE-2023-39326", || chunked(&format!("2;{}", "a".repeat(4 << 20)))),
    refused("Each of many chunks has a long extension", "CVE-2023-39326", || {
        chunked(&format!("1;a={}\r\n \r\n", "b".repeat(200)).repeat(20_000))
    }),
    refused("Trailers do not end", "RFC 9112 §7.1.2", || {
        chunked(&format!("2\r\n{{}}\r\n0\r\n{}", "X: b\r\n".repeat(500_000)))
    }),
    answered(
        "A field has 4 MiB",
        "RFC 6585 §5",
        || get("/v1/nodes", &format!("X: {}\r\n", "a".repeat(4 << 20))),
        &[431],
        "",
    ),
    answered("A request has 50,000 fields", "RFC 6585 §5", || get("/v1/nodes", &"X: a\r\n".repeat(50_000)), &[431], ""),
    answered(
        "A target has 1 MiB",
        "RFC 9110 §15.5.15",
        || get(&format!("/v1/nodes/{}", "a".repeat(1 << 20)), ""),
        &[414, 431],
        "",
    ),
    answered(
        "A body of 90 GiB is announced with Expect",
        "RFC 9110 §10.1.1",
        || post("Content-Length: 99999999999\r\nExpect: 100-continue\r\n", ""),
        &[413],
        "",
    ),
    refused("A body of brackets is 1,000 times as large unpacked", "RFC 9110 §8.4, decompression bomb", || {
        json(&bomb(), "Content-Encoding: gzip\r\n")
    }),
    refused("Arrays are nested 400,000 deep", "RFC 8259 §9, CVE-2020-7661", || json(&b"[".repeat(400_000), "")),
    refused("Objects are nested 100,000 deep", "RFC 8259 §9", || json(&br#"{"a":"#.repeat(100_000), "")),
    refused("A number has 900,000 digits", "CVE-2020-10735", || {
        let body = format!(r#"{{"driver": "fake-hardware", "extra": {{"n": {}}}}}"#, "9".repeat(900_000));
        json(body.as_bytes(), "")
    }),
    refused("A number is infinite", "RFC 8259 §6", || {
        json(br#"{"driver": "fake-hardware", "extra": {"n": 1e400}}"#, "")
    }),
    refused("A name is half of a surrogate pair", "RFC 8259 §8.2", || {
        json(br#"{"driver": "fake-hardware", "name": "\ud800"}"#, "")
    }),
    answered(
        "A target names another server",
        "RFC 9112 §3.2.2, open proxy",
        || get("http://169.254.169.254/latest/meta-data", ""),
        &[404],
        "ami",
    ),
    answered(
        "CONNECT asks for a tunnel to loopback",
        "RFC 9110 §9.3.6",
        || format!("{}\r\n", head("CONNECT 127.0.0.1:2379", "Connection: close\r\n")).into_bytes(),
        &[400, 405, 501],
        "",
    ),
    answered(
        "TRACE asks for the fields of the request",
        "RFC 9110 §9.3.8, cross-site tracing",
        || format!("{}\r\n", head("TRACE /v1/nodes", "Connection: close\r\nX-Canary: yellow\r\n")).into_bytes(),
        &[405, 501],
        "yellow",
    ),
    answered("A path climbs out of the API", "CWE-22", || get("/v1/../../../../etc/passwd", ""), &[400, 404], "root:"),
    answered(
        "A path climbs out of the API in percent-encoding",
        "CWE-22, CVE-2021-41773",
        || get("/v1/nodes/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd", ""),
        &[400, 404],
        "root:",
    ),
    answered(
        "An id has a line break and a header field",
        "CWE-113",
        || get("/v1/nodes/x%0d%0aSet-Cookie:%20a=b", ""),
        &[400, 404],
        "\nSet-Cookie",
    ),
    answered(
        "A path without credentials looks like a public one",
        "CWE-289, CVE-2022-22978",
        || b"GET /v1/lookup%2f..%2fnodes HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec(),
        &[401, 404],
        "\"nodes\"",
    ),
    answered(
        "A lookup says by X-Forwarded-For that it comes from loopback",
        "CWE-348",
        || get("/v1/lookup?addresses=52:54:00:02:00:01", "X-Forwarded-For: 127.0.0.1\r\n"),
        &[404],
        "agent_token\"",
    ),
    answered(
        "An upgrade to HTTP/2 carries settings",
        "RFC 7540 §3.2, h2c smuggling",
        || {
            let upgrade =
                "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
            format!("{}\r\n", head("GET /v1/nodes", upgrade)).into_bytes()
        },
        &[200],
        "101 Switching",
    ),
    answered(
        "A page of another site posts with the browser's credentials",
        "OWASP CSRF, Fetch Metadata",
        || {
            let body = br#"{"driver": "fake-hardware", "name": "cross-site"}"#;
            json(body, "Content-Type: text/plain\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n")
        },
        &[403],
        "cross-site\"",
    ),
    answered(
        "An old browser posts for a page of another site",
        "RFC 6454 §7",
        || {
            let body = br#"{"driver": "fake-hardware", "name": "cross-site"}"#;
            json(body, "Content-Type: text/plain\r\nOrigin: http://evil.example\r\n")
        },
        &[403],
        "cross-site\"",
    ),
];

/// Sends the bytes of a row to the REST API at this address.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(address: &str, sent: &Sent) -> Result<String> {
    let bytes = (sent.bytes)();
    let answer = raw::exchange(address, &bytes).await?;
    let is_cut = answer.statuses.is_empty() && bytes.len() > 64 << 10;
    let is_refused = matches!(answer.statuses.as_slice(), [status] if sent.statuses.contains(status));
    ensure!(is_refused || is_cut, "{:?} and not one of {:?}: {}", answer.statuses, sent.statuses, answer.text);
    ensure!(sent.absent.is_empty() || !answer.text.contains(sent.absent), "the response has {:?}", sent.absent);
    Ok(if is_cut { "closed".to_owned() } else { format!("{:?}", answer.statuses) })
}
