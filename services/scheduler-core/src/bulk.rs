//! Bulks: run by the leading scheduler from the stored records, so that the next leader continues.
//!
//! Each request to a node has an id derived from the bulk's and the node's ([`crate::idempotency`]), so that it is accepted
//! only once, even if two schedulers both consider themselves the leader.

mod create;

pub use create::CreateBulk;

use std::{sync::Arc, time::Duration};

use domain::{
    bulk::{Bulk, BulkNode, BulkProgress},
    id::NodeId,
};
use futures::future::join_all;
use keyspace::{Expect, key, seal::Place, store::Versioned, value::ConfigDrive};
use service_kit::{
    clock,
    status::{Failure as _, Kind, chain},
};
use uuid::Uuid;

use crate::{
    Error, RequestContext,
    app_state::AppState,
    provision::{ProvisionNode, provision_node},
    registry::Registry,
    request_id::RequestId,
};

/// Interval at which the leader processes all bulks.
const SWEEP_INTERVAL: Duration = Duration::from_millis(300);
/// Time that an ended bulk is kept.
const ENDED_BULK_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Runs all bulks while this replica leads.
pub async fn carry(shared: Arc<AppState>) {
    while shared.leads_after(SWEEP_INTERVAL).await {
        for (path, read) in shared.registry.view().list(&key::bulks()) {
            let Some(id) = key::last(&path) else { continue };
            // Started nodes are recorded, so another round or another leader continues from there.
            if let Err(error) = Box::pin(round(&shared, id, read)).await {
                tracing::debug!(bulk = %id, error = %chain(&error), "a bulk waits");
            }
        }
    }
}

async fn round(shared: &AppState, id: Uuid, read: Versioned<Bulk>) -> Result<(), Error> {
    let registry = &shared.registry;
    if let Some(ended) = read.value.ended {
        if clock::now().since(ended) > ENDED_BULK_RETENTION {
            let gone = registry.mesh.as_member()?.delete(&key::bulk(id), Expect::Revision(read.revision));
            registry.mesh.commit(gone).await?;
        }
        return Ok(());
    }
    let mut bulk = read.value.clone();
    for one in &mut bulk.nodes {
        if let Some(progress) = seen(registry, id, one) {
            one.progress = progress;
        }
    }
    let next = bulk.advance(clock::now());
    let asked = join_all(next.iter().map(|node| ask(shared, id, *node, &bulk))).await;
    for (node, refused) in next.iter().zip(asked).filter_map(|(node, refused)| Some((node, refused?))) {
        if let Some(one) = bulk.nodes.iter_mut().find(|one| one.node == *node) {
            one.progress = BulkProgress::Failed { operation: None, text: refused };
        }
    }
    if bulk != read.value {
        let mut change = registry.mesh.as_member()?.put(&key::bulk(id), &bulk, Expect::Revision(read.revision))?;
        if bulk.ended.is_some() {
            change = change.clear(&key::bulk_drive(id));
        }
        registry.mesh.commit(change).await?;
    }
    Ok(())
}

/// Returns the files of a bulk's config drive.
fn drive(registry: &Registry, bulk: Uuid) -> Result<ConfigDrive, Error> {
    let Some(sealed) = registry.view().get(&key::bulk_drive(bulk)) else { return Ok(ConfigDrive::new()) };
    Ok(registry.sealer.open_files(&Place::bulk_drive(bulk), &sealed.value)?)
}

/// Returns the id of a bulk's request to a node.
fn request(bulk: Uuid, node: NodeId) -> RequestId {
    RequestId::by_name(bulk, &node.uuid())
}

/// Returns the new progress of a node, or `None` if it has not changed.
fn seen(registry: &Registry, bulk: Uuid, one: &BulkNode) -> Option<BulkProgress> {
    let operation = match one.progress {
        BulkProgress::Waiting => match request(bulk, one.node).known(registry.view())?.value.operation {
            Some(operation) => operation,
            None => return Some(BulkProgress::Done { operation: None }),
        },
        BulkProgress::Running { operation } => operation,
        BulkProgress::Done { .. } | BulkProgress::Failed { .. } | BulkProgress::Skipped => return None,
    };
    let failed = |text: &str| Some(BulkProgress::Failed { operation: Some(operation), text: text.to_owned() });
    let Some(rack) = registry.rack_of(one.node) else { return failed("the node is no more") };
    match registry.view().get(&key::operation(rack, one.node)).map(|read| read.value) {
        Some(last) if last.id == operation => match (last.ended, last.failure) {
            (None, _) => Some(BulkProgress::Running { operation }),
            (Some(_), None) => Some(BulkProgress::Done { operation: Some(operation) }),
            (Some(_), Some(failure)) => failed(&format!("{}: {}", failure.cause.word(), failure.text)),
        },
        Some(_) | None => failed("something else was asked of it before it was seen how this ended"),
    }
}

/// Requests the verb of a node. Returns the reason if the node refuses it permanently.
async fn ask(shared: &AppState, id: Uuid, node: NodeId, bulk: &Bulk) -> Option<String> {
    let image = bulk.image.map(|image| image.to_string()).unwrap_or_default();
    let asked = request(id, node);
    let context = RequestContext::with_id(asked.clone());
    let asking = async {
        let config_drive = drive(&shared.registry, id)?;
        let (verb, steps, rescue_password) = (bulk.verb, Vec::new(), String::new());
        provision_node(&context, shared, ProvisionNode { node, verb, image, config_drive, steps, rescue_password })
            .await
    };
    let error = Box::pin(asking).await.err()?;
    // Another leader may have made the same request, which causes the conflict.
    if asked.known(shared.registry.view()).is_some() {
        return None;
    }
    match error.kind() {
        Kind::Conflict | Kind::Unavailable | Kind::NotOwner | Kind::Island => None,
        Kind::Invalid | Kind::Missing | Kind::Taken | Kind::NotNow | Kind::Denied | Kind::Internal => {
            Some(chain(&error))
        }
    }
}
