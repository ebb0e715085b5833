//! Prints the results of a check, as a table or in a machine-readable format.

use std::fmt::Write as _;

use keyspace::maintenance::Alarm;
use serde_json::{Value, json};

use super::{
    answer,
    backup::size,
    health::{Facts, Finding, Member},
};

pub(super) fn all(format: cli::Format, facts: &Facts, findings: &[Finding]) {
    match format {
        cli::Format::Table => answer(table(facts, findings).trim_end()),
        format @ (cli::Format::Json | cli::Format::Yaml | cli::Format::Name) => {
            answer(cli::written(format, &json(facts, findings)).trim_end())
        }
    }
}

fn table(facts: &Facts, findings: &[Finding]) -> String {
    let members = facts.members.iter().map(member).collect();
    let heading = ["MEMBER", "VERSION", "ROLE", "SIZE", "IN USE", "QUOTA"];
    let mut text = columns(&heading, members);
    let incarnation = &facts.incarnation;
    let (revision, compacted) = (facts.revision, facts.compacted);
    let _ = writeln!(text, "\nrevision {revision}, history since {compacted}; incarnation {}", incarnation.number);
    let families = facts.contents.families.iter();
    let rows = families
        .map(|(name, taken)| row([name.to_owned(), &taken.keys.to_string(), &size(taken.bytes), &size(taken.largest)]));
    let all = facts.contents.all();
    let total = row(["all", &all.keys.to_string(), &size(all.bytes), &size(all.largest)]);
    text.push('\n');
    text.push_str(&columns(&["KEYS OF", "KEYS", "SIZE", "LARGEST"], rows.chain([total]).collect()));
    if facts.contents.unknown > 0 {
        let _ = writeln!(text, "\n{} keys under {} are of unknown kinds", facts.contents.unknown, keyspace::key::ROOT);
    }
    for (node, group, bytes) in &facts.contents.over {
        let bound = size(group.bound().unwrap_or_default());
        let _ = writeln!(text, "node {node}: {group:?} uses {}, more than the limit of {bound}", size(*bytes));
    }
    text.push('\n');
    for Finding { what, next } in findings {
        let _ = writeln!(text, "PROBLEM: {what}\n  {}", next.replace('\n', "\n  "));
    }
    if findings.is_empty() {
        text.push_str("no problems found\n");
    }
    text
}

fn member(member: &Member) -> Vec<String> {
    if member.trouble.is_some() {
        return row([&member.url, "-", "silent", "-", "-", "-"]);
    }
    let role = if member.leads { "leader" } else { "member" };
    let quota = member.quota.map_or_else(|| "unknown".to_owned(), size);
    row([&member.url, &member.version, role, &size(member.size), &size(member.in_use), &quota])
}

pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

pub(crate) fn columns(heading: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut lines = vec![heading.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn json(facts: &Facts, findings: &[Finding]) -> Value {
    let members = facts.members.iter().map(|member| {
        json!({
            "url": member.url, "answers": member.trouble.is_none(), "trouble": member.trouble,
            "version": member.version, "cluster": member.cluster, "leads": member.leads, "size": member.size,
            "in_use": member.in_use, "quota": member.quota,
        })
    });
    let contents = &facts.contents;
    let families = contents.families.iter().map(
        |(name, taken)| json!({ "family": name, "keys": taken.keys, "octets": taken.bytes, "largest": taken.largest }),
    );
    let unreadable = contents.unreadable.iter().map(|(key, why)| json!({ "key": key, "why": why }));
    let over = contents.over.iter().map(|(node, group, bytes)| {
        json!({ "node": node, "group": format!("{group:?}").to_lowercase(), "octets": bytes, "bound": group.bound() })
    });
    let alarms = facts.alarms.iter().map(|alarm| match alarm {
        Alarm::NoSpace => "NOSPACE",
        Alarm::Corrupt => "CORRUPT",
    });
    json!({
        "members": members.collect::<Vec<_>>(),
        "revision": facts.revision,
        "compacted": facts.compacted,
        "incarnation": facts.incarnation,
        "alarms": alarms.collect::<Vec<_>>(),
        "families": families.collect::<Vec<_>>(),
        "unknown_keys": contents.unknown,
        "unreadable": unreadable.collect::<Vec<_>>(),
        "over_bound": over.collect::<Vec<_>>(),
        "findings": findings.iter().map(|found| json!({ "what": found.what, "next": found.next })).collect::<Vec<_>>(),
    })
}
