//! External programs that the code and its tests start, and the Debian packages that they come from.
//!
//! A test that starts a program which no script installs passes wherever the program happens to be there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use syn::visit::{self, Visit};

use crate::{files, say};

/// Program and package, one pair per line.
const TABLE: &str = "scripts/programs.txt";
/// The lists of packages that the scripts install.
const PACKAGES: &str = "scripts/packages.sh";
/// Stands for a package that every Debian has (`Essential: yes`).
const ESSENTIAL: &str = "essential";
/// Stands for a program that comes with Rust.
const RUST: &str = "rust";
/// Stands for a tool that `scripts/test` installs with pip.
const PIP: &str = "pip";
/// Names of the parameter by which a function takes a program that it starts.
const PARAMETERS: [&str; 2] = ["program", "tool"];

/// Fails if a program that is started has no row, if a row has a package that no script installs, or if a row is stale. Where
/// the program is installed by dpkg, its package must be the row's.
pub(crate) fn check() -> Result<()> {
    let started = started()?;
    let table = rows(&files::read(TABLE)?)?;
    let mut wrongs = wrongs(&started, &table, &listed(&files::read(PACKAGES)?));
    for (program, package) in &table {
        if let Some(owner) = owner(program).filter(|owner| owner != package && !is_special(package)) {
            wrongs.push(format!("{program}: {TABLE} says package {package}, but dpkg says {owner}"));
        }
    }
    if !wrongs.is_empty() {
        bail!("{}", wrongs.join("\n"));
    }
    say(&format!("programs: {} are started, all from listed packages", started.len()));
    Ok(())
}

fn is_special(package: &str) -> bool {
    [ESSENTIAL, RUST, PIP].contains(&package)
}

/// The programs that sources start, each with a file that does.
fn started() -> Result<BTreeMap<String, PathBuf>> {
    let mut crates: BTreeMap<PathBuf, Vec<(PathBuf, syn::File)>> = BTreeMap::new();
    for folder in ["services", "integration-tests", "scripts/xtask"] {
        for path in files::below(Path::new(folder), &["rs"])? {
            let parsed = syn::parse_file(&files::read(&path)?).with_context(|| path.display().to_string())?;
            let depth = if folder == "services" { 2 } else { 1 };
            crates.entry(path.iter().take(depth).collect()).or_default().push((path, parsed));
        }
    }
    let mut started = BTreeMap::new();
    for files in crates.values() {
        // The functions of one test file are not seen by another one.
        let is_test = |path: &Path| path.iter().any(|part| part == "tests");
        let mut shared = Starters::default();
        files.iter().filter(|(path, _)| !is_test(path)).for_each(|(_, file)| shared.visit_file(file));
        for (path, file) in files {
            let mut starters = Starters { places: shared.places.clone(), hides: true };
            if is_test(path) {
                starters.visit_file(file);
            }
            let mut programs = Programs { starters: &starters.places, found: BTreeSet::new() };
            programs.visit_file(file);
            for program in programs.found {
                started.entry(program).or_insert_with(|| path.clone());
            }
        }
    }
    Ok(started)
}

/// The functions of a crate that take a program to start, and the parameter's place.
#[derive(Debug, Default)]
struct Starters {
    places: BTreeMap<String, usize>,
    /// Whether other functions that are read hide those of the same name.
    hides: bool,
}

impl Starters {
    fn read(&mut self, signature: &syn::Signature) {
        let typed = signature.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Typed(typed) => Some(typed),
            syn::FnArg::Receiver(_) => None,
        });
        let is_text = |kind: &syn::Type| matches!(kind, syn::Type::Reference(reference) if matches!(&*reference.elem, syn::Type::Path(path) if path.path.is_ident("str")));
        let place = typed
            .into_iter()
            .position(|typed| PARAMETERS.iter().any(|known| is_named(&typed.pat, known)) && is_text(&typed.ty));
        let name = signature.ident.to_string();
        match place {
            Some(place) => drop(self.places.insert(name, place)),
            // A test's own function hides one of the same name.
            None if self.hides => drop(self.places.remove(&name)),
            None => {}
        }
    }
}

fn is_named(pattern: &syn::Pat, name: &str) -> bool {
    matches!(pattern, syn::Pat::Ident(known) if known.ident == name)
}

impl<'ast> Visit<'ast> for Starters {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        let is_closure = local.init.as_ref().is_some_and(|init| matches!(&*init.expr, syn::Expr::Closure(_)));
        if self.hides && is_closure {
            self.places.retain(|name, _| !is_named(&local.pat, name));
        }
        visit::visit_local(self, local);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.read(&item.sig);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.read(&item.sig);
        visit::visit_impl_item_fn(self, item);
    }
}

/// The programs that a file names as literals where one is started.
struct Programs<'a> {
    starters: &'a BTreeMap<String, usize>,
    found: BTreeSet<String>,
}

