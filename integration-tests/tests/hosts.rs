//! Hosts join one datacenter, by the commands that an operator types. Needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::fault::tell;
use integration_tests::hosts::capture::Capture;
use integration_tests::hosts::fake::{FakeNodes, Rounds};
use integration_tests::hosts::keys::{private_keys, shared_keys};
use integration_tests::hosts::sockets::listening;
use integration_tests::hosts::{AUTHORITY_PORT, DATACENTER, HostMesh, WAIT_TIMEOUT};
use integration_tests::rack::daemon::Daemon;
use integration_tests::rack::hosts::VirtualHost;
use integration_tests::rack::hosts::fault::HostFault;
use integration_tests::rack::wait::until;
use proto::api::v1::HostState;
use rustix::process::Signal;

/// How long a rack is cut off in the long tests.
const MINUTE: Duration = Duration::from_secs(60);

/// What joins after the first host: hosts with the store, and hosts for each rack.
struct Growth {
    stores: &'static [&'static str],
    racks: &'static [(&'static str, &'static [&'static str])],
}

impl Growth {
    /// The site's hosts, as for [`HostMesh::up`].
    fn site(&self) -> String {
        let of_racks =
            self.racks.iter().flat_map(|(rack, hosts)| hosts.iter().map(move |host| format!("{host}:{rack}")));
        let all: Vec<_> = ["h1"].iter().chain(self.stores).map(|&host| host.to_owned()).chain(of_racks).collect();
        format!("{DATACENTER}={}", all.join(","))
    }

    /// Makes `h1` the first host, and lets all others join, each when the one before it is ready. The first of the
    /// stores has a scheduler, too.
    fn grow(&self, mesh: &HostMesh) -> Result<()> {
        let racks: Vec<&str> = self.racks.iter().flat_map(|(rack, _)| ["--rack", rack]).collect();
        mesh.init("h1", DATACENTER, &racks)?;
        mesh.start("h1")?;
        mesh.until("h1", &["h1"], HostState::Ready)?;
        if !self.stores.is_empty() {
            let uses = self.stores.len().to_string();
            let token = mesh.token("h1", &["--store", "--scheduler", "--uses", &uses])?;
            for (number, host) in self.stores.iter().enumerate() {
                let scheduler: &[&str] = if number == 0 { &["--scheduler"] } else { &[] };
                mesh.join(host, "h1", &token, &[&["--store"], scheduler].concat())?;
                mesh.start(host)?;
                mesh.until("h1", &[host], HostState::Ready)?;
            }
        }
        for (rack, hosts) in self.racks {
            let token = mesh.token("h1", &["--rack", rack, "--uses", &hosts.len().to_string()])?;
            for host in *hosts {
                mesh.join(host, "h1", &token, &[])?;
                mesh.start(host)?;
            }
            mesh.until("h1", hosts, HostState::Ready)?;
        }
        Ok(())
    }
}

