//! Sizes of files and functions, and their limits.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use syn::{spanned::Spanned as _, visit::Visit};

use crate::{files, say};

/// Maximum length of a file in lines, tests included.
const MAX_FILE: usize = 500;
/// Files that are still longer, and their present length. The list only shrinks.
const KNOWN: &[(&str, usize)] = &[];
/// Length in lines that nine of ten files do not exceed.
const FILE_P90: usize = 400;
/// Length in lines that nine of ten functions do not exceed.
const FUNCTION_P90: usize = 28;
/// Functions longer than this, in lines, are counted.
const LONG_FUNCTION: usize = 100;
/// Share of such functions that is allowed, in thousandths.
const LONG_FUNCTIONS_PER_MILLE: usize = 6;

/// Measures all sources, prints the figures, and fails if a limit is exceeded.
pub(crate) fn check() -> Result<()> {
    let mut files = Vec::new();
    let mut functions = Functions::default();
    for folder in ["proto/src", "services", "integration-tests", "scripts/xtask"] {
        for path in files::below(Path::new(folder), &["rs"])? {
            let text = files::read(&path)?;
            functions.file.clone_from(&path);
            functions.visit_file(&syn::parse_file(&text).with_context(|| path.display().to_string())?);
            files.push((text.lines().count(), path));
        }
    }
    files.sort();
    functions.lengths.sort();
    report(&files, &functions.lengths);
    let long = count_long(&functions.lengths);
    let mut wrongs = wrong_files(&files, KNOWN);
    if at(&files, 90) > FILE_P90 {
        wrongs.push(format!("nine of ten files must have at most {FILE_P90} lines"));
    }
    if at(&functions.lengths, 90) > FUNCTION_P90 {
        wrongs.push(format!("nine of ten functions must have at most {FUNCTION_P90} lines"));
    }
    if long * 1000 > functions.lengths.len() * LONG_FUNCTIONS_PER_MILLE {
        wrongs.push(format!("{long} functions have more than {LONG_FUNCTION} lines"));
    }
    if !wrongs.is_empty() {
        bail!("{}", wrongs.join("\n"));
    }
    Ok(())
}

fn report(files: &[(usize, PathBuf)], functions: &[(usize, String)]) {
    say(&format!("files: {} of median {}, p90 {}", files.len(), at(files, 50), at(files, 90)));
    for (length, path) in files.iter().rev().take_while(|(length, _)| *length > FILE_P90) {
        say(&format!("  over {FILE_P90}: {length} {}", path.display()));
    }
    let (count, long) = (functions.len(), count_long(functions));
    let (median, p90) = (at(functions, 50), at(functions, 90));
    say(&format!("functions: {count} of median {median}, p90 {p90}, {long} over {LONG_FUNCTION}"));
    for (length, name) in functions.iter().rev().take(5) {
        say(&format!("  longest: {length} {name}"));
    }
}

fn count_long(functions: &[(usize, String)]) -> usize {
    functions.iter().filter(|(length, _)| *length > LONG_FUNCTION).count()
}

/// Files that are too long, or longer than known, and entries of the list that are no longer needed.
fn wrong_files(files: &[(usize, PathBuf)], known: &[(&str, usize)]) -> Vec<String> {
    let limit = |path: &Path| known.iter().find(|(name, _)| Path::new(name) == path).map_or(MAX_FILE, |known| known.1);
    let long = files.iter().filter(|(length, path)| *length > limit(path));
    let long = long.map(|(length, path)| format!("{}: {length} lines, at most {}", path.display(), limit(path)));
    let needed = |name: &str| files.iter().any(|(length, path)| path == Path::new(name) && *length > MAX_FILE);
    let stale = known.iter().filter(|(name, _)| !needed(name));
    let stale = stale.map(|(name, _)| format!("{name} is no longer too long; remove it from the list in size.rs"));
    long.chain(stale).collect()
}

fn at<T>(sorted: &[(usize, T)], share: usize) -> usize {
    sorted.get(sorted.len() * share / 100).map_or(0, |(length, _)| *length)
}

#[derive(Default)]
struct Functions {
    file: PathBuf,
    lengths: Vec<(usize, String)>,
}

impl Functions {
    fn note(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let length = span.end().line.saturating_sub(span.start().line) + 1;
        self.lengths.push((length, format!("{} in {}", name, self.file.display())));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig.ident, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig.ident, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_fails_unless_it_is_known_and_a_known_one_must_not_grow_or_stay_listed() {
        let files = [(400, "short.rs"), (501, "long.rs"), (600, "known.rs"), (701, "grown.rs")];
        let files = files.map(|(length, path)| (length, PathBuf::from(path)));
        let known = [("known.rs", 600), ("grown.rs", 700), ("short.rs", 510), ("gone.rs", 510)];
        let wrongs = wrong_files(&files, &known);
        let names: Vec<_> = wrongs.iter().filter_map(|wrong| wrong.split([':', ' ']).next()).collect();
        assert_eq!(names, ["long.rs", "grown.rs", "short.rs", "gone.rs"]);
    }
}
