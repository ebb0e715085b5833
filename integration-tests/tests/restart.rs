//! The crash matrix: owners are killed and stopped at points of a deployment that a seed draws; every node becomes
//! active, and no command is sent by two owners.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use domain::service::Service;
use integration_tests::fault::{Fault, Outcome, deploy_through, number, tell};
use integration_tests::lab::{IMAGE, Lab, image};
use integration_tests::machine::Spec;
use integration_tests::mesh::Options;
use integration_tests::record::Recorder;

/// Maximum total duration of all nodes: a boot that lost its server is retried.
const ACTIVE: Duration = Duration::from_secs(120);

/// Number of machines in a rack.
const MACHINES: usize = 3;

/// Two replicas of everything, and a scheduler that retries a boot soon.
fn pairs() -> Options {
    let limits = ["scheduler.boot=8s", "scheduler.agent=15s", "scheduler.boots=5"];
    Options { replicas: 2, schedulers: 2, set: limits.map(str::to_owned).into(), ..Options::default() }
}

fn survives(service: Service, fault: Fault, seed: u64) -> Result<Outcome> {
    // Each service and fault has its own sequence.
    let name = service.name().bytes().chain([fault as u8]);
    let drawn = name.fold(seed, |seed, octet| seed.wrapping_mul(31).wrapping_add(octet.into()));
    let lab = Lab::up(&tag(service, fault, seed), &vec![Spec::default(); MACHINES], pairs())?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        lab.make_available(&mut api).await?;
        deploy_through(&mut api, lab, &recorder, (service, fault, drawn), (IMAGE, &image()), ACTIVE).await
    })
}

/// Tag of a rack; unique among cases that run at the same time.
fn tag(service: Service, fault: Fault, seed: u64) -> String {
    let service = service.name().chars().take(2).collect::<String>();
    let fault = match fault {
        Fault::Kill => 'k',
        Fault::Stop => 's',
    };
    format!("t{service}{fault}{}", seed % 100)
}

macro_rules! cases {
    ($($name:ident: $service:ident $fault:ident;)*) => {
        $(
            #[test]
            fn $name() {
                let outcome = survives(Service::$service, Fault::$fault, number("IRONMESH_SEED", 1)).unwrap();
                tell(outcome);
            }
        )*
    };
}

cases! {
    every_node_becomes_active_although_a_power_service_is_killed: Power Kill;
    every_node_becomes_active_although_a_power_service_is_stopped: Power Stop;
    every_node_becomes_active_although_a_pxe_service_is_killed: Pxe Kill;
    every_node_becomes_active_although_a_pxe_service_is_stopped: Pxe Stop;
    every_node_becomes_active_although_a_storage_service_is_killed: Storage Kill;
    every_node_becomes_active_although_a_storage_service_is_stopped: Storage Stop;
    every_node_becomes_active_although_an_inventory_service_is_killed: Inventory Kill;
    every_node_becomes_active_although_an_inventory_service_is_stopped: Inventory Stop;
    every_node_becomes_active_although_a_scheduler_service_is_killed: Scheduler Kill;
    every_node_becomes_active_although_a_scheduler_service_is_stopped: Scheduler Stop;
}

/// Every service with every fault.
const MATRIX: [(Service, Fault); 10] = {
    use Fault::{Kill, Stop};
    use Service::{Inventory, Power, Pxe, Scheduler, Storage};
    [
        (Power, Kill),
        (Power, Stop),
        (Pxe, Kill),
        (Pxe, Stop),
        (Storage, Kill),
        (Storage, Stop),
        (Inventory, Kill),
        (Inventory, Stop),
        (Scheduler, Kill),
        (Scheduler, Stop),
    ]
};

/// Cases that run at the same time.
const CONCURRENT_REQUESTS: usize = 10;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[test]
#[ignore = "takes up to an hour: scripts/test --all"]
fn every_node_becomes_active_through_a_hundred_of_each_fault_at_every_service() {
    let first = number("IRONMESH_SEED", 1);
    let seeds = first..first + number("IRONMESH_SEEDS", 100);
    let cases: Vec<_> = seeds.flat_map(|seed| MATRIX.map(|(service, fault)| (service, fault, seed))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CONCURRENT_REQUESTS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (service, fault, seed) = *case;
                    let outcome = survives(service, fault, seed);
                    match &outcome {
                        Ok(outcome) => tell(format_args!("{service} {fault:?} {seed}: {outcome}")),
                        Err(error) => tell(format_args!("{service} {fault:?} {seed}: FAILED: {error:#}")),
                    }
                    done.lock().unwrap().push((*case, outcome));
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    let failed: Vec<_> = done.iter().filter(|(_, outcome)| outcome.is_err()).map(|(case, _)| case).collect();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:?}", failed.len(), done.len());
    let outcomes: Vec<(Fault, Outcome)> =
        done.into_iter().filter_map(|((_, fault, _), outcome)| Some((fault, outcome.ok()?))).collect();
    let outstanding = outcomes.iter().filter(|(_, outcome)| outcome.outstanding).count();
    tell(format_args!("{} faults, {outstanding} of them with an act outstanding", outcomes.len()));
    assert!(outstanding * 2 >= outcomes.len(), "too few faults hit a working process");
    for (fault, most) in [(Fault::Kill, 2), (Fault::Stop, 10)] {
        let times = outcomes.iter().filter(|(hit, _)| *hit == fault).filter_map(|(_, outcome)| outcome.takeover);
        let times: Vec<_> = times.collect();
        let median = median(times.clone());
        tell(format_args!("{fault:?}: {} takeovers, the median after {median:.1?}", times.len()));
        assert!(median <= Duration::from_secs(most), "{fault:?}: the median takeover took {median:?}");
    }
}
