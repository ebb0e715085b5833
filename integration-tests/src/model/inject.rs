//! Carries out faults.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyspace::{
    key,
    value::{Broken, Claim, Election},
};

use super::{
    bmc::timestamp,
    fault::{Due, Fault, Kind, Whom},
    history::stored,
    link::Link,
    places::Places,
    process::{Process, SCOPE, SERVICE, Shared},
};

pub(crate) struct Injector {
    shared: Arc<Shared>,
    places: Arc<Places>,
    /// The place where a fault last started a process.
    newest: AtomicUsize,
    is_over: AtomicBool,
}

impl Injector {
    pub(crate) fn new(shared: &Arc<Shared>, places: &Arc<Places>) -> Arc<Self> {
        let (shared, places) = (Arc::clone(shared), Arc::clone(places));
        Arc::new(Self { shared, places, newest: AtomicUsize::new(0), is_over: AtomicBool::new(false) })
    }

    /// Carries out the faults whose points were reached since the last call.
    pub(crate) fn carry_out_due(self: &Arc<Self>) {
        for Due { place, faults } in self.shared.faults.take_due() {
            for fault in faults {
                if fault.delay.is_zero() {
                    self.carry_out(place, fault);
                } else {
                    let injector = Arc::clone(self);
                    self.shared.sim.after(fault.delay, move || injector.carry_out(place, fault));
                }
            }
        }
    }

    /// No more faults.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.shared.tally.lock().not_reached += self.shared.faults.cancel();
    }

    fn carry_out(&self, victim: usize, fault: Fault) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        if fault.kind == Kind::Join {
            if let Some(free) = self.places.free() {
                self.newest.store(free, Ordering::Relaxed);
                self.places.start(free);
            }
            return;
        }
        let number = match fault.whom {
            Whom::Victim => victim,
            Whom::Leader => self.leader().unwrap_or(victim),
            Whom::Other => self.other(victim, |_| true),
            Whom::Newest => self.newest.load(Ordering::Relaxed),
            Whom::Acting => self.other(victim, |process| process.control.has_outstanding()),
        };
        let Some(process) = self.places.process(number) else { return };
        let hits = process.control.has_outstanding();
        {
            let mut tally = self.shared.tally.lock();
            tally.faults += 1;
            tally.hits += usize::from(hits);
        }
        process.control.trace(|| format!("FAULT {:?}{}", fault.kind, if hits { ", command outstanding" } else { "" }));
        self.inject(&process, number, fault.kind);
    }

    fn leader(&self) -> Option<usize> {
        let (election, _): (Election, _) = stored(&self.shared.etcd, &key::election(SCOPE, SERVICE))?;
        self.places.place_of(election.instance)
    }

    /// The place of another process, of this kind if there is one.
    fn other(&self, than: usize, is_such: impl Fn(&Process) -> bool) -> usize {
        let mut others = self.places.processes();
        others.retain(|(number, _)| *number != than);
        let numbers = |others: &[(usize, Arc<Process>)]| others.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        let any = numbers(&others);
        others.retain(|(_, process)| is_such(process));
        let such = numbers(&others);
        self.shared.sim.chance.one(if such.is_empty() { &any } else { &such }, than)
    }

    fn inject(&self, process: &Arc<Process>, number: usize, kind: Kind) {
        match kind {
            Kind::Pause(time) => self.halt(process, time, Duration::ZERO),
            Kind::Freeze(time) => self.halt(process, time, time),
            Kind::Kill(time) => self.places.kill(number, time),
            Kind::Stop => process.host.stop(),
            Kind::Revoke => self.of_member(process, |path| {
                if let Some(lease) = self.shared.etcd.lease_of(path) {
                    self.shared.etcd.revoke(lease);
                }
            }),
            Kind::Vanish => self.of_member(process, |path| self.shared.etcd.delete(path)),
            Kind::Cut(time) => self.links(|place| place == number, |link| link.cut(time)),
            Kind::Slow(time) => self.links(|place| place == number, |link| link.slow(time)),
            Kind::LoseAnswers(count) => self.links(|place| place == number, |link| link.lose_answers(count)),
            Kind::Stall(time) => self.links(|place| place == number, |link| link.stall(time)),
            Kind::StallAll(time) => self.links(|_| true, |link| link.stall(time)),
            Kind::StallOthers(time) => self.links(|place| place != number, |link| link.stall(time)),
            Kind::Break => {
                let instance = process.mesh.instance();
                self.break_claims(|claim| Some(claim.instance) == instance);
            }
            Kind::BreakAll => self.break_claims(|_| true),
            Kind::Deaf(time) => self.shared.bmcs.drop_answers(time),
            Kind::Mute(time) => self.shared.bmcs.drop_confirmations(time),
            Kind::Join => {}
        }
    }

    fn links(&self, of: impl Fn(usize) -> bool, change: impl Fn(&Arc<Link>)) {
        let links = self.places.links();
        links.iter().filter(|(place, _)| of(*place)).for_each(|(_, link)| change(link));
    }

    fn of_member(&self, process: &Process, change: impl FnOnce(&str)) {
        if let Some(instance) = process.mesh.instance() {
            change(key::member(SCOPE, SERVICE, instance).path());
        }
    }

    /// Halts a process for a while. `missed` is how much of it its clock misses.
    fn halt(&self, process: &Arc<Process>, time: Duration, missed: Duration) {
        if !process.control.gate.halt() {
            return;
        }
        let (shared, process) = (Arc::clone(&self.shared), Arc::clone(process));
        self.shared.sim.after(time, move || {
            process.control.miss(missed);
            process.control.trace(|| "continues".to_owned());
            shared.sim.resume(&process.control.gate);
        });
    }

    /// An operator breaks claims.
    fn break_claims(&self, is_broken: impl Fn(&Claim) -> bool) {
        for node in &self.shared.nodes {
            let key = key::claim(SCOPE, SERVICE, *node);
            let held: Option<(Claim, _)> = stored(&self.shared.etcd, &key).filter(|(claim, _)| is_broken(claim));
            let Some((claim, _)) = held else { continue };
            let broken = Some(Broken { by: "operator".to_owned(), since: timestamp(self.shared.sim.now()) });
            if let Ok(value) = serde_json::to_vec(&Claim { broken, ..claim }) {
                // The store is never full here.
                drop(self.shared.etcd.put(key.path(), &value));
            }
        }
    }
}