/// Words of etcdctl that make it the administrator of the store of `h1`.
fn etcdctl(mesh: &HostMesh, words: &[&str]) -> Result<String> {
    let h1 = mesh.host("h1")?;
    let mut command = h1.command("etcdctl");
    command.env("ETCDCTL_API", "3").arg(format!("--endpoints=https://{}:2379", h1.address));
    for (option, file) in [("cacert", "etcd-ca.pem"), ("cert", "etcd-root.pem"), ("key", "etcd-root.key")] {
        command.arg(format!("--{option}={}", h1.data.join("certs").join(file).display()));
    }
    let output = command.args(words).output()?;
    ensure!(output.status.success(), "etcdctl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until the store has this number of members that vote.
fn until_voters(mesh: &HostMesh, count: usize) -> Result<()> {
    let mut last = String::new();
    let waited = until(&format!("{count} voters"), WAIT_TIMEOUT, || {
        // ID, status, name, URLs of the peer and for clients, and whether it is a learner.
        last = etcdctl(mesh, &["member", "list"]).unwrap_or_else(|error| format!("{error:#}"));
        let voters = last.lines().filter(|line| line.contains(", started, ") && line.ends_with(", false"));
        Ok((voters.count() == count).then_some(()))
    });
    waited.with_context(|| last)
}

/// Checks that a host listens on no address but its own, and on no port of others.
fn listens_on_its_own_addresses_only(host: &VirtualHost) -> Result<()> {
    let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
    let mut own: BTreeSet<IpAddr> = host.provisioning.iter().map(|rack| rack.address.into()).collect();
    own.extend([loopback, host.address.into()]);
    for one in listening(host)? {
        // DHCP receives broadcasts, and is bound to the interface; a client of BMCs has a port that the kernel chose.
        let is_needed = !one.is_tcp && (one.at.port() == 67 || one.at.port() >= 32_768);
        ensure!(own.contains(&one.at.ip()) || is_needed, "{} listens at {one:?}", host.name);
    }
    Ok(())
}

/// Deploys and undeploys nodes through the scheduler of `h1` while `fault` works. No operation may fail.
fn deploy_during(mesh: &HostMesh, nodes: &FakeNodes, fault: impl FnOnce() -> Result<()>) -> Result<Rounds> {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loops = scope.spawn(|| {
            mesh.with_rest("h1", async |rest| nodes.deploy_until(rest, || ends.load(Ordering::Relaxed)).await)
        });
        let done = fault();
        ends.store(true, Ordering::Relaxed);
        let rounds = loops.join().map_err(|_| anyhow::anyhow!("the loop panicked"))?;
        done.with_context(|| mesh.complaints())?;
        rounds.with_context(|| mesh.complaints())
    })
}

/// Builds a datacenter from nothing, and checks what its hosts have and say to each other.
fn grows_from_nothing(tag: &str, growth: &Growth, count: usize) -> Result<()> {
    let mesh = HostMesh::up(tag, &[&growth.site()])?;
    let capture = Capture::begin(mesh.hosts().sites.first().context("no site")?)?;
    growth.grow(&mesh)?;
    until_voters(&mesh, 1 + growth.stores.len())?;

    let listed = mesh.ironmesh("h1", &["host", "list"])?;
    for host in mesh.hosts().all() {
        let is_listed = listed.lines().any(|line| line.split_whitespace().next() == Some(&*host.name));
        ensure!(is_listed, "{} is not in the list: {listed}", host.name);
        listens_on_its_own_addresses_only(host)?;
        ensure!(!private_keys(&host.data)?.is_empty(), "{} has no private key", host.name);
    }
    let folders: Vec<&Path> = mesh.hosts().all().map(|host| &*host.data).collect();
    let shared = shared_keys(&folders)?;
    ensure!(shared.is_empty(), "private keys at two hosts: {shared:#?}");

    let of_racks: Vec<_> =
        growth.racks.iter().map(|(rack, _)| FakeNodes::of(rack, count / growth.racks.len())).collect();
    mesh.with_rest("h1", async |rest| {
        for nodes in &of_racks {
            nodes.enroll(rest).await?;
            nodes.deploy(rest).await?;
        }
        Ok(())
    })
    .with_context(|| mesh.complaints())?;
    let other = growth.stores.first().context("no other scheduler")?;
    mesh.with_rest(other, async |rest| {
        for nodes in &of_racks {
            nodes.all_reach(rest, "active").await?;
        }
        Ok(())
    })?;

    // A member of etcd is lost with its host: no operation fails.
    let lost = growth.stores.last().context("no other store")?;
    let nodes = of_racks.first().context("no rack")?;
    mesh.with_rest("h1", async |rest| nodes.undeploy(rest).await)?;
    let rounds = deploy_during(&mesh, nodes, || mesh.host(lost)?.kill())?;
    tell(format_args!("{rounds:?} while {lost} with a member of etcd was killed"));

    let traffic = capture.end()?;
    let (tls, incomplete) = (traffic.tls_streams(), traffic.incomplete_streams());
    tell(format_args!("{tls} streams of TLS, {incomplete} of them not captured in full"));
    ensure!(traffic.findings().is_empty(), "between hosts in clear: {:#?}", traffic.findings());
    ensure!(tls > incomplete * 10, "{incomplete} of {tls} streams were not captured in full");
    Ok(())
}

