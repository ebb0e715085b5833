//! Deletes nodes.

use crate::{AppState, Error, RequestContext, registry::Record};

/// Deletes a node, and the port groups and volumes that belong to it.
///
/// # Errors
/// [`Error::Refused`] by `domain::provision::remove`; a conflict if its records or those of its resources changed since they
/// were read. The node is still stored after an error, except after [`Error::NotEverywhere`].
pub async fn delete_node(context: &RequestContext, app: &AppState, record: &Record) -> Result<(), Error> {
    app.registry.remove(context, record).await?;
    app.live_state.forget(record.node);
    app.live_state.tell(Some(record.node), "DELETED", record.intent.value.name.clone());
    Ok(())
}
