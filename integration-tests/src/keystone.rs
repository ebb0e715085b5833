//! A real Keystone, as scripts/test installs it from the package registry, run where a mesh is, with users of every
//! role in every scope.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::rack::{daemon::Daemon, namespace::Namespace, wait};

/// Password of all users.
pub const PASSWORD: &str = "opensesame";
/// Its port, in its own network namespace.
const PORT: u16 = 5000;
/// Maximum time for it to start, which includes creating a database.
const START: Duration = Duration::from_secs(90);

/// A running Keystone. It is ended when it is dropped.
#[derive(Debug)]
pub struct Keystone {
    place: Namespace,
    folder: PathBuf,
    daemon: Daemon,
}

/// Its users.
#[derive(Debug, Clone, Deserialize)]
pub struct People {
    /// Ids of the projects: owner, lessee, stranger, service.
    pub projects: BTreeMap<String, String>,
    /// Tokens by scope (system, or a project) and role (admin, manager, member, reader, service).
    pub tokens: BTreeMap<String, BTreeMap<String, String>>,
}

impl People {
    /// A token.
    ///
    /// # Errors
    /// There is no such role or scope.
    pub fn token(&self, scope: &str, role: &str) -> Result<&str> {
        let token = self.tokens.get(scope).and_then(|roles| roles.get(role));
        token.map(String::as_str).with_context(|| format!("no {role} of {scope}"))
    }
}

/// A program or file beside the build.
fn beside(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    ensure!(path.exists(), "{} is not there; scripts/test installs it", path.display());
    Ok(path.display().to_string())
}

impl Keystone {
    /// Its URL, for a scheduler-service.
    #[must_use]
    pub fn url() -> String {
        format!("http://127.0.0.1:{PORT}/v3")
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not start; the error has its log.
    pub fn up(place: &Namespace, folder: &Path) -> Result<Self> {
        let mut command = place.command(&beside("../target/keystone/bin/python")?);
        command.arg(beside("clients/identity.py")?).arg(folder.join("keystone"));
        command.args([&PORT.to_string(), PASSWORD]);
        let log = folder.join("keystone.log");
        let daemon = Daemon::spawn(command, &log, &folder.join("keystone.record"))?;
        let keystone = Self { place: place.clone(), folder: folder.to_owned(), daemon };
        wait::until("Keystone to answer", START, || {
            ensure!(keystone.daemon.alive(), "Keystone ended: {}", fs::read_to_string(&log)?);
            let look = ["/usr/bin/python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 5000), 1)"];
            Ok(keystone.place.run(&look).is_ok().then_some(()))
        })?;
        Ok(keystone)
    }

    /// Creates its users, and registers the bare-metal API.
    ///
    /// # Errors
    /// Errors of the SDK.
    pub fn people(&self, baremetal: &str) -> Result<People> {
        let mut command = self.place.command(&beside("../target/clients/bin/python")?);
        command.arg(beside("clients/people.py")?).args([&Self::url(), PASSWORD, baremetal]);
        let output = command.output()?;
        let wrong = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "people.py: {wrong}");
        serde_json::from_slice(&output.stdout).context("people.py")
    }

    /// Environment of a client: one of the users, in the scope of a project.
    pub fn as_who(&self, command: &mut Command, role: &str, project: &str) {
        command.envs([
            ("OS_AUTH_TYPE", "password"),
            ("OS_AUTH_URL", &Self::url()),
            ("OS_USERNAME", &format!("a-{role}")),
            ("OS_PASSWORD", PASSWORD),
            ("OS_PROJECT_NAME", project),
            ("OS_USER_DOMAIN_ID", "default"),
            ("OS_PROJECT_DOMAIN_ID", "default"),
        ]);
    }

    /// The folder with its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&self) -> Result<()> {
        self.daemon.end()
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("Keystone: {error:#}");
        }
    }
}
