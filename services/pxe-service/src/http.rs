//! Boot files over HTTP, and the phone-home request of deployed systems.

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path as UrlPath, State},
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
use keyspace::{seal::Place, value::Protocol};
use service_kit::{
    Host,
    listener::{self, Listener, Peer},
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::{
    boot::{self, BootPath, NodeFile},
    context::PxeContext,
    metrics,
    rack::KnownNode,
};

/// Size of the chunks handed to the connection, in bytes. The progress of a transfer is known to that precision.
const CHUNK_BYTES: usize = 64 << 10;
/// Where the agent reads its boot file.
const AGENT_BOOT_FILE: &str = "etc/ironmesh/boot.json";
/// Where an agent that uses Ironic's protocol reads its token.
const IRONIC_AGENT_CONFIG: &str = "etc/ironic-python-agent.d/ironmesh.conf";

/// Serves boot files until the host stops.
pub(crate) async fn serve(host: Host, socket: TcpListener, listener: Listener, context: Arc<PxeContext>) {
    let routes =
        Router::new().route("/life/{node}/{key}", post(phone_home)).route("/{*path}", get(file)).with_state(context);
    listener::serve(host, socket, listener, move |_| routes.clone()).await;
}

/// A boot file for a machine.
#[derive(Debug, Clone)]
pub(crate) struct ServedFile {
    pub(crate) content: Bytes,
    path: BootPath,
    /// The boot that it belongs to; `None` for a loader that an unknown machine requests.
    boot: Option<(NodeId, Generation)>,
}

/// Why a file is not served.
#[derive(Debug, Clone)]
pub(crate) struct FileError {
    status: StatusCode,
    pub(crate) why: String,
}

/// Finds the file that a machine at this address requests.
pub(crate) async fn find_file(context: &PxeContext, path: &BootPath, from: Ipv4Addr) -> Result<ServedFile, FileError> {
    match path {
        BootPath::Loader(name) => {
            let content = context.files.loader(name).await.map_err(|error| file_missing(context, None, &error))?;
            let boot = booting_at(context, from).map(|known| (known.node, generation(&known)));
            Ok(ServedFile { content, path: path.clone(), boot })
        }
        BootPath::Node(mac, wanted) => {
            let refuse = |why: &str| FileError { status: StatusCode::NOT_FOUND, why: why.to_owned() };
            let known = context.rack.known(*mac).ok_or_else(|| refuse("the MAC address belongs to no node"))?;
            if known.address != from {
                return Err(refuse("the request does not come from the address of the machine"));
            }
            node_file(context, &known, *wanted, path).await
        }
    }
}

async fn node_file(
    context: &PxeContext,
    known: &KnownNode,
    wanted: NodeFile,
    path: &BootPath,
) -> Result<ServedFile, FileError> {
    let from_disk = || FileError { status: StatusCode::NOT_FOUND, why: "the node boots from its disk".to_owned() };
    let decision = known.decision.as_ref().ok_or_else(from_disk)?;
    let boot = Some((known.node, decision.generation));
    let content = match wanted {
        NodeFile::Script => {
            Bytes::from(boot::render_script(known.mac, decision, &replicas(context), &context.rack.ironic_endpoints()))
        }
        NodeFile::Kernel => context
            .files
            .get(decision.kernel.as_ref().ok_or_else(from_disk)?)
            .await
            .map_err(|error| file_missing(context, boot, &error))?,
        NodeFile::Ramdisk => context
            .files
            .get(decision.ramdisk.as_ref().ok_or_else(from_disk)?)
            .await
            .map_err(|error| file_missing(context, boot, &error))?,
        NodeFile::Token => token(context, known)?,
    };
    Ok(ServedFile { content, path: path.clone(), boot })
}

fn file_missing(context: &PxeContext, boot: Option<(NodeId, Generation)>, error: &crate::Error) -> FileError {
    let why = service_kit::status::chain(error);
    if let Some((node, generation)) = boot {
        context.timeline.note(node, generation, Mark::FileMissing, &*why);
    }
    FileError { status: StatusCode::SERVICE_UNAVAILABLE, why }
}

/// Builds the archive with the boot token. It is served only to a machine that we switched on and that has since
/// completed a DHCP exchange.
fn token(context: &PxeContext, known: &KnownNode) -> Result<Bytes, FileError> {
    let not_now = |why: &str| FileError { status: StatusCode::SERVICE_UNAVAILABLE, why: why.to_owned() };
    let Some(decision) = &known.decision else { return Err(not_now("no boot is pending")) };
    if !known.is_powered {
        return Err(not_now("the machine was not switched on by us for this boot"));
    }
    if !context.observations.has_exchanged(known.node, decision.generation) {
        return Err(not_now("no DHCP exchange of this boot was seen"));
    }
    if is_bound(context, known) {
        let text = "two machines claim to be this node: the boot token was requested after it was bound to an agent";
        context.timeline.note(known.node, decision.generation, Mark::AgentRefused, text);
        return Err(not_now("the boot token is already bound to an agent"));
    }
    let place = Place::boot_token(context.rack.id, known.node);
    let token = context.sealer.open(&place, &decision.boot_token).map_err(|error| not_now(&error.to_string()))?;
    if decision.protocol == Protocol::Ironic {
        return Ok(Bytes::from(boot::cpio_archive(
            IRONIC_AGENT_CONFIG,
            boot::ironic_agent_config(token.expose()).as_bytes(),
        )));
    }
    let inventory = context.rack.data_endpoints(Service::Inventory);
    if inventory.is_empty() {
        // The loader retries; an agent without an inventory-service could do nothing.
        return Err(not_now("the rack has no available inventory-service"));
    }
    let json = serde_json::json!({
        "node": known.node,
        "generation": decision.generation,
        "boot_token": base64::engine::general_purpose::STANDARD.encode(token.expose()),
        "ca": String::from_utf8_lossy(&context.ca),
        "rack": context.rack_name,
        "inventory": inventory,
    });
    Ok(Bytes::from(boot::cpio_archive(AGENT_BOOT_FILE, json.to_string().as_bytes())))
}

fn is_bound(context: &PxeContext, known: &KnownNode) -> bool {
    let agent = context.rack.view().get(&keyspace::key::agent(context.rack.id, known.node));
    agent.is_some_and(|agent| {
        Some(agent.value.generation) == known.decision.as_ref().map(|decision| decision.generation)
    })
}

fn generation(known: &KnownNode) -> Generation {
    known.decision.as_ref().map_or(known.generation, |decision| decision.generation)
}

/// Returns the node that is booting at this address.
fn booting_at(context: &PxeContext, from: Ipv4Addr) -> Option<KnownNode> {
    let ports = context.rack.view().list(&keyspace::key::ports(context.rack.id));
    let (path, _) = ports.into_iter().find(|(_, port)| port.value.address == Some(from))?;
    context.rack.known(keyspace::key::last(&path)?).filter(|known| known.decision.is_some())
}

/// Returns all replicas, the current one first.
fn replicas(context: &PxeContext) -> Vec<boot::Replica> {
    let own = context.http.to_string();
    let mut all = context.rack.data_endpoints(Service::Pxe);
    all.retain(|endpoint| *endpoint != own);
    all.insert(0, own);
    all.iter().filter_map(|http| Some(boot::Replica { http: http.parse().ok()? })).collect()
}

/// Records that a machine requested a loader.
pub(crate) fn record_requested(context: &PxeContext, served: &ServedFile) {
    if let (BootPath::Loader(name), Some((node, generation))) = (&served.path, served.boot) {
        context.timeline.note(node, generation, Mark::LoaderAsked, *name);
    }
}

/// Records that a machine received a file.
pub(crate) fn record_delivered(context: &PxeContext, served: &ServedFile) {
    let Some((node, generation)) = served.boot else { return };
    let size = u64::try_from(served.content.len()).unwrap_or(u64::MAX);
    let (mark, name) = match &served.path {
        BootPath::Loader(name) => (Mark::LoaderSent, *name),
        BootPath::Node(_, NodeFile::Script) => (Mark::ScriptSent, ""),
        BootPath::Node(_, NodeFile::Kernel) => (Mark::KernelSent, ""),
        BootPath::Node(_, NodeFile::Ramdisk) => (Mark::RamdiskSent, ""),
        BootPath::Node(_, NodeFile::Token) => (Mark::TokenSent, ""),
    };
    let amount = (mark != Mark::TokenSent).then_some(Amount { done: size, total: 0 });
    context.timeline.note_amount(node, generation, mark, name, amount);
}

/// Records that a machine stopped receiving a file.
pub(crate) fn record_lost(context: &PxeContext, served: &ServedFile, amount: Amount) {
    let Some((node, generation)) = served.boot else { return };
    let (mark, name) = match &served.path {
        BootPath::Loader(name) => (Mark::LoaderLost, *name),
        BootPath::Node(_, NodeFile::Script) => (Mark::FileLost, "script"),
        BootPath::Node(_, NodeFile::Kernel) => (Mark::FileLost, "kernel"),
        BootPath::Node(_, NodeFile::Ramdisk) => (Mark::FileLost, "ramdisk"),
        BootPath::Node(_, NodeFile::Token) => (Mark::FileLost, "boot token"),
    };
    context.timeline.note_amount(node, generation, mark, name, Some(amount));
}

async fn file(
    State(context): State<Arc<PxeContext>>,
    Extension(peer): Extension<Peer>,
    UrlPath(path): UrlPath<String>,
) -> Response {
    let not_found = (StatusCode::NOT_FOUND, "no such boot file\n");
    let (Some(path), IpAddr::V4(from)) = (boot::parse_path(&path), peer.address().ip()) else {
        metrics::file("http", "unknown");
        return not_found.into_response();
    };
    match find_file(&context, &path, from).await {
        Ok(served) => {
            record_requested(&context, &served);
            let size = served.content.len();
            let body = Body::from_stream(FileStream { context, served, sent: 0 });
            ([(header::CONTENT_LENGTH, size.to_string())], body).into_response()
        }
        Err(refused) => {
            metrics::file("http", "refused");
            tracing::info!(from = %from, why = refused.why, "refused a boot file");
            (refused.status, format!("{}\n", refused.why)).into_response()
        }
    }
}

/// A file as a stream of chunks. When dropped, it records whether the file was received completely.
struct FileStream {
    context: Arc<PxeContext>,
    served: ServedFile,
    sent: usize,
}

impl Stream for FileStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (from, size) = (self.sent, self.served.content.len());
        if from >= size {
            return Poll::Ready(None);
        }
        self.sent = size.min(from + CHUNK_BYTES);
        Poll::Ready(Some(Ok(self.served.content.slice(from..self.sent))))
    }
}

