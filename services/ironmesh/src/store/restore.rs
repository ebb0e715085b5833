//! Restores a backup. The current store is moved aside, and the next `ironmesh up` marks the store as restored.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use durable_file::Access;
use keyspace::value::RestoredBackup;
use serde::Deserialize;

use super::{Restore, answer, backup, notes, service_folders};
use crate::{leftover_etcd, sealing};

/// The file that tells the next `ironmesh up` to mark the store as a restored backup.
const RESTORED: &str = "store.restored";
/// etcd's tools for restoring a snapshot, of newer and of older releases.
const TOOLS: [&str; 2] = ["etcdutl", "etcdctl"];

pub(super) async fn run(command: &Restore) -> Result<()> {
    let shown = command.data.display();
    let data = command.data.canonicalize().with_context(|| format!("cannot use {shown}"))?;
    let _lock = mesh::DataDirLock::take(&data.join("up"))
        .with_context(|| format!("cannot restore in {shown}; stop the ironmesh up that uses it"))?;
    let mut locks = Vec::new();
    for folder in service_folders(&data)? {
        locks.push(
            mesh::DataDirLock::take(&folder).context("a service is still running; wait until it stops, or stop it")?,
        );
    }
    leftover_etcd::stop(&data).await?;
    let whole = backup::verify(&command.file)?;
    let status = status(&command.file)?;
    let (etcd, new) = (data.join("etcd"), data.join("etcd.new"));
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    unpack(&command.file, &new)?;
    // From here on the next `up` marks the store as a restored backup, whatever the services know.
    let known = notes(&data)?.iter().map(|known| known.revision).fold(status.revision, i64::max);
    note(&data, RestoredBackup { known, found: status.revision })?;
    let aside = aside(&data)?;
    let had = etcd.exists();
    if had {
        fs::rename(&etcd, &aside).with_context(|| format!("cannot move {} aside", etcd.display()))?;
    }
    fs::rename(&new, &etcd).with_context(|| format!("cannot move {} to its place", new.display()))?;
    durable_file::sync_folder_of(&etcd)?;
    answer(&format!(
        "restored {} bytes at revision {} (sha256 {}); services have seen revision {known}",
        whole.bytes, status.revision, whole.digest
    ));
    if had {
        answer(&format!("the previous store was moved to {}", aside.display()));
    } else {
        answer(
            "there was no previous store: restore an etcd of ironmesh up --etcd with etcd's own tools, then adopt it",
        );
    }
    if !sealing::root(&data).exists() {
        answer(&format!(
            "{} does not exist: without the original keys the secrets in the store cannot be decrypted",
            sealing::root(&data).display()
        ));
    }
    answer(&format!(
        "next: ironmesh up --data {shown} …, check the content, then: ironmesh store adopt --data {shown}"
    ));
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Status {
    revision: i64,
}

fn status(file: &Path) -> Result<Status> {
    let said = tool(&["snapshot", "status", "-w", "json"], &[file])?;
    serde_json::from_slice(&said).context("cannot parse the snapshot status of etcd's tool")
}

/// Creates the database and log of one member in a new cluster, whose id differs from that of the previous one.
fn unpack(file: &Path, into: &Path) -> Result<()> {
    let (token, data) = (format!("ironmesh-{}", uuid::Uuid::new_v4()), into.display().to_string());
    // The actual address is set when etcd starts; here both must only be the same.
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

/// Returns an unused path for the previous store.
fn aside(data: &Path) -> Result<PathBuf> {
    let names = (1..).map(|number| data.join(format!("etcd.before-restore-{number}")));
    names.into_iter().find(|path| !path.exists()).context("no name is free")
}

fn note(data: &Path, how: RestoredBackup) -> Result<()> {
    let file = data.join(RESTORED);
    let json = serde_json::to_vec(&how).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(durable_file::write(&file, &json, Access::Everyone)?)
}

/// Returns what a restore has recorded for the next `ironmesh up`.
pub(crate) fn restored(data: &Path) -> Result<Option<RestoredBackup>> {
    let file = data.join(RESTORED);
    if !file.exists() {
        return Ok(None);
    }
    let json = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    // A malformed file means the same, with less detail.
    Ok(Some(serde_json::from_slice(&json).unwrap_or(RestoredBackup { known: 0, found: 0 })))
}

/// Removes the record of a restore after the store was marked.
pub(crate) fn clear(data: &Path) -> Result<()> {
    Ok(durable_file::remove(&data.join(RESTORED))?)
}
