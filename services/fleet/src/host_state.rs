//! The state of a host. It is stored nowhere: it follows from the host's record and from what runs there.

use domain::service::Service;
use keyspace::value::Host;

use crate::survey::Running;

/// State of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// All of its services run.
    Ready,
    /// Some of its services do not run.
    Degraded,
    /// None of its services runs.
    Down,
    /// It hands its nodes over.
    Draining,
    /// It has handed its nodes over: no service of a rack runs there.
    Drained,
    /// It is being removed.
    Removing,
}

/// A service that a host is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostService {
    /// The service.
    pub service: Service,
    /// Its rack; empty for a scheduler-service, too.
    pub rack: String,
    /// The running instance, if it runs.
    pub running: Option<Running>,
}

/// What a host is to run, and what of that runs. `running` are the instances on the host.
#[must_use]
pub fn services(host: &Host, running: &[&Running]) -> Vec<HostService> {
    let of_racks =
        host.racks.iter().flat_map(|rack| rack.services.iter().map(|service| (*service, rack.rack.as_str())));
    let planned = of_racks.chain(host.scheduler.then_some((Service::Scheduler, "")));
    let shown = planned.map(|(service, rack)| {
        let own = running.iter().filter(|running| running.service == service && running.rack == rack);
        // One that stops may still be there beside its successor.
        let newest = own.max_by_key(|running| (!running.stopping, running.since));
        HostService { service, rack: rack.to_owned(), running: newest.map(|running| (*running).clone()) }
    });
    shown.collect()
}

/// The state of a host that is to run these services.
#[must_use]
pub fn state(host: &Host, services: &[HostService]) -> HostState {
    if host.removal.is_some() {
        return HostState::Removing;
    }
    if host.drain.is_some() {
        // The scheduler-service goes on.
        let works = |service: &HostService| service.service != Service::Scheduler && service.running.is_some();
        return if services.iter().any(works) { HostState::Draining } else { HostState::Drained };
    }
    let is_ready = |service: &&HostService| service.running.as_ref().is_some_and(|running| !running.stopping);
    match services.iter().filter(is_ready).count() {
        ready if ready == services.len() => HostState::Ready,
        0 => HostState::Down,
        _ => HostState::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;
    use keyspace::value::Mark;

    use super::*;
    use crate::checks::tests::{host, running};

    #[test]
    fn the_state_of_a_host_follows_from_its_record_and_from_what_runs() {
        use HostState::{Degraded, Down, Drained, Draining, Ready, Removing};
        use Service::{Power, Pxe, Scheduler};
        let mark = || Some(Mark { by: "ann".to_owned(), at: Timestamp::default() });
        let stops = |service| Running { stopping: true, ..running(service, "r1", "h1") };
        let runs = |service| running(service, "r1", "h1");
        let scheduler = || running(Scheduler, "", "h1");
        let all = || vec![runs(Power), runs(Pxe)];
        for (case, is_scheduler, drained, removed, running, wanted) in [
            ("all run", false, false, false, all(), Ready),
            ("one does not", false, false, false, vec![runs(Power)], Degraded),
            ("one stops", false, false, false, vec![runs(Power), stops(Pxe)], Degraded),
            ("one stops beside its successor", false, false, false, vec![runs(Power), stops(Pxe), runs(Pxe)], Ready),
            ("none runs", false, false, false, vec![], Down),
            ("all stop", false, false, false, vec![stops(Power), stops(Pxe)], Down),
            ("the scheduler-service alone", true, false, false, vec![scheduler()], Degraded),
            ("with the scheduler-service", true, false, false, [all(), vec![scheduler()]].concat(), Ready),
            ("of another rack", false, false, false, vec![running(Power, "r2", "h1")], Down),
            ("drained while all run", false, true, false, all(), Draining),
            ("drained while one stops", false, true, false, vec![stops(Pxe)], Draining),
            ("drained and stopped", false, true, false, vec![], Drained),
            ("drained with a scheduler-service", true, true, false, vec![scheduler()], Drained),
            ("removed while all run", false, true, true, all(), Removing),
            ("removed by force", false, false, true, vec![], Removing),
        ] {
            let mut record = host("h1", "r1", &[Power, Pxe]);
            record.scheduler = is_scheduler;
            record.drain = mark().filter(|_| drained);
            record.removal = mark().filter(|_| removed);
            let services = services(&record, &running.iter().collect::<Vec<_>>());
            assert_eq!(state(&record, &services), wanted, "{case}");
        }
        let store_only = Host { store: true, racks: Vec::new(), ..host("h1", "r1", &[]) };
        assert_eq!(state(&store_only, &services(&store_only, &[])), Ready, "a host that is to run a store only");
    }
}
