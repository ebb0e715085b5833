//! The commands of deploy/guide/fleet.md, typed on hosts as they stand there. Needs root.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use integration_tests::hosts::{HostMesh, WAIT_TIMEOUT};
use integration_tests::rack::wait::until;
use proto::api::v1::HostState;

/// The data directory in the guide.
const DATA: &str = "/var/lib/ironmesh";
/// The command that starts a host in the guide.
const START: &str = "systemctl enable --now ironmesh-host";
/// The address of the first host in the guide.
const FIRST: &str = "10.0.0.11";

/// The commands in the blocks of a text, each with the host on which it is typed.
fn commands(text: &str) -> Vec<(&str, &str)> {
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.split_once("# ")).collect()
}

/// Types one command.
fn type_command(mesh: &HostMesh, host: &str, command: &str) -> Result<()> {
    if command == START {
        mesh.start(host)?;
        return mesh.until("h1", &[host], HostState::Ready);
    }
    if command.starts_with("export ") {
        return Ok(());
    }
    let words = command.strip_prefix("ironmesh ").with_context(|| format!("{command}: no command of ironmesh"))?;
    let (own, first) = (mesh.host(host)?, mesh.host("h1")?.address.to_string());
    let token = mesh.folder().join("token").display().to_string();
    let mut typed: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    for at in 0..typed.len() {
        let before = at.checked_sub(1).and_then(|before| typed.get(before)).cloned().unwrap_or_default();
        let Some(word) = typed.get_mut(at) else { continue };
        let replaced = match (before.as_str(), word.as_str()) {
            (_, DATA) => Some(own.data.display().to_string()),
            (_, FIRST) => Some(first.clone()),
            (_, "token") if before == "--token-file" => Some(token.clone()),
            ("--interface", _) => own.provisioning.first().map(|rack| rack.interface.clone()),
            ("--address", _) => own.provisioning.first().map(|rack| rack.address.to_string()),
            _ => None,
        };
        *word = replaced.unwrap_or_else(|| word.clone());
    }
    // A harness has no addresses on other interfaces: the host's own is the one that it joins with.
    if typed.first().is_some_and(|word| word == "join") {
        typed.extend(["--advertise".to_owned(), own.address.to_string()]);
    }
    let output = mesh.ironmesh(host, &typed.iter().map(String::as_str).collect::<Vec<_>>())?;
    if typed.iter().take(2).eq(["token", "create"]) {
        let text = output.split_whitespace().find(|word| word.starts_with("ironmesh-join-1."));
        fs::write(&token, text.with_context(|| format!("no token in {output}"))?)?;
    }
    Ok(())
}

#[test]
fn the_commands_of_the_guide_build_a_datacenter_as_they_stand_there() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/guide/fleet.md");
    let guide = fs::read_to_string(guide).unwrap();
    let commands = commands(&guide);
    assert!(commands.len() > 15, "{commands:?}");
    let mesh = HostMesh::up("tguide", &["fra1=h1,h2,h3,r7a:r7,r7b:r7"]).unwrap();
    for (host, command) in commands {
        let typed = type_command(&mesh, host, command);
        typed.with_context(|| format!("{host}# {command}\n{}", mesh.complaints())).unwrap();
    }
    // What it ends with: one host of the rack was removed, and the other serves it again.
    let ends = || {
        let hosts = mesh.list("h1", "h2")?;
        let ready = |name: &str| hosts.iter().any(|host| host.name == name && host.state() == HostState::Ready);
        Ok((["h1", "h2", "h3", "r7a"].into_iter().all(ready) && hosts.len() == 4).then_some(()))
    };
    until("the hosts that the guide leaves", WAIT_TIMEOUT, ends).unwrap();
    stopped(&mesh, "r7b").unwrap();
}

/// Waits until nothing runs on a host that was removed.
fn stopped(mesh: &HostMesh, host: &str) -> Result<()> {
    let own = mesh.host(host)?;
    let waited = until(host, WAIT_TIMEOUT, || Ok(own.processes()?.is_empty().then_some(())));
    waited.with_context(|| mesh.complaints())?;
    let log = mesh.log(host)?;
    ensure!(log.contains("was removed"), "{log}");
    Ok(())
}