impl Drop for FileStream {
    fn drop(&mut self) {
        let size = self.served.content.len();
        if self.sent == size {
            metrics::file("http", "delivered");
            record_delivered(&self.context, &self.served);
        } else {
            metrics::file("http", "lost");
            let bytes = |count| u64::try_from(count).unwrap_or(u64::MAX);
            record_lost(&self.context, &self.served, Amount { done: bytes(self.sent), total: bytes(size) });
        }
    }
}

/// Handles the phone-home request of a deployed system, which has the key from its config drive.
async fn phone_home(
    State(context): State<Arc<PxeContext>>,
    UrlPath((node, key)): UrlPath<(String, String)>,
) -> Response {
    let refused = (StatusCode::NOT_FOUND, "unknown node or key\n").into_response();
    let Ok(node) = node.parse::<NodeId>() else { return refused };
    let life = context.rack.view().get(&keyspace::key::life(context.rack.id, node));
    let Some(life) = life.map(|read| read.value) else { return refused };
    let key_hash = hex::encode(Sha256::digest(key.as_bytes()));
    if key_hash != life.life_key_hash {
        return refused;
    }
    if context.observations.record_phone_home(node, key_hash).await {
        return (StatusCode::OK, "welcome\n").into_response();
    }
    let later = [(header::RETRY_AFTER, "5")];
    (StatusCode::SERVICE_UNAVAILABLE, later, "not stored yet; retry\n").into_response()
}
