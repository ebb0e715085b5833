//! A site whose services are started one by one from configuration files, without `ironmesh up`: a real etcd, a private
//! CA, and the binary `ironmesh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use domain::service::Service;
use keyspace::seal::KeyFile;
use rustix::process::{Pid, Signal, kill_process};
use service_kit::client::{MeshChannel, mesh_channel};
use service_kit::clock;
use service_kit::health::CHANGES;
use service_kit::tls::{Files, Identity, Tls};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::authority::for_etcd;
use crate::etcd::Etcd;
use crate::mesh::{Api, program};

/// Maximum time for a service to start.
pub const START: Duration = Duration::from_secs(20);
/// Maximum duration of one call.
const CALL: Duration = Duration::from_secs(5);
/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The site. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Site {
    /// Its etcd.
    pub etcd: Etcd,
    folder: TempDir,
}

impl Site {
    /// A site whose etcd has an address and does not run yet.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn dark() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ironmesh-site-").tempdir()?;
        let etcd = folder.path().join("etcd");
        fs::create_dir(&etcd)?;
        KeyFile::create(clock::now())?.save(&folder.path().join("sealing.keys"))?;
        Ok(Self { etcd: Etcd::prepare(&etcd)?.with_roles(), folder })
    }

    /// A site with a running, empty etcd.
    ///
    /// # Errors
    /// etcd does not start.
    pub async fn lit() -> Result<Self> {
        let mut site = Self::dark()?;
        site.etcd.begin().await?;
        Ok(site)
    }

    /// A site with a running, empty etcd with an additional command-line option.
    ///
    /// # Errors
    /// etcd does not start.
    pub async fn lit_with(option: &str) -> Result<Self> {
        let Self { etcd, folder } = Self::dark()?;
        let mut site = Self { etcd: etcd.with(option), folder };
        site.etcd.begin().await?;
        Ok(site)
    }

    /// Runs `ironmesh store` with these arguments and the configuration of this service.
    ///
    /// # Errors
    /// The program cannot be run.
    pub async fn store(&self, verb: &str, service: Service, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(program()?);
        command.args(["store", verb, "--config"]).arg(self.path(&format!("{service}.toml"))).args(words);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(tokio::time::timeout(START, command.output()).await.context("the command line does not end")??)
    }

    /// A file or folder of the site.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Identity of one of its services, in the rack with the empty name.
    #[must_use]
    pub fn identity(service: Service) -> Identity {
        Identity::Service { service, rack: String::new() }
    }

    /// Writes a certificate of the site's CA into a folder of this name, and replaces an existing one.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue(&self, name: &str, bearer: &Identity) -> Result<Files> {
        self.etcd.authority().issue(&self.path(name), bearer)
    }

    /// TLS settings of a client with these files.
    ///
    /// # Errors
    /// The files do not match.
    pub fn tls(files: &Files) -> Result<Tls> {
        Ok(Tls::load(files.clone())?)
    }

    /// Identity of an operator of the site.
    ///
    /// # Errors
    /// The certificate cannot be written.
    pub fn operator(&self) -> Result<Tls> {
        Self::tls(&self.issue("ann", &Identity::admin("ann"))?)
    }

    /// Writes the shipped configuration of a service with this site's addresses and files. `keys` replaces shipped
    /// settings, too.
    ///
    /// # Errors
    /// The shipped file has no such setting.
    pub fn configure(&self, service: Service, keys: &[(&str, &str)]) -> Result<PathBuf> {
        let files = self.issue(service.name(), &Self::identity(service))?;
        let etcd = for_etcd(&self.path(service.name()));
        let sealing_keys = self.sealing_keys(service)?;
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/config/{service}.toml"));
        let mut text = fs::read_to_string(&shipped).with_context(|| shipped.display().to_string())?;
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let own = [
            ("etcd", format!("[{:?}]", self.etcd.endpoint())),
            ("data", quoted(&self.data(service))),
            ("ca", quoted(&files.ca)),
            ("certificate", quoted(&files.certificate)),
            ("key", quoted(&files.key)),
            ("etcd_ca", quoted(&etcd.ca)),
            ("etcd_certificate", quoted(&etcd.certificate)),
            ("etcd_key", quoted(&etcd.key)),
            ("sealing_keys", quoted(&sealing_keys)),
        ];
        // The only port that is the same at every site.
        let rest = (service == Service::Scheduler).then(|| ("rest", "\"127.0.0.1:0\"".to_owned()));
        let keys = keys.iter().map(|(key, value)| (*key, (*value).to_owned())).chain(rest);
        for (key, value) in own.into_iter().chain(keys) {
            let begins = format!("{key} = ");
            // Nested tables come after the keys of their table, and may have keys of the same name.
            let at = text.lines().position(|line| line.starts_with(&begins));
            let at = at.with_context(|| format!("{service}.toml: {key}"))?;
            let replaced =
                |(number, line)| if number == at { format!("{begins}{value}\n") } else { format!("{line}\n") };
            text = text.lines().enumerate().map(replaced).collect();
        }
        let path = self.path(&format!("{service}.toml"));
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes the sealing keys that a service has, and returns their file.
    fn sealing_keys(&self, service: Service) -> Result<PathBuf> {
        let root = self.path("sealing.keys");
        if service == Service::Scheduler {
            return Ok(root);
        }
        let file = self.path(&format!("{service}.sealing.keys"));
        KeyFile::load(&root)?.for_service(service, "")?.save(&file)?;
        Ok(file)
    }

    /// Data folder of a service.
    #[must_use]
    pub fn data(&self, service: Service) -> PathBuf {
        self.path(&format!("{service}.data"))
    }

    /// Starts a service with the configuration that [`Self::configure`] wrote.
    ///
    /// # Errors
    /// The program is not built.
    pub fn start(&self, service: Service, config: &Path) -> Result<Running> {
        // The roles of leaves name their rack, which exists by now.
        if service != Service::Scheduler && self.etcd.is_up() {
            self.etcd.init()?;
        }
        let log = self.path(&format!("{service}.log"));
        let output = fs::File::create(&log)?;
        let child = Command::new(program()?)
            .args([service.name(), "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Running { service, data: self.data(service), log, child })
    }

    /// Configures and starts a service as shipped, and waits until it accepts changes, too.
    ///
    /// # Errors
    /// It does not start.
    pub async fn run(&self, service: Service) -> Result<Running> {
        let mut running = self.start(service, &self.configure(service, &[])?)?;
        for name in ["", CHANGES] {
            running.is(ServingStatus::Serving, name, &self.operator()?).await?;
        }
        Ok(running)
    }

    /// The API, with this certificate.
    ///
    /// # Errors
    /// The service has no address.
    pub async fn api(&self, scheduler: &mut Running, tls: &Tls) -> Result<Api> {
        Ok(Api::over(scheduler.mesh_channel(tls).await?))
    }

    /// Runs the command line with these certificates.
    ///
    /// # Errors
    /// The program cannot be run.
    pub async fn ironmesh(&self, endpoint: &str, files: &Files, words: &[&str]) -> Result<Output> {
        let Files { ca, certificate, key } = files;
        let context = self.path("client.toml");
        let text = format!("endpoint = {endpoint:?}\nca = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}\n");
        fs::write(&context, text)?;
        let mut command = Command::new(program()?);
        command.arg("--context").arg(&context).args(words).stdin(Stdio::null()).kill_on_drop(true);
        Ok(tokio::time::timeout(CALL * 2, command.output()).await.context("the command line does not end")??)
    }
}

/// A service that was started; killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    service: Service,
    data: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Running {
    /// Its service's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.service.name()
    }

    /// Its pid.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<i32> {
        Ok(self.child.id().context("it has ended")?.try_into()?)
    }

    /// The file of its log.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Its log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())
    }

    /// Waits until it has logged these words.
    ///
    /// # Errors
    /// It ended, or did not within `timeout`.
    pub async fn says(&mut self, words: &str, timeout: Duration) -> Result<String> {
        self.until(words, timeout, async |running| Ok(running.log()?.contains(words).then_some(()))).await?;
        self.log()
    }

    /// Address of `grpc` or `monitor`; waits until it is known.
    ///
    /// # Errors
    /// The service ended, or is too slow.
    pub async fn address(&mut self, what: &str) -> Result<String> {
        let file = self.data.join(format!("{what}.address"));
        let read =
            || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')).map(|text| text.trim().to_owned());
        self.until(what, START, async |_| Ok(read())).await
    }

    /// A gRPC connection to it.
    ///
    /// # Errors
    /// It has no address.
    pub async fn mesh_channel(&mut self, tls: &Tls) -> Result<MeshChannel> {
        let endpoint = self.address("grpc").await?;
        Ok(mesh_channel(tls, &endpoint, self.service, "", Some(CALL))?)
    }

    /// Waits until its gRPC health has this status for a name.
    ///
    /// # Errors
    /// It ended, or did not in time; the error has its log.
    pub async fn is(&mut self, wanted: ServingStatus, name: &str, tls: &Tls) -> Result<()> {
        let line = self.mesh_channel(tls).await?;
        let asked = HealthCheckRequest { service: name.to_owned() };
        self.until(&format!("health {wanted:?} of {name:?}"), START, async |_| {
            let answer = HealthClient::new(line.clone()).check(asked.clone()).await;
            Ok(answer.is_ok_and(|answer| answer.into_inner().status() == wanted).then_some(()))
        })
        .await
    }

    async fn until<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut look: impl AsyncFnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self).await? {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the {} ended ({status}) before {what}: {}", self.service, self.log()?);
            }
            if begun.elapsed() > timeout {
                bail!("waited {timeout:?} in vain for {what} of the {}: {}", self.service, self.log()?);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Asks it to stop (SIGTERM).
    ///
    /// # Errors
    /// It has ended already.
    pub fn stop(&self) -> Result<()> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("it has ended")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs after `timeout`; the error has its log.
    pub async fn ended(&mut self, timeout: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(timeout, self.child.wait()).await {
            Ok(ended) => Ok(ended?),
            Err(_) => bail!("the {} runs still after {timeout:?}: {}", self.service, self.log()?),
        }
    }
}
