//! The membership is kept on a thread of its own: a process whose runtime cannot run stays a member, and one whose
//! membership thread ends stops.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use domain::{
    id::{InstanceId, NodeId},
    service::Service,
};
use futures::future::BoxFuture;
use integration_tests::authority::for_etcd;
use integration_tests::site::Site;
use keyspace::{key, key::Scope};
use mesh::{Endpoints, Mesh, SafetyParams, Step, boottime};
use service_kit::{Kit, config::Common};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Worker threads of a process's runtime.
const WORKERS: usize = 2;
/// Maximum time until an expected state is observed.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval at which the starved process is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const SCOPE: Scope = Scope::Datacenter;
const SERVICE: Service = Service::Scheduler;

/// A process of the mesh: a runtime, and what runs on it.
struct Process {
    runtime: Runtime,
    kit: Kit,
    mesh: Mesh,
}

impl Process {
    /// Begins to join the mesh, as a service does.
    fn start(site: &Site, name: &str, safety: SafetyParams) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
        let files = site.issue(name, &Site::identity(SERVICE))?;
        let etcd = for_etcd(&site.path(name));
        let common = Common {
            etcd: vec![site.etcd.endpoint()],
            data: site.path(&format!("{name}.data")),
            ca: files.ca,
            certificate: files.certificate,
            key: files.key,
            etcd_ca: etcd.ca,
            etcd_certificate: etcd.certificate,
            etcd_key: etcd.key,
            sealing_keys: site.path("sealing.keys"),
            ..Common::default()
        };
        let kit = Kit::new("scheduler-service", common)?;
        let joined = runtime.block_on(mesh::join_with(&kit, SERVICE, Endpoints::default(), safety))?;
        Ok(Self { runtime, kit, mesh: joined.mesh })
    }

    fn joined(site: &Site, name: &str) -> Result<Self> {
        let process = Self::start(site, name, SafetyParams::default())?;
        process.runtime.block_on(process.mesh.wait_until_joined());
        Ok(process)
    }

    /// Claims a node that it owns; `None` if the last holder has not released it.
    fn claim(&self, node: NodeId) -> Option<mesh::Claim> {
        let guard = self.mesh.begin_work(node).ok()?;
        self.runtime.block_on(self.mesh.claim(&guard)).ok()
    }

    /// Keeps every worker of the runtime from running anything else until what it returns is dropped.
    fn starve(&self) -> Vec<mpsc::Sender<()>> {
        let all = Arc::new(Barrier::new(WORKERS + 1));
        let starving = (0..WORKERS).map(|_| {
            let ((release, held), all) = (mpsc::channel::<()>(), Arc::clone(&all));
            self.runtime.spawn(async move {
                all.wait();
                // Blocks the thread, as a request that is parsed for long does.
                let _ = held.recv();
            });
            release
        });
        let starving = starving.collect();
        all.wait();
        starving
    }
}

fn nodes() -> impl Iterator<Item = NodeId> {
    (1..=100).map(|number| NodeId::new(Uuid::from_u128(number)))
}

