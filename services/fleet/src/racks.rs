//! Use cases about racks as a whole.

use domain::service::Service;
use keyspace::{
    Expect,
    key::{self, Scope},
};
use scheduler_core::{AppState, Error as CoreError, RequestContext};

use crate::{Error, Survey, checks, survey};

/// Deletes a rack, after which its name is free. It must have no nodes, no hosts and no running services.
///
/// # Errors
/// [`CoreError::Missing`]; those of [`checks::may_delete_rack`]; a conflict if it changed since it was read.
pub async fn delete(context: &RequestContext, app: &AppState, named: &str, etag: &str) -> Result<(), Error> {
    let registry = &app.registry;
    let rack = registry.rack_named(named)?;
    let (id, name) = (rack.value.id, &rack.value.name);
    scheduler_core::etag::check(etag, "rack", &format!("{name:?}"), rack.revision)?;
    let survey = Survey::read(registry.view());
    let (nodes, running) = survey::of_rack(&survey, registry.view(), id);
    let name_of = |node: &domain::id::NodeId| match registry.view().get(&key::intent(id, *node)) {
        Some(intent) if !intent.value.name.is_empty() => intent.value.name,
        Some(_) | None => node.to_string(),
    };
    let nodes: Vec<_> = nodes.iter().map(name_of).collect();
    checks::may_delete_rack(&survey, name, &nodes, &running)?;
    let holder = registry.view().get(&key::rack_name(name));
    let holder = holder.filter(|holder| holder.value.id == id.uuid());
    let holder = holder.ok_or_else(|| CoreError::from(keyspace::Error::Conflict))?;
    // A node that is enrolled, or a service that joins, meanwhile.
    let mut change = registry
        .mesh
        .as_member()?
        .expect_none_under(&key::node_prefix(id))
        .delete(&key::rack(id), Expect::Revision(rack.revision))
        .delete(&key::rack_name(name), Expect::Revision(holder.revision));
    // What its services have left behind; a new rack of the name has another id.
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
        let scope = Scope::Rack(id);
        change = change.expect_none_under(key::members(scope, service).path());
        change = change.clear(&key::ring(scope, service)).clear(&key::election(scope, service));
    }
    Ok(registry.commit(context, change).await?)
}
