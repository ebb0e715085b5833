//! How large files and functions are, against the bar of the house.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use syn::{spanned::Spanned as _, visit::Visit};

use crate::say;

/// No file is longer, tests included.
const LONGEST_FILE: usize = 1000;
/// Nine of ten files are at most this long.
const FILE_P90: usize = 450;
/// Nine of ten functions are at most this long.
const FUNCTION_P90: usize = 28;
/// Functions longer than this are counted.
const LONG_FUNCTION: usize = 100;

/// Measures all sources, prints what was found, and fails where the bar is missed.
pub(crate) fn report() -> Result<()> {
    let mut files = Vec::new();
    for folder in ["proto/src", "services", "integration-tests", "scripts/xtask"] {
        collect(Path::new(folder), &mut files)?;
    }
    let mut lengths = Vec::new();
    let mut functions = Functions::default();
    for path in &files {
        let text = fs::read_to_string(path)?;
        lengths.push((text.lines().count(), path.clone()));
        functions.file.clone_from(path);
        functions.visit_file(&syn::parse_file(&text).with_context(|| path.display().to_string())?);
    }
    lengths.sort();
    functions.lengths.sort();
    let file = |share| at(&lengths, share);
    let function = |share| at(&functions.lengths, share);
    let long = functions.lengths.iter().filter(|(length, _)| *length > LONG_FUNCTION).count();
    say(&format!("files: {} of median {}, p90 {}", lengths.len(), file(50), file(90)));
    for (length, path) in lengths.iter().rev().take_while(|(length, _)| *length > 400) {
        say(&format!("  over 400: {length} {}", path.display()));
    }
    let count = functions.lengths.len();
    say(&format!("functions: {count} of median {}, p90 {}, {long} over {LONG_FUNCTION}", function(50), function(90)));
    for (length, name) in functions.lengths.iter().rev().take(5) {
        say(&format!("  longest: {length} {name}"));
    }
    let longest = lengths.last().map_or(0, |(length, _)| *length);
    if longest > LONGEST_FILE || file(90) > FILE_P90 || function(90) > FUNCTION_P90 || long * 1000 > count * 6 {
        bail!("the bar is missed: which room is missing?");
    }
    Ok(())
}

fn at<T>(sorted: &[(usize, T)], share: usize) -> usize {
    sorted.get(sorted.len() * share / 100).map_or(0, |(length, _)| *length)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
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
