//! A list that goes on: what nodes are, and each time what they become, as server-sent events (WHATWG HTML §9.2).
//!
//! `GET /v1/nodes` with `Accept: text/event-stream` takes the filters, the fields and the version of the list, and never
//! ends by itself. Events are `node` (a node of the list, now), `gone` (one that is not, or no more, of the list) and
//! `current` (from here on they come as they happen). Each has the store's revision as its id: who comes back with the
//! last one (`Last-Event-ID`) is told what changed since, and which nodes the list has.
//!
//! A stream keeps no queue: a slow reader is told less often, of the latest state.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use domain::id::NodeId;
use serde_json::{Map, Value, json};
use service_kit::Host;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use wire_ironic::{
    error::{Class, Error},
    fields::NODE,
    links::Frame,
    query,
    query::{List, Shape},
};

use super::{ApiRequest, RestApi, authz::Visibility, nodes::wanted};
use scheduler_core::node_cache::NodeView;

/// Streams at a time; each costs what it last told, 24 octets a node.
const MOST: usize = 256;
/// Between two looks at what changed, at least.
const PAUSE: Duration = Duration::from_millis(100);
/// How often something is said where nothing happens, so that a stream that broke is seen to.
const QUIET: Duration = Duration::from_secs(15);
/// Pieces that wait for the connection.
const WAITING: usize = 4;
/// Octets after which a piece goes out.
const PIECE: usize = 64 << 10;

/// The streams that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// One of the open streams.
struct Open;

impl Open {
    fn begin() -> Result<Self, Error> {
        if OPEN.fetch_add(1, Ordering::Relaxed) < MOST {
            return Ok(Self);
        }
        OPEN.fetch_sub(1, Ordering::Relaxed);
        Err(Class::Unavailable
            .says(format!("{MOST} event streams are open already; close one, or ask another replica")))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a stream has told.
struct Told {
    /// The revision of each node that its reader knows.
    nodes: HashMap<NodeId, i64>,
    /// Up to here its reader knew everything when it began.
    since: i64,
}

impl RestApi {
    /// Opens a stream of a list of nodes.
    ///
    /// # Errors
    /// What is wrong with the list; too many are open.
    pub(super) fn follow_nodes(
        self: &Arc<Self>,
        request: ApiRequest,
        host: Host,
        since: Option<i64>,
    ) -> Result<Response, Error> {
        let list = query::list(&NODE, request.version, Shape::Plain, &request.pairs)?;
        self.check_filters(&list)?;
        let open = Open::begin()?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let (api, stopping) = (Arc::clone(self), host.clone());
        host.spawn(async move {
            let _open = open;
            let told = Told { nodes: HashMap::new(), since: since.unwrap_or(0) };
            tokio::select! {
                () = api.tell(&request, &list, told, &sender) => {}
                () = stopping.stopping() => {}
            }
        });
        let mut response = Response::new(Body::from_stream(ReceiverStream::new(receiver)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    async fn tell(&self, request: &ApiRequest, list: &List, mut told: Told, sender: &mpsc::Sender<Piece>) {
        let mut news = self.app.registry.view().subscribe();
        let mut is_first = true;
        loop {
            for piece in self.changes(request, list, &mut told, is_first) {
                if sender.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
            is_first = false;
            // What comes in the meantime is told together.
            sleep(PAUSE).await;
            while tokio::time::timeout(QUIET, news.next()).await.is_err() {
                if sender.send(Ok(Bytes::from_static(b": all is quiet\n\n"))).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What a reader does not know yet, in pieces.
    fn changes(&self, request: &ApiRequest, list: &List, told: &mut Told, is_first: bool) -> Vec<Bytes> {
        let (parent, visibility) = (self.parent(request, list), Visibility::nodes(request));
        let (all, frame) = (self.node_cache.all(), Frame::new(&NODE, request.version, &request.base, &list.columns));
        let is_of =
            |node: &&Arc<NodeView>| wanted(&node.whole, list, parent.as_deref()) && visibility.includes(&node.whole);
        let (mut out, mut now) = (Pieces::default(), HashMap::with_capacity(told.nodes.len()));
        let mut latest = told.since;
        for node in all.iter().filter(is_of) {
            let known = told.nodes.get(&node.node).copied().or_else(|| is_first.then_some(told.since));
            if known.is_none_or(|known| known < node.revision) {
                out.event("node", node.revision, &frame.shown(&visibility.redact(&node.whole)));
            }
            latest = latest.max(node.revision);
            now.insert(node.node, node.revision);
        }
        for gone in told.nodes.keys().filter(|node| !now.contains_key(node)) {
            out.event("gone", latest, &json!({"uuid": gone}));
        }
        if is_first {
            let members = if told.since > 0 {
                json!({"nodes": now.keys().collect::<Vec<_>>()})
            } else {
                Value::Object(Map::new())
            };
            out.event("current", latest, &members);
        }
        *told = Told { nodes: now, since: latest };
        out.done()
    }
}

/// A piece of a stream; there is nothing that could go wrong with one.
type Piece = Result<Bytes, std::convert::Infallible>;

/// Events, put together for the connection.
#[derive(Default)]
struct Pieces {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Pieces {
    fn event(&mut self, name: &str, id: i64, data: &Value) {
        // JSON has no line breaks of its own, so that data is one line.
        self.last.extend(format!("event: {name}\nid: {id}\ndata: {data}\n\n").into_bytes());
        if self.last.len() >= PIECE {
            self.full.push(std::mem::take(&mut self.last).into());
        }
    }

    fn done(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.full.push(self.last.into());
        }
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_four_lines_whatever_is_in_its_data() {
        let mut pieces = Pieces::default();
        pieces.event("node", 7, &json!({"description": "two\nlines\r\n"}));
        let text = String::from_utf8(pieces.done().concat()).unwrap();
        assert_eq!(text, "event: node\nid: 7\ndata: {\"description\":\"two\\nlines\\r\\n\"}\n\n");
    }

    #[test]
    fn what_is_long_goes_out_in_pieces() {
        let mut pieces = Pieces::default();
        for id in 0..40 {
            pieces.event("node", id, &json!({"extra": "x".repeat(5000)}));
        }
        let done = pieces.done();
        assert!(done.len() > 1 && done.iter().all(|piece| piece.len() < 2 * PIECE));
    }
}
