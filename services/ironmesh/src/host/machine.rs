//! The machine that becomes a host: its name, addresses, ports and programs, and what is written for its administrator.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use authority::ledger::Issuer;
use durable_file::Access;
use service_kit::config::{HOST_NAME_RULE, is_host_name};

use super::{DEFAULT_DATA, config::HostConfig};
use crate::pem_files::OPERATOR;

/// Returns the name of the host, by default the first label of the machine's name.
pub(crate) fn host_name(given: Option<&str>) -> Result<String> {
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy().to_lowercase();
    let name = given.map_or_else(|| machine.split('.').next().unwrap_or_default().to_owned(), str::to_owned);
    ensure!(is_host_name(&name), "--name: the host's name {name:?} {HOST_NAME_RULE}");
    Ok(name)
}

/// Checks that an address is one of this machine.
pub(crate) fn has_address(option: &str, address: IpAddr) -> Result<()> {
    match TcpListener::bind(SocketAddr::new(address, 0)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            bail!("{option} {address}: this machine does not have the address; ip addr shows those that it has")
        }
        Err(error) => Err(error).with_context(|| format!("{option} {address}: cannot listen on it")),
    }
}

/// Checks that a port is free.
pub(crate) fn is_free(at: SocketAddr, purpose: &str) -> Result<()> {
    match TcpListener::bind(at) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("port {} of {} is for {purpose}, and is taken; ss -ltnp shows by which process", at.port(), at.ip())
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen at {at}, for {purpose}")),
    }
}

/// Writes the administrator's context.
pub(crate) fn write_context(data: &Path, config: &HostConfig) -> Result<()> {
    let files = Issuer::Mesh.files(&data.join("certs"), OPERATOR);
    let path = |path: &Path| path.display().to_string();
    let text = format!(
        "endpoint = {:?}\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        config.schedulers.join(","),
        path(&files.ca),
        path(&files.certificate),
        path(&files.key),
    );
    let path = data.join("client.toml");
    if std::fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
        return Ok(());
    }
    Ok(durable_file::replace(&path, text.as_bytes(), Access::Everyone)?)
}

/// Checks that the machine has an interface.
pub(crate) fn has_interface(name: &str) -> Result<()> {
    let is_plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    ensure!(
        is_plain && Path::new("/sys/class/net").join(name).exists(),
        "--interface {name}: this machine has no such interface; ip link shows those that it has"
    );
    Ok(())
}

/// Returns the command that starts the host of a data directory.
pub(crate) fn start_command(data: &Path) -> String {
    if data == Path::new(DEFAULT_DATA) {
        "systemctl enable --now ironmesh-host".to_owned()
    } else {
        format!("ironmesh host run --data {}", data.display())
    }
}

/// Checks that etcd is installed. `instead` says what else could be done.
pub(crate) fn find_etcd(instead: &str) -> Result<()> {
    let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.with_context(|| format!("etcd is not installed; install Debian's package etcd-server, or use {instead}"))?;
    Ok(())
}
