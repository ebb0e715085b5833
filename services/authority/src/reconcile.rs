//! Brings etcd's users and members, and the record of certificates, to what the records of hosts say. Each round does what
//! is due and can be repeated; nothing is remembered between rounds.

use std::time::Duration;

use anyhow::{Context as _, Result};
use keyspace::{
    Change, Expect,
    access::{Role, host_role, rack_roles, scheduler_role, steps},
    cluster::{
        MemberReport,
        plan::{Action, MemberData, WantedMember, next_action},
    },
    key,
    store::{Pem, Versioned},
    value::{Host as Record, Rack},
};
use service_kit::{
    Host, clock,
    tls::{RevocationReason, Tls},
};

use crate::{
    etcd_address::peer_urls,
    ledger::{Issuer, Revocation},
    revocation::publish_revocation,
    server::Authority,
    signing,
};

/// Interval of the rounds.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a host has to learn from its record that it was removed, and to stop, before its certificates are revoked. Its record
/// is kept twice as long at least.
const NOTICE: Duration = Duration::from_secs(3);

/// What a round may do about the members of etcd. Members are added when hosts join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberStep {
    /// Give a learner a vote.
    Promote(u64),
    /// Remove the member of a host that was removed.
    Remove(u64),
    /// Change the address of a member whose host has moved.
    Update(u64, Vec<String>),
    /// Nothing now.
    Nothing,
}

/// Returns the users and roles that etcd must have.
#[must_use]
pub fn wanted_roles(hosts: &[Record], racks: &[Rack]) -> Vec<Role> {
    let present = hosts.iter().filter(|host| host.removal.is_none());
    let of_hosts = present.map(|host| host_role(&host.name));
    let of_racks = racks.iter().flat_map(|rack| rack_roles(rack.id, &rack.name));
    std::iter::once(scheduler_role()).chain(of_hosts).chain(of_racks).collect()
}

/// Returns the members that etcd should have: those of hosts, and those that have no record. Only a removal removes a member: a
/// record may be missing because the store is a restored backup.
#[must_use]
pub fn wanted_members(hosts: &[Record], reports: &[MemberReport]) -> Vec<WantedMember> {
    let present = hosts.iter().filter(|host| host.store && host.removal.is_none());
    let member = |host: &Record| WantedMember {
        name: host.name.clone(),
        peer_urls: peer_urls(host.advertise),
        data: MemberData::Kept,
    };
    let is_known = |report: &MemberReport| {
        let of = |host: &Record| {
            report.member.name == host.name
                || peer_urls(host.advertise).iter().all(|url| report.member.peer_urls.contains(url))
        };
        hosts.iter().any(of)
    };
    let others = reports.iter().filter(|report| !is_known(report)).map(|report| WantedMember {
        name: report.member.name.clone(),
        peer_urls: report.member.peer_urls.clone(),
        data: MemberData::Kept,
    });
    present.map(member).chain(others).collect()
}

/// Returns what a round does of an action.
#[must_use]
pub fn member_step(action: Action) -> MemberStep {
    match action {
        Action::Promote { id } => MemberStep::Promote(id),
        Action::Remove { id, .. } => MemberStep::Remove(id),
        Action::Update { id, peer_urls } => MemberStep::Update(id, peer_urls),
        Action::AddLearner { .. } | Action::Wait(_) | Action::Done => MemberStep::Nothing,
    }
}

