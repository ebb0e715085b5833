//! What nodes become, for one watcher.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::{change_index::WatchPosition, id::NodeId};
use futures::{StreamExt as _, stream::BoxStream};
use keyspace::{
    key,
    view::{News, Subscription},
};
use proto::api::v1::{
    Node, WatchNodesRequest, WatchNodesResponse,
    watch_nodes_response::{Begin, News as Told, Settled},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::{Shared, show};
use scheduler_core::{
    Error,
    change_feed::{Batch, concerns},
    select::Selector,
};

/// How often a watcher is told at most.
const PACE: Duration = Duration::from_millis(200);
/// How often he is told how far he is where nothing of his changes, so that he can go on from there.
const PROGRESS: Duration = Duration::from_secs(10);
/// How long the last message may take.
const LAST: Duration = Duration::from_secs(1);
/// Messages that wait for a slow reader.
const WAITING: usize = 16;

/// What is streamed.
pub(super) type Stream = BoxStream<'static, Result<WatchNodesResponse, Status>>;

/// Error for a disconnected client.
struct Disconnected;

struct Watcher {
    shared: Arc<Shared>,
    selector: Selector,
    sender: mpsc::Sender<Result<WatchNodesResponse, Status>>,
    news: Subscription,
    /// What was told of.
    known: HashSet<NodeId>,
    at: WatchPosition,
    /// All up to here was told; zero: not all was told once.
    revision: i64,
    incarnation: u64,
    told: Instant,
}

impl Shared {
    /// What a message selects.
    pub(super) fn watch_all(&self, request: WatchNodesRequest) -> Result<Response<Stream>, Error> {
        let selector = self.selector(request.selector)?;
        let incarnation = self.incarnation();
        let revision = i64::try_from(request.since_revision).unwrap_or(0);
        let is_known = revision > 0 && request.since_incarnation == incarnation;
        let (sender, receiver) = mpsc::channel(WAITING);
        let watcher = Watcher {
            news: self.registry.view().subscribe(),
            shared: Arc::new(self.clone()),
            selector,
            sender,
            known: HashSet::new(),
            at: if is_known { WatchPosition::Revision(revision) } else { WatchPosition::Start },
            revision: if is_known { revision } else { 0 },
            incarnation,
            told: Instant::now(),
        };
        self.host.spawn(async move { drop(watcher.run().await) });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    fn incarnation(&self) -> u64 {
        let incarnation = self.registry.view().get(&key::incarnation());
        incarnation.map(|read| read.value.number.number()).unwrap_or_default()
    }
}

impl Watcher {
    /// Sends changes until the client disconnects or the service stops.
    async fn run(mut self) -> Result<(), Disconnected> {
        let host = self.shared.host.clone();
        loop {
            tokio::select! {
                () = host.stopping() => {
                    // Who reads too slowly to hear it sees the stream end.
                    let _ = timeout(LAST, self.sender.send(Err(Error::Stopping.into()))).await;
                    return Ok(());
                }
                outcome = self.turn() => outcome?,
            }
        }
    }

    /// Tells what there is to tell, and waits for more.
    async fn turn(&mut self) -> Result<(), Disconnected> {
        if self.incarnation != self.shared.incarnation() {
            (self.at, self.incarnation) = (WatchPosition::Start, self.shared.incarnation());
        }
        let batch = self.shared.change_feed.since(self.at);
        self.tell(batch).await?;
        let sender = self.sender.clone();
        tokio::select! {
            () = sender.closed() => return Err(Disconnected),
            is_more = self.more() => if !is_more { return Err(Disconnected) },
            () = sleep(PROGRESS) => {}
        }
        sleep(PACE).await;
        Ok(())
    }

    /// Waits for something that may be worth telling; false: there will be nothing.
    async fn more(&mut self) -> bool {
        loop {
            match self.news.next().await {
                Some(News::Path(path)) if !concerns(&path) => {}
                Some(News::Path(_) | News::Everything) => return true,
                None => return false,
            }
        }
    }

    async fn tell(&mut self, batch: Batch) -> Result<(), Disconnected> {
        if batch.is_all {
            self.known.clear();
            self.revision = 0;
            self.send(Told::Begin(Begin {})).await?;
        }
        let goes_on = matches!(self.at, WatchPosition::Revision(_)) && !batch.is_all;
        for node in batch.gone {
            // One who goes on from elsewhere may know of it.
            if self.known.remove(&node) || goes_on {
                self.send(Told::Gone(node.to_string())).await?;
            }
        }
        let mut is_news = batch.is_all;
        for (node, rack) in batch.nodes {
            match self.shown(node, rack) {
                Some(shown) => {
                    self.known.insert(node);
                    is_news = true;
                    self.send(Told::Node(shown)).await?;
                }
                None if self.known.remove(&node) || goes_on => self.send(Told::Gone(node.to_string())).await?,
                None => {}
            }
        }
        self.at = batch.at;
        let is_late = self.told.elapsed() >= PROGRESS && batch.revision > self.revision;
        self.revision = self.revision.max(batch.revision);
        if is_news || goes_on || is_late { self.send(Told::Settled(Settled {})).await } else { Ok(()) }
    }

    /// The node, where it is there and selected.
    fn shown(&self, node: NodeId, rack: domain::id::RackId) -> Option<Node> {
        let record = self.shared.registry.record(rack, node)?;
        self.shared.selects(&self.selector, node).then(|| show::node(&self.shared, &record))
    }

    async fn send(&mut self, news: Told) -> Result<(), Disconnected> {
        self.told = Instant::now();
        let revision = u64::try_from(self.revision).unwrap_or(0);
        let message = WatchNodesResponse { revision, incarnation: self.incarnation, news: Some(news) };
        self.sender.send(Ok(message)).await.map_err(|_| Disconnected)
    }
}
