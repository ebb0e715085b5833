//! Finds the circles among the subtrees of siblings.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::tree::Tree;

/// Sibling modules whose subtrees all reach each other.
#[derive(Debug)]
pub(super) struct Circle {
    /// Package that it is in.
    pub(super) package: String,
    /// Path of the modules' parent, such as `crate::rest`.
    pub(super) parent: String,
    /// Names of the modules, in order.
    pub(super) members: Vec<String>,
    /// Per pair of members, where the first uses the second.
    edges: BTreeMap<(String, String), Location>,
}

#[derive(Debug, Clone)]
struct Location {
    file: PathBuf,
    line: usize,
}

/// Per parent, per pair of its children, where the first uses the second.
type Levels = BTreeMap<Vec<String>, BTreeMap<(String, String), Location>>;

impl Circle {
    /// Its line in the list of known circles.
    pub(super) fn name(&self) -> String {
        format!("{} {} {}", self.package, self.parent, self.members.join(" "))
    }

    /// Its name, and one location per pair of modules.
    pub(super) fn report(&self) -> String {
        let mut text = format!("{} {}: {}", self.package, self.parent, self.members.join(", "));
        for ((from, to), Location { file, line }) in &self.edges {
            let file = std::env::current_dir().map_or(file.as_path(), |here| file.strip_prefix(here).unwrap_or(file));
            text += &format!("\n  {from} -> {to}  {}:{line}", file.display());
        }
        text
    }
}

/// All circles of a crate.
pub(super) fn circles(package: &str, tree: &Tree) -> Vec<Circle> {
    let mut circles = Vec::new();
    for (parent, edges) in levels(tree) {
        let graph: BTreeSet<(&str, &str)> = edges.keys().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        for members in components(&graph) {
            let inside = |name: &String| members.contains(name.as_str());
            circles.push(Circle {
                package: package.to_owned(),
                parent: ["crate".to_owned()].into_iter().chain(parent.clone()).collect::<Vec<_>>().join("::"),
                members: members.iter().map(|name| (*name).to_owned()).collect(),
                edges: edges
                    .iter()
                    .filter(|((from, to), _)| inside(from) && inside(to))
                    .map(|(pair, location)| (pair.clone(), location.clone()))
                    .collect(),
            });
        }
    }
    circles
}

/// Every use of one module by another, as an edge between children of their lowest common ancestor. Uses between an
/// ancestor and its descendants are left out.
fn levels(tree: &Tree) -> Levels {
    let mut levels = Levels::new();
    for (from, module) in tree.modules.iter().enumerate() {
        for reference in &module.references {
            for target in tree.resolve(from, &reference.segments) {
                let Some(target) = tree.modules.get(target) else { continue };
                let common = module.path.iter().zip(&target.path).take_while(|(here, there)| here == there).count();
                if let (Some(here), Some(there)) = (module.path.get(common), target.path.get(common)) {
                    let parent = module.path.iter().take(common).cloned().collect();
                    let location = || Location { file: module.file.clone(), line: reference.line };
                    let pair = (here.clone(), there.clone());
                    levels.entry(parent).or_default().entry(pair).or_insert_with(location);
                }
            }
        }
    }
    levels
}

/// Sets of two and more names that all reach each other.
fn components<'n>(edges: &BTreeSet<(&'n str, &'n str)>) -> Vec<BTreeSet<&'n str>> {
    let names: BTreeSet<&str> = edges.iter().map(|(from, _)| *from).collect();
    let reach: BTreeMap<&str, BTreeSet<&str>> = names.iter().map(|name| (*name, reachable(name, edges))).collect();
    let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|reached| reached.contains(to));
    let mut components = BTreeSet::new();
    for name in &names {
        if reaches(name, name) {
            components
                .insert(names.iter().copied().filter(|other| reaches(name, other) && reaches(other, name)).collect());
        }
    }
    components.into_iter().collect()
}

/// All names that at least one edge leads to from `name`.
fn reachable<'n>(name: &str, edges: &BTreeSet<(&'n str, &'n str)>) -> BTreeSet<&'n str> {
    let mut reached = BTreeSet::new();
    let mut queue = vec![name];
    while let Some(current) = queue.pop() {
        for (_, to) in edges.iter().filter(|(from, _)| *from == current) {
            if reached.insert(*to) {
                queue.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Circles of a crate with these files, as `parent: members`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let read =
            |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned());
        let tree = Tree::load(Path::new("lib.rs"), &read).unwrap();
        circles("c", &tree).iter().map(Circle::name).collect()
    }

    #[test]
    fn two_siblings_that_use_each_other_are_a_circle() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        let b = ("b.rs", "pub struct B(super::a::A);");
        assert_eq!(found(&[("lib.rs", "mod a; mod b;"), a, b]), ["c crate a b"]);
    }

    #[test]
    fn a_parent_and_its_descendants_may_use_each_other() {
        let a = ("a.rs", "mod x; use x::y::Y; pub struct A;");
        let x = ("a/x.rs", "pub mod y; use super::A;");
        let y = ("a/x/y.rs", "use crate::a::A; use super::super::A as Same; pub struct Y;");
        assert_eq!(found(&[("lib.rs", "mod a; use a::A; pub struct L;"), a, x, y]), [] as [String; 0]);
    }

    #[test]
    fn a_circle_through_the_subtrees_of_siblings_is_found_at_the_siblings() {
        let root = "mod a { pub mod x { use crate::b::y::Y; } pub mod z { pub struct Z; } }
                    mod b { pub mod y { pub struct Y; } pub mod w { fn w() { crate::a::z::Z; } } }";
        assert_eq!(found(&[("lib.rs", root)]), ["c crate a b"]);
    }

    #[test]
    fn a_circle_below_a_module_is_found_there_and_three_modules_are_one_circle() {
        let root =
            "mod a { mod x { use super::y; } mod y { use super::z::Z; } mod z { pub struct Z; use crate::a::x; } }";
        assert_eq!(found(&[("lib.rs", root)]), ["c crate::a x y z"]);
    }

    #[test]
    fn a_reexport_in_a_parent_hides_no_edge() {
        let named = "mod a { use crate::B; pub struct A; } mod b { use crate::a::A; pub struct B; } pub use b::B;";
        assert_eq!(found(&[("lib.rs", named)]), ["c crate a b"]);
        let glob =
            "mod a { use crate::B; pub struct A; } mod b { use crate::A; pub struct B; } pub use a::*; pub use b::*;";
        assert_eq!(found(&[("lib.rs", glob)]), ["c crate a b"]);
        let through =
            "use b::B; mod a { use super::*; fn f(_: B) {} pub struct A; } mod b { use crate::a::A; pub struct B; }";
        assert_eq!(found(&[("lib.rs", through)]), ["c crate a b"]);
    }

    #[test]
    fn paths_in_macros_and_in_functions_count() {
        let root = "mod a { fn f() { println!(\"{}\", crate::b::g()); } }
                    mod b { pub fn g() { use super::a as other; } }";
        assert_eq!(found(&[("lib.rs", root)]), ["c crate a b"]);
    }

    #[test]
    fn tests_other_crates_and_imports_of_themselves_do_not_count() {
        let a =
            ("a.rs", "use other::b; use serde::serde; #[cfg(test)] mod tests { use crate::b::B; } fn f() { b::g(); }");
        let b = ("b.rs", "use crate::a; #[cfg(test)] use a::f; pub struct B; #[cfg(test)] mod fake;");
        assert_eq!(found(&[("lib.rs", "mod a; mod b;"), a, b]), [] as [String; 0]);
    }
}
