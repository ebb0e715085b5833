//! Derives the problems of a store, and what to do about them, from its state. Pure.

mod cluster;

use std::{collections::BTreeMap, time::Duration};

use domain::id::NodeId;
use keyspace::{
    key::parse,
    key_schema::{Group, MAX_BYTES, MAX_KEYS},
    maintenance::Alarm,
    store::Pair,
    value::Incarnation,
};

use super::backup::size;

/// Quota of the database, in bytes (services/keyspace/README.md).
pub(crate) const QUOTA: u64 = 8 << 30;
/// Tenths of the quota from which the database is reported as nearly full.
const NEARLY_FULL_TENTHS: u64 = 8;
/// Databases smaller than this, in bytes, are not defragmented.
const MIN_DEFRAGMENT_BYTES: u64 = 64 << 20;
/// Maximum number of revisions that a store with compaction every five minutes keeps.
const MAX_KEPT_REVISIONS: i64 = 200_000;

/// The state of a store.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// All known members.
    pub(super) members: Vec<Member>,
    /// Current revision.
    pub(super) revision: i64,
    /// Oldest revision that was not compacted.
    pub(super) compacted: i64,
    pub(super) incarnation: Incarnation,
    pub(super) alarms: Vec<Alarm>,
    pub(super) contents: Contents,
    /// Command line prefix of etcdctl.
    pub(super) etcdctl: String,
}

/// An etcd member.
#[derive(Debug, Default, Clone)]
pub(super) struct Member {
    pub(super) url: String,
    /// Its id; 0 if it is not known.
    pub(super) id: u64,
    /// Its name; empty if it has never run.
    pub(super) name: String,
    /// Whether etcd lists it as a member.
    pub(super) is_listed: bool,
    pub(super) is_learner: bool,
    /// Why it does not respond.
    pub(super) trouble: Option<String>,
    pub(super) version: String,
    pub(super) cluster: u64,
    pub(super) leads: bool,
    /// Whether it has a leader.
    pub(super) is_led: bool,
    pub(super) size: u64,
    pub(super) in_use: u64,
    /// Quota in bytes, if it is known.
    pub(super) quota: Option<u64>,
    /// Entries of the log by which it is behind the others.
    pub(super) lag: u64,
    /// How long its answer took.
    pub(super) latency: Duration,
    /// By how many seconds its clock is ahead of this host's, if it is known.
    pub(super) clock_offset: Option<i64>,
}

impl Member {
    /// Whether it responds and has a leader.
    pub(super) const fn is_healthy(&self) -> bool {
        self.trouble.is_none() && self.is_led
    }

    /// Its name, or its address if it has none.
    pub(super) fn label(&self) -> &str {
        if self.name.is_empty() { &self.url } else { &self.name }
    }
}

/// The keys of the store.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) families: BTreeMap<&'static str, Taken>,
    /// Number of keys that belong to no family.
    pub(super) unknown: u64,
    /// Keys whose value cannot be read, and why.
    pub(super) unreadable: Vec<(String, String)>,
    /// Nodes whose keys of a group exceed its limit, in bytes.
    pub(super) over: Vec<(NodeId, Group, u64)>,
}

/// Size of the keys of a family.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Taken {
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// Size of the largest value, in bytes.
    pub(super) largest: u64,
}

impl Contents {
    /// Counts the keys and checks every value.
    pub(super) fn of(pairs: &[Pair]) -> Self {
        let (mut contents, mut by_node) = (Self::default(), BTreeMap::<(NodeId, Group), u64>::new());
        for pair in pairs {
            let bytes = u64::try_from(pair.path.len() + pair.value.len()).unwrap_or(u64::MAX);
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
            taken.bytes += bytes;
            taken.largest = taken.largest.max(u64::try_from(pair.value.len()).unwrap_or(u64::MAX));
            if let Some(node) = key.about().node {
                *by_node.entry((node, row.group)).or_default() += bytes;
            }
        }
        let over = by_node.into_iter().filter(|((_, group), bytes)| group.bound().is_some_and(|bound| *bytes > bound));
        contents.over = over.map(|((node, group), bytes)| (node, group, bytes)).collect();
        contents
    }

    pub(super) fn all(&self) -> Taken {
        self.families.values().fold(Taken::default(), |all, taken| Taken {
            keys: all.keys + taken.keys,
            bytes: all.bytes + taken.bytes,
            largest: all.largest.max(taken.largest),
        })
    }
}

/// A problem, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) next: String,
}

