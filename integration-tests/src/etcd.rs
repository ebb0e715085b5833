//! A real etcd for tests: mutual TLS on loopback; can be killed and started again.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use keyspace::{Store, store::Pem};
use service_kit::tls::Files;
use tokio::time::Instant;

use crate::authority::{Authority, administrator};
use crate::mesh::program;

/// Maximum time for etcd to answer.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A running etcd. It is ended when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    folder: PathBuf,
    client: u16,
    peer: u16,
    child: Option<Child>,
    authority: Authority,
    /// Additional command-line options.
    options: Vec<String>,
    /// Whether it has the users and roles of the services.
    checks: bool,
}

impl Etcd {
    /// Starts an etcd in this folder and waits until it answers.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        let mut etcd = Self::prepare(folder)?;
        etcd.begin().await?;
        Ok(etcd)
    }

    /// Prepares an etcd in this folder. It has an address, at which nothing answers before [`Self::begin`].
    ///
    /// # Errors
    /// There is no free port, or the folder cannot be written to.
    pub fn prepare(folder: &Path) -> Result<Self> {
        let authority = Authority::new()?;
        authority.issue_for_member(folder, Ipv4Addr::LOCALHOST)?;
        Ok(Self {
            folder: folder.to_owned(),
            client: free_port()?,
            peer: free_port()?,
            child: None,
            authority,
            options: vec![],
            checks: false,
        })
    }

    /// Replaces its certificates by those of another CA; they take effect with the next start.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn obey(&mut self, authority: Authority) -> Result<()> {
        authority.issue_for_member(&self.folder, Ipv4Addr::LOCALHOST)?;
        self.authority = authority;
        Ok(())
    }

    /// Adds a command-line option, such as `--quota-backend-bytes=8388608`.
    #[must_use]
    pub fn with(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Makes it check permissions, as the etcd of a rack does, from the next start on.
    #[must_use]
    pub fn with_roles(mut self) -> Self {
        self.checks = true;
        self
    }

    /// Creates the users and roles that are missing for the schedulers and the racks in the store, if it has any.
    ///
    /// # Errors
    /// It does not answer.
    pub fn init(&self) -> Result<()> {
        if !self.checks {
            return Ok(());
        }
        let mut command = Command::new(program()?);
        command.args(init_words(&self.folder, &[self.endpoint()])?);
        let output = command.output()?;
        if !output.status.success() {
            bail!("ironmesh store init: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Whether something listens at its address.
    #[must_use]
    pub fn is_up(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.client)).is_ok()
    }

    /// Saves a snapshot of its content.
    ///
    /// # Errors
    /// It does not answer.
    pub fn keep(&self, copy: &Path) -> Result<()> {
        self.ctl(&["snapshot", "save", &copy.display().to_string()]).map(drop)
    }

    /// Kills it and replaces its content by the snapshot of [`Self::keep`], as etcd's guide describes: the cluster id
    /// does not change. [`Self::begin`] starts it again.
    ///
    /// # Errors
    /// The snapshot cannot be restored.
    pub fn put_back(&mut self, copy: &Path) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.folder.join("data"))?;
        let (data, peer) = (self.folder.join("data"), format!("https://127.0.0.1:{}", self.peer));
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore", "--name=default", &format!("--initial-cluster=default={peer}")])
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--data-dir={}", data.display()))
            .arg(copy)
            .output()?;
        if !output.status.success() {
            bail!("etcdctl snapshot restore: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// The CAs of its certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Starts it, or starts it again after [`Self::kill`], at the same address with the same data.
    ///
    /// # Errors
    /// It does not start.
    pub async fn begin(&mut self) -> Result<()> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let (client, peer) = (self.endpoint(), format!("https://127.0.0.1:{}", self.peer));
        let log = fs::File::create(self.folder.join("etcd.log"))?;
        let mut command = Command::new("etcd");
        let urls = [("listen-client-urls", &client), ("advertise-client-urls", &client), ("listen-peer-urls", &peer)];
        for (name, value) in urls {
            command.arg(format!("--{name}={value}"));
        }
        let files = [("cert-file", "own.pem"), ("key-file", "own.key"), ("trusted-ca-file", "ca.pem")];
        for (name, file) in files {
            command.arg(format!("--{name}={}", path(file))).arg(format!("--peer-{name}={}", path(file)));
        }
        command.arg(format!("--data-dir={}", path("data"))).args([
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--client-cert-auth".to_owned(),
        ]);
        command.args(&self.options);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        self.child = Some(child.context("cannot start etcd")?);
        let begun = Instant::now();
        let store = self.store().await?;
        while let Err(error) = store.get(&keyspace::key::incarnation()).await {
            if begun.elapsed() > WAIT_TIMEOUT {
                bail!("etcd does not answer: {error}; see {}", path("etcd.log"));
            }
        }
        self.init()
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    /// The process cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Its client URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.client)
    }

    /// A new connection to it, as its administrator.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub async fn store(&self) -> Result<Store> {
        let Files { ca, certificate, key } = administrator(&self.folder);
        let (ca, certificate, key) = (fs::read(ca)?, fs::read(certificate)?, fs::read(key)?);
        let pem = Pem { ca: &ca, certificate: &certificate, key: &key };
        Ok(Store::connect(&[self.endpoint()], pem).await?)
    }

    /// Runs etcdctl as its administrator and returns its output.
    ///
    /// # Errors
    /// The command fails.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        self.ctl_as(&administrator(&self.folder), arguments)
    }

    /// Runs etcdctl with this certificate and returns its output.
    ///
    /// # Errors
    /// The command fails.
    pub fn ctl_as(&self, files: &Files, arguments: &[&str]) -> Result<String> {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.endpoint()))
            .arg("--cacert")
            .arg(administrator(&self.folder).ca)
            .arg("--cert")
            .arg(&files.certificate)
            .arg("--key")
            .arg(&files.key)
            .args(arguments)
            .output()?;
        if !output.status.success() {
            bail!("etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            say(&error);
        }
    }
}

/// Arguments of the command line that gives etcd its users and roles, as the administrator in the folder of a member.
///
/// # Errors
/// The folder cannot be written to.
pub fn init_words(folder: &Path, members: &[String]) -> Result<Vec<String>> {
    let Files { ca, certificate, key } = administrator(folder);
    let config = folder.join("init.toml");
    fs::write(&config, format!("[service]\netcd = {members:?}\netcd_ca = {ca:?}\n"))?;
    let path = |path: &Path| path.display().to_string();
    let words = ["store", "init", "--apply", "--config", &path(&config), "--certificate", &path(&certificate)];
    Ok(words.into_iter().chain(["--key", &path(&key)]).map(str::to_owned).collect())
}

#[expect(clippy::print_stderr, reason = "a test that cannot clean up reports that")]
fn say(error: &anyhow::Error) {
    eprintln!("cannot end etcd: {error:#}");
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
