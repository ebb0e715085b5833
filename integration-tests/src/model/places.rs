//! Places where processes run: starting, killing and finding them.

use std::{sync::Arc, time::Duration};

use domain::id::InstanceId;
use parking_lot::Mutex;

use super::{
    link::Link,
    process::{Place, Process, Shared},
    work,
};

/// Number of places.
pub(crate) const PLACES: usize = 5;

struct Occupied {
    place: Place,
    process: Option<Arc<Process>>,
}

pub(crate) struct Places {
    shared: Arc<Shared>,
    all: Mutex<Vec<Occupied>>,
}

impl Places {
    pub(crate) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let place = |number| Place {
            number,
            link: Link::new(&shared.sim),
            is_provable: shared.sim.chance.percent(50),
            last: Arc::default(),
            runs: 0,
        };
        let all = (0..PLACES).map(|number| Occupied { place: place(number), process: None }).collect();
        Arc::new(Self { shared: Arc::clone(shared), all: Mutex::new(all) })
    }

    /// Starts a process at a place that is free.
    pub(crate) fn start(self: &Arc<Self>, number: usize) {
        let mut all = self.all.lock();
        let Some(occupied) = all.get_mut(number).filter(|occupied| occupied.process.is_none()) else { return };
        occupied.place.runs += 1;
        let places = Arc::clone(self);
        let process = Process::start(&self.shared, &occupied.place, move || places.ended(number));
        occupied.process = Some(Arc::clone(&process));
        let gate = Some(Arc::clone(&process.control.gate));
        self.shared.sim.spawn(gate, work::poll(process));
    }

    fn start_later(self: &Arc<Self>, number: usize, delay: Duration) {
        let places = Arc::clone(self);
        self.shared.sim.after(delay, move || places.start(number));
    }

    /// A process ended by itself.
    fn ended(self: &Arc<Self>, number: usize) {
        self.remove(number);
        self.shared.tally.lock().stopped += 1;
        self.start_later(number, self.shared.sim.chance.millis(100, 2500));
    }

    /// Kills a process, and starts another one after a while.
    pub(crate) fn kill(self: &Arc<Self>, number: usize, restart_delay: Duration) {
        self.remove(number);
        self.shared.tally.lock().killed += 1;
        self.start_later(number, restart_delay);
    }

    fn remove(&self, number: usize) {
        let removed = self.all.lock().get_mut(number).and_then(|occupied| occupied.process.take());
        if let Some(process) = removed {
            process.control.trace(|| "ends".to_owned());
            self.shared.sim.kill(&process.control.gate);
        }
    }

    pub(crate) fn process(&self, number: usize) -> Option<Arc<Process>> {
        self.all.lock().get(number).and_then(|occupied| occupied.process.clone())
    }

    /// All processes, with the numbers of their places.
    pub(crate) fn processes(&self) -> Vec<(usize, Arc<Process>)> {
        let all = self.all.lock();
        all.iter().enumerate().filter_map(|(number, occupied)| Some((number, occupied.process.clone()?))).collect()
    }

    /// The place of the process that is this instance at present.
    pub(crate) fn place_of(&self, instance: InstanceId) -> Option<usize> {
        let all = self.all.lock();
        all.iter().position(|occupied| {
            occupied.process.as_ref().is_some_and(|process| process.mesh.instance() == Some(instance))
        })
    }

    /// A place without a process.
    pub(crate) fn free(&self) -> Option<usize> {
        self.all.lock().iter().position(|occupied| occupied.process.is_none())
    }

    /// The ways of all places to the store, with their numbers.
    pub(crate) fn links(&self) -> Vec<(usize, Arc<Link>)> {
        self.all.lock().iter().map(|occupied| (occupied.place.number, Arc::clone(&occupied.place.link))).collect()
    }

    /// Drops all processes.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.all.lock());
        drop(all);
    }
}
