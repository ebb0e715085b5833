//! The table of metrics: from the descriptions in each crate's `metrics.rs`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::markdown;
use crate::files;

/// Libraries whose metrics every service has; their READMEs list them by hand.
const LIBRARIES: &[&str] = &["mesh", "keyspace", "service-kit"];

/// The metrics that these crates describe, those that do not exist left out.
pub(super) fn table(crates: &[&str]) -> Result<String> {
    let mut rows = Vec::new();
    for name in crates {
        let path = format!("services/{name}/src/metrics.rs");
        if Path::new(&path).exists() {
            rows.extend(described(&files::read(&path)?).with_context(|| path.clone())?);
        }
    }
    Ok(markdown(&["metric", "kind", "meaning"], &rows))
}

/// Constants with text, and the metrics that are described.
#[derive(Default)]
struct Metrics {
    constants: BTreeMap<String, String>,
    described: Vec<Description>,
}

struct Description {
    kind: &'static str,
    /// Name of the constant, or the metric's own.
    name: String,
    text: String,
}

fn described(text: &str) -> Result<Vec<Vec<String>>> {
    let mut metrics = Metrics::default();
    metrics.visit_file(&syn::parse_file(text)?);
    let Metrics { constants, described } = metrics;
    let rows = described.into_iter().map(|Description { kind, name, text }| {
        let name = constants.get(&name).cloned().unwrap_or(name);
        vec![format!("`{name}`"), kind.to_owned(), text.replace('|', "\\|")]
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    Ok(rows)
}

impl<'ast> Visit<'ast> for Metrics {
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &*item.expr {
            self.constants.insert(item.ident.to_string(), text.value());
        }
        visit::visit_item_const(self, item);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        let name = invocation.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let kind = match name.as_str() {
            "describe_counter" => "counter",
            "describe_gauge" => "gauge",
            "describe_histogram" => "histogram",
            _ => return,
        };
        let tokens = invocation.tokens.clone();
        if let (Some(name), Some(text)) = (first(tokens.clone()), last(tokens)) {
            self.described.push(Description { kind, name, text });
        }
    }
}

fn first(tokens: TokenStream) -> Option<String> {
    match tokens.into_iter().next()? {
        TokenTree::Literal(literal) => text(literal),
        TokenTree::Ident(ident) => Some(ident.to_string()),
        TokenTree::Punct(_) | TokenTree::Group(_) => None,
    }
}

/// The last text of a macro's arguments: a description.
fn last(tokens: TokenStream) -> Option<String> {
    let literals = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Literal(literal) => text(literal),
        TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Group(_) => None,
    });
    literals.last()
}

fn text(literal: proc_macro2::Literal) -> Option<String> {
    let syn::Lit::Str(text) = syn::Lit::new(literal) else { return None };
    Some(text.value())
}

/// Fails if the README of a library does not name one of its metrics.
pub(super) fn check_libraries(services: &Path) -> Result<()> {
    for name in LIBRARIES {
        let folder = services.join(name);
        let readme = files::read(folder.join("README.md"))?;
        for path in files::below(&folder.join("src"), &["rs"])? {
            for metric in named(&files::read(&path)?) {
                if !readme.contains(&format!("`{metric}`")) {
                    bail!("services/{name}/README.md does not describe the metric {metric}");
                }
            }
        }
    }
    Ok(())
}

/// Metrics that are recorded under a literal name.
fn named(text: &str) -> Vec<String> {
    let calls = ["counter!(\"", "gauge!(\"", "histogram!(\""];
    let names = calls.iter().flat_map(|call| text.split(call).skip(1));
    names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_found_with_its_name_and_kind() {
        let text = r#"
            const PULLS: &str = "storage_pulls_total";
            fn describe() {
                describe_histogram!("storage_pull_seconds", Unit::Seconds, "One pull");
                metrics::describe_counter!(PULLS, "Pulls");
            }"#;
        let rows = described(text).unwrap();
        assert_eq!(
            rows,
            [["`storage_pull_seconds`", "histogram", "One pull"], ["`storage_pulls_total`", "counter", "Pulls"]]
        );
    }

    #[test]
    fn a_metric_that_is_recorded_by_its_name_is_found() {
        assert_eq!(named("metrics::counter!(\"a_total\").increment(1); gauge!(\"b\");"), ["a_total", "b"]);
    }
}
