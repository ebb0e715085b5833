//! Serves files by digest over HTTP, with ranges.

use std::{
    io::{self, IoSliceMut},
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use domain::image::Digest;
use futures::{Stream, stream};
use rustix::io::{ReadWriteFlags, preadv2};
use service_kit::{
    Host,
    listener::{self, Listener},
};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    image::{Cache, NotServed, Reading},
    metrics,
    range::{RequestedRange, requested_range},
};

/// Size of the chunks that are read and sent, in bytes. A connection whose client does not read holds three of them at
/// most: HTTP/1 buffers 64 KiB.
const CHUNK_BYTES: usize = 32 << 10;
/// After how many seconds a client asks again for a file that is being verified (RFC 9110 §10.2.3).
const RETRY_AFTER_SECS: &str = "1";
/// Maximum number of threads that wait for the disk.
const MAX_DISK_READS: usize = 8;

static DISK_READS: Semaphore = Semaphore::const_new(MAX_DISK_READS);

/// Serves files until the host stops.
pub(crate) async fn serve(host: Host, socket: TcpListener, listener: Listener, cache: Cache) {
    // axum answers HEAD requests like GET requests, without the body.
    let routes = Router::new().route("/files/{digest}", get(file)).with_state(cache);
    listener::serve(host, socket, listener, move |_| routes.clone()).await;
}

async fn file(State(cache): State<Cache>, Path(digest): Path<String>, headers: HeaderMap) -> Response {
    let missing = |why: String| (StatusCode::NOT_FOUND, format!("{why}\n")).into_response();
    let digest: Digest = match digest.parse() {
        Ok(digest) => digest,
        Err(error) => return missing(format!("{error}")),
    };
    let wanted = digest.clone();
    let opening = tokio::task::spawn_blocking(move || cache.open_file(&wanted));
    let reading = match opening.await {
        Ok(Ok(reading)) => reading,
        Ok(Err(why @ NotServed::Unverified)) => {
            let retry = [(header::RETRY_AFTER, RETRY_AFTER_SECS)];
            return (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{digest}: {why}\n")).into_response();
        }
        Ok(Err(NotServed::Missing)) | Err(_) => return missing(format!("{digest} is not in the cache")),
    };
    let size = reading.size();
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, first, count) = match requested_range(asked, size) {
        RequestedRange::Whole => (StatusCode::OK, 0, size),
        RequestedRange::Range(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        RequestedRange::Unsatisfiable => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
        }
    };
    let mut response = (status, Body::from_stream(chunks(Arc::new(reading), first, count))).into_response();
    let answer = response.headers_mut();
    answer.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    answer.insert(header::CONTENT_LENGTH, count.into());
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = format!("bytes {first}-{}/{size}", first + count - 1).parse()
    {
        answer.insert(header::CONTENT_RANGE, range);
    }
    response
}

type Chunk = Result<Bytes, io::Error>;

/// Reads `count` bytes from `first` on. Only one chunk is in memory at a time, and the next one is read when the client
/// has taken it. A file that was changed meanwhile ends in an error before its last chunk.
fn chunks(file: Arc<Reading>, first: u64, count: u64) -> Pin<Box<dyn Stream<Item = Chunk> + Send>> {
    Box::pin(stream::unfold((file, first, count), async |(file, at, left)| {
        if left == 0 {
            return None;
        }
        let size = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        match read_chunk(&file, at, size).await {
            Ok(chunk) if chunk.is_empty() => Some((Err(io::ErrorKind::UnexpectedEof.into()), (file, at, 0))),
            Ok(chunk) if chunk.len() as u64 == left && !file.is_unchanged() => {
                Some((Err(io::Error::other("the file was changed while it was sent")), (file, at, 0)))
            }
            Ok(chunk) => {
                let got = u64::try_from(chunk.len()).unwrap_or(0);
                metrics::sent(got);
                Some((Ok(Bytes::from(chunk)), (file, at + got, left - got)))
            }
            Err(error) => Some((Err(error), (file, at, 0))),
        }
    }))
}

/// Reads at most `size` bytes: at once if the page cache has them, otherwise on a thread that may wait for the disk.
async fn read_chunk(reading: &Arc<Reading>, at: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; size];
    // A file system that does not know the flag answers with an error; then a thread reads, too.
    if let Ok(got) = preadv2(&reading.file, &mut [IoSliceMut::new(&mut chunk)], at, ReadWriteFlags::NOWAIT) {
        chunk.truncate(got);
        return Ok(chunk);
    }
    // Few threads read: the allocator keeps memory for each, and a disk is not faster for more.
    let permit = DISK_READS.acquire().await.map_err(io::Error::other)?;
    let source = Arc::clone(reading);
    let reading = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let got = source.file.read_at(&mut chunk, at)?;
        chunk.truncate(got);
        Ok(chunk)
    });
    reading.await.unwrap_or_else(|stopped| Err(stopped.into()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_part_of_a_file_is_read_in_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..3 * CHUNK_BYTES + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        std::fs::write(&path, &content).unwrap();
        let size = content.len();
        // First byte, count.
        for (first, count) in
            [(0, size), (0, 0), (0, 1), (CHUNK_BYTES - 1, 2), (1, CHUNK_BYTES), (7, 2 * CHUNK_BYTES + 1), (size - 1, 1)]
        {
            let file = Arc::new(Reading::of(File::open(&path).unwrap()));
            let number = |value| u64::try_from(value).unwrap();
            let read: Vec<Chunk> = chunks(file, number(first), number(count)).collect().await;
            let read: Vec<u8> = read.into_iter().flat_map(|chunk| chunk.unwrap()).collect();
            assert!(read == content[first..first + count], "{first} {count}");
        }
        let file = Arc::new(Reading::of(File::open(&path).unwrap()));
        let beyond: Vec<Chunk> = chunks(file, 0, u64::try_from(size + 1).unwrap()).collect().await;
        assert!(beyond.last().is_some_and(Result::is_err), "a file that ends early is reported");
        // A change while the file is sent.
        let file = Arc::new(Reading::of(File::open(&path).unwrap()));
        let mut sending = chunks(file, 0, u64::try_from(size).unwrap());
        assert!(sending.next().await.unwrap().is_ok());
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(u64::try_from(size).unwrap() + 1).unwrap();
        let rest: Vec<Chunk> = sending.collect().await;
        assert!(rest.last().is_some_and(Result::is_err), "a file that is changed while it is sent is reported");
    }
}
