//! The generated tables of the services' READMEs: RPCs, keys, ports and metrics.
//!
//! A table is between `<!-- rpcs -->` and `<!-- /rpcs -->`, and so on for `keys`, `ports` and `metrics`. The rest of a
//! README is written by hand. The index of decisions is generated as well.

mod decisions;
mod keys;
mod metrics;
mod ports;
mod rpcs;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{files, say};

/// A service, and the crates whose code runs in it alone.
struct Service {
    name: &'static str,
    crates: &'static [&'static str],
}

/// Services that have a README with all tables.
const SERVICES: &[Service] = &[
    Service { name: "power-service", crates: &["power-service"] },
    Service { name: "pxe-service", crates: &["pxe-service"] },
    Service { name: "storage-service", crates: &["storage-service"] },
    Service { name: "inventory-service", crates: &["inventory-service"] },
    Service { name: "scheduler-service", crates: &["scheduler-core", "api-auth", "ironic-api", "scheduler-service"] },
];

/// Folder of the decisions.
const DECISIONS: &str = "services/decisions";

/// Whether READMEs are written or compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Writes those that are stale.
    Write,
    /// Fails if one is stale.
    Check,
}

/// Writes the generated tables, or fails if they are stale.
pub(crate) fn run(mode: Mode) -> Result<()> {
    let mut stale = Vec::new();
    for service in SERVICES {
        stale.extend(update(mode, &format!("services/{}/README.md", service.name), &tables(service)?)?);
    }
    let decisions = decisions::table(Path::new(DECISIONS))?;
    stale.extend(update(mode, &format!("{DECISIONS}/README.md"), &[("decisions", decisions)])?);
    metrics::check_libraries(Path::new("services"))?;
    if !stale.is_empty() {
        bail!("stale: {}; run: cargo xtask docs", stale.join(", "));
    }
    say(&format!("docs: the tables of {} services are up to date", SERVICES.len()));
    Ok(())
}

/// Fills a file's tables. Returns its path if it was stale and is only checked.
fn update(mode: Mode, path: &str, tables: &[(&str, String)]) -> Result<Option<String>> {
    let old = files::read(path)?;
    let filled = tables.iter().try_fold(old.clone(), |text, (name, table)| fill(&text, name, table));
    let new = filled.with_context(|| path.to_owned())?;
    if new == old {
        return Ok(None);
    }
    match mode {
        Mode::Check => Ok(Some(path.to_owned())),
        Mode::Write => fs::write(path, &new).with_context(|| path.to_owned()).map(|()| None),
    }
}

fn tables(service: &Service) -> Result<[(&'static str, String); 4]> {
    Ok([
        ("rpcs", rpcs::table(service.name)?),
        ("keys", keys::table(service.name)?),
        ("ports", ports::table(service.name)?),
        ("metrics", metrics::table(service.crates)?),
    ])
}

/// Replaces the text between the markers of a table.
fn fill(text: &str, name: &str, table: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let missing = || format!("has no {} … {end}", begin.trim_end());
    let (head, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, tail) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{head}{begin}{table}{end}{tail}"))
}

/// A table in Markdown, with a line of headings.
fn markdown(headings: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let rule: Vec<String> = headings.iter().map(|_| "---".to_owned()).collect();
    [headings, rule].iter().chain(rows).map(|cells| line(cells)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_between_its_markers_and_missing_markers_are_named() {
        let text = "# a\n<!-- keys -->\nold\n<!-- /keys -->\nend\n";
        let table = markdown(&["a", "b"], &[vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(
            fill(text, "keys", &table).unwrap(),
            "# a\n<!-- keys -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- /keys -->\nend\n"
        );
        assert!(fill(text, "rpcs", "").unwrap_err().to_string().contains("<!-- rpcs -->"));
    }
}
