//! One more replica of a service beside those of `ironmesh up`. It reaches etcd through a [`crate::proxy`] that can
//! delay or lose everything, and may run another program than the shipped one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::lab::{Lab, WAIT_TIMEOUT};
use crate::mesh::{Api, program};
use crate::proxy::Proxy;
use crate::rack::daemon::Daemon;

/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A replica. It is ended when it is dropped.
#[derive(Debug)]
pub struct Beside {
    /// Its name, such as `power-service-3`.
    pub name: String,
    /// The network between it and etcd.
    pub network: Proxy,
    /// Its process.
    pub process: Daemon,
    folder: PathBuf,
}

impl Beside {
    /// Starts the shipped program as replica `number`, with this delay on data from etcd.
    ///
    /// # Errors
    /// The program is not built, or there is no such service to copy the configuration from.
    pub async fn start(lab: &Lab, service: Service, number: u8, held_back: Duration) -> Result<Self> {
        let words = [program()?.display().to_string(), service.name().to_owned()];
        Self::start_as(lab, service, number, held_back, &words).await
    }

    /// Starts a program with these arguments as replica `number`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_as(
        lab: &Lab,
        service: Service,
        number: u8,
        held_back: Duration,
        words: &[String],
    ) -> Result<Self> {
        let like = lab.data().join(format!("{service}-1/config.toml"));
        let mut config: toml::Table = fs::read_to_string(&like).with_context(|| like.display().to_string())?.parse()?;
        let table = config.get_mut("service").and_then(toml::Value::as_table_mut).context("no table")?;
        let etcd = table.get("etcd").and_then(|etcd| etcd.get(0)?.as_str()).context("no etcd")?;
        let network = Proxy::begin(etcd, held_back).await?;
        let name = format!("{service}-{number}");
        let folder = lab.data().join(&name);
        table.insert("etcd".to_owned(), vec![network.url()].into());
        table.insert("data".to_owned(), folder.display().to_string().into());
        table.insert("listen".to_owned(), "127.0.0.1:0".into());
        fs::create_dir(&folder)?;
        fs::write(folder.join("config.toml"), toml::to_string(&config)?)?;
        let process = lab.mesh().start(words, &folder)?;
        Ok(Self { name, network, process, folder })
    }

    /// Its log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.folder.join("log");
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Its data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // A stopped process would not handle the signal.
        drop(self.process.signal(Signal::CONT));
        drop(self.process.end());
    }
}

/// Waits until the rack has this many members, schedulers included.
///
/// # Errors
/// It does not in time.
pub async fn until_members(api: &mut Api, count: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let members = api.rack().await?.replicas.len();
        if members == count {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{members} members, not {count}");
        sleep(POLL_INTERVAL).await;
    }
}