impl Programs<'_> {
    fn read(&mut self, argument: Option<&syn::Expr>) {
        if let Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. })) = argument {
            let text = text.value();
            let name = text.rsplit('/').next().unwrap_or_default();
            // A whole command line is one of ours, which a test splits.
            if !name.is_empty() && !name.contains(' ') {
                self.found.insert(name.to_owned());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Programs<'_> {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func {
            let mut names = path.path.segments.iter().rev().map(|segment| segment.ident.to_string());
            let (name, of) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
            let place = if name == "new" && of == "Command" { Some(0) } else { self.starters.get(&name).copied() };
            if let Some(place) = place {
                self.read(call.args.iter().nth(place));
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if let Some(place) = self.starters.get(&call.method.to_string()) {
            self.read(call.args.iter().nth(*place));
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn rows(text: &str) -> Result<BTreeMap<String, String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [program, package] => Ok(((*program).to_owned(), (*package).to_owned())),
            _ => bail!("{TABLE}: {line:?} is not a program and a package"),
        })
        .collect()
}

/// The packages of the lists: the words of each `PACKAGES_…="…"`.
fn listed(text: &str) -> BTreeSet<String> {
    let text = text.replace("\\\n", " ");
    let lists = text.lines().filter(|line| line.starts_with("PACKAGES_"));
    let words = lists.filter_map(|line| line.split('"').nth(1)).flat_map(str::split_whitespace);
    words.map(str::to_owned).collect()
}

fn wrongs(
    started: &BTreeMap<String, PathBuf>,
    table: &BTreeMap<String, String>,
    listed: &BTreeSet<String>,
) -> Vec<String> {
    let missing = started.iter().filter(|(program, _)| !table.contains_key(*program));
    let missing = missing.map(|(program, path)| {
        format!("{} starts {program}, which has no row in {TABLE}: add it with its package", path.display())
    });
    let unlisted = table.iter().filter(|(_, package)| !is_special(package) && !listed.contains(*package));
    let unlisted = unlisted.map(|(program, package)| {
        format!("{program} needs the package {package}, which no list of {PACKAGES} has: add it there")
    });
    let stale = table.keys().filter(|program| !started.contains_key(*program));
    let stale = stale.map(|program| format!("{TABLE}: nothing starts {program}; remove its row"));
    missing.chain(unlisted).chain(stale).collect()
}

/// The package that a program comes from. `None` where dpkg or the program is not there.
fn owner(program: &str) -> Option<String> {
    let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    folders.iter().find_map(|folder| {
        let query = Command::new("dpkg-query").args(["--search", &format!("{folder}/{program}")]).output().ok()?;
        let text = String::from_utf8(query.stdout).ok()?;
        let line = text.lines().find(|line| !line.starts_with("diversion"))?;
        line.split(':').next().map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        let file = syn::parse_file(source).unwrap();
        let mut starters = Starters::default();
        starters.visit_file(&file);
        let mut programs = Programs { starters: &starters.places, found: BTreeSet::new() };
        programs.visit_file(&file);
        programs.found.into_iter().collect()
    }

    #[test]
    fn a_program_is_found_wherever_it_is_started() {
        for (source, programs) in [
            (r#"fn f() { Command::new("gzip").arg("-d"); }"#, &["gzip"][..]),
            (r#"fn f() { std::process::Command::new("/usr/bin/python3"); }"#, &["python3"]),
            (r#"fn run(program: &str) {} fn f() { run("xorriso"); }"#, &["xorriso"]),
            (r#"fn run(a: u8, tool: &str) {} fn f() { run(1, "sfdisk"); }"#, &["sfdisk"]),
            (r#"impl N { fn command(&self, program: &str) {} } fn f(n: N) { n.command("ip"); }"#, &["ip"]),
            (r#"fn f() { let mut qemu = tokio::process::Command::new("qemu-img"); }"#, &["qemu-img"]),
            (r#"fn run(words: &str) {} fn f() { run("no program"); Command::new(path); }"#, &[]),
            (r#"fn run(program: &Path) {} fn f() { Ipmi::new(0); run("x"); }"#, &[]),
        ] {
            assert_eq!(found(source), programs, "{source}");
        }
    }

    #[test]
    fn a_missing_row_an_unlisted_package_and_a_stale_row_are_each_named() {
        let path = PathBuf::from("services/x/src/lib.rs");
        let started = ["gzip", "busybox"].map(|program| (program.to_owned(), path.clone())).into();
        let listed = listed("PACKAGES_A=\"curl \\\nbusybox\"\nPACKAGES_B=\"etcd-server\"\n");
        let of = |table: &str| wrongs(&started, &rows(table).unwrap(), &listed);
        assert_eq!(of("gzip essential\nbusybox busybox"), Vec::<String>::new());
        assert!(of("gzip essential")[0].contains("starts busybox, which has no row"));
        assert!(of("gzip zipper\nbusybox busybox")[0].contains("zipper, which no list"));
        assert!(of("gzip essential\nbusybox busybox\ncurl curl")[0].contains("nothing starts curl"));
        assert!(rows("gzip").is_err());
    }
}
