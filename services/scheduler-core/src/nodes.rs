//! Deletes nodes.

use crate::{AppState, Error, RequestContext, registry::Record, resources};

/// Deletes a node, and the port groups and volumes that belong to it.
///
/// # Errors
/// [`Error::Refused`] by `domain::provision::remove`; a conflict if its records changed since they were read. After another
/// error, what is left of its resources can be deleted by their ids.
pub async fn delete_node(context: &RequestContext, app: &AppState, record: &Record) -> Result<(), Error> {
    app.registry.remove(context, record).await?;
    resources::delete_node_resources(&context.without_id(), app, record.node).await?;
    app.live_state.forget(record.node);
    app.live_state.tell(Some(record.node), "DELETED", record.intent.value.name.clone());
    Ok(())
}
