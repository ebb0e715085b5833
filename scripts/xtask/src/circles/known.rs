//! The list of circles that are still to be removed.

use std::collections::BTreeSet;

use super::graph::Circle;

/// Lines of the list: package, parent module, members.
pub(super) struct Known {
    lines: Vec<String>,
}

/// Difference between the actual circles and the known ones.
pub(super) struct Verdict<'c> {
    /// Circles that are not within a known one.
    pub(super) new: Vec<&'c Circle>,
    /// Lines of the list that no circle matches exactly.
    pub(super) stale: Vec<String>,
}

impl Known {
    /// Reads the list. Empty lines and those that begin with `#` are ignored.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { lines: lines.map(ToOwned::to_owned).collect() }
    }

    /// Compares the known circles with the actual ones. A part of a known circle is not new, but makes the known one stale.
    pub(super) fn compare<'c>(&self, circles: &'c [Circle]) -> Verdict<'c> {
        let names: BTreeSet<String> = circles.iter().map(Circle::name).collect();
        Verdict {
            new: circles.iter().filter(|circle| !self.lines.iter().any(|line| covers(line, circle))).collect(),
            stale: self.lines.iter().filter(|line| !names.contains(*line)).cloned().collect(),
        }
    }
}

fn covers(line: &str, circle: &Circle) -> bool {
    let mut words = line.split_whitespace();
    let place = words.next() == Some(&circle.package) && words.next() == Some(&circle.parent);
    let known: BTreeSet<&str> = words.collect();
    place && circle.members.iter().all(|member| known.contains(member.as_str()))
}

/// The list's text for these circles.
pub(super) fn render(circles: &[Circle]) -> String {
    let head = "# Import circles that are still to be removed: package, parent module, modules. `cargo xtask circles` prints\n\
                # where they are. The list only shrinks: `cargo xtask circles --shrink`.\n";
    circles.iter().fold(head.to_owned(), |text, circle| text + &circle.name() + "\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::tree::Tree, *};

    fn circles(root: &str) -> Vec<Circle> {
        let tree = Tree::load(Path::new("lib.rs"), &|_: &Path| Some(root.to_owned())).unwrap();
        super::super::graph::circles("c", &tree)
    }

    #[test]
    fn the_list_covers_what_is_left_of_a_circle_and_nothing_else() {
        let circles = circles("mod a { use crate::b; } mod b { use crate::a; }");
        let exact = Known::parse("# head\n\nc crate a b\n");
        assert!(exact.compare(&circles).new.is_empty() && exact.compare(&circles).stale.is_empty());

        let larger = Known::parse("c crate a b x");
        assert!(larger.compare(&circles).new.is_empty());
        assert_eq!(larger.compare(&circles).stale, ["c crate a b x"]);

        for other in ["", "d crate a b", "c crate::m a b", "c crate a x"] {
            assert_eq!(Known::parse(other).compare(&circles).new.len(), 1, "{other}");
        }
        assert_eq!(Known::parse("c crate a b\nc crate y z").compare(&circles).stale, ["c crate y z"]);
        assert!(exact.compare(&[]).new.is_empty());
    }
}
