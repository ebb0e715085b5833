//! What is wrong with a store, from what was found of it, and what is to be done. Pure.

use std::collections::BTreeMap;

use domain::id::NodeId;
use keyspace::{
    key::parse,
    key_schema::{Group, MAX_BYTES, MAX_KEYS},
    maintenance::Alarm,
    store::Pair,
    value::Incarnation,
};

use super::backup::size;

/// What a store may grow to (services/keyspace/README.md).
pub(crate) const QUOTA: u64 = 8 << 30;
/// Of every ten parts of the quota, how many may be taken before it is told.
const NEARLY_FULL: u64 = 8;
/// A database smaller than this is not worth making smaller.
const WORTH_IT: u64 = 64 << 20;
/// Revisions that a store compacted every five minutes does not keep.
const KEPT: i64 = 200_000;

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Every member that is known of.
    pub(super) members: Vec<Member>,
    /// Where the store stands, and how far its history was compacted.
    pub(super) revision: i64,
    /// See `revision`.
    pub(super) compacted: i64,
    pub(super) incarnation: Incarnation,
    pub(super) alarms: Vec<Alarm>,
    pub(super) contents: Contents,
    /// What etcd's own tool is to be called with.
    pub(super) etcdctl: String,
}

/// One member of etcd.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) url: String,
    /// Why it does not answer.
    pub(super) trouble: Option<String>,
    pub(super) version: String,
    pub(super) cluster: u64,
    pub(super) leads: bool,
    /// It knows a leader.
    pub(super) is_led: bool,
    pub(super) size: u64,
    pub(super) in_use: u64,
    /// What it may grow to, as far as it tells.
    pub(super) quota: Option<u64>,
}

/// What the keys are.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) families: BTreeMap<&'static str, Taken>,
    /// Keys of ours that are in no family.
    pub(super) unknown: u64,
    /// Keys whose value can not be read, and why.
    pub(super) unreadable: Vec<(String, String)>,
    /// What one node takes of a group beyond its bound.
    pub(super) over: Vec<(NodeId, Group, u64)>,
}

/// What the keys of a family take.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Taken {
    pub(super) keys: u64,
    pub(super) octets: u64,
    /// The largest value.
    pub(super) largest: u64,
}

impl Contents {
    /// Counts, and reads every value.
    pub(super) fn of(pairs: &[Pair]) -> Self {
        let (mut contents, mut by_node) = (Self::default(), BTreeMap::<(NodeId, Group), u64>::new());
        for pair in pairs {
            let octets = u64::try_from(pair.path.len() + pair.value.len()).unwrap_or(u64::MAX);
            let Some(key) = parse(&pair.path) else {
                contents.unknown += 1;
                continue;
            };
            let row = key.row();
            if let Err(why) = row.check(&pair.value) {
                contents.unreadable.push((pair.path.clone(), why.to_string()));
            }
            let taken = contents.families.entry(row.family()).or_default();
            taken.keys += 1;
            taken.octets += octets;
            taken.largest = taken.largest.max(u64::try_from(pair.value.len()).unwrap_or(u64::MAX));
            if let Some(node) = key.about().node {
                *by_node.entry((node, row.group)).or_default() += octets;
            }
        }
        let over =
            by_node.into_iter().filter(|((_, group), octets)| group.bound().is_some_and(|bound| *octets > bound));
        contents.over = over.map(|((node, group), octets)| (node, group, octets)).collect();
        contents
    }

    pub(super) fn all(&self) -> Taken {
        self.families.values().fold(Taken::default(), |all, taken| Taken {
            keys: all.keys + taken.keys,
            octets: all.octets + taken.octets,
            largest: all.largest.max(taken.largest),
        })
    }
}

/// Something that is wrong, and what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) next: String,
}

fn finding(what: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { what: what.into(), next: next.into() }
}

