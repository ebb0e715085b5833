//! The table of RPCs: from the comments of the wire contract, the approved roles and the approved calls.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};

use super::markdown;
use crate::{calls, files};

/// Roles of the public API, from `api-auth`'s golden table or wherever it is kept.
const ROLES: &str = "access.txt";

struct Rpc {
    service: String,
    name: String,
    /// First sentence of its comment.
    comment: String,
}

/// The RPCs that a service answers.
pub(super) fn table(service: &str) -> Result<String> {
    let packages = calls::packages(service);
    let callers = callers(&files::read(calls::GOLDEN)?);
    let roles = roles()?;
    let mut rows = Vec::new();
    for path in files::below(Path::new("proto/ironmesh"), &["proto"])? {
        let text = files::read(&path)?;
        let package = calls::package(&text);
        if !packages.contains(&package) {
            continue;
        }
        for Rpc { service, name, comment } in rpcs(&text) {
            let caller =
                roles.get(&format!("{service}/{name}")).or_else(|| callers.get(&format!("{package}.{service}")));
            let caller = caller.with_context(|| format!("who calls {package}.{service}/{name} is not known"))?;
            rows.push(vec![format!("`{package}.{service}/{name}`"), caller.clone(), comment]);
        }
    }
    Ok(markdown(&["RPC", "caller or least role", "what it does"], &rows))
}

/// The crates that call a service, by its full name.
fn callers(golden: &str) -> BTreeMap<String, String> {
    let mut callers: BTreeMap<String, String> = BTreeMap::new();
    for (from, to) in golden.lines().filter_map(|line| line.split_once(" -> ")) {
        let from = if from == "scheduler-core" { "scheduler-service" } else { from };
        callers
            .entry(to.to_owned())
            .and_modify(|known| *known += &format!(", {from}"))
            .or_insert_with(|| from.to_owned());
    }
    callers
}

/// The least role that may call an RPC of the public API, by service and name.
fn roles() -> Result<BTreeMap<String, String>> {
    let golden = files::below(Path::new("services"), &["txt"])?;
    let path =
        golden.iter().find(|path| path.ends_with(ROLES)).with_context(|| format!("no {ROLES} below services/"))?;
    let text = files::read(path)?;
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    Ok(rows.collect())
}

fn rpcs(text: &str) -> Vec<Rpc> {
    let mut rpcs = Vec::new();
    let mut service = "";
    let mut comment = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("//") {
            comment = format!("{comment} {}", more.trim());
            continue;
        }
        if let Some(rest) = line.strip_prefix("service ") {
            service = rest.split_whitespace().next().unwrap_or_default();
        } else if let Some((name, _)) = line.strip_prefix("rpc ").and_then(|rest| rest.split_once('(')) {
            let comment = first_sentence(&comment);
            rpcs.push(Rpc { service: service.to_owned(), name: name.trim().to_owned(), comment });
        }
        comment.clear();
    }
    rpcs
}

/// A text up to its first full stop that ends a sentence.
pub(super) fn first_sentence(text: &str) -> String {
    let text = text.trim();
    let end = text.match_indices(". ").map(|(at, _)| at).find(|at| {
        let before = text.get(..*at).unwrap_or_default();
        !["i.e", "e.g", "etc"].iter().any(|word| before.ends_with(word))
    });
    let sentence = end.and_then(|at| text.get(..=at)).unwrap_or(text);
    sentence.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rpc_has_the_first_sentence_of_its_own_comment() {
        let text = "// The file.\nservice S {\n  // Does it, e.g. so. More.\n  // Yet more.\n  rpc Do(A) returns (B);\n  rpc Be(stream A) returns (B) {}\n}";
        let found: Vec<_> = rpcs(text).into_iter().map(|rpc| (rpc.service, rpc.name, rpc.comment)).collect();
        let row = |name: &str, comment: &str| ("S".to_owned(), name.to_owned(), comment.to_owned());
        assert_eq!(found, [row("Do", "Does it, e.g. so."), row("Be", "")]);
    }

    #[test]
    fn all_callers_of_a_service_are_named() {
        let callers = callers("a -> p.S\nscheduler-core -> p.S\n");
        assert_eq!(callers.get("p.S").map(String::as_str), Some("a, scheduler-service"));
    }
}
