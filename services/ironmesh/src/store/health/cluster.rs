//! What is wrong with the members of etcd as a cluster, and what to do. Pure.

use std::time::Duration;

use keyspace::cluster::plan::{Advice, advice, majority};

use super::{Finding, Member, finding};

/// Entries that a member may be behind the others, about a second of heavy writing.
const MAX_LAG: u64 = 5000;
/// How long an answer may take. Writes wait for a majority of the members.
const MAX_LATENCY: Duration = Duration::from_millis(250);
/// How far the clock of a member may be off. etcd does not use it, but certificates and logs do.
const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(5);

/// How an operator changes the members: by the data directory of the host, if the commands run there.
fn member_remove(member: &Member) -> String {
    format!("ironmesh store member remove {} --data DIR", member.label())
}

/// Returns the problems that make the store unavailable or soon will.
pub(in crate::store) fn problems(members: &[Member]) -> Vec<Finding> {
    let mut found = Vec::new();
    let voters: Vec<_> = members.iter().filter(|member| member.is_listed && !member.is_learner).collect();
    let healthy = voters.iter().filter(|member| member.is_healthy()).count();
    if !voters.is_empty() && healthy < majority(voters.len()) {
        found.push(finding(
            format!("the store has no quorum: {healthy} of {} members are healthy, {} are required", voters.len(), majority(voters.len())),
            "start the members that are down (systemctl start ironmesh-host); only if their hosts are lost for good, make a \
             store of one member on a host that is left:\n\
             systemctl stop ironmesh-host\n\
             ironmesh store restore --data DIR BACKUP, or with the member's own data: ironmesh store restore --data DIR --own-data\n\
             systemctl start ironmesh-host\n\
             ironmesh store adopt --data DIR",
        ));
    }
    found.extend(voters.iter().filter(|member| member.trouble.is_some() && healthy >= majority(voters.len())).map(
        |member| {
            finding(
                format!("member {} counts for the quorum although it is not healthy", member.label()),
                format!(
                    "if its host is lost for good, remove it, then join another host with --store: {}",
                    member_remove(member)
                ),
            )
        },
    ));
    for learner in members.iter().filter(|member| member.is_learner && !member.is_healthy()) {
        found.push(finding(
            format!("the new member {} does not run, and no other member can join meanwhile", learner.label()),
            format!(
                "start it on its host with: systemctl start ironmesh-host\nor give it up with: {}",
                member_remove(learner)
            ),
        ));
    }
    for member in members.iter().filter(|member| member.trouble.is_none() && !member.is_learner && member.lag > MAX_LAG)
    {
        found.push(finding(
            format!("member {} is {} entries behind the others", member.label(), member.lag),
            "its disk or its network is too slow: compare etcd_disk_wal_fsync_duration_seconds in its metrics with the others'",
        ));
    }
    for (member, off) in members.iter().filter_map(|member| Some((member, member.clock_offset?))) {
        if off.unsigned_abs() > MAX_CLOCK_OFFSET.as_secs() {
            let side = if off < 0 { "behind" } else { "ahead of" };
            found.push(finding(
                format!("the clock of member {} is {} s {side} this host's", member.label(), off.unsigned_abs()),
                "synchronize the clocks of both hosts: chronyc tracking, or timedatectl timesync-status",
            ));
        }
    }
    found.extend(version_skew(members).filter(|skew| skew.minors > 1).map(|skew| {
        finding(
            format!("the members run etcd {} and {}, more than one minor version apart", skew.oldest, skew.newest),
            format!("upgrade one member at a time and one minor version at a time, the oldest ({}) first", skew.oldest),
        )
    }));
    found
}

/// Returns what could be better while the store works.
pub(in crate::store) fn suggestions(members: &[Member]) -> Vec<Finding> {
    let mut found = Vec::new();
    let voters = members.iter().filter(|member| member.is_listed && !member.is_learner).count();
    if let Some(advice) = advice(voters) {
        let next = match advice {
            Advice::Single => "join two further hosts with: ironmesh join ADDRESS --token TOKEN --store",
            Advice::Even(_) => "join one further host with: ironmesh join ADDRESS --token TOKEN --store",
        };
        found.push(finding(advice.to_string(), next));
    }
    for learner in members.iter().filter(|member| member.is_learner && member.is_healthy()) {
        found.push(finding(
            format!(
                "member {} is copying the store ({} entries behind); the authority promotes it then",
                learner.label(),
                learner.lag
            ),
            "if it is not promoted within minutes, check that the host with the authority runs: ironmesh host list",
        ));
    }
    for member in members.iter().filter(|member| member.latency > MAX_LATENCY) {
        found.push(finding(
            format!("member {} took {} ms to answer", member.label(), member.latency.as_millis()),
            "check the load, the disk and the network of its host; writes wait for a majority of the members",
        ));
    }
    found.extend(version_skew(members).filter(|skew| skew.minors == 1).map(|skew| {
        finding(
            format!("the members run etcd {} and {}", skew.oldest, skew.newest),
            "finish the upgrade: one member at a time",
        )
    }));
    found
}

/// The oldest and the newest version of the members that answer.
struct Skew<'m> {
    oldest: &'m str,
    newest: &'m str,
    /// How many minor versions they are apart; many if the major versions differ.
    minors: u32,
}

