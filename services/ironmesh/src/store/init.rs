//! Shows and applies the users and roles that etcd must have, so that each service writes its own keys only.

use anyhow::{Context as _, Result};
use keyspace::{
    Store,
    access::{Role, rack_roles, scheduler_role, steps},
    key,
};

use super::{Init, answer};
use crate::console::say;

pub(super) async fn run(command: &Init) -> Result<()> {
    let access = command.location.access(&command.etcd)?;
    let store = access.store(&access.common.etcd).await?;
    let racks = store.list(&key::racks()).await.context("cannot read the racks")?;
    let mut wanted = vec![scheduler_role()];
    wanted.extend(racks.iter().flat_map(|(_, rack)| rack_roles(rack.value.id, &rack.value.name)));
    let present = store.access().await.context("cannot read etcd's users and roles")?;
    let steps = steps(&present, &wanted, true);
    if steps.is_empty() {
        say("etcd has all users and roles, and checks permissions");
        return Ok(());
    }
    for step in &steps {
        answer(&format!("etcdctl {step}"));
    }
    if !command.apply {
        say("nothing was changed; run it again with --apply, or run these commands as etcd's user root");
        return Ok(());
    }
    store.change_access(&steps, &present).await.context("cannot change etcd's users and roles; run it again")?;
    say(&format!("applied {} changes", steps.len()));
    Ok(())
}

/// Whether etcd checks permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// It does.
    Permissions,
    /// It lets every client with a certificate of its CA do everything.
    Nothing,
}

/// Makes sure that etcd has the users and roles of the schedulers and of this rack. With `enable`, makes it check
/// permissions. Does nothing if nothing is missing.
pub(crate) async fn ensure(store: &Store, rack: Vec<Role>, enable: bool) -> Result<Checks> {
    let wanted: Vec<Role> = rack.into_iter().chain([scheduler_role()]).collect();
    let present = store.access().await.context("cannot read etcd's users and roles")?;
    let steps = steps(&present, &wanted, enable);
    store.change_access(&steps, &present).await.context("cannot change etcd's users and roles")?;
    Ok(if enable || present.enabled { Checks::Permissions } else { Checks::Nothing })
}
