//! A real etcd for tests: TLS both ways on loopback, killed and started again at will.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use keyspace::{Store, store::Pem};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tokio::time::Instant;

/// How long etcd may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running etcd; ended when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    folder: PathBuf,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Etcd {
    /// Starts one in this folder and waits until it answers.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn start(folder: &Path) -> Result<Self> {
        certificates(folder)?;
        let mut etcd = Self { folder: folder.to_owned(), client: free_port()?, peer: free_port()?, child: None };
        etcd.begin().await?;
        Ok(etcd)
    }

    /// Starts it again after [`Self::kill`], at the same address with the same data.
    ///
    /// # Errors
    /// It does not come up.
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
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        self.child = Some(child.context("cannot start etcd")?);
        let begun = Instant::now();
        let store = self.store().await?;
        while let Err(error) = store.get(&keyspace::key::incarnation()).await {
            if begun.elapsed() > PATIENCE {
                bail!("etcd does not answer: {error}; see {}", path("etcd.log"));
            }
        }
        Ok(())
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    /// It can not be killed.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Where it answers.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.client)
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// The certificates can not be used.
    pub async fn store(&self) -> Result<Store> {
        let read = |name: &str| fs::read(self.folder.join(name));
        let (ca, certificate, key) = (read("ca.pem")?, read("own.pem")?, read("own.key")?);
        let pem = Pem { ca: &ca, certificate: &certificate, key: &key };
        Ok(Store::connect(&[self.endpoint()], pem).await?)
    }

    /// Runs etcdctl and returns what it printed.
    ///
    /// # Errors
    /// It failed.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let path = |name: &str| self.folder.join(name);
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.endpoint()))
            .arg("--cacert")
            .arg(path("ca.pem"))
            .arg("--cert")
            .arg(path("own.pem"))
            .arg("--key")
            .arg(path("own.key"))
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

#[expect(clippy::print_stderr, reason = "a test that can not clean up says so")]
fn say(error: &anyhow::Error) {
    eprintln!("cannot end etcd: {error:#}");
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A CA and one certificate for everybody: who may do what is not what these tests are about.
fn certificates(folder: &Path) -> Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    let mut own = CertificateParams::default();
    own.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    fs::write(folder.join("own.pem"), own.signed_by(&key, &issuer)?.pem())?;
    fs::write(folder.join("own.key"), key.serialize_pem())?;
    Ok(())
}
