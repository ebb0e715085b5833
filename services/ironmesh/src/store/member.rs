//! `ironmesh store member`: changes the members of etcd by hand, when the datacenter's authority cannot.

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use keyspace::{
    cluster::{MemberReport, plan},
    store::Pem,
};

use super::{StoreLocation, answer};

/// Changes to the members of etcd.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum MemberCommand {
    /// Remove a member whose host is lost.
    ///
    /// The datacenter's authority removes the members of hosts that ironmesh host remove removed. This is for a host that
    /// is lost while the authority does not run. Needs the certificate of etcd's user root: run it on the host with the
    /// authority, or with a copy of its files certs/etcd-root.pem and certs/etcd-root.key.
    #[command(after_help = "Example:\n  ironmesh store member remove h3 --data /var/lib/ironmesh")]
    Remove(Remove),
}

/// Remove a member.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remove {
    /// Name or id of the member, as ironmesh store status shows it.
    #[arg(value_name = "NAME|ID")]
    member: String,
    #[command(flatten)]
    location: StoreLocation,
    /// Remove it although it runs.
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(command: &MemberCommand) -> Result<()> {
    let MemberCommand::Remove(Remove { member, location, force }) = command;
    let access = location.access(&[])?;
    let store = access.store(&access.common.etcd).await?;
    let [ca, certificate, key] = &access.pem;
    let reports = store.survey(Pem { ca, certificate, key }).await.context("cannot list etcd's members")?;
    let report = decide(&reports, member, *force)?;
    store.remove_member(report.member.id).await.with_context(|| format!("cannot remove member {member}"))?;
    answer(&format!("removed member {} ({:x}) of etcd", report.label(), report.member.id));
    Ok(())
}

/// Finds the member, and refuses to remove it if that harms the store.
fn decide<'m>(reports: &'m [MemberReport], wanted: &str, force: bool) -> Result<&'m MemberReport> {
    let is_it = |report: &&MemberReport| {
        let id = format!("{:x}", report.member.id);
        report.label() == wanted || id.eq_ignore_ascii_case(wanted.trim_start_matches("0x"))
    };
    let all = || reports.iter().map(MemberReport::label).collect::<Vec<_>>().join(", ");
    let mut found = reports.iter().filter(is_it);
    let report = found.next().with_context(|| format!("etcd has no member {wanted}; its members are {}", all()))?;
    if let Some(other) = found.next() {
        let (one, other) = (report.member.id, other.member.id);
        bail!("{wanted} is the name of several members; pass an id: {one:x} or {other:x}");
    }
    if !plan::has_quorum(reports) {
        bail!(
            "etcd has no quorum and accepts no change of its members; start those that are down, or make a store of one \
             member on a host that is left with: ironmesh store restore"
        );
    }
    ensure!(
        plan::may_remove(reports, report.member.id),
        "without member {wanted} etcd would have no quorum; start the members that are down first"
    );
    ensure!(
        force || !report.is_healthy(),
        "member {wanted} runs; remove its host with: ironmesh host remove {wanted}\nor, if you mean it, add --force"
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use keyspace::cluster::{ClusterMember, MemberState};

    use super::*;

    fn report(id: u64, name: &str, runs: bool) -> MemberReport {
        let peer_urls = vec![format!("https://10.0.0.{id}:2380")];
        let member = ClusterMember { id, name: name.to_owned(), peer_urls, ..ClusterMember::default() };
        let state = runs.then(|| MemberState { id, leader: 1, ..MemberState::default() });
        MemberReport { member, state, ..MemberReport::default() }
    }

    #[test]
    fn a_member_is_removed_only_if_it_is_dead_and_the_others_have_a_quorum() {
        let three = vec![report(1, "h1", true), report(2, "h2", true), report(0xabc, "h3", false)];
        let lost = vec![report(1, "h1", true), report(2, "h2", false), report(3, "h3", false)];
        let twice = vec![report(1, "h1", true), report(2, "h1", true), report(3, "h3", true)];
        let new = vec![
            report(1, "h1", true),
            MemberReport {
                member: ClusterMember { is_learner: true, ..report(2, "", false).member },
                ..MemberReport::default()
            },
        ];
        // The members, which one, whether it is forced, and its id or words of the refusal.
        type Case<'m> = (&'m [MemberReport], &'static str, bool, Result<u64, &'static str>);
        let table: [Case<'_>; 12] = [
            (&three, "h3", false, Ok(0xabc)),
            (&three, "abc", false, Ok(0xabc)),
            (&three, "0xABC", false, Ok(0xabc)),
            (&twice, "h3", false, Err("member h3 runs")),
            (&three, "h2", true, Err("would have no quorum")),
            (&three, "h9", false, Err("its members are h1, h2, h3")),
            (&lost, "h3", false, Err("ironmesh store restore")),
            (&lost, "h3", true, Err("no quorum")),
            (&twice, "h1", false, Err("pass an id: 1 or 2")),
            (&twice, "h3", true, Ok(3)),
            (&new, "https://10.0.0.2:2380", false, Ok(2)),
            (&new[..1], "h1", true, Err("would have no quorum")),
        ];
        for (reports, wanted, force, expected) in table {
            let decided = decide(reports, wanted, force);
            match (decided, expected) {
                (Ok(report), Ok(id)) => assert_eq!(report.member.id, id, "{wanted}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{wanted}: {error}"),
                (decided, expected) => panic!("{wanted} {force}: {decided:?}, not {expected:?}"),
            }
        }
    }
}
