//! `ironmesh store status`: the members of etcd in one table, and below it what is wrong and what to do.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;
use keyspace::cluster::Alarm;
use serde_json::{Value, json};

use super::{
    StoreLocation, answer,
    backup::size,
    check::etcdctl,
    health::{Facts, Finding, Member, find_member_problems, find_suggestions},
    members,
    show::{columns, row},
};

pub(super) async fn run(format: cli::Format, location: &StoreLocation) -> Result<ExitCode> {
    let access = location.access_of_any_user()?;
    let store = access.store(&access.common.etcd).await?;
    let (members, alarms) = members::gather(&access, &store).await?;
    let revision = if members.iter().any(Member::is_healthy) {
        store.standing().await.map_or(0, |standing| standing.revision)
    } else {
        0
    };
    let facts = Facts { members, alarms, revision, etcdctl: etcdctl(&access), ..Facts::default() };
    let (problems, suggestions) = (find_member_problems(&facts), find_suggestions(&facts.members));
    match format {
        cli::Format::Table => answer(table(&facts.members, &problems, &suggestions).trim_end()),
        format @ (cli::Format::Json | cli::Format::Yaml | cli::Format::Name) => {
            answer(cli::written(format, &document(&facts, &problems, &suggestions)).trim_end());
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn role(member: &Member) -> &'static str {
    match member {
        Member { is_listed: false, .. } => "unlisted",
        Member { is_learner: true, .. } => "learner",
        Member { leads: true, .. } => "leader",
        _ => "member",
    }
}

fn health(member: &Member) -> &'static str {
    match member {
        Member { trouble: Some(_), .. } => "silent",
        Member { is_led: false, .. } => "no leader",
        _ => "healthy",
    }
}

fn line(member: &Member) -> Vec<String> {
    let (label, url, health, role) = (member.label(), &member.url, health(member), role(member));
    if member.trouble.is_some() {
        return row([label, url, health, role, "-", "-", "-", "-", "-"]);
    }
    let latency = format!("{} ms", member.latency.as_millis());
    let (size, in_use) = (size(member.size), size(member.in_use));
    row([label, url, health, role, &member.version, &size, &in_use, &member.lag.to_string(), &latency])
}

fn table(members: &[Member], problems: &[Finding], suggestions: &[Finding]) -> String {
    let heading = ["MEMBER", "ADDRESS", "HEALTH", "ROLE", "VERSION", "SIZE", "IN USE", "BEHIND", "LATENCY"];
    let mut text = columns(&heading, members.iter().map(line).collect());
    text.push('\n');
    for (word, found) in
        problems.iter().map(|found| ("PROBLEM", found)).chain(suggestions.iter().map(|found| ("ADVICE", found)))
    {
        let _ = writeln!(text, "{word}: {}\n  {}", found.what, found.next.replace('\n', "\n  "));
    }
    if problems.is_empty() {
        text.push_str("no problems found\n");
    }
    text
}

fn document(facts: &Facts, problems: &[Finding], suggestions: &[Finding]) -> Value {
    let members = facts.members.iter().map(|member| {
        json!({
            "id": format!("{:x}", member.id), "name": member.name, "url": member.url, "health": health(member),
            "role": role(member), "trouble": member.trouble, "version": member.version, "size": member.size,
            "in_use": member.in_use, "quota": member.quota, "behind": member.lag,
            "latency_ms": u64::try_from(member.latency.as_millis()).unwrap_or(u64::MAX),
            "clock_offset_s": member.clock_offset,
        })
    });
    let alarms = facts.alarms.iter().map(|alarm| match alarm {
        Alarm::NoSpace => "NOSPACE",
        Alarm::Corrupt => "CORRUPT",
    });
    let findings =
        |all: &[Finding]| all.iter().map(|found| json!({ "what": found.what, "next": found.next })).collect::<Vec<_>>();
    json!({
        "members": members.collect::<Vec<_>>(),
        "alarms": alarms.collect::<Vec<_>>(),
        "problems": findings(problems),
        "advice": findings(suggestions),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_of_each_member_who_it_is_and_how_it_is() {
        let sound = Member {
            name: "h1".to_owned(),
            url: "https://10.0.0.11:2379".to_owned(),
            is_listed: true,
            is_led: true,
            leads: true,
            version: "3.4.23".to_owned(),
            size: 5 << 20,
            in_use: 3 << 20,
            ..Member::default()
        };
        let leaderless = Member { name: "h2".to_owned(), is_led: false, leads: false, ..sound.clone() };
        let silent =
            Member { name: "h3".to_owned(), trouble: Some("refused".to_owned()), leads: false, ..sound.clone() };
        let learner = Member { name: String::new(), is_learner: true, leads: false, lag: 7, ..sound.clone() };
        let problem = Finding { what: "it burns".to_owned(), next: "extinguish it\nthen leave".to_owned() };
        let text = table(&[sound, leaderless, silent, learner], &[problem], &[]);
        for words in [
            "https://10.0.0.11:2379  healthy    leader   3.4.23   5.0 MiB  3.0 MiB  0       0 ms",
            "no leader  member",
            "silent     member   -",
            "healthy    learner  3.4.23   5.0 MiB  3.0 MiB  7",
            "PROBLEM: it burns\n  extinguish it\n  then leave",
        ] {
            assert!(text.contains(words), "{words:?} in:\n{text}");
        }
        assert!(table(&[], &[], &[]).contains("no problems found"));
    }
}
