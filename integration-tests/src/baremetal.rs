//! Ironic's stock command line, unmodified, as scripts/test installs it from the package registry.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Result, bail, ensure};

use crate::rack::{namespace::Namespace, wait};

/// Maximum duration of a transition of a node without a boot.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A program of Ironic's clients.
///
/// # Errors
/// It is not installed.
pub fn client(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/bin").join(name);
    ensure!(path.exists(), "{} is not there; scripts/test installs it", path.display());
    Ok(path.display().to_string())
}

/// Ironic's command line, run where a mesh is.
#[derive(Debug)]
pub struct Baremetal {
    place: Namespace,
    program: String,
    endpoint: String,
    who: Option<(&'static str, &'static str)>,
    /// CA file that it trusts; `None`: the system's CAs.
    ca: Option<PathBuf>,
    calls: AtomicUsize,
}

impl Baremetal {
    /// A command line that calls `endpoint` without authentication.
    ///
    /// # Errors
    /// It is not installed.
    pub fn new(place: Namespace, endpoint: String) -> Result<Self> {
        Ok(Self { place, program: client("baremetal")?, endpoint, who: None, ca: None, calls: AtomicUsize::new(0) })
    }

    /// The same, with a name and a password.
    #[must_use]
    pub fn as_who(self, who: Option<(&'static str, &'static str)>) -> Self {
        Self { who, ..self }
    }

    /// The same, trusting this CA (PEM).
    #[must_use]
    pub fn believing(self, ca: &Path) -> Self {
        Self { ca: Some(ca.to_owned()), ..self }
    }

    /// Number of calls so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Runs it with words that contain no spaces, and returns its output.
    ///
    /// # Errors
    /// The command fails; the error has its output.
    pub fn run(&self, words: &str) -> Result<String> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut command = self.place.command(&self.program);
        command.args(words.split_whitespace()).env("OS_ENDPOINT", &self.endpoint);
        match self.who {
            None => command.env("OS_AUTH_TYPE", "none"),
            Some((name, password)) => {
                command.envs([("OS_AUTH_TYPE", "http_basic"), ("OS_USERNAME", name), ("OS_PASSWORD", password)])
            }
        };
        command.envs(self.ca.iter().map(|ca| ("OS_CACERT", ca)));
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "baremetal {words}: {wrong}");
        Ok(said)
    }

    /// Runs it, expects it to fail, and returns its error output.
    ///
    /// # Errors
    /// The command succeeds.
    pub fn refused(&self, words: &str) -> Result<String> {
        match self.run(words) {
            Ok(said) => bail!("baremetal {words} was not refused: {said}"),
            Err(error) => Ok(error.to_string()),
        }
    }

    /// Reads one field of a node.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn field(&self, node: &str, field: &str) -> Result<String> {
        self.run(&format!("node show {node} -f value -c {field}"))
    }

    /// Waits until a field of a node has this value.
    ///
    /// # Errors
    /// It does not in time.
    pub fn until(&self, node: &str, field: &str, wanted: &str) -> Result<()> {
        wait::until(&format!("{field} of {node} to be {wanted}"), WAIT_TIMEOUT, || {
            Ok((self.field(node, field)? == wanted).then_some(()))
        })
    }
}
