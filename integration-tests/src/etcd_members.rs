//! An etcd that grows: members on addresses of loopback, which are added, killed, stopped and moved one by one.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use keyspace::{
    Store,
    cluster::{
        MemberReport,
        plan::{Action, MemberData, WaitReason, WantedMember, initial_cluster, next_action},
    },
    store::Pem,
};
use rustix::process::{Pid, Signal, kill_process};
use service_kit::tls::Files;
use tokio::time::Instant;

use crate::authority::{Authority, administrator};

/// Maximum time until the members are as they should be.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The members. They are ended when they are dropped.
#[derive(Debug)]
pub struct EtcdMembers {
    folder: PathBuf,
    authority: Authority,
    members: Vec<MemberProcess>,
}

/// A member, which runs or does not.
#[derive(Debug)]
pub struct MemberProcess {
    name: String,
    /// Its folder, with its data in `etcd` as in the data directory of a host.
    folder: PathBuf,
    /// Client and peer URL.
    urls: [String; 2],
    child: Option<Child>,
}

impl EtcdMembers {
    /// Starts the first member, `h1`, in this folder.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        let mut all = Self { folder: folder.to_owned(), authority: Authority::new()?, members: Vec::new() };
        let first = all.prepare("h1")?;
        let cluster = format!("h1={}", all.members[first].urls[1]);
        all.members[first].start("new", &cluster)?;
        all.until_answered("h1").await?;
        Ok(all)
    }

    fn prepare(&mut self, name: &str) -> Result<usize> {
        let number = u8::try_from(self.members.len() + 1)?;
        let address = Ipv4Addr::new(127, 0, 0, number);
        let folder = self.folder.join(name);
        self.authority.issue_for_member(&folder, address)?;
        let urls = [free_url(address)?, free_url(address)?];
        self.members.push(MemberProcess { name: name.to_owned(), folder, urls, child: None });
        Ok(self.members.len() - 1)
    }

    /// The CAs of their certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A member.
    ///
    /// # Errors
    /// There is none with that name.
    pub fn member(&mut self, name: &str) -> Result<&mut MemberProcess> {
        self.members.iter_mut().find(|member| member.name == name).with_context(|| format!("no member {name}"))
    }

    /// A connection to these members, as etcd's administrator.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub async fn store(&mut self, names: &[&str]) -> Result<Store> {
        let mut urls = Vec::new();
        for name in names {
            urls.push(self.member(name)?.client_url());
        }
        let [ca, certificate, key] = self.pem()?;
        Ok(Store::connect(&urls, Pem { ca: &ca, certificate: &certificate, key: &key }).await?)
    }

    fn pem(&self) -> Result<[Vec<u8>; 3]> {
        let Files { ca, certificate, key } = self.administrator();
        Ok([fs::read(ca)?, fs::read(certificate)?, fs::read(key)?])
    }

    /// The certificate files of etcd's administrator.
    #[must_use]
    pub fn administrator(&self) -> Files {
        administrator(&self.folder.join("h1"))
    }

    /// How the members are.
    ///
    /// # Errors
    /// None of them answers.
    pub async fn survey(&self, store: &Store) -> Result<Vec<MemberReport>> {
        let [ca, certificate, key] = self.pem()?;
        Ok(store.survey(Pem { ca: &ca, certificate: &certificate, key: &key }).await?)
    }

    async fn until_answered(&mut self, name: &str) -> Result<()> {
        let (store, begun) = (self.store(&[name]).await?, Instant::now());
        while let Err(error) = store.standing().await {
            if begun.elapsed() > WAIT_TIMEOUT {
                bail!("{name} does not answer: {error}");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Changes the members until these hosts have one each, as a datacenter's authority does. `store` is connected to a
    /// member that stays. Returns the changes that were made.
    ///
    /// # Errors
    /// A change is refused for good, or takes too long.
    pub async fn reconcile(&mut self, store: &Store, hosts: &[&str]) -> Result<Vec<Action>> {
        for name in hosts {
            if self.member(name).is_err() {
                self.prepare(name)?;
            }
        }
        let (mut made, begun) = (Vec::new(), Instant::now());
        loop {
            let wanted = hosts.iter().map(|name| {
                let peer_urls = vec![self.members.iter().find(|member| member.name == *name)?.urls[1].clone()];
                Some(WantedMember { name: (*name).to_owned(), peer_urls, data: MemberData::Kept })
            });
            let wanted: Vec<_> = wanted.collect::<Option<_>>().context("a host without a member")?;
            let reports = self.survey(store).await?;
            let action = next_action(&reports, &wanted);
            let outcome = match &action {
                Action::Done => return Ok(made),
                Action::Wait(reason) => {
                    let may_pass = matches!(reason, WaitReason::LearnerSilent { .. } | WaitReason::NoQuorum { .. });
                    if !may_pass || begun.elapsed() > WAIT_TIMEOUT {
                        bail!("{reason}: {reports:?}");
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                    continue;
                }
                Action::AddLearner { name, peer_urls } => match store.add_learner(peer_urls).await {
                    Ok(id) => {
                        let members = store.cluster_members().await?;
                        let cluster = initial_cluster(&members, id, name);
                        self.member(name)?.start("existing", &cluster)?;
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Action::Promote { id } => store.promote_member(*id).await,
                Action::Remove { id, .. } => store.remove_member(*id).await,
                Action::Update { id, peer_urls } => store.update_member(*id, peer_urls).await,
            };
            match outcome {
                Ok(()) => made.push(action),
                Err(error) if error.is_temporary() && begun.elapsed() < WAIT_TIMEOUT => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl MemberProcess {
    /// Its client URL.
    #[must_use]
    pub fn client_url(&self) -> String {
        self.urls[0].clone()
    }

    /// Its peer URL.
    #[must_use]
    pub fn peer_url(&self) -> String {
        self.urls[1].clone()
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives it another port for the other members, which takes effect with the next start.
    ///
    /// # Errors
    /// There is no free port.
    pub fn move_peers(&mut self) -> Result<()> {
        let host = self.urls[1].trim_start_matches("https://").split(':').next().context("no address")?;
        self.urls[1] = free_url(host.parse()?)?;
        Ok(())
    }

    /// Starts it, `new` or in an `existing` cluster. Of no effect on a member that has data.
    ///
    /// # Errors
    /// It runs already, or the program cannot be started.
    pub fn start(&mut self, state: &str, cluster: &str) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new("etcd");
        let [client, peer] = &self.urls;
        for (option, value) in [
            ("name", self.name.as_str()),
            ("listen-client-urls", client),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer),
            ("initial-advertise-peer-urls", peer),
            ("initial-cluster", cluster),
            ("initial-cluster-state", state),
            ("data-dir", &path("etcd")),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        for (option, file) in [("cert-file", "own.pem"), ("key-file", "own.key"), ("trusted-ca-file", "ca.pem")] {
            let path = path(file);
            command.arg(format!("--{option}={path}")).arg(format!("--peer-{option}={path}"));
        }
        command.args(["--client-cert-auth", "--peer-client-cert-auth", "--pre-vote"]);
        // All of them call the others from 127.0.0.1.
        command.args(["--experimental-peer-skip-client-san-verification", "--quota-backend-bytes=8589934592"]);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("etcd.log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        self.child = Some(child.context("cannot start etcd")?);
        Ok(())
    }

    /// Sends a signal, such as SIGSTOP: its connections stay open, and it does not answer.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it (SIGTERM): it writes everything to its database first.
    ///
    /// # Errors
    /// It does not run.
    pub fn end(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Kills it at once (SIGKILL), if it runs.
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
}

impl Drop for MemberProcess {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

fn free_url(address: Ipv4Addr) -> Result<String> {
    Ok(format!("https://{}", TcpListener::bind((address, 0))?.local_addr()?))
}
