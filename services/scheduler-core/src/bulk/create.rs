//! Accepts bulks, and pauses, resumes and cancels them.

use domain::{
    bulk::{Bulk, BulkLimits, BulkNode, BulkProgress, BulkState, is_bulk_verb},
    provision::Verb,
};
use keyspace::{Expect, key, seal::Place, store::Versioned, value::ConfigDrive};
use proto::{api::v1::NodeSelector, convert::Invalid};
use service_kit::clock;
use uuid::Uuid;

use crate::{Error, RequestContext, app_state::AppState, node_view::NodeView, registry::Record};

/// Maximum number of nodes of one bulk. Its record stays far below the maximum size of a transaction.
const MAX_NODES: usize = 2000;

/// A command to request the same of many nodes.
#[derive(Debug, Clone)]
pub struct CreateBulk {
    /// Its id.
    pub id: Uuid,
    /// What is requested of each node.
    pub verb: Verb,
    /// The image by its id or name. Empty for none.
    pub image: String,
    /// The nodes. `None` for all.
    pub selector: Option<NodeSelector>,
    /// How many of the selected nodes. 0 for all.
    pub count: u32,
    /// How many at the same time, and when it pauses.
    pub limits: BulkLimits,
    /// Files of the config drive by path. Empty for none.
    pub config_drive: ConfigDrive,
}

impl AppState {
    /// Accepts a bulk of the selected nodes that take its verb now.
    ///
    /// # Errors
    /// [`Error::Request`] if its arguments do not fit its verb; [`Error::InUse`] if no selected node takes it.
    pub async fn create_bulk(&self, context: &RequestContext, command: CreateBulk) -> Result<(), Error> {
        let verb = command.verb;
        if !is_bulk_verb(verb) {
            let why = format!("{verb} is not available as a bulk; request it for each node");
            return Err(Invalid::wrong("verb", why).into());
        }
        let image = match (verb, command.image.as_str()) {
            (Verb::Deploy, "") => return Err(Invalid::Missing("image").into()),
            (_, "") => None,
            (Verb::Deploy | Verb::Rebuild | Verb::Adopt, name) => Some(self.registry.image_named(name)?.value.id),
            (_, _) => return Err(Invalid::wrong("image", format!("{verb} takes none")).into()),
        };
        let nodes = self.nodes_of_bulk(&command)?;
        let (id, limits, state) = (command.id, command.limits, BulkState::Running);
        let (reason, since, ended) = (String::new(), clock::now(), None);
        let (canaries_passed, forgiven) = (false, 0);
        let bulk = Bulk { verb, image, limits, state, reason, since, ended, canaries_passed, forgiven, nodes };
        let mut change = self.registry.mesh.as_member()?.put(&key::bulk(id), &bulk, Expect::Absent)?;
        if !command.config_drive.is_empty() {
            if !matches!(verb, Verb::Deploy | Verb::Rebuild) {
                return Err(Invalid::wrong("config_drive", format!("{verb} takes none")).into());
            }
            let sealed = self.registry.sealed_drive(&Place::bulk_drive(id), &command.config_drive)?;
            change = change.put(&key::bulk_drive(id), &sealed, Expect::Absent)?;
        }
        self.registry.commit(context, change).await
    }

    /// The selected nodes that take the verb now. A node in maintenance, or with an instance, must be selected as such.
    fn nodes_of_bulk(&self, command: &CreateBulk) -> Result<Vec<BulkNode>, Error> {
        let verb = command.verb;
        let with_allocated = command.selector.as_ref().is_some_and(|wire| !wire.nodes.is_empty());
        let with_maintenance = command.selector.as_ref().is_some_and(|wire| wire.maintenance.is_some());
        let selector = self.selector(command.selector.clone())?;
        let fits = |node: &NodeView| {
            selector.selects(node)
                && (with_maintenance || !node.spec().maintenance)
                && (with_allocated || verb != Verb::Deploy || node.spec().instance().is_none())
        };
        let accepts = |record: &Record| self.registry.check(record, verb, &[]).is_ok();
        let count = match command.count {
            0 => MAX_NODES,
            count => usize::try_from(count).unwrap_or(MAX_NODES).min(MAX_NODES),
        };
        let all = self.registry.nodes(None).into_iter();
        let fit = all.filter(|(node, _)| self.node_cache.get(*node).is_some_and(|node| fits(&node)));
        let fit = fit.filter_map(|(node, rack)| self.registry.record(rack, node)).filter(accepts);
        let nodes: Vec<_> = fit
            .take(count.saturating_add(1))
            .map(|record| BulkNode { node: record.node, progress: BulkProgress::Waiting })
            .collect();
        match nodes.len() {
            0 => Err(Error::InUse(format!("of no selected node can {verb} be asked now; see: ironmesh node list"))),
            number if number > count && command.count == 0 => {
                let why = format!("it selects more than {MAX_NODES} nodes; give a count");
                Err(Invalid::wrong("selector", why).into())
            }
            _ => Ok(nodes.into_iter().take(count).collect()),
        }
    }

    /// Pauses, resumes or cancels a bulk.
    ///
    /// # Errors
    /// [`Error::InUse`] if it has ended; a conflict if it changed since it was read.
    pub async fn set_bulk_state(
        &self,
        context: &RequestContext,
        id: Uuid,
        read: &Versioned<Bulk>,
        state: BulkState,
    ) -> Result<(), Error> {
        if read.value.ended.is_some() {
            return Err(Error::InUse(format!("bulk {id} has ended")));
        }
        let mut bulk = read.value.clone();
        bulk.steer(state);
        self.registry.replace(context, &key::bulk(id), read, &bulk).await
    }
}
