//! etcd's members over its API of version 3.

use etcd_client::{AlarmAction, AlarmType, Client, ClusterClient, MaintenanceClient, MemberAddOptions, ResponseHeader};

use crate::store::connection::{Alarm, ClusterMember, Failure, MemberChange, MemberState, RaisedAlarm};

pub(super) async fn list(mut client: ClusterClient) -> Result<Vec<ClusterMember>, Failure> {
    let answer = client.member_list().await?;
    let member = |member: &etcd_client::Member| ClusterMember {
        id: member.id(),
        name: member.name().to_owned(),
        peer_urls: member.peer_urls().to_vec(),
        client_urls: member.client_urls().to_vec(),
        is_learner: member.is_learner(),
    };
    Ok(answer.members().iter().map(member).collect())
}

/// Returns the id of the member that was changed.
pub(super) async fn change(client: Client, change: MemberChange) -> Result<u64, Failure> {
    let mut members = client.cluster_client();
    match change {
        MemberChange::AddLearner { peer_urls } => {
            let answer = members.member_add(peer_urls, Some(MemberAddOptions::new().with_is_learner())).await?;
            answer.member().map(etcd_client::Member::id).ok_or(Failure::Unavailable(None))
        }
        MemberChange::Promote(id) => Ok(members.member_promote(id).await.map(|_| id)?),
        MemberChange::Remove(id) => Ok(members.member_remove(id).await.map(|_| id)?),
        MemberChange::Update { id, peer_urls } => Ok(members.member_update(id, peer_urls).await.map(|_| id)?),
        MemberChange::MoveLeader(id) => Ok(client.maintenance_client().move_leader(id).await.map(|_| id)?),
    }
}

pub(super) async fn status(mut client: MaintenanceClient) -> Result<MemberState, Failure> {
    let status = client.status().await?;
    let header = status.header();
    let bytes = |size: i64| u64::try_from(size).unwrap_or(0);
    Ok(MemberState {
        version: status.version().to_owned(),
        id: header.map_or(0, ResponseHeader::member_id),
        leader: status.leader(),
        cluster: header.map_or(0, ResponseHeader::cluster_id),
        revision: header.map_or(0, ResponseHeader::revision),
        size: bytes(status.db_size()),
        in_use: bytes(status.raft_used_db_size()),
        raft_term: status.raft_term(),
        raft_index: status.raft_index(),
        raft_applied: status.raft_applied_index(),
        is_learner: status.is_learner(),
        errors: status.errors().to_vec(),
    })
}

pub(super) async fn alarms(mut client: MaintenanceClient) -> Result<Vec<RaisedAlarm>, Failure> {
    let answer = client.alarm(AlarmAction::Get, AlarmType::None, None).await?;
    let known = answer.alarms().iter().filter_map(|raised| {
        let alarm = match raised.alarm() {
            AlarmType::None => return None,
            AlarmType::Nospace => Alarm::NoSpace,
            AlarmType::Corrupt => Alarm::Corrupt,
        };
        Some(RaisedAlarm { member: raised.member_id(), alarm })
    });
    Ok(known.collect())
}
