//! The machine that the agent runs on. Tests use a machine made of files.

#[cfg(any(test, feature = "testing"))]
mod fake;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

#[cfg(any(test, feature = "testing"))]
pub use fake::lay_out;

pub use crate::fetch::RetryPolicy;

/// Maximum size of a fact, in bytes; the rest is cut off.
const MAX_FACT_BYTES: usize = 4096;

/// Where the hardware facts and disks of the machine are.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Directory that contains `sys` and `proc`.
    pub root: PathBuf,
    /// Directory that contains the disks, by their kernel names.
    pub disks: PathBuf,
    /// Where messages go.
    pub console: Console,
    /// How long the download of an image is retried.
    pub retry: RetryPolicy,
}

/// Destination of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Standard error, one plain line each.
    Stderr,
    /// Discarded.
    Silent,
}

impl Machine {
    /// Returns the machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        Self { root: "/".into(), disks: "/dev".into(), console: Console::Stderr, retry: RetryPolicy::default() }
    }

    /// Returns a machine made of files: facts in `root/sys` and `root/proc`, disks in `root/dev`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), disks: root.join("dev"), console: Console::Silent, retry: RetryPolicy::default() }
    }

    /// Prints a message on the machine's console.
    pub fn say(&self, message: impl fmt::Display) {
        match self.console {
            Console::Stderr => say(message),
            Console::Silent => {}
        }
    }

    pub(crate) fn path(&self, of: &str) -> PathBuf {
        self.root.join(of)
    }
}

/// Prints a message on the console of the machine that this process runs on.
pub fn say(message: impl fmt::Display) {
    eprintln!("ironmesh-agent: {message}");
}

/// Reads a fact from a file, without surrounding whitespace. Empty if it cannot be read.
pub(crate) fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes.get(..MAX_FACT_BYTES).unwrap_or(&bytes));
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
}
