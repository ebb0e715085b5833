//! Use cases about hosts.

use keyspace::{
    Change, Expect, key,
    store::Versioned,
    value::{Host, Mark},
};
use scheduler_core::{AppState, Error as CoreError, RequestContext};
use service_kit::clock;

use crate::{Error, Survey, checks};

/// What may be done to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostChange {
    /// Hand its nodes over to other hosts.
    Drain {
        /// Also if a service of a rack then runs nowhere.
        force: bool,
    },
    /// Start its services again.
    Undrain,
    /// Remove it for good.
    Remove {
        /// Also if it has not been drained.
        force: bool,
    },
}

/// Finds a host by its name.
///
/// # Errors
/// [`CoreError::Missing`]
pub fn find<'s>(survey: &'s Survey, name: &str) -> Result<&'s Versioned<Host>, CoreError> {
    survey.host(name).ok_or_else(|| CoreError::Missing { kind: "host", name: name.to_owned() })
}

/// The record of a host after a change; `None` if it is so already.
///
/// # Errors
/// Those of [`checks`].
pub fn changed(survey: &Survey, host: &Host, change: HostChange, mark: Mark) -> Result<Option<Host>, Error> {
    let mut after = host.clone();
    match change {
        HostChange::Drain { force } => {
            if host.drain.is_some() && host.removal.is_none() {
                return Ok(None);
            }
            checks::may_drain(survey, host, force)?;
            after.drain = Some(mark);
        }
        HostChange::Undrain => {
            if host.removal.is_some() {
                return Err(Error::BeingRemoved(host.name.clone()));
            }
            after.drain = None;
        }
        HostChange::Remove { force } => {
            if host.removal.is_some() {
                return Ok(None);
            }
            checks::may_remove(survey, host, force)?;
            after.removal = Some(mark);
        }
    }
    Ok((after != *host).then_some(after))
}

/// Changes a host. The change depends on the records of the other hosts, too: of two hosts that are drained at once, the
/// second is checked again.
///
/// # Errors
/// [`CoreError::Missing`]; those of [`changed`]; a conflict if a host changed meanwhile.
pub async fn change(context: &RequestContext, app: &AppState, name: &str, change: HostChange) -> Result<(), Error> {
    let survey = Survey::read(app.registry.view());
    let host = find(&survey, name)?;
    let mark = Mark { by: context.actor.clone(), at: clock::now() };
    let Some(after) = changed(&survey, &host.value, change, mark)? else { return Ok(()) };
    let mut transaction: Change = app.registry.mesh.as_member()?;
    for other in depends_on(&survey, &host.value) {
        transaction = transaction.expect(&key::host(&other.value.name), Expect::Revision(other.revision));
    }
    let transaction = transaction.put(&key::host(name), &after, Expect::Revision(host.revision))?;
    Ok(app.registry.commit(context, transaction).await?)
}

/// The hosts on which a check of a host depends: those that serve one of its racks, and those with a member of the store.
fn depends_on<'s>(survey: &'s Survey, host: &'s Host) -> impl Iterator<Item = &'s Versioned<Host>> {
    /// More are not compared: etcd takes 128 operations and as many comparisons.
    const MAX_COMPARED_HOSTS: usize = 64;
    let shares = |other: &Host| {
        host.store && other.store
            || other.racks.iter().any(|theirs| host.racks.iter().any(|ours| ours.rack == theirs.rack))
    };
    survey
        .hosts
        .iter()
        .filter(move |other| other.value.name != host.name && shares(&other.value))
        .take(MAX_COMPARED_HOSTS)
}
