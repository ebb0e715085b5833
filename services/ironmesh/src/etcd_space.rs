//! Frees space of our own etcd: compaction frees it within the database, and only defragmentation returns it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keyspace::{Store, cluster::MemberReport, store::Pem};
use service_kit::{Host, tls::Files};

use crate::{console::say, pem_files, store::is_worth_defragmenting};

/// How often defragmentation is considered. A member does not respond while it is defragmented, for some seconds per GiB
/// in use: with one member that is longer than the fence, so that the rack is an island meanwhile.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// How long a member may take to be healthy again after it was defragmented.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often that is checked.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);

/// Defragments the members when it is worthwhile, one at a time and the leader last, until the host stops. Of all hosts of
/// a datacenter one runs this: the one with etcd's certificate of `root`.
pub(crate) async fn run(store: Store, administrator: Files, host: Host) {
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        if let Err(error) = defragment_if_worthwhile(&store, &administrator).await {
            tracing::warn!(error = format!("{error:#}"), "cannot defragment etcd");
        }
    }
}

/// Returns the members that are worth it in the order in which they are to be defragmented, the leader last. None while a
/// voter is not healthy: the others are needed then.
fn defragmentation_order(reports: &[MemberReport]) -> Vec<&MemberReport> {
    let voters = || reports.iter().filter(|report| !report.member.is_learner);
    if !voters().all(MemberReport::is_healthy) {
        return Vec::new();
    }
    let is_worth = |report: &&MemberReport| {
        report.state.as_ref().is_some_and(|state| is_worth_defragmenting(state.size, state.in_use))
    };
    let mut order: Vec<_> = voters().filter(is_worth).collect();
    order.sort_by_key(|report| report.leads());
    order
}

async fn defragment_if_worthwhile(store: &Store, administrator: &Files) -> Result<()> {
    let pem = pem_files::read(administrator)?;
    let pem = Pem { ca: &pem[0], certificate: &pem[1], key: &pem[2] };
    let reports = store.survey(pem).await.context("cannot list etcd's members")?;
    for report in defragmentation_order(&reports) {
        let label = report.label();
        let one = Store::connect(&report.member.client_urls, pem).await?;
        let others = reports.iter().filter(|other| !other.member.is_learner && other.member.id != report.member.id);
        if let (true, Some(next)) = (report.leads(), others.map(|other| other.member.id).next()) {
            one.move_leader(next).await.with_context(|| format!("cannot move the leadership from {label}"))?;
        }
        let before = one.member_state().await?;
        one.defragment().await.with_context(|| format!("cannot defragment {label}"))?;
        let after = one.member_state().await?;
        say(&format!(
            "defragmented member {label} of etcd: {} of {} bytes were in use, the database now has {}",
            before.in_use, before.size, after.size
        ));
        until_healthy(store, pem).await.with_context(|| format!("after {label} was defragmented"))?;
    }
    Ok(())
}

/// Waits until all voters are healthy, before the next one is interrupted.
async fn until_healthy(store: &Store, pem: Pem<'_>) -> Result<()> {
    let waiting = async {
        loop {
            let reports = store.survey(pem).await;
            let is_healthy = |report: &MemberReport| report.member.is_learner || report.is_healthy();
            if reports.is_ok_and(|reports| reports.iter().all(is_healthy)) {
                return;
            }
            tokio::time::sleep(RECOVERY_INTERVAL).await;
        }
    };
    if tokio::time::timeout(RECOVERY_TIMEOUT, waiting).await.is_err() {
        bail!("not all members of etcd are healthy within {} s", RECOVERY_TIMEOUT.as_secs());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use keyspace::cluster::{ClusterMember, MemberState};

    use super::*;

    /// What a member is in a table.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Is {
        LeaderFull,
        Leader,
        Full,
        Tight,
        Dead,
        LearnerFull,
    }
    use Is::{Dead, Full, Leader, LeaderFull, LearnerFull, Tight};

    fn report(id: u64, is: Is) -> MemberReport {
        let in_use = if matches!(is, LeaderFull | Full | LearnerFull) { 1 << 20 } else { 900 << 20 };
        let leader = if matches!(is, LeaderFull | Leader) { id } else { 99 };
        let state = MemberState { id, leader, size: 1 << 30, in_use, ..MemberState::default() };
        let member = ClusterMember { id, is_learner: is == LearnerFull, ..ClusterMember::default() };
        MemberReport { member, state: (is != Dead).then_some(state), ..MemberReport::default() }
    }

    #[test]
    fn members_are_defragmented_when_it_is_worthwhile_and_the_leader_last() {
        let table: [(&[Is], &[u64]); 8] = [
            (&[LeaderFull], &[1]),
            (&[Leader], &[]),
            (&[LeaderFull, Full, Full], &[2, 3, 1]),
            (&[Full, LeaderFull, Full], &[1, 3, 2]),
            (&[Leader, Full, Tight], &[2]),
            (&[LeaderFull, Full, Dead], &[]),
            (&[LeaderFull, LearnerFull], &[1]),
            (&[LeaderFull, Tight, Tight], &[1]),
        ];
        for (number, (members, expected)) in table.iter().enumerate() {
            let reports: Vec<_> = (1..).zip(*members).map(|(id, is)| report(id, *is)).collect();
            let order: Vec<_> = defragmentation_order(&reports).iter().map(|report| report.member.id).collect();
            assert_eq!(order, *expected, "row {number}");
        }
    }
}
