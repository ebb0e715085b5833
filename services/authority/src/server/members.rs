//! Members of the built-in etcd on hosts.

use keyspace::{
    Store,
    cluster::{MemberError, plan::initial_cluster},
    store::{ClusterMember, Versioned},
    value::Host,
};
use service_kit::{ports::ETCD_PORT, status};
use tonic::Status;

use crate::etcd_address::{peer_urls, url};

/// Returns the URLs of the members that serve clients: those that hosts advertise, without loopback ones.
pub(crate) fn client_urls(members: &[ClusterMember], hosts: &[Versioned<Host>]) -> Vec<String> {
    let voters = members.iter().filter(|member| !member.is_learner && !member.client_urls.is_empty());
    let of_host = |member: &ClusterMember| {
        let host = hosts.iter().find(|host| host.value.name == member.name)?;
        Some(url(host.value.advertise, ETCD_PORT))
    };
    voters.filter_map(|member| of_host(member).or_else(|| member.client_urls.first().cloned())).collect()
}

/// Adds the member of a host as a learner, unless it is there. Returns etcd's `initial-cluster` for it.
pub(super) async fn add(store: &Store, host: &Host) -> Result<String, Status> {
    let urls = peer_urls(host.advertise);
    let listed = store.cluster_members().await.map_err(|error| super::of_store(&error))?;
    let is_own = |member: &&ClusterMember| urls.iter().all(|url| member.peer_urls.contains(url));
    if let Some(other) = listed.iter().find(|member| member.name == host.name && !is_own(member)) {
        return Err(Status::failed_precondition(format!(
            "etcd has a member {:?} at {}; remove it first: ironmesh store member remove {}",
            other.name,
            other.peer_urls.join(", "),
            other.name
        )));
    }
    let id = match listed.iter().find(is_own) {
        Some(present) => present.id,
        None => store.add_learner(&urls).await.map_err(|error| refused(&error))?,
    };
    let members = store.cluster_members().await.map_err(|error| super::of_store(&error))?;
    Ok(initial_cluster(&members, id, &host.name))
}

fn refused(error: &MemberError) -> Status {
    let text = format!("etcd does not take another member now: {}; then join again", status::chain(error));
    if error.is_temporary() { Status::unavailable(text) } else { Status::failed_precondition(text) }
}
