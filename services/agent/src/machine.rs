//! The machine that the agent runs on: where its facts and its disks are. A test has a machine made of files.

#[cfg(any(test, feature = "testing"))]
mod fake;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

#[cfg(any(test, feature = "testing"))]
pub use fake::lay_out;

pub use crate::fetch::Patience;

/// Longest text that is read of a fact; what is longer is nonsense.
const LONGEST_FACT: usize = 4096;

/// Where the machine's facts and disks are.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The folder that has `sys` and `proc`.
    pub root: PathBuf,
    /// The folder that has the disks, each under its kernel name.
    pub disks: PathBuf,
    /// Whether somebody reads what the agent says.
    pub console: Console,
    /// How long it tries for an image.
    pub patience: Patience,
}

/// Where the agent's words go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// To standard error, one plain line each.
    Stderr,
    /// Nowhere.
    Mute,
}

impl Machine {
    /// The machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        Self { root: "/".into(), disks: "/dev".into(), console: Console::Stderr, patience: Patience::default() }
    }

    /// A machine made of files: facts in `root/sys` and `root/proc`, disks in `root/dev`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), disks: root.join("dev"), console: Console::Mute, patience: Patience::default() }
    }

    /// Says something on the machine's console.
    pub fn say(&self, words: impl fmt::Display) {
        match self.console {
            Console::Stderr => say(words),
            Console::Mute => {}
        }
    }

    pub(crate) fn path(&self, of: &str) -> PathBuf {
        self.root.join(of)
    }
}

/// Says something on the console of the machine that this process runs on.
pub fn say(words: impl fmt::Display) {
    eprintln!("ironmesh-agent: {words}");
}

/// A fact that is a file, without the space around it; nothing where it can not be read.
pub(crate) fn text(path: &Path) -> String {
    let octets = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(octets.get(..LONGEST_FACT).unwrap_or(&octets));
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
}
