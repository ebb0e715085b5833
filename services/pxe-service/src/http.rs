//! Boot files over HTTP, and the deployed system's phone-home.

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Path as UrlPath, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::Engine as _;
use bytes::Bytes;
use domain::{
    generation::Generation,
    id::NodeId,
    service::Service,
    timeline::{Amount, Mark},
};
use futures::Stream;
use keyspace::value::Protocol;
use service_kit::Host;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::{
    boot::{self, Path, Wanted},
    metrics,
    rack::{Doors, Known},
};

/// Octets handed to the connection at once, so that what a machine took is known.
const PIECE: usize = 64 << 10;
/// Where the agent looks for its boot file.
const BOOT_FILE: &str = "etc/ironmesh/boot.json";
/// Where an agent that speaks Ironic's protocol may look for its token.
const IRONIC_FILE: &str = "etc/ironic-python-agent.d/ironmesh.conf";

/// Answers until the host stops.
pub(crate) async fn serve(host: Host, listener: TcpListener, doors: Arc<Doors>) {
    let routes = Router::new()
        .route("/life/{node}/{key}", post(life))
        .route("/{*path}", get(file))
        .with_state(doors)
        .into_make_service_with_connect_info::<SocketAddr>();
    let stop = host.clone();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.stopping().await });
    if let Err(error) = serving.await {
        tracing::error!(%error, "boot files are not served any more");
    }
}

/// A file for one machine, found.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) content: Bytes,
    what: Path,
    /// Whose boot it is for; none for a loader that a stranger takes.
    boot: Option<(NodeId, Generation)>,
}

/// Why a file is not served.
#[derive(Debug, Clone)]
pub(crate) struct NotServed {
    status: StatusCode,
    pub(crate) why: String,
}

/// Finds what a machine at this address asks for.
pub(crate) async fn find(doors: &Doors, path: &Path, from: Ipv4Addr) -> Result<Served, NotServed> {
    match path {
        Path::Loader(name) => {
            let content = doors.files.loader(name).await.map_err(|error| missing(doors, None, &error))?;
            let boot = booting_at(doors, from).map(|known| (known.node, generation(&known)));
            Ok(Served { content, what: path.clone(), boot })
        }
        Path::Own(mac, wanted) => {
            let refuse = |why: &str| NotServed { status: StatusCode::NOT_FOUND, why: why.to_owned() };
            let known = doors.rack.known(*mac).ok_or_else(|| refuse("the MAC belongs to no node"))?;
            if known.address != from {
                return Err(refuse("it was not asked from the address that the machine has"));
            }
            own(doors, &known, *wanted, path).await
        }
    }
}

async fn own(doors: &Doors, known: &Known, wanted: Wanted, path: &Path) -> Result<Served, NotServed> {
    let Some(decision) = &known.decision else {
        return Err(NotServed { status: StatusCode::NOT_FOUND, why: "the node boots from its disk".to_owned() });
    };
    let boot = Some((known.node, decision.generation));
    let content = match wanted {
        Wanted::Script => {
            Bytes::from(boot::script(known.mac, decision, &replicas(doors), &doors.rack.ironic_endpoints()))
        }
        Wanted::Kernel => doors.files.get(&decision.kernel).await.map_err(|error| missing(doors, boot, &error))?,
        Wanted::Ramdisk => doors.files.get(&decision.ramdisk).await.map_err(|error| missing(doors, boot, &error))?,
        Wanted::Token => token(doors, known)?,
    };
    Ok(Served { content, what: path.clone(), boot })
}

fn missing(doors: &Doors, boot: Option<(NodeId, Generation)>, error: &crate::Error) -> NotServed {
    let why = service_kit::status::chain(error);
    if let Some((node, generation)) = boot {
        doors.timeline.note(node, generation, Mark::FileMissing, &*why);
    }
    NotServed { status: StatusCode::SERVICE_UNAVAILABLE, why }
}

/// The archive with the boot token: only for a machine that we switched on and that has talked to us since.
fn token(doors: &Doors, known: &Known) -> Result<Bytes, NotServed> {
    let not_now = |why: &str| NotServed { status: StatusCode::SERVICE_UNAVAILABLE, why: why.to_owned() };
    let Some(decision) = &known.decision else { return Err(not_now("no boot was decided")) };
    if !known.is_powered {
        return Err(not_now("the machine was not switched on by us for this boot"));
    }
    if !doors.seen.has_exchanged(known.node, decision.generation) {
        return Err(not_now("no exchange of this boot was seen yet"));
    }
    if is_bound(doors, known) {
        let text = "two machines asked as this node: the boot token was fetched after it was bound";
        doors.timeline.note(known.node, decision.generation, Mark::AgentRefused, text);
        return Err(not_now("the boot token is bound already"));
    }
    let place = format!("{}/boot-token", known.node);
    let token = doors.sealer.open(&place, &decision.boot_token).map_err(|error| not_now(&error.to_string()))?;
    if decision.protocol == Protocol::Ironic {
        return Ok(Bytes::from(boot::archive(IRONIC_FILE, boot::ironic_file(token.expose()).as_bytes())));
    }
    let inventory = doors.rack.data_endpoints(Service::Inventory);
    if inventory.is_empty() {
        // The loader asks again; an agent that knew of none could call nobody.
        return Err(not_now("no inventory-service of the rack is there"));
    }
    let json = serde_json::json!({
        "node": known.node,
        "generation": decision.generation,
        "boot_token": base64::engine::general_purpose::STANDARD.encode(token.expose()),
        "ca": String::from_utf8_lossy(&doors.ca),
        "rack": doors.rack_name,
        "inventory": inventory,
    });
    Ok(Bytes::from(boot::archive(BOOT_FILE, json.to_string().as_bytes())))
}