/// Makes rounds until the host stops. `own` is the configuration of the authority's listener, which is told what was revoked;
/// `etcd` has the certificate of etcd's administrator.
pub async fn run(authority: Authority, own: Tls, etcd: Tls, host: Host) {
    let mut told = String::new();
    loop {
        let failure = round(&authority, &own, &etcd).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        if failure != told {
            match failure.as_str() {
                "" => tracing::info!("the authority has caught up"),
                failure => tracing::warn!(failure, "the authority cannot bring hosts up to date, will retry"),
            }
            told = failure;
        }
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn round(authority: &Authority, own: &Tls, etcd: &Tls) -> Result<()> {
    let store = &authority.store;
    // Before anything that may fail.
    add_revocations(authority, own).await?;
    // Before the hosts: a host is registered before its member is added.
    let reports = if authority.own_etcd.is_none() {
        let [ca, certificate, own_key] = etcd.pem();
        store.survey(Pem { ca: &ca, certificate: &certificate, key: &own_key }).await
    } else {
        Ok(Vec::new())
    };
    let hosts = store.list(&key::hosts()).await.context("cannot list the hosts")?;
    let hosts: Vec<Versioned<Record>> = hosts.into_iter().map(|(_, host)| host).collect();
    let records: Vec<_> = hosts.iter().map(|host| host.value.clone()).collect();
    revoke_removed(authority, &hosts).await?;
    let racks = store.list(&key::racks()).await.context("cannot list the racks")?;
    let racks: Vec<_> = racks.into_iter().map(|(_, rack)| rack.value).collect();
    let present = store.access().await.context("cannot read etcd's users and roles")?;
    let changes = steps(&present, &wanted_roles(&records, &racks), false);
    store.change_access(&changes, &present).await.context("cannot change etcd's users and roles")?;
    let reports = reports.context("cannot list etcd's members")?;
    if authority.own_etcd.is_none() {
        // A learner that has not caught up is promoted in a later round.
        change_members(authority, member_step(next_action(&reports, &wanted_members(&records, &reports)))).await?;
    }
    let members: Vec<_> = reports.into_iter().map(|report| report.member.name).collect();
    delete_removed(authority, &hosts, &members).await
}

async fn change_members(authority: &Authority, step: MemberStep) -> Result<()> {
    let store = &authority.store;
    let done = match step {
        MemberStep::Nothing => return Ok(()),
        MemberStep::Promote(id) => store.promote_member(id).await,
        MemberStep::Remove(id) => store.remove_member(id).await,
        MemberStep::Update(id, ref urls) => store.update_member(id, urls).await,
    };
    match done {
        Ok(()) => {
            tracing::info!(?step, "changed the members of etcd");
            Ok(())
        }
        Err(keyspace::cluster::MemberError::NotInSync { .. }) => Ok(()),
        Err(error) => Err(error).context("cannot change the members of etcd"),
    }
}

/// Has the authority's listener refuse what is revoked.
async fn add_revocations(authority: &Authority, own: &Tls) -> Result<()> {
    let data = authority.data.clone();
    let serials = tokio::task::spawn_blocking(move || signing::revoked_serials(&data));
    own.revocations().add(serials.await.context("reading the record of certificates ended early")??);
    Ok(())
}

/// Whether a host was removed so long ago.
fn is_past(host: &Versioned<Record>, time: Duration) -> bool {
    host.value.removal.as_ref().is_some_and(|removal| clock::now().since(removal.at) >= time)
}

/// Revokes the certificates of hosts that were removed, and tells all services.
async fn revoke_removed(authority: &Authority, hosts: &[Versioned<Record>]) -> Result<()> {
    for host in hosts.iter().filter(|host| is_past(host, NOTICE)) {
        let (data, of) = (authority.data.clone(), host.value.name.clone());
        let revocation = Revocation { at: clock::now(), reason: RevocationReason::CessationOfOperation };
        let revoked = tokio::task::spawn_blocking(move || {
            signing::revoke(&data, &of, revocation)?;
            signing::revoked_entries(&data, &of)
        });
        for entry in revoked.await.context("a revocation ended early")?? {
            if entry.issuer == Issuer::Mesh {
                publish_revocation(&authority.store, &entry).await?;
            }
        }
    }
    Ok(())
}

/// Deletes the records of hosts that were removed, when they are no members of etcd any more. Their certificates are revoked.
async fn delete_removed(authority: &Authority, hosts: &[Versioned<Record>], members: &[String]) -> Result<()> {
    for host in hosts.iter().filter(|host| host.value.removal.is_some()) {
        let name = &host.value.name;
        if members.contains(name) || !is_past(host, 2 * NOTICE) {
            continue;
        }
        let change = Change::new().delete(&key::host(name), Expect::same(Some(host)));
        match authority.store.commit(change).await {
            Ok(_) => tracing::info!(host = name, "a host was removed"),
            Err(keyspace::Error::Conflict) => {}
            Err(error) => return Err(error).context("cannot delete the record of a removed host"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;
    use keyspace::{
        cluster::plan::{RemoveReason, WaitReason},
        value::Mark,
    };

    use super::*;

    fn host(name: &str, store: bool, is_removed: bool) -> Record {
        let at = Timestamp::default();
        Record {
            name: name.to_owned(),
            advertise: "fd00::11".parse().unwrap(),
            key: String::new(),
            racks: Vec::new(),
            store,
            scheduler: false,
            authority: false,
            weight: 100,
            joined: at,
            drain: None,
            removal: is_removed.then(|| Mark { by: "ann".to_owned(), at }),
        }
    }

    #[test]
    fn hosts_that_were_removed_have_no_role_and_no_member() {
        let hosts = [host("h1", true, false), host("h2", true, true), host("h3", false, false)];
        let stray = |name: &str, url: &str| MemberReport {
            member: keyspace::store::ClusterMember {
                name: name.to_owned(),
                peer_urls: vec![url.to_owned()],
                ..Default::default()
            },
            ..Default::default()
        };
        // One of a removed host, and one without a record.
        let reports = [stray("h2", "https://[fd00::12]:2380"), stray("h9", "https://[fd00::19]:2380")];
        let members: Vec<_> =
            wanted_members(&hosts, &reports).into_iter().map(|member| (member.name, member.peer_urls)).collect();
        let [own, other] = ["https://[fd00::11]:2380", "https://[fd00::19]:2380"].map(str::to_owned);
        assert_eq!(members, [("h1".to_owned(), vec![own]), ("h9".to_owned(), vec![other])]);
        let names: Vec<_> = wanted_roles(&hosts, &[]).into_iter().map(|role| role.name).collect();
        assert_eq!(names, ["scheduler-service", "host.h1", "host.h3"]);
    }

    #[test]
    fn a_round_promotes_removes_and_moves_members_and_adds_none() {
        let urls = || vec!["https://10.0.0.11:2380".to_owned()];
        for (action, step) in [
            (Action::Promote { id: 7 }, MemberStep::Promote(7)),
            (Action::Remove { id: 7, why: RemoveReason::NotWanted }, MemberStep::Remove(7)),
            (Action::Update { id: 7, peer_urls: urls() }, MemberStep::Update(7, urls())),
            (Action::AddLearner { name: "h1".to_owned(), peer_urls: urls() }, MemberStep::Nothing),
            (Action::Wait(WaitReason::NoQuorum { healthy: 1, voters: 3 }), MemberStep::Nothing),
            (Action::Done, MemberStep::Nothing),
        ] {
            assert_eq!(member_step(action.clone()), step, "{action:?}");
        }
    }
}