/// Whether a database takes so much more than it uses that defragmenting it is worth that it answers nobody meanwhile.
pub(crate) const fn is_worth_defragmenting(size: u64, in_use: u64) -> bool {
    size >= WORTH_IT && in_use < size / 2
}

/// All that is wrong.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(how) = facts.incarnation.restored_backup {
        found.push(finding(
            format!("it is a restored backup: revision {} was seen, it was found at {}", how.known, how.found),
            "look at what it holds, then bring changes back: ironmesh store adopt",
        ));
    }
    found.extend(facts.alarms.iter().map(|alarm| alarmed(*alarm, facts)));
    found.extend(facts.members.iter().flat_map(|member| of_member(member, &facts.etcdctl)));
    let mut clusters: Vec<_> = facts.members.iter().map(|member| member.cluster).filter(|id| *id != 0).collect();
    clusters.sort_unstable();
    clusters.dedup();
    if clusters.len() > 1 {
        found.push(finding(
            "its members belong to different clusters",
            "name the members of one cluster in service.etcd, everywhere the same",
        ));
    }
    let kept = facts.revision - facts.compacted;
    if kept > KEPT {
        found.push(finding(
            format!("{kept} revisions are kept: it is not compacted"),
            "start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=5m",
        ));
    }
    found.extend(of_contents(&facts.contents));
    found
}

fn alarmed(alarm: Alarm, facts: &Facts) -> Finding {
    match alarm {
        Alarm::NoSpace => {
            let (ctl, revision) = (&facts.etcdctl, facts.revision);
            let next = format!(
                "free space, then take the alarm back:\n{ctl} compact {revision}\n{ctl} defrag\n{ctl} alarm disarm\n\
                 where that is not enough, start etcd with --quota-backend-bytes={QUOTA}"
            );
            finding("it is out of space (alarm NOSPACE): nothing can be written", next)
        }
        Alarm::Corrupt => finding(
            "a member found its data damaged (alarm CORRUPT)",
            "take that member out of the cluster and add it anew, with an empty folder (etcd's guide: runtime reconfiguration)",
        ),
    }
}

fn of_member(member: &Member, etcdctl: &str) -> Vec<Finding> {
    let url = &member.url;
    if let Some(trouble) = &member.trouble {
        return vec![finding(format!("{url} does not answer: {trouble}"), "start that member, or see its log")];
    }
    let mut found = Vec::new();
    if !member.is_led {
        found.push(finding(format!("{url} knows no leader"), "bring a majority of the members up"));
    }
    if let Some(quota) = member.quota {
        if quota < QUOTA {
            found.push(finding(
                format!("{url} may grow to {} only", size(quota)),
                format!("start it with --quota-backend-bytes={QUOTA}"),
            ));
        }
        if member.size > quota / 10 * NEARLY_FULL {
            found.push(finding(
                format!("{url} has taken {} of {}", size(member.size), size(quota)),
                format!("make room before it is full: {etcdctl} defrag, and see below what takes it"),
            ));
        }
    }
    if is_worth_defragmenting(member.size, member.in_use) {
        found.push(finding(
            format!("{url} takes {} and uses {} of it", size(member.size), size(member.in_use)),
            format!("defragment one member at a time: {etcdctl} --endpoints={url} defrag"),
        ));
    }
    found
}

fn of_contents(contents: &Contents) -> Vec<Finding> {
    let mut found = Vec::new();
    for (key, why) in &contents.unreadable {
        found.push(finding(
            format!("{key} can not be read: {why}"),
            format!("see it with: ironmesh store cat {key}; another release wrote it, or somebody by hand"),
        ));
    }
    let all = contents.all();
    if all.keys > MAX_KEYS {
        found.push(finding(format!("{} keys are more than {MAX_KEYS}", all.keys), "see below which family has them"));
    }
    if all.octets > MAX_BYTES {
        let what = format!("the keys take {}, more than {}", size(all.octets), size(MAX_BYTES));
        found.push(finding(what, "see below which family has them"));
    }
    found
}

#[cfg(test)]
mod tests;