fn version_skew(members: &[Member]) -> impl Iterator<Item = Skew<'_>> {
    let version = |member: &'_ Member| {
        let mut parts = member.version.split('.').map(|part| part.parse::<u32>());
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let known = members.iter().filter_map(|member| Some((version(member)?, member.version.as_str())));
    let known: Vec<_> = known.collect();
    let ends = known.iter().min().zip(known.iter().max());
    ends.map(|((oldest, old), (newest, new))| {
        let minors = if oldest.0 == newest.0 { newest.1 - oldest.1 } else { u32::MAX };
        Skew { oldest: old, newest: new, minors }
    })
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            url: format!("https://{name}:2379"),
            is_listed: true,
            is_led: true,
            version: "3.4.23".to_owned(),
            ..Member::default()
        }
    }

    fn silent(name: &str) -> Member {
        Member { trouble: Some("refused".to_owned()), is_led: false, version: String::new(), ..member(name) }
    }

    fn learner(member: Member) -> Member {
        Member { is_learner: true, ..member }
    }

    #[test]
    fn each_problem_of_a_cluster_is_named_with_the_command_that_mends_it() {
        let three = || vec![member("h1"), member("h2"), member("h3")];
        let with = |change: &dyn Fn(&mut Member)| {
            let mut members = three();
            change(&mut members[2]);
            members
        };
        // Why, the members, how many problems, and words of the problem and its command.
        type Case = (&'static str, Vec<Member>, usize, &'static [&'static str]);
        let table: Vec<Case> = vec![
            ("three of three", three(), 0, &[]),
            ("one of one", vec![member("h1")], 0, &[]),
            (
                "one of three is silent",
                vec![member("h1"), member("h2"), silent("h3")],
                1,
                &["h3", "ironmesh store member remove h3 --data DIR"],
            ),
            (
                "two of three are silent",
                vec![member("h1"), silent("h2"), silent("h3")],
                1,
                &["no quorum: 1 of 3", "2 are required", "ironmesh store restore --data DIR", "ironmesh store adopt"],
            ),
            ("none of one", vec![silent("h1")], 1, &["no quorum: 0 of 1"]),
            (
                "without a leader",
                with(&|member| member.is_led = false)
                    .into_iter()
                    .map(|member| Member { is_led: false, ..member })
                    .collect(),
                1,
                &["no quorum: 0 of 3"],
            ),
            (
                "a learner that does not run",
                [three(), vec![learner(silent("h4"))]].concat(),
                1,
                &["h4 does not run", "systemctl start ironmesh-host", "ironmesh store member remove h4"],
            ),
            ("a learner that copies", [three(), vec![learner(member("h4"))]].concat(), 0, &[]),
            ("a slow member", with(&|member| member.lag = 9000), 1, &["h3 is 9000 entries behind", "fsync"]),
            ("a clock that is behind", with(&|member| member.clock_offset = Some(-60)), 1, &["60 s behind", "chronyc"]),
            ("a clock that is ahead", with(&|member| member.clock_offset = Some(7)), 1, &["7 s ahead of"]),
            ("a clock that is off a little", with(&|member| member.clock_offset = Some(2)), 0, &[]),
            (
                "two minor versions apart",
                with(&|member| "3.6.1".clone_into(&mut member.version)),
                1,
                &["3.4.23 and 3.6.1", "one member at a time"],
            ),
            ("one minor version apart", with(&|member| "3.5.16".clone_into(&mut member.version)), 0, &[]),
            ("another cluster's member", with(&|member| member.is_listed = false), 0, &[]),
        ];
        for (why, members, count, words) in table {
            let found = problems(&members);
            assert_eq!(found.len(), count, "{why}: {found:?}");
            let text: String = found.iter().map(|found| format!("{}: {}\n", found.what, found.next)).collect();
            for word in words {
                assert!(text.contains(word), "{why}: {word}: {text}");
            }
        }
    }

    #[test]
    fn what_could_be_better_is_suggested_with_the_command() {
        let table: Vec<(&str, Vec<Member>, Vec<&str>)> = vec![
            ("one", vec![member("h1")], vec!["one member", "ironmesh join"]),
            ("two", vec![member("h1"), member("h2")], vec!["2 members tolerate the loss of 0", "--store"]),
            ("three", vec![member("h1"), member("h2"), member("h3")], vec![]),
            ("four", ["h1", "h2", "h3", "h4"].map(member).into(), vec!["4 members tolerate the loss of 1"]),
            (
                "a learner",
                vec![member("h1"), learner(Member { lag: 12, ..member("h2") })],
                vec!["h2 is copying the store (12 entries behind)", "one member: if its host fails"],
            ),
            (
                "slow",
                vec![member("h1"), member("h2"), Member { latency: Duration::from_millis(900), ..member("h3") }],
                vec!["h3 took 900 ms"],
            ),
            (
                "an upgrade under way",
                vec![member("h1"), member("h2"), Member { version: "3.5.16".to_owned(), ..member("h3") }],
                vec!["finish the upgrade"],
            ),
        ];
        for (why, members, words) in table {
            let found = suggestions(&members);
            let text: String = found.iter().map(|found| format!("{}: {}\n", found.what, found.next)).collect();
            assert_eq!(found.is_empty(), words.is_empty(), "{why}: {text}");
            for word in words {
                assert!(text.contains(word), "{why}: {word}: {text}");
            }
        }
    }
}
