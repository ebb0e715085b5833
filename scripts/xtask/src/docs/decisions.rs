//! The index of decisions, from the head of each file.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::markdown;
use crate::files;

/// Sections that every decision has, in order.
const SECTIONS: &[&str] = &["## Choice", "## Alternative", "## Reason", "## What would change our mind"];

/// The table of the decisions in a folder. Fails if one lacks a part, or if numbers are missing or used twice.
pub(super) fn table(folder: &Path) -> Result<String> {
    let mut rows = Vec::new();
    for path in files::below(folder, &["md"])? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "README.md" {
            continue;
        }
        let row = row(name, &files::read(&path)?).with_context(|| path.display().to_string())?;
        if !name.starts_with(&format!("{:04}-", rows.len() + 1)) {
            bail!("{}: expected number {:04}", path.display(), rows.len() + 1);
        }
        rows.push(row);
    }
    Ok(markdown(&["decision", "date", "status"], &rows))
}

fn row(name: &str, text: &str) -> Result<Vec<String>> {
    let part = |prefix: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(prefix));
        found.map(|rest| rest.trim().to_owned()).with_context(|| format!("has no `{prefix}`"))
    };
    let mut from = 0;
    for section in SECTIONS {
        let at = text.get(from..).and_then(|rest| rest.find(&format!("\n{section}\n")));
        from += at.with_context(|| format!("has no `{section}`, or not in this order"))?;
    }
    Ok(vec![format!("[{}]({name})", part("# ")?), part("* Date: ")?, part("* Status: ")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_has_a_title_a_date_a_status_and_all_sections_in_order() {
        let text = "# 0001: T\n\n* Date: 2026-11-22\n* Status: accepted\n\n## Choice\n\nc\n\n## Alternative\n\na\n\n\
                    ## Reason\n\nr\n\n## What would change our mind\n\nm\n";
        assert_eq!(row("0001-t.md", text).unwrap(), ["[0001: T](0001-t.md)", "2026-11-22", "accepted"]);
        for part in ["* Date: ", "* Status: ", "## Reason", "# 0001"] {
            assert!(row("0001-t.md", &text.replace(part, "x")).is_err(), "{part}");
        }
    }
}
