//! A copy becomes the store again. What was there is moved aside, and nothing is forgotten that says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use keyspace::value::RestoredBackup;
use serde::Deserialize;

use super::{Restore, answer, backup, notes, service_folders};
use crate::up;

/// The file that tells the next `ironmesh up` to say in the store that it is a restored backup.
const RESTORED: &str = "store.restored";
/// etcd's tools that restore a snapshot: the newer releases' one, the older releases' one.
const TOOLS: [&str; 2] = ["etcdutl", "etcdctl"];

pub(super) async fn run(command: &Restore) -> Result<()> {
    let shown = command.data.display();
    let data = command.data.canonicalize().with_context(|| format!("cannot use {shown}"))?;
    let _lock = mesh::DataDirLock::take(&data.join("up"))
        .with_context(|| format!("cannot restore in {shown}; stop the ironmesh up that runs there"))?;
    let mut locks = Vec::new();
    for folder in service_folders(&data)? {
        locks.push(mesh::DataDirLock::take(&folder).context("a service runs still; wait for its end, or end it")?);
    }
    up::end_leftover_etcd(&data).await?;
    let whole = backup::verify(&command.file)?;
    let status = status(&command.file)?;
    let (etcd, new) = (data.join("etcd"), data.join("etcd.new"));
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    unpack(&command.file, &new)?;
    // From here on the next `up` says that it is a restored backup, whatever services know.
    let known = notes(&data)?.iter().map(|known| known.revision).fold(status.revision, i64::max);
    note(&data, RestoredBackup { known, found: status.revision })?;
    let aside = aside(&data)?;
    let had = etcd.exists();
    if had {
        fs::rename(&etcd, &aside).with_context(|| format!("cannot move {} aside", etcd.display()))?;
    }
    fs::rename(&new, &etcd).with_context(|| format!("cannot put {} in its place", new.display()))?;
    answer(&format!(
        "restored {} octets at revision {} (sha256 {}); services here have seen revision {known}",
        whole.octets, status.revision, whole.digest
    ));
    if had {
        answer(&format!("the store that was there is {}", aside.display()));
    } else {
        answer(
            "there was no store: an etcd that ironmesh up --etcd names is restored with its own tools, then adopted",
        );
    }
    if !data.join("certs/sealing.key").exists() {
        answer(&format!(
            "{}/certs/sealing.key is not there: without the one that was used, nobody can open the secrets in the store",
            data.display()
        ));
    }
    answer(&format!(
        "next: ironmesh up --data {shown} …, look at what it holds, then: ironmesh store adopt --data {shown}"
    ));
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Status {
    revision: i64,
}

fn status(file: &Path) -> Result<Status> {
    let said = tool(&["snapshot", "status", "-w", "json"], &[file])?;
    serde_json::from_slice(&said).context("etcd's tool does not say what is in the snapshot")
}

/// A database and a log of one member, in a cluster that never was before: its id tells it from the one of before.
fn unpack(file: &Path, into: &Path) -> Result<()> {
    let (token, data) = (format!("ironmesh-{}", uuid::Uuid::new_v4()), into.display().to_string());
    // Where it listens is said when it is started; here it must only be one address, and the same twice.
    let peer = "https://127.0.0.1:2380";
    let cluster = format!("ironmesh={peer}");
    let options = [
        ("--data-dir", data.as_str()),
        ("--name", "ironmesh"),
        ("--initial-cluster", &cluster),
        ("--initial-advertise-peer-urls", peer),
        ("--initial-cluster-token", &token),
    ];
    let options = options.iter().flat_map(|(name, value)| [*name, *value]);
    let words: Vec<&str> = ["snapshot", "restore"].into_iter().chain(options).collect();
    tool(&words, &[file]).map(drop)
}

fn tool(words: &[&str], files: &[&Path]) -> Result<Vec<u8>> {
    for program in TOOLS {
        let mut command = Command::new(program);
        command.args(words).args(files).env("ETCDCTL_API", "3").stdin(Stdio::null());
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot run {program}")),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "{program} {}: {}", words.join(" "), said.trim());
                return Ok(output.stdout);
            }
        }
    }
    bail!("neither {} is installed; Debian's package etcd-client has one", TOOLS.join(" nor "))
}

/// Where the store of before goes: a name that nothing has.
fn aside(data: &Path) -> Result<PathBuf> {
    let names = (1..).map(|number| data.join(format!("etcd.before-restore-{number}")));
    names.into_iter().find(|path| !path.exists()).context("no name is free")
}

fn note(data: &Path, how: RestoredBackup) -> Result<()> {
    let file = data.join(RESTORED);
    let written = serde_json::to_vec(&how).map_err(io::Error::from).and_then(|json| fs::write(&file, json));
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// What a restore left to be said in the store.
pub(crate) fn noted(data: &Path) -> Result<Option<RestoredBackup>> {
    let file = data.join(RESTORED);
    if !file.exists() {
        return Ok(None);
    }
    let json = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    // One that can not be read says the same, with less detail.
    Ok(Some(serde_json::from_slice(&json).unwrap_or(RestoredBackup { known: 0, found: 0 })))
}

/// It was said.
pub(crate) fn done(data: &Path) -> Result<()> {
    fs::remove_file(data.join(RESTORED)).with_context(|| format!("cannot remove {RESTORED} in {}", data.display()))
}
