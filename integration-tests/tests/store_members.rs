//! The built-in etcd grows, loses and replaces members, and services follow it.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::{ring::fence::Times, service::Service};
use integration_tests::{authority::for_etcd, etcd_members::EtcdMembers, fault::tell, mesh::program};
use keyspace::{
    Change, Expect, Store,
    cluster::{MemberError, plan::Action},
    key,
    seal::KeyFile,
    value::Incarnation,
};
use mesh::{Endpoints, SafetyParams};
use rustix::process::Signal;
use service_kit::{Kit, clock, config::Common, tls::Identity};
use tokio::time::Instant;

/// Maximum time until an expected state is observed.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

async fn begin(store: &Store) -> Result<()> {
    let incarnation = Incarnation { id: uuid::Uuid::from_u128(7), ..Incarnation::default() };
    store.commit(Change::new().put(&key::incarnation(), &incarnation, Expect::Absent)?).await?;
    Ok(())
}

async fn has_incarnation(store: &Store) -> Result<bool> {
    Ok(store.get(&key::incarnation()).await?.is_some_and(|read| read.value.id == uuid::Uuid::from_u128(7)))
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "waited in vain for {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

async fn names(store: &Store) -> Result<Vec<String>> {
    let mut names: Vec<_> = store.cluster_members().await?.into_iter().map(|member| member.name).collect();
    names.sort();
    Ok(names)
}

fn ironmesh(words: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(program()?).args(words).output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

#[tokio::test]
async fn a_store_grows_to_three_members_and_a_dead_one_is_replaced_and_a_live_one_moved() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut etcd = EtcdMembers::start(folder.path()).await?;
    let store = etcd.store(&["h1"]).await?;
    begin(&store).await?;
    let made = etcd.reconcile(&store, &["h1", "h2", "h3"]).await?;
    let promoted = made.iter().filter(|action| matches!(action, Action::Promote { .. })).count();
    assert_eq!((promoted, names(&store).await?), (2, ["h1", "h2", "h3"].map(str::to_owned).to_vec()), "{made:?}");
    let reports = etcd.survey(&store).await?;
    assert!(reports.iter().all(keyspace::cluster::MemberReport::is_healthy), "{reports:?}");
    assert_eq!(reports.iter().filter(|report| report.leads()).count(), 1);

    etcd.member("h3")?.kill()?;
    let made = etcd.reconcile(&store, &["h1", "h2", "h4"]).await?;
    assert!(
        matches!(made.as_slice(), [Action::Remove { .. }, Action::AddLearner { .. }, Action::Promote { .. }]),
        "{made:?}"
    );
    assert_eq!(names(&store).await?, ["h1", "h2", "h4"]);
    assert!(has_incarnation(&etcd.store(&["h4"]).await?).await?, "the new member has what was written before");

    // A member moves: the others learn its address before it starts there.
    let h4 = etcd.member("h4")?;
    h4.kill()?;
    h4.move_peers()?;
    let (moved, client) = (h4.peer_url(), h4.client_url());
    let made = etcd.reconcile(&store, &["h1", "h2", "h4"]).await?;
    assert!(matches!(made.as_slice(), [Action::Update { .. }]), "{made:?}");
    etcd.member("h4")?.start("existing", "")?;
    until("the member at its new address", async || {
        let reports = etcd.survey(&store).await?;
        let found = reports.iter().find(|report| report.member.client_urls.contains(&client)).context("h4")?;
        Ok(found.is_healthy() && found.member.peer_urls == [moved.clone()])
    })
    .await?;
    assert!(matches!(store.remove_member(0xdead).await, Err(MemberError::UnknownMember { .. })));
    Ok(())
}

/// Times with which no load of the machine fences a process, in the proportions of the default ones.
fn patient() -> SafetyParams {
    let times = Times::default();
    SafetyParams::default().dangerous_times(Times {
        fence: times.fence * 4,
        wait: times.wait * 4,
        lease: times.lease * 4,
        ..times
    })
}

/// Joins as a service with these members in its configuration.
async fn join(
    etcd: &EtcdMembers,
    folder: &Path,
    configured: &[String],
    safety: SafetyParams,
) -> Result<(Kit, mesh::Mesh)> {
    let (own, data) = (folder.join("service"), folder.join("service.data"));
    let files =
        etcd.authority().issue(&own, &Identity::Service { service: Service::Scheduler, rack: String::new() })?;
    let for_etcd = for_etcd(&own);
    let common = Common {
        etcd: configured.to_vec(),
        etcd_discovery: true,
        data,
        ca: files.ca,
        certificate: files.certificate,
        key: files.key,
        etcd_ca: for_etcd.ca,
        etcd_certificate: for_etcd.certificate,
        etcd_key: for_etcd.key,
        sealing_keys: folder.join("sealing.keys"),
        ..Common::default()
    };
    let kit = Kit::new("scheduler-service", common)?;
    let joined = mesh::join_with(&kit, Service::Scheduler, Endpoints::default(), safety).await?;
    tokio::time::timeout(WAIT_TIMEOUT, joined.mesh.wait_until_joined()).await.context("the service does not join")?;
    Ok((kit, joined.mesh))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_goes_on_and_starts_again_although_the_only_configured_member_was_removed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    KeyFile::create(clock::now())?.save(&folder.path().join("sealing.keys"))?;
    let mut etcd = EtcdMembers::start(folder.path()).await?;
    let first = etcd.store(&["h1"]).await?;
    begin(&first).await?;
    let configured = etcd.member("h1")?.client_url();
    let (kit, mesh) = join(&etcd, folder.path(), std::slice::from_ref(&configured), patient()).await?;
    let instance = mesh.instance().context("no instance")?;
    etcd.reconcile(&first, &["h1", "h2", "h3"]).await?;
    until("the service to know three members", async || Ok(mesh.store().addresses().len() == 3)).await?;

    // Only one member may be missing at a time, and the first one leads.
    let members = etcd.survey(&first).await?;
    let second = members.iter().find(|report| report.member.name == "h2").context("h2")?.member.id;
    if members.iter().any(|report| report.member.name == "h1" && report.leads()) {
        first.move_leader(second).await?;
    }
    etcd.member("h1")?.kill()?;
    let others = etcd.store(&["h2", "h3"]).await?;
    etcd.reconcile(&others, &["h2", "h3"]).await?;
    until("the service to forget the removed member", async || {
        let addresses = mesh.store().addresses();
        Ok(addresses.len() == 2 && !addresses.contains(&configured))
    })
    .await?;
    ensure!(has_incarnation(mesh.store()).await?, "the service reads");
    assert_eq!(mesh.instance(), Some(instance), "its lease was never lost");

    drop(mesh);
    kit.host.drain(WAIT_TIMEOUT).await?;
    let noted = fs::read_to_string(folder.path().join("service.data/etcd.members"))?;
    ensure!(noted.lines().count() == 2 && !noted.contains(&configured), "{noted}");
    let (kit, mesh) = join(&etcd, folder.path(), std::slice::from_ref(&configured), patient()).await?;
    assert_ne!(mesh.instance(), Some(instance), "it has joined again from its note");
    drop(mesh);
    kit.host.drain(WAIT_TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_left_without_a_quorum_makes_a_store_of_its_own_data_that_others_join() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut etcd = EtcdMembers::start(folder.path()).await?;
    let store = etcd.store(&["h1"]).await?;
    begin(&store).await?;
    etcd.reconcile(&store, &["h1", "h2", "h3"]).await?;
    let config = folder.path().join("status.toml");
    let files = etcd.administrator();
    let h1 = etcd.member("h1")?;
    let (own, url) = (h1.folder().to_owned(), h1.client_url());
    fs::write(&config, format!("[service]\netcd = [{url:?}]\netcd_ca = {:?}\n", files.ca))?;
    let [config, certificate, key, data] =
        [&config, &files.certificate, &files.key, &own].map(|path| path.display().to_string());
    let status = ["store", "status", "--config", &config, "--certificate", &certificate, "--key", &key];
    let (is_sound, text) = ironmesh(&status)?;
    ensure!(is_sound && text.contains("no problems found") && text.contains("h3"), "{text}");

    etcd.member("h2")?.kill()?;
    let (is_sound, text) = ironmesh(&status)?;
    ensure!(!is_sound && text.contains("silent") && text.contains("ironmesh store member remove h2"), "{text}");
    let remove = ["store", "member", "remove", "h3", "--config", &config, "--certificate", &certificate, "--key", &key];
    let (is_removed, text) = ironmesh(&remove)?;
    ensure!(!is_removed && text.contains("would have no quorum"), "{text}");

    etcd.member("h3")?.kill()?;
    until("the first member to notice", async || {
        let (is_sound, text) = ironmesh(&status)?;
        Ok(!is_sound && text.contains("no quorum: 0 of 3"))
    })
    .await?;

    etcd.member("h1")?.end()?;
    fs::write(own.join("host.toml"), "name = \"h1\"\nadvertise = \"127.0.0.1\"\n")?;
    let (is_restored, text) = ironmesh(&["store", "restore", "--data", &data, "--own-data"])?;
    ensure!(is_restored && text.contains("the store has one member now, h1"), "{text}");
    ensure!(own.join("store.restored").exists() && own.join("etcd.before-restore-1").exists(), "{text}");
    let peer = etcd.member("h1")?.peer_url();
    etcd.member("h1")?.start("new", &format!("h1={peer}"))?;
    let store = etcd.store(&["h1"]).await?;
    until("the restored store", async || Ok(has_incarnation(&store).await.unwrap_or(false))).await?;
    let members = store.cluster_members().await?;
    assert_eq!(members.len(), 1, "{members:?}");
    assert_eq!(members[0].peer_urls, ["https://127.0.0.1:2380"], "the address of the host");
    // Here it is at another port, as after a move.
    let made = etcd.reconcile(&store, &["h1", "h4"]).await?;
    assert!(
        matches!(made.as_slice(), [Action::Update { .. }, Action::AddLearner { .. }, Action::Promote { .. }]),
        "{made:?}"
    );
    assert!(has_incarnation(&etcd.store(&["h4"]).await?).await?);
    Ok(())
}

/// Measures how long a service is without an answer to its keep-alives after its member of etcd is lost:
/// `cargo nextest run -p integration-tests --test store_members --run-ignored only --no-capture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which depends on the load of the machine"]
async fn how_long_a_service_is_without_its_member_of_etcd() -> Result<()> {
    for (leads, signal) in [(false, Signal::KILL), (false, Signal::STOP), (true, Signal::KILL), (true, Signal::STOP)] {
        let folder = tempfile::tempdir()?;
        KeyFile::create(clock::now())?.save(&folder.path().join("sealing.keys"))?;
        let mut etcd = EtcdMembers::start(folder.path()).await?;
        let names = ["h1", "h2", "h3"];
        let store = etcd.store(&["h1"]).await?;
        begin(&store).await?;
        etcd.reconcile(&store, &names).await?;
        // A process begins with the member that its id selects, of the list in the order of the URLs.
        let mut urls = Vec::new();
        for name in names {
            urls.push((etcd.member(name)?.client_url(), name));
        }
        urls.sort();
        let in_use = urls[usize::try_from(std::process::id())? % urls.len()].1;
        let reports = etcd.survey(&store).await?;
        let id = |name: &str| reports.iter().find(|report| report.member.name == name).map(|report| report.member.id);
        let leader = reports.iter().find(|report| report.leads()).context("no leader")?.member.name.clone();
        let wanted = if leads { in_use } else { *names.iter().find(|name| **name != in_use).context("another")? };
        if leader != wanted {
            etcd.store(&[&leader]).await?.move_leader(id(wanted).context("no id")?).await?;
        }
        let kept = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = std::sync::Arc::clone(&kept);
        let safety = SafetyParams::default().dangerous_steps(move |step| {
            if let (mesh::Step::AfterKeepAlive, Ok(mut kept)) = (step, noted.lock()) {
                kept.push(Instant::now());
            }
            Box::pin(std::future::ready(()))
        });
        let configured: Vec<_> = urls.iter().map(|(url, _)| url.clone()).collect();
        let (kit, mesh) = join(&etcd, folder.path(), &configured, safety).await?;
        let instance = mesh.instance();
        tokio::time::sleep(Duration::from_secs(3)).await;
        etcd.member(in_use)?.signal(signal)?;
        let lost = Instant::now();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let times = kept.lock().map(|kept| kept.clone()).unwrap_or_default();
        let before = times.iter().rfind(|time| **time < lost).copied();
        let after = times.iter().find(|time| **time > lost).copied();
        let gap = before.zip(after).map(|(before, after)| after - before);
        let is_kept = mesh.instance() == instance;
        tell(format!("leader: {leads}, {signal:?}: {gap:?} between two answers, membership kept: {is_kept}"));
        drop(mesh);
        kit.host.drain(WAIT_TIMEOUT).await?;
    }
    Ok(())
}