#[test]
#[ignore = "needs ironmesh init, which is not there yet"]
fn one_host_is_a_datacenter_and_what_it_listens_on_is_its_own() {
    let mesh = HostMesh::up("thone", &["fra1=h1:r7,h2"]).unwrap();
    let own = mesh.host("h1").unwrap();
    let rack = own.provisioning.first().unwrap();
    let address = rack.address.to_string();
    let serves = ["--rack", "r7", "--interface", &rack.interface, "--address", &address];
    let told = mesh.init("h1", DATACENTER, &serves).unwrap();
    assert!(told.contains("ironmesh token create --rack r7"), "{told}");
    // It can be repeated, and changes no key.
    let before = private_keys(&own.data).unwrap();
    mesh.init("h1", DATACENTER, &serves).unwrap();
    assert!(!before.is_empty() && private_keys(&own.data).unwrap() == before);
    let capture = Capture::begin(mesh.hosts().sites.first().unwrap()).unwrap();
    mesh.start("h1").unwrap();
    mesh.until("h1", &["h1"], HostState::Ready).unwrap();
    listens_on_its_own_addresses_only(own).unwrap();
    let nodes = FakeNodes::of("r7", 5);
    mesh.with_rest("h1", async |rest| {
        nodes.enroll(rest).await?;
        nodes.deploy(rest).await
    })
    .with_context(|| mesh.complaints())
    .unwrap();
    // The certificates let it be reached from another host, by its address.
    let listed = mesh.host("h2").unwrap().place().enter(async || {
        let mut api = mesh.api("h1", "h1")?;
        api.node("r7-1").await
    });
    assert_eq!(listed.unwrap().unwrap().name, "r7-1");
    let traffic = capture.end().unwrap();
    assert!(traffic.findings().is_empty() && traffic.tls_streams() > 0, "{:#?}", traffic.findings());
    mesh.end("h1").unwrap();
}

