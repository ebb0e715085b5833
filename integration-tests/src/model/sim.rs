//! Time and tasks of one schedule: one thread and no real clock, so that a seed replays exactly.
//!
//! The tasks of all simulated processes are polled here, one at a time, inside the one future of a paused tokio runtime:
//! `mesh` and `keyspace` sleep on tokio's clock, which advances to the next timer when no task is ready. The tasks of a
//! halted process are not polled, those of a killed one are dropped where they stand.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering as AtomicOrdering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::chance::Chance;

/// Whether a process runs, and which of its tasks were woken while it did not.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_halted: AtomicBool,
    is_dead: AtomicBool,
    stuck: Mutex<Vec<Waker>>,
}

impl Gate {
    pub(crate) fn is_halted(&self) -> bool {
        self.is_halted.load(AtomicOrdering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(AtomicOrdering::Relaxed)
    }

    /// Halts the process. Returns `false` if it already was.
    pub(crate) fn halt(&self) -> bool {
        !self.is_halted.swap(true, AtomicOrdering::Relaxed)
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    gate: Option<Arc<Gate>>,
    waker: Waker,
}

/// Something that the simulation does at a time.
struct Event {
    at: Instant,
    number: u64,
    act: Box<dyn FnOnce() + Send>,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    /// The earliest is the greatest: the heap returns it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// The tasks that were woken, and the waker of the runtime's one future while it waits.
#[derive(Default)]
struct Ready {
    tasks: Mutex<Vec<Arc<TaskWaker>>>,
    idle: Mutex<Option<Waker>>,
}

struct TaskWaker {
    task: usize,
    is_queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_queued.swap(true, AtomicOrdering::Relaxed) {
            return;
        }
        self.ready.tasks.lock().push(Arc::clone(self));
        if let Some(idle) = self.ready.idle.lock().take() {
            idle.wake();
        }
    }
}

/// The clock and the tasks of a schedule.
pub(crate) struct Sim {
    pub(crate) chance: Chance,
    started: Instant,
    events: Mutex<BinaryHeap<Event>>,
    numbers: AtomicU64,
    tasks: Mutex<Vec<Option<Task>>>,
    ready: Arc<Ready>,
    trace: Option<Mutex<Vec<(Duration, String)>>>,
}

impl Sim {
    /// Starts the clock. Call it inside the paused runtime.
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        Self {
            chance: Chance::new(seed),
            started: Instant::now(),
            events: Mutex::default(),
            numbers: AtomicU64::new(0),
            tasks: Mutex::default(),
            ready: Arc::default(),
            trace: is_traced.then(Mutex::default),
        }
    }

    /// Time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        Instant::now() - self.started
    }

    /// The time of the schedule at which something happened.
    pub(crate) fn time_of(&self, at: Instant) -> Duration {
        at - self.started
    }

