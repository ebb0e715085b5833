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

use super::{Restore, answer, backup, host_file::HostFile, notes, service_folders};
use crate::{leftover_etcd, sealing};
use authority::etcd_address::peer_urls;

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
    let (etcd, new) = (data.join("etcd"), data.join("etcd.new"));
    let source = match &command.file {
        Some(file) => {
            let backup::Whole { bytes, digest } = backup::verify(file)?;
            Source { file: file.clone(), check: Check::Digest, what: format!("{bytes} bytes (sha256 {digest})") }
        }
        None => own_data(&etcd)?,
    };
    let status = status(&source.file)?;
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    let member = OnlyMember::of(&data)?;
    unpack(&source, &member, &new)?;
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
    answer(&format!("restored {} at revision {}; services have seen revision {known}", source.what, status.revision));
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
    answer(&next_steps(&member, &shown.to_string()));
    Ok(())
}

/// What the operator does next. The store has one member now, whatever it had before.
fn next_steps(member: &OnlyMember, shown: &str) -> String {
    let adopt = format!("check the content, then: ironmesh store adopt --data {shown}");
    if member.is_host {
        format!(
            "the store has one member now, {}; on every other host with a member: stop ironmesh-host, move the folder etcd of \
             its data directory aside, and join it again with --store\n\
             next: systemctl start ironmesh-host, {adopt}",
            member.name
        )
    } else {
        format!("next: ironmesh up --data {shown} …, {adopt}")
    }
}

/// What is restored.
#[derive(Debug)]
struct Source {
    file: PathBuf,
    check: Check,
    /// Description for people.
    what: String,
}

/// Whether the file ends with its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// It does, as every backup.
    Digest,
    /// It does not: it is a member's database.
    Nothing,
}

/// The database of the member in this data directory.
fn own_data(etcd: &Path) -> Result<Source> {
    let file = etcd.join("member/snap/db");
    let bytes = fs::metadata(&file)
        .with_context(|| format!("cannot use the member's own data {}; restore a backup instead", file.display()))?
        .len();
    Ok(Source { file, check: Check::Nothing, what: format!("the member's own data of {bytes} bytes") })
}

/// The only member of the restored store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OnlyMember {
    name: String,
    /// The URL at which members that join later reach it.
    peer: String,
    /// Whether it is a host's, rather than that of an `ironmesh up`.
    is_host: bool,
}

impl OnlyMember {
    fn of(data: &Path) -> Result<Self> {
        let Some(HostFile { name, advertise, .. }) = HostFile::read(data)? else {
            // The actual address is set when etcd starts; here both must only be the same.
            let peer = "https://127.0.0.1:2380".to_owned();
            return Ok(Self { name: "ironmesh".to_owned(), peer, is_host: false });
        };
        let peer = peer_urls(advertise).into_iter().next().context("no peer URL")?;
        Ok(Self { name, peer, is_host: true })
    }
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
fn unpack(source: &Source, member: &OnlyMember, into: &Path) -> Result<()> {
    let (token, data) = (format!("ironmesh-{}", uuid::Uuid::new_v4()), into.display().to_string());
    let cluster = format!("{}={}", member.name, member.peer);
    let options = [
        ("--data-dir", data.as_str()),
        ("--name", &member.name),
        ("--initial-cluster", &cluster),
        ("--initial-advertise-peer-urls", &member.peer),
        ("--initial-cluster-token", &token),
    ];
    let options = options.iter().flat_map(|(name, value)| [*name, *value]);
    let unchecked = (source.check == Check::Nothing).then_some("--skip-hash-check");
    let words: Vec<&str> = ["snapshot", "restore"].into_iter().chain(options).chain(unchecked).collect();
    tool(&words, &[&source.file]).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_only_member_of_its_restored_store_at_its_own_address() {
        // The host's file if there is one, and the member's name and peer URL or words of the error.
        type Case = (Option<&'static str>, Result<(&'static str, &'static str), &'static str>);
        let table: [Case; 6] = [
            (None, Ok(("ironmesh", "https://127.0.0.1:2380"))),
            (Some("name = \"h1\"\nadvertise = \"10.0.0.11\"\n"), Ok(("h1", "https://10.0.0.11:2380"))),
            (Some("name = \"h2\"\nadvertise = \"fd00::2\"\nstore = true\n"), Ok(("h2", "https://[fd00::2]:2380"))),
            (Some("name = \"h1\"\n"), Err("advertise")),
            (Some("advertise = \"10.0.0.11\"\n"), Err("name")),
            (Some(""), Err("host.toml is no host's")),
        ];
        for (text, expected) in table {
            let data = tempfile::tempdir().unwrap();
            if let Some(text) = text {
                fs::write(data.path().join("host.toml"), text).unwrap();
            }
            match (OnlyMember::of(data.path()), expected) {
                (Ok(member), Ok((name, peer))) => {
                    assert_eq!((&*member.name, &*member.peer, member.is_host), (name, peer, text.is_some()));
                    let steps = next_steps(&member, "/d");
                    assert!(steps.contains("ironmesh store adopt --data /d"), "{steps}");
                    assert_eq!(steps.contains("systemctl start ironmesh-host"), text.is_some(), "{steps}");
                }
                (Err(error), Err(words)) => assert!(format!("{error:#}").contains(words), "{error:#}"),
                (got, expected) => panic!("{text:?}: {got:?}, not {expected:?}"),
            }
        }
    }
}
