//! Serves files by digest over HTTP, with ranges.

use std::pin::Pin;

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
use service_kit::Host;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    net::TcpListener,
};

use crate::{
    image::Cache,
    metrics,
    range::{RequestedRange, requested_range},
};

/// Size of the chunks that are read and sent, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Serves files until the host stops.
pub(crate) async fn serve(host: Host, listener: TcpListener, cache: Cache) {
    // axum answers HEAD requests like GET requests, without the body.
    let routes = Router::new().route("/files/{digest}", get(file)).with_state(cache);
    let stop = host.clone();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.stopping().await });
    if let Err(error) = serving.await {
        tracing::error!(%error, "HTTP listener for files failed");
    }
}

async fn file(State(cache): State<Cache>, Path(digest): Path<String>, headers: HeaderMap) -> Response {
    let missing = |why: String| (StatusCode::NOT_FOUND, format!("{why}\n")).into_response();
    let digest: Digest = match digest.parse() {
        Ok(digest) => digest,
        Err(error) => return missing(format!("{error}")),
    };
    let opened = match File::open(cache.path(&digest)).await {
        Ok(file) => file.metadata().await.map(|metadata| (file, metadata.len())),
        Err(error) => Err(error),
    };
    let Ok((mut file, size)) = opened else { return missing(format!("{digest} is not in the cache")) };
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, first, count) = match requested_range(asked, size) {
        RequestedRange::Whole => (StatusCode::OK, 0, size),
        RequestedRange::Range(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        RequestedRange::Unsatisfiable => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
        }
    };
    if let Err(error) = file.seek(std::io::SeekFrom::Start(first)).await {
        tracing::warn!(%digest, %error, "cannot read a cached file");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = (status, Body::from_stream(chunks(file, count))).into_response();
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

type Chunk = Result<Bytes, std::io::Error>;

fn chunks(file: File, count: u64) -> Pin<Box<dyn Stream<Item = Chunk> + Send>> {
    Box::pin(stream::unfold((file, count), async |(mut file, left)| {
        if left == 0 {
            return None;
        }
        let size = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut chunk = vec![0; size];
        match file.read(&mut chunk).await {
            Ok(0) => Some((Err(std::io::ErrorKind::UnexpectedEof.into()), (file, 0))),
            Ok(got) => {
                chunk.truncate(got);
                let got = u64::try_from(got).unwrap_or(0);
                metrics::sent(got);
                Some((Ok(Bytes::from(chunk)), (file, left - got)))
            }
            Err(error) => Some((Err(error), (file, 0))),
        }
    }))
}
