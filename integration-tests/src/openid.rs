//! A real OpenID provider, as scripts/test installs it from the package registries, and the browser of its users.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    authority::Authority,
    rack::{daemon::Daemon, namespace::Namespace, wait},
};

/// The client that the command line is at the provider.
pub const CLIENT: &str = "ironmesh";
/// The audience of its access tokens.
pub const AUDIENCE: &str = "ironmesh";
/// The value of the claim `roles` of the user ann. Those of rob and eve are `reader` and none.
pub const ADMINS: &str = "ops-admins";
/// Its port, in its own network namespace.
const PORT: u16 = 9443;
/// Maximum time for it to start.
const START: Duration = Duration::from_secs(60);

/// Where a provider will be, and its certificate.
#[derive(Debug)]
pub struct Provider {
    folder: PathBuf,
    key: PathBuf,
    certificate: PathBuf,
    ca: PathBuf,
}

/// A running provider. It is ended when it is dropped.
#[derive(Debug)]
pub struct Running {
    daemon: Daemon,
}

/// A program or file beside the build.
fn beside(path: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    ensure!(path.exists(), "{} is not there; scripts/test installs it", path.display());
    Ok(path)
}

impl Provider {
    /// Makes the certificate of a provider.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn prepare(folder: &Path) -> Result<Self> {
        let files = Authority::new()?.issue_for_loopback(folder)?;
        Ok(Self { folder: folder.to_owned(), key: files.key, certificate: files.certificate, ca: files.ca })
    }

    /// Its URL.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("https://127.0.0.1:{PORT}")
    }

    /// The file with the certificate of its CA.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not start; the error has its log.
    pub fn up(&self, place: &Namespace) -> Result<Running> {
        let mut command = place.command(&beside("../target/openid/node")?.display().to_string());
        command.arg(beside("clients/provider/provider.mjs")?).arg(beside("../target/openid")?).arg(PORT.to_string());
        command.arg(&self.key).arg(&self.certificate);
        let log = self.folder.join("provider.log");
        let daemon = Daemon::spawn(command, &log, &self.folder.join("provider.record"))?;
        wait::until("the OpenID provider to answer", START, || {
            ensure!(daemon.alive(), "the OpenID provider ended: {}", fs::read_to_string(&log)?);
            let look = format!("import socket; socket.create_connection(('127.0.0.1', {PORT}), 1)");
            Ok(place.run(&["/usr/bin/python3", "-c", &look]).is_ok().then_some(()))
        })?;
        Ok(Running { daemon })
    }

    /// Has a user open a page, log in there, and confirm or refuse what it asks. Returns the text of the last page. Call it
    /// where the provider is.
    ///
    /// # Errors
    /// The browser fails.
    pub fn browse(&self, url: &str, user: &str, is_refused: bool) -> Result<String> {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(beside("clients/browser.py")?).arg(url).arg(&self.ca).arg(user);
        let output = command.args(is_refused.then_some("abort")).output()?;
        let wrong = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "browser.py: {wrong}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ends the sessions of a user, as an administrator does. Call it where the provider is.
    ///
    /// # Errors
    /// The provider is away.
    pub async fn end_sessions(&self, user: &str) -> Result<()> {
        let ca = reqwest::Certificate::from_pem_bundle(&fs::read(&self.ca)?)?;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only(ca).build()?;
        let answer = client.post(format!("{}/end?user={user}", self.issuer())).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.daemon.end().context("the OpenID provider") {
            eprintln!("{error:#}");
        }
    }
}
