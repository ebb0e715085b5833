//! DHCP with two replicas, and a client that systems ship: ISC's dhclient.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use integration_tests::lab::{Lab, WAIT_TIMEOUT};
use integration_tests::machine::Spec;
use integration_tests::mesh::Options;
use integration_tests::rack::daemon::Daemon;
use integration_tests::rack::namespace::Namespace;
use integration_tests::rack::wait;
use rustix::process::Signal;

const REPLICAS: [&str; 2] = ["pxe-service-1", "pxe-service-2"];
const IDENTIFIER: &str = "10.77.1.3";
const TAKEN: &str = "acquired the DHCP server identifier";

/// Returns the number of occurrences of these words in the logs of the pxe-services.
fn said(lab: &Lab, words: &str) -> Result<usize> {
    let count = |name: &&str| Ok(lab.mesh().log(name)?.matches(words).count());
    REPLICAS.iter().map(count).sum()
}

fn is_held(lab: &Lab) -> Result<bool> {
    Ok(lab.rack().place().ip("-4 address show dev prov")?.contains(&format!(" {IDENTIFIER}/32 ")))
}

/// Returns the replica with the server identifier: the last one that logged it.
fn holder(lab: &Lab) -> Result<&'static str> {
    let [first, _] = REPLICAS;
    Ok(if lab.mesh().log(first)?.contains(TAKEN) { first } else { REPLICAS[1] })
}

/// dhclient on a machine's NIC, which handles a lease as a system does, and renews it every few seconds.
fn client(nic: &Namespace, folder: &Path) -> Result<Daemon> {
    let file = |name: &str| folder.join(name).display().to_string();
    fs::write(
        file("script"),
        "#!/bin/sh\n[ -z \"$new_ip_address\" ] || ip address replace \"$new_ip_address/24\" dev \"$interface\"\n",
    )?;
    fs::set_permissions(file("script"), fs::Permissions::from_mode(0o755))?;
    fs::write(file("conf"), "supersede dhcp-renewal-time 2;\nsupersede dhcp-rebinding-time 3000;\n")?;
    let mut command = nic.command("dhclient");
    for (option, name) in [("-sf", "script"), ("-cf", "conf"), ("-lf", "leases"), ("-pf", "pid")] {
        command.args([option, &file(name)]);
    }
    command.args(["-4", "-d", "eth0"]);
    Daemon::spawn(command, &folder.join("log"), &folder.join("record"))
}

/// Waits for this many answers to renewals, none of which was requested by broadcast.
fn renewals(folder: &Path, count: usize) -> Result<()> {
    let renewed = format!("DHCPACK of 10.77.1.100 from {IDENTIFIER}");
    wait::until(&format!("renewal number {count}"), WAIT_TIMEOUT, || {
        let said = fs::read_to_string(folder.join("log"))?;
        let Some((_, since)) = said.split_once("bound to ") else { return Ok(None) };
        anyhow::ensure!(!since.contains("to 255.255.255.255"), "it gave its server up: {said}");
        Ok((since.matches(&renewed).count() >= count).then_some(()))
    })
}

#[test]
fn a_lease_is_renewed_with_the_present_leader() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::up("tdhcp", &[Spec::default()], Options { replicas: 2, ..Options::default() })?;
    lab.run(async |mut api, lab| Ok(api.enrol(lab.machine("n1")?).await?))?;
    wait::until("a leader with the identifier", WAIT_TIMEOUT, || Ok(is_held(&lab)?.then_some(())))?;

    let client = client(&Namespace::named("im-tdhcp-n1"), folder.path())?;
    renewals(folder.path(), 1)?;
    let took = said(&lab, TAKEN)?;
    lab.mesh().service(holder(&lab)?)?.signal(Signal::KILL)?;
    wait::until("the next leader", WAIT_TIMEOUT, || Ok((said(&lab, TAKEN)? > took).then_some(())))?;
    let before = fs::read_to_string(folder.path().join("log"))?.matches("DHCPACK").count();
    renewals(folder.path(), before + 1)?;
    client.end()?;
    lab.down()
}

#[test]
fn a_stopped_leader_loses_the_identifier_and_another_hosts_is_not_taken() -> Result<()> {
    let lab = Lab::up("tident", &[Spec::default()], Options { replicas: 2, ..Options::default() })?;
    wait::until("a leader with the identifier", WAIT_TIMEOUT, || Ok(is_held(&lab)?.then_some(())))?;
    let replicas = REPLICAS.map(|name| lab.mesh().service(name));
    let all = |signal| replicas.iter().flatten().try_for_each(|replica| replica.signal(signal));
    all(Signal::STOP)?;
    wait::until("the identifier to be released", WAIT_TIMEOUT, || Ok((!is_held(&lab)?).then_some(())))?;

    let stranger = Namespace::named("im-tident-n1");
    stranger.ip(&format!("address add {IDENTIFIER}/24 dev eth0"))?;
    all(Signal::CONT)?;
    let words = format!("{IDENTIFIER} is in use by {}", lab.machine("n1")?.mac);
    wait::until("a replica to log who has it", WAIT_TIMEOUT, || Ok((said(&lab, &words)? > 0).then_some(())))?;
    assert!(!is_held(&lab)?);
    stranger.ip(&format!("address del {IDENTIFIER}/24 dev eth0"))?;
    wait::until("a leader with the identifier again", WAIT_TIMEOUT, || Ok(is_held(&lab)?.then_some(())))?;
    lab.down()
}
