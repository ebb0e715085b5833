//! Every failure in deploy/FAILURES.md is shown by a test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// All Rust files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a text has a test with this name: a function, or a line in a table of tests.
fn has_test(text: &str, name: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start).map(|line| line.strip_prefix("async ").unwrap_or(line));
    lines.any(|line| {
        let function = line.strip_prefix("fn ").and_then(|line| line.strip_prefix(name));
        function.is_some_and(|rest| rest.starts_with("()"))
            || line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "))
    })
}

#[test]
fn every_documented_failure_names_existing_tests() -> Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    sources(&top.join("integration-tests/tests"), &mut files)?;
    sources(&top.join("services"), &mut files)?;
    let texts = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    let told = fs::read_to_string(top.join("deploy/FAILURES.md"))?;
    let rows = told.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what happens"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, seen, todo, tests] = cells.as_slice() else { anyhow::bail!("not four cells: {row}") };
        ensure!([what, seen, todo].iter().all(|cell| !cell.is_empty()), "an empty cell: {row}");
        for name in tests.split(", ") {
            let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).context(row.to_owned())?;
            ensure!(texts.iter().any(|text| has_test(text, name)), "there is no test {name}, which is to show: {what}");
        }
        count += 1;
    }
    ensure!(count > 20, "only {count} lines were read");
    Ok(())
}