#[test]
#[ignore = "needs ironmesh join, which is not there yet"]
fn a_datacenter_grows_from_one_host_and_speaks_tls_only() {
    let growth = Growth { stores: &["h2", "h3"], racks: &[("r7", &["h4", "h5"])] };
    grows_from_nothing("thgrow", &growth, 10).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn a_datacenter_grows_to_two_racks_of_two_hosts_each() {
    let growth = Growth { stores: &["h2", "h3"], racks: &[("r7", &["h4", "h5"]), ("r8", &["h6", "h7"])] };
    grows_from_nothing("thgrowl", &growth, 20).unwrap();
}

/// A datacenter with one host, which is ready, and others that may join.
fn one_host(tag: &str, sites: &[&str]) -> HostMesh {
    let mesh = HostMesh::up(tag, sites).unwrap();
    mesh.init("h1", DATACENTER, &["--rack", "r7", "--rack", "r8"]).unwrap();
    mesh.start("h1").unwrap();
    mesh.until("h1", &["h1"], HostState::Ready).unwrap();
    mesh
}

/// Checks that a command said one of these words, and that no host but these is registered.
fn said(mesh: &HostMesh, case: &str, errors: &str, words: &[&str], hosts: &[&str]) {
    let lower = errors.to_lowercase();
    assert!(words.iter().any(|word| lower.contains(word)), "{case}: none of {words:?} in: {errors}");
    let listed: Vec<String> = mesh.list("h1", "h1").unwrap().into_iter().map(|host| host.name).collect();
    assert_eq!(listed, hosts, "{case}: {errors}");
}

#[test]
#[ignore = "needs ironmesh join, which is not there yet"]
fn a_join_that_is_not_allowed_is_refused_by_name_and_leaves_nothing() {
    let mesh = one_host("thbad", &["fra1=h1,h2:r7,h3:r7,h4", "fra2=h9@1ms"]);
    let power = mesh.token("h1", &["--rack", "r7", "--services", "power,pxe", "--uses", "5"]).unwrap();
    let deleted = mesh.token("h1", &["--rack", "r7"]).unwrap();
    let tokens = mesh.ironmesh("h1", &["token", "list"]).unwrap();
    assert!(tokens.contains("r7") && !tokens.contains(&power), "{tokens}");
    let listed: serde_json::Value =
        serde_json::from_str(&mesh.ironmesh("h1", &["token", "list", "-o", "json"]).unwrap()).unwrap();
    let is_whole =
        |token: &&serde_json::Value| token["services"].as_array().is_some_and(|services| services.len() == 4);
    let id = listed.as_array().unwrap().iter().find(is_whole).unwrap()["id"].as_str().unwrap();
    mesh.ironmesh("h1", &["token", "delete", id]).unwrap();
    // Another datacenter, whose authority runs.
    mesh.init("h9", "fra2", &["--rack", "r7"]).unwrap();
    mesh.start("h9").unwrap();
    until("the other datacenter", WAIT_TIMEOUT, || Ok(mesh.list("h9", "h9").ok())).unwrap();
    let foreign = mesh.token("h9", &["--rack", "r7"]).unwrap();
    let garbled = |at: usize| {
        let mut letters: Vec<char> = power.chars().collect();
        letters[at] = if letters[at] == 'A' { 'B' } else { 'A' };
        letters.into_iter().collect::<String>()
    };
    let cut = &power[..power.len() - 40];
    // Case, token, further arguments, and words of which one is said.
    let cases: [(&str, &str, &[&str], &[&str]); 9] = [
        ("no token", "password", &[], &["token"]),
        ("cut off", cut, &[], &["token"]),
        ("another id", &garbled(20), &[], &["token"]),
        ("another secret", &garbled(60), &[], &["token"]),
        ("deleted", &deleted, &[], &["unknown", "deleted", "no such", "not known", "none of"]),
        ("of another datacenter", &foreign, &[], &["datacenter", "ca ", "digest"]),
        ("for more services", &power, &["--services", "power,pxe,storage"], &["storage"]),
        ("for the store", &power, &["--store"], &["store"]),
        ("for a scheduler", &power, &["--scheduler"], &["scheduler"]),
    ];
    for (case, token, more, words) in cases {
        let errors = mesh.join_refused("h2", "h1", token, more).unwrap();
        said(&mesh, case, &errors, words, &["h1"]);
        assert!(!errors.contains(token) || token.len() < 20, "{case}: the token is in the error: {errors}");
        assert!(!mesh.host("h2").unwrap().data.join("host.toml").exists(), "{case}");
    }

    // The same data directory joins as expected afterwards, and can join again.
    let once = mesh.token("h1", &["--rack", "r7"]).unwrap();
    mesh.join("h2", "h1", &once, &[]).unwrap();
    mesh.join("h2", "h1", &once, &[]).unwrap();
    let errors = mesh.join_refused("h3", "h1", &once, &[]).unwrap();
    said(&mesh, "used twice", &errors, &["used"], &["h1", "h2"]);
    let address = mesh.host("h2").unwrap().address.to_string();
    let more = mesh.token("h1", &["--rack", "r7", "--uses", "5"]).unwrap();
    for (case, host, arguments, words) in [
        ("with another name", "h2", ["--name", "h5"], ["h2", "name"]),
        ("with the name of another", "h3", ["--name", "h2"], ["h2", "name"]),
        ("with the address of another", "h3", ["--advertise", &address], [&address, "address"]),
    ] {
        let words_of = |words: Vec<String>| -> Vec<String> {
            // The option is there once, with the other value.
            let at = words.iter().position(|word| word == arguments[0]).unwrap();
            let mut words = words;
            arguments[1].clone_into(&mut words[at + 1]);
            words
        };
        let all = words_of(mesh.join_words(host, "h1", &more, &[]).unwrap());
        let errors = mesh.refused(host, &all.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        said(&mesh, case, &errors, &words, &["h1", "h2"]);
    }
}

#[test]
#[ignore = "needs ironmesh join, which is not there yet"]
fn a_join_that_was_interrupted_is_repeated() {
    let mesh = one_host("thagain", &["fra1=h1,h2:r7,h3:r7"]);
    let token = mesh.token("h1", &["--rack", "r7", "--uses", "2"]).unwrap();

    // A firewall is in the way: the port is named.
    let port = HostFault::BlockedPort { hosts: vec!["h1".to_owned()], port: AUTHORITY_PORT };
    mesh.hosts().inflict("port", &port).unwrap();
    let errors = mesh.join_refused("h2", "h1", &token, &[]).unwrap();
    mesh.hosts().mend("port").unwrap();
    said(&mesh, "a blocked port", &errors, &["7380"], &["h1"]);

    // The store does not answer.
    let h1 = mesh.host("h1").unwrap();
    let is_etcd = |daemon: &Daemon| {
        fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).is_ok_and(|name| name.trim() == "etcd")
    };
    let etcd = h1.processes().unwrap().into_iter().find(is_etcd).unwrap();
    etcd.signal(Signal::STOP).unwrap();
    let errors = mesh.join_refused("h2", "h1", &token, &[]).unwrap();
    etcd.signal(Signal::CONT).unwrap();
    assert!(errors.contains("etcd") || errors.contains("store"), "{errors}");

    // It is killed when it has written so many files, each time after more of them.
    let files = |folder: &Path| -> usize {
        let count = |path: &Path| fs::read_dir(path).map_or(0, |entries| entries.filter_map(Result::ok).count());
        count(folder) + count(&folder.join("certs"))
    };
    let words = mesh.join_words("h2", "h1", &token, &[]).unwrap();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let data = mesh.host("h2").unwrap().data.clone();
    for count in 1..=8 {
        let mut join = mesh.invocation("h2", &words).unwrap().spawn().unwrap();
        let waited = until("the join's files", WAIT_TIMEOUT, || {
            Ok((files(&data) >= count || join.try_wait()?.is_some()).then_some(()))
        });
        // It may have ended.
        drop(join.kill());
        join.wait().unwrap();
        waited.unwrap();
    }
    mesh.join("h2", "h1", &token, &[]).unwrap();
    mesh.start("h2").unwrap();
    mesh.until("h1", &["h2"], HostState::Ready).unwrap();
    // The interrupted ones used the token once in all.
    mesh.join("h3", "h1", &token, &[]).unwrap();
    mesh.start("h3").unwrap();
    mesh.until("h1", &["h3"], HostState::Ready).unwrap();
    let listed: Vec<String> = mesh.list("h1", "h1").unwrap().into_iter().map(|host| host.name).collect();
    assert_eq!(listed, ["h1", "h2", "h3"]);
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn an_expired_token_is_refused() {
    let mesh = one_host("thexp", &["fra1=h1,h2:r7"]);
    let token = mesh.token("h1", &["--rack", "r7", "--expires", "1m"]).unwrap();
    // An attempt before that would succeed.
    std::thread::sleep(MINUTE + Duration::from_secs(2));
    let errors = mesh.join_refused("h2", "h1", &token, &[]).unwrap();
    said(&mesh, "expired", &errors, &["expired"], &["h1"]);
}

/// A datacenter with one rack of two hosts, whose nodes are available.
fn one_rack(tag: &str, count: usize) -> Result<(HostMesh, FakeNodes)> {
    let growth = Growth { stores: &[], racks: &[("r7", &["h2", "h3"])] };
    let mesh = HostMesh::up(tag, &[&growth.site()])?;
    growth.grow(&mesh)?;
    let nodes = FakeNodes::of("r7", count);
    mesh.with_rest("h1", async |rest| nodes.enroll(rest).await).with_context(|| mesh.complaints())?;
    Ok((mesh, nodes))
}

/// Number of nodes that a host's services own.
fn owned(mesh: &HostMesh, host: &str) -> Result<u32> {
    let listed = mesh.list("h1", "h1")?;
    let found = listed.iter().find(|other| other.name == host).with_context(|| format!("no host {host}"))?;
    Ok(found.services.iter().map(|service| service.owns).sum())
}

/// Drains a host and brings it back, then loses the power of the other, all while nodes are deployed.
fn drains_and_dies(tag: &str, count: usize) -> Result<()> {
    let (mesh, nodes) = one_rack(tag, count)?;
    ensure!(owned(&mesh, "h2")? > 0 && owned(&mesh, "h3")? > 0, "a host of two owns nothing");
    let rounds = deploy_during(&mesh, &nodes, || {
        mesh.ironmesh("h1", &["host", "drain", "h2"])?;
        mesh.until("h1", &["h2"], HostState::Drained)?;
        mesh.ironmesh("h1", &["host", "undrain", "h2"])?;
        mesh.until("h1", &["h2"], HostState::Ready)
    })?;
    tell(format_args!("{rounds:?} while h2 was drained and came back"));
    let rounds = deploy_during(&mesh, &nodes, || {
        mesh.host("h3")?.kill()?;
        mesh.until("h1", &["h3"], HostState::Down)
    })?;
    tell(format_args!("{rounds:?} while h3 was killed"));
    ensure!(owned(&mesh, "h3")? == 0, "a dead host owns nodes");
    mesh.ironmesh("h1", &["host", "remove", "h3", "--force"])?;
    until("h3 to be forgotten", WAIT_TIMEOUT, || {
        Ok(mesh.list("h1", "h1")?.iter().all(|host| host.name != "h3").then_some(()))
    })
}

#[test]
#[ignore = "needs ironmesh join, which is not there yet"]
fn no_operation_fails_while_a_host_is_drained_and_while_one_dies() {
    drains_and_dies("thdrain", 10).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_operation_of_fifty_nodes_fails_while_a_host_is_drained_and_while_one_dies() {
    drains_and_dies("thdrainl", 50).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_operation_fails_while_a_host_is_stopped_or_cut_off() {
    let (mesh, nodes) = one_rack("thcutl", 50).unwrap();
    let (h1, h2) = (vec!["h1".to_owned()], vec!["h2".to_owned()]);
    // Its services own nothing when the others know that they cannot act any more.
    let is_passed_over = |host: &str| {
        until(&format!("others to own the nodes of {host}"), WAIT_TIMEOUT, || {
            Ok((owned(&mesh, host)? == 0).then_some(()))
        })
    };
    for (case, fault) in [
        ("it hears nothing of h1", Some(HostFault::CutOneWay { from: h1.clone(), to: h2.clone() })),
        ("h1 hears nothing of it", Some(HostFault::CutOneWay { from: h2.clone(), to: h1 })),
        ("it is cut off", Some(HostFault::Cut { left: h2, right: vec![] })),
        ("it is stopped", None),
    ] {
        let rounds = deploy_during(&mesh, &nodes, || {
            match &fault {
                Some(fault) => mesh.hosts().inflict("cut", fault)?,
                None => mesh.host("h2")?.stop()?,
            }
            is_passed_over("h2")?;
            mesh.hosts().mend("cut")?;
            mesh.host("h2")?.resume()?;
            mesh.until("h1", &["h2"], HostState::Ready)
        });
        tell(format_args!("{case}: {:?}", rounds.with_context(|| case.to_owned()).unwrap()));
    }
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn a_rack_that_is_cut_off_for_a_minute_catches_up() {
    let (mesh, nodes) = one_rack("thislal", 50).unwrap();
    let rack = HostFault::Cut { left: vec!["h2".to_owned(), "h3".to_owned()], right: vec![] };
    let rounds = deploy_during(&mesh, &nodes, || {
        mesh.hosts().inflict("cut", &rack)?;
        std::thread::sleep(MINUTE);
        mesh.hosts().mend("cut")?;
        mesh.until("h1", &["h2", "h3"], HostState::Ready)
    });
    tell(format_args!("{:?} with a minute alone", rounds.unwrap()));
}