    pub(crate) const fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn trace(&self, who: &str, text: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.lock().push((self.now(), format!("{who:<7} {}", text())));
        }
    }

    pub(crate) fn take_trace(&self) -> Vec<(Duration, String)> {
        self.trace.as_ref().map(|trace| std::mem::take(&mut *trace.lock())).unwrap_or_default()
    }

    /// Does something after a delay.
    pub(crate) fn after(&self, delay: Duration, act: impl FnOnce() + Send + 'static) {
        let number = self.numbers.fetch_add(1, AtomicOrdering::Relaxed);
        self.events.lock().push(Event { at: Instant::now() + delay, number, act: Box::new(act) });
    }

    /// Spawns a task, of a process if there is a gate.
    pub(crate) fn spawn(&self, gate: Option<Arc<Gate>>, future: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        let is_queued = AtomicBool::new(false);
        let waker = Arc::new(TaskWaker { task: tasks.len(), is_queued, ready: Arc::clone(&self.ready) });
        waker.wake_by_ref();
        tasks.push(Some(Task { future: Box::pin(future), gate, waker: Waker::from(waker) }));
    }

    /// Runs until it is over, or until nothing is left to happen. `after_poll` runs after each poll of a task.
    pub(crate) async fn run(&self, mut after_poll: impl FnMut(), is_over: impl Fn() -> bool) {
        let mut timer = std::pin::pin!(sleep_until(self.started));
        let mut armed = None;
        loop {
            self.run_ready(&mut after_poll);
            if is_over() {
                return;
            }
            if let Some(event) = self.pop_due() {
                (event.act)();
                continue;
            }
            let next = self.events.lock().peek().map(|event| event.at);
            if let Some(at) = next.filter(|_| next != armed) {
                timer.as_mut().reset(at);
            }
            armed = next;
            poll_fn(|context| {
                if !self.ready.tasks.lock().is_empty() {
                    return Poll::Ready(());
                }
                *self.ready.idle.lock() = Some(context.waker().clone());
                if armed.is_some() { timer.as_mut().poll(context) } else { Poll::Pending }
            })
            .await;
        }
    }

    fn pop_due(&self) -> Option<Event> {
        let mut events = self.events.lock();
        if events.peek()?.at > Instant::now() {
            return None;
        }
        events.pop()
    }

    /// Polls the tasks that were woken, in an order that is drawn. The order in which they were woken does not count:
    /// tokio's watch channels draw theirs from a generator that has no seed.
    fn run_ready(&self, after_poll: &mut impl FnMut()) {
        let mut batch = Vec::new();
        loop {
            std::mem::swap(&mut batch, &mut *self.ready.tasks.lock());
            if batch.is_empty() {
                return;
            }
            batch.sort_unstable_by_key(|waker| waker.task);
            self.chance.shuffle(&mut batch);
            for waker in batch.drain(..) {
                waker.is_queued.store(false, AtomicOrdering::Relaxed);
                self.poll(waker.task);
                after_poll();
            }
        }
    }

    fn poll(&self, number: usize) {
        let Some(mut task) = self.tasks.lock().get_mut(number).and_then(Option::take) else { return };
        if let Some(gate) = &task.gate {
            if gate.is_dead() {
                return;
            }
            if gate.is_halted() {
                gate.stuck.lock().push(task.waker.clone());
                self.put_back(number, task);
                return;
            }
        }
        let is_done = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
        if !is_done && !task.gate.as_ref().is_some_and(|gate| gate.is_dead()) {
            self.put_back(number, task);
        }
    }

    fn put_back(&self, number: usize, task: Task) {
        if let Some(place) = self.tasks.lock().get_mut(number) {
            *place = Some(task);
        }
    }

    /// Lets a halted process continue; the order in which its tasks run is drawn.
    pub(crate) fn resume(&self, gate: &Gate) {
        gate.is_halted.store(false, AtomicOrdering::Relaxed);
        let mut stuck = std::mem::take(&mut *gate.stuck.lock());
        self.chance.shuffle(&mut stuck);
        stuck.into_iter().for_each(Waker::wake);
    }

    /// Kills a process: drops its tasks where they stand.
    pub(crate) fn kill(&self, killed: &Arc<Gate>) {
        killed.is_dead.store(true, AtomicOrdering::Relaxed);
        let is_its = |task: &Option<Task>| {
            task.as_ref().and_then(|task| task.gate.as_ref()).is_some_and(|gate| Arc::ptr_eq(gate, killed))
        };
        let dropped: Vec<_> = self.tasks.lock().iter_mut().filter(|task| is_its(task)).map(Option::take).collect();
        // They are dropped here, outside of all locks, because dropping them wakes other tasks.
        drop(dropped);
    }

    /// Drops all tasks and events, which refer to their owner.
    pub(crate) fn clear(&self) {
        let (tasks, events) = (std::mem::take(&mut *self.tasks.lock()), std::mem::take(&mut *self.events.lock()));
        drop((tasks, events));
    }
}

/// Lets other tasks run first, so that decisions about this task take effect before it continues.
pub(crate) async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