pub(super) use self::cluster::suggestions as find_suggestions;

fn finding(what: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { what: what.into(), next: next.into() }
}

/// Returns whether defragmenting a database frees enough space to justify the interruption.
pub(crate) const fn is_worth_defragmenting(size: u64, in_use: u64) -> bool {
    size >= MIN_DEFRAGMENT_BYTES && in_use < size / 2
}

/// Returns all problems.
pub(super) fn find_problems(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(how) = facts.incarnation.restored_backup {
        found.push(finding(
            format!(
                "the store is a restored backup: revision {} was seen, and it was found at {}",
                how.known, how.found
            ),
            "check its content, then accept changes with: ironmesh store adopt",
        ));
    }
    found.extend(find_member_problems(facts));
    let kept = facts.revision - facts.compacted;
    if kept > MAX_KEPT_REVISIONS {
        found.push(finding(
            format!("{kept} revisions are kept: the store is not compacted"),
            "start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=5m",
        ));
    }
    found.extend(content_problems(&facts.contents));
    found
}

/// Returns the problems of the members, without those of the content of the store.
pub(super) fn find_member_problems(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = facts.alarms.iter().map(|alarm| alarm_problem(*alarm, facts)).collect();
    found.extend(facts.members.iter().flat_map(|member| member_problems(member, &facts.etcdctl)));
    found.extend(cluster::problems(&facts.members));
    let mut clusters: Vec<_> = facts.members.iter().map(|member| member.cluster).filter(|id| *id != 0).collect();
    clusters.sort_unstable();
    clusters.dedup();
    if clusters.len() > 1 {
        found.push(finding(
            "the members belong to different clusters",
            "configure the members of a single cluster in service.etcd of all services",
        ));
    }
    found
}

fn alarm_problem(alarm: Alarm, facts: &Facts) -> Finding {
    match alarm {
        Alarm::NoSpace => {
            let (ctl, revision) = (&facts.etcdctl, facts.revision);
            let next = format!(
                "free space, then clear the alarm:\n{ctl} compact {revision}\n{ctl} defrag\n{ctl} alarm disarm\n\
                 if that is not enough, start etcd with --quota-backend-bytes={QUOTA}"
            );
            finding("the store is out of space (alarm NOSPACE): writes fail", next)
        }
        Alarm::Corrupt => finding(
            "a member detected corrupt data (alarm CORRUPT)",
            "remove that member from the cluster and add it again with an empty directory (etcd documentation: runtime reconfiguration)",
        ),
    }
}

fn member_problems(member: &Member, etcdctl: &str) -> Vec<Finding> {
    let url = &member.url;
    if let Some(trouble) = &member.trouble {
        return vec![finding(format!("{url} does not answer: {trouble}"), "start that member, or check its log")];
    }
    let mut found = Vec::new();
    if !member.is_led {
        found.push(finding(format!("{url} has no leader"), "start a majority of the members"));
    }
    if let Some(quota) = member.quota {
        if quota < QUOTA {
            found.push(finding(
                format!("{url} may grow to {} only", size(quota)),
                format!("start it with --quota-backend-bytes={QUOTA}"),
            ));
        }
        if member.size > quota / 10 * NEARLY_FULL_TENTHS {
            found.push(finding(
                format!("{url} uses {} of {}", size(member.size), size(quota)),
                format!("free space before it is full: {etcdctl} defrag; the sizes below show what uses it"),
            ));
        }
    }
    if is_worth_defragmenting(member.size, member.in_use) {
        found.push(finding(
            format!("{url} has {} of which {} are in use", size(member.size), size(member.in_use)),
            format!("defragment one member at a time: {etcdctl} --endpoints={url} defrag"),
        ));
    }
    found
}

fn content_problems(contents: &Contents) -> Vec<Finding> {
    let mut found = Vec::new();
    for (key, why) in &contents.unreadable {
        found.push(finding(
            format!("{key} cannot be read: {why}"),
            format!("print it with: ironmesh store cat {key}; it was written by another release or by hand"),
        ));
    }
    let all = contents.all();
    if all.keys > MAX_KEYS {
        found.push(finding(
            format!("{} keys exceed the limit of {MAX_KEYS}", all.keys),
            "the list below shows the families",
        ));
    }
    if all.bytes > MAX_BYTES {
        let what = format!("the keys use {}, more than the limit of {}", size(all.bytes), size(MAX_BYTES));
        found.push(finding(what, "the list below shows the families"));
    }
    found
}

#[cfg(test)]
mod tests;