fn is_bound(doors: &Doors, known: &Known) -> bool {
    let agent = doors.rack.view().get(&keyspace::key::agent(doors.rack.id, known.node));
    agent.is_some_and(|agent| {
        Some(agent.value.generation) == known.decision.as_ref().map(|decision| decision.generation)
    })
}

fn generation(known: &Known) -> Generation {
    known.decision.as_ref().map_or(known.generation, |decision| decision.generation)
}

/// The node that is booting at this address.
fn booting_at(doors: &Doors, from: Ipv4Addr) -> Option<Known> {
    let ports = doors.rack.view().list(&keyspace::key::ports(doors.rack.id));
    let (path, _) = ports.into_iter().find(|(_, port)| port.value.address == Some(from))?;
    doors.rack.known(keyspace::key::last(&path)?).filter(|known| known.decision.is_some())
}

/// All replicas, this one first.
fn replicas(doors: &Doors) -> Vec<boot::Replica> {
    let own = doors.http.to_string();
    let mut all = doors.rack.data_endpoints(Service::Pxe);
    all.retain(|endpoint| *endpoint != own);
    all.insert(0, own);
    all.into_iter().map(|http| boot::Replica { http }).collect()
}

/// A machine asked for a loader.
pub(crate) fn note_begun(doors: &Doors, served: &Served) {
    if let (Path::Loader(name), Some((node, generation))) = (&served.what, served.boot) {
        doors.timeline.note(node, generation, Mark::LoaderAsked, *name);
    }
}

/// A machine has a file.
pub(crate) fn note_delivered(doors: &Doors, served: &Served) {
    let Some((node, generation)) = served.boot else { return };
    let size = u64::try_from(served.content.len()).unwrap_or(u64::MAX);
    let (mark, name) = match &served.what {
        Path::Loader(name) => (Mark::LoaderSent, *name),
        Path::Own(_, Wanted::Script) => (Mark::ScriptSent, ""),
        Path::Own(_, Wanted::Kernel) => (Mark::KernelSent, ""),
        Path::Own(_, Wanted::Ramdisk) => (Mark::RamdiskSent, ""),
        Path::Own(_, Wanted::Token) => (Mark::TokenSent, ""),
    };
    let amount = (mark != Mark::TokenSent).then_some(Amount { done: size, total: 0 });
    doors.timeline.note_amount(node, generation, mark, name, amount);
}

/// A machine stopped taking a file half-way.
pub(crate) fn note_lost(doors: &Doors, served: &Served, amount: Amount) {
    let Some((node, generation)) = served.boot else { return };
    let (mark, name) = match &served.what {
        Path::Loader(name) => (Mark::LoaderLost, *name),
        Path::Own(_, Wanted::Script) => (Mark::FileLost, "script"),
        Path::Own(_, Wanted::Kernel) => (Mark::FileLost, "kernel"),
        Path::Own(_, Wanted::Ramdisk) => (Mark::FileLost, "ramdisk"),
        Path::Own(_, Wanted::Token) => (Mark::FileLost, "boot token"),
    };
    doors.timeline.note_amount(node, generation, mark, name, Some(amount));
}

async fn file(
    State(doors): State<Arc<Doors>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    UrlPath(path): UrlPath<String>,
) -> Response {
    let not_found = (StatusCode::NOT_FOUND, "there is no such boot file\n");
    let (Some(path), SocketAddr::V4(from)) = (boot::path(&path), from) else {
        metrics::file("http", "unknown");
        return not_found.into_response();
    };
    match find(&doors, &path, *from.ip()).await {
        Ok(served) => {
            note_begun(&doors, &served);
            let size = served.content.len();
            let body = Body::from_stream(Pieces { doors, served, taken: 0 });
            ([(header::CONTENT_LENGTH, size.to_string())], body).into_response()
        }
        Err(refused) => {
            metrics::file("http", "refused");
            tracing::info!(from = %from, why = refused.why, "refused a boot file");
            (refused.status, format!("{}\n", refused.why)).into_response()
        }
    }
}

/// A file in pieces; knows when the last one was taken, and how far it was when it was dropped.
struct Pieces {
    doors: Arc<Doors>,
    served: Served,
    taken: usize,
}

impl Stream for Pieces {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (from, size) = (self.taken, self.served.content.len());
        if from >= size {
            return Poll::Ready(None);
        }
        self.taken = size.min(from + PIECE);
        Poll::Ready(Some(Ok(self.served.content.slice(from..self.taken))))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let size = self.served.content.len();
        if self.taken == size {
            metrics::file("http", "delivered");
            note_delivered(&self.doors, &self.served);
        } else {
            metrics::file("http", "lost");
            let octets = |count| u64::try_from(count).unwrap_or(u64::MAX);
            note_lost(&self.doors, &self.served, Amount { done: octets(self.taken), total: octets(size) });
        }
    }
}

/// The deployed system says that it lives, with the key of its config drive.
async fn life(State(doors): State<Arc<Doors>>, UrlPath((node, key)): UrlPath<(String, String)>) -> Response {
    let refused = (StatusCode::NOT_FOUND, "nobody is waited for by that key\n").into_response();
    let Ok(node) = node.parse::<NodeId>() else { return refused };
    let life = doors.rack.view().get(&keyspace::key::life(doors.rack.id, node));
    let Some(life) = life.map(|read| read.value) else { return refused };
    let key_hash = hex::encode(Sha256::digest(key.as_bytes()));
    if key_hash != life.life_key_hash {
        return refused;
    }
    if doors.seen.calls(node, key_hash).await {
        return (StatusCode::OK, "welcome\n").into_response();
    }
    let later = [(header::RETRY_AFTER, "5")];
    (StatusCode::SERVICE_UNAVAILABLE, later, "nobody can note that now; call again\n").into_response()
}