/// Waits for a state, with a limit, on the thread of the test.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = boottime();
    while !is_so()? {
        ensure!(boottime() - begun < WAIT_TIMEOUT, "waited in vain for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn site() -> Result<(Runtime, Site)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let site = runtime.block_on(Site::lit())?;
    Ok((runtime, site))
}

fn threads() -> Result<BTreeSet<String>> {
    let tasks = fs::read_dir("/proc/self/task")?;
    tasks.map(|task| Ok(fs::read_to_string(task?.path().join("comm"))?.trim().to_owned())).collect()
}

#[test]
fn a_process_whose_runtime_is_starved_for_three_leases_keeps_its_membership_and_acknowledges_rings() -> Result<()> {
    let (_runtime, site) = site()?;
    let first = Process::joined(&site, "first")?;
    ensure!(threads()?.contains("membership"), "its name tells what the thread does: {:?}", threads()?);
    until("the first to own and claim everything", || Ok(nodes().all(|node| first.claim(node).is_some())))?;
    let id = first.mesh.instance().context("no instance")?;
    let ran = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ran);
    first.runtime.spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    until("its runtime to run", || Ok(ran.load(Ordering::Relaxed) > 2))?;

    let starved = first.starve();
    let (begun, before) = (boottime(), ran.load(Ordering::Relaxed));
    let is_kept = || {
        ensure!(first.mesh.instance() == Some(id), "it lost its membership after {:?}", boottime() - begun);
        ensure!(first.mesh.leads(), "its fence is up after {:?}", boottime() - begun);
        Ok(())
    };
    let second = Process::joined(&site, "second")?;
    let acked = |id: InstanceId| second.mesh.view().get(&key::ack(SCOPE, SERVICE, id)).map_or(0, |ack| ack.value.epoch);
    let mut passed_on = None;
    until("the starved process to hand over a share", || {
        is_kept()?;
        passed_on = nodes().filter(|node| second.mesh.owns(*node)).find(|node| second.claim(*node).is_some());
        Ok(passed_on.is_some())
    })?;
    let ring = second.mesh.view().ring(SCOPE, SERVICE).context("no ring")?;
    until("its acknowledgment", || is_kept().map(|()| acked(id) >= ring.revision))?;
    until("three leases to pass", || is_kept().map(|()| boottime() - begun >= first.mesh.times().lease * 3))?;
    ensure!(ran.load(Ordering::Relaxed) == before, "its runtime was not starved");

    drop(starved);
    let own = nodes().find(|node| first.mesh.owns(*node)).context("it owns nothing")?;
    let claim = first.claim(own).context("it cannot go on with what it claimed")?;
    ensure!(claim.instance() == id && first.mesh.instance() == Some(id));
    for process in [&first, &second] {
        process.runtime.block_on(process.kit.host.drain(WAIT_TIMEOUT))?;
        ensure!(!process.kit.host.is_broken());
    }
    Ok(())
}

#[test]
fn a_process_that_stops_has_left_the_mesh_and_saved_its_view_when_it_is_drained() -> Result<()> {
    let (runtime, site) = site()?;
    let only = Process::joined(&site, "only")?;
    let member = key::member(SCOPE, SERVICE, only.mesh.instance().context("no instance")?);
    let store = runtime.block_on(site.etcd.store())?;
    ensure!(runtime.block_on(store.get(&member))?.is_some());
    // Work in flight is waited for; the membership does not end before it.
    until("the ring", || Ok(nodes().all(|node| only.mesh.owns(node))))?;
    only.runtime.block_on(only.kit.host.drain(WAIT_TIMEOUT))?;
    ensure!(runtime.block_on(store.get(&member))?.is_none(), "its lease was not revoked");
    let saved = keyspace::snapshot::load(&site.path("only.data/view.zst"))?.context("no view on disk")?;
    ensure!(saved.revision > 0 && !only.kit.host.is_broken());
    Ok(())
}

#[test]
fn a_process_whose_membership_thread_panics_is_fenced_and_stops_with_an_error() -> Result<()> {
    let (_runtime, site) = site()?;
    let at = |step: Step| {
        let hook = move |reached: Step| -> BoxFuture<'static, ()> {
            Box::pin(async move { assert!(reached != step, "event") })
        };
        SafetyParams::default().dangerous_steps(hook)
    };
    let table = [
        ("before a keep-alive", at(Step::BeforeKeepAlive)),
        ("after a keep-alive", at(Step::AfterKeepAlive)),
        ("while it judges absences", at(Step::BeforeLook)),
        ("before it writes a ring", at(Step::BeforeRing)),
        ("before it acknowledges a ring", at(Step::BeforeAck)),
        ("before it joins", SafetyParams::default().dangerous_instance_ids(|| panic!("event"))),
    ];
    for (index, (what, safety)) in table.into_iter().enumerate() {
        let process = Process::start(&site, &format!("process-{index}"), safety)?;
        let host = process.kit.host.clone();
        let ended = process.runtime.block_on(async { tokio::time::timeout(WAIT_TIMEOUT, host.stopping()).await });
        ended.with_context(|| format!("it goes on without a membership: {what}"))?;
        ensure!(host.is_broken(), "it does not end with an error: {what}");
        ensure!(process.mesh.instance().is_none() && !process.mesh.leads(), "it is still a member: {what}");
        let refused = nodes().next().map(|node| process.mesh.begin_work(node));
        ensure!(matches!(refused, Some(Err(mesh::Error::Island { .. }))), "it begins work: {what}");
        process.runtime.block_on(host.drain(WAIT_TIMEOUT)).with_context(|| what.to_owned())?;
    }
    Ok(())
}
