//! Time, chance and tasks: one thread, no real clock, the same seed the same run.
//!
//! What a process does is written as futures, as in the services; here they are polled one at a time in an order that
//! only the seed decides. A halted process's tasks are not polled, a dead one's are dropped where they stand.

use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    collections::{BinaryHeap, VecDeque},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering as AtomicOrdering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

/// Drawn numbers (SplitMix64; Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Chance(Cell<u64>);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub(crate) fn draw(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.draw() % bound).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A span of milliseconds, to the tenth.
    pub(crate) fn millis(&self, from: u64, to: u64) -> Duration {
        let span = to.saturating_sub(from).saturating_mul(10).max(1);
        Duration::from_micros(from * 1000 + self.draw() % span * 100)
    }

    pub(crate) fn one<T: Copy>(&self, of: &[T], otherwise: T) -> T {
        of.get(self.below(of.len())).copied().unwrap_or(otherwise)
    }

    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Whether a process runs, and who waits for it to.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    pub(crate) halted: Cell<bool>,
    pub(crate) dead: Cell<bool>,
    stuck: RefCell<Vec<Waker>>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    halt: Option<Rc<Halt>>,
    /// Always the same one, so that who waits twice is known to wait once.
    waker: Waker,
}

struct Timed {
    at: Duration,
    version: u64,
    act: Box<dyn FnOnce()>,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    /// The earliest is the greatest: the heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.version).cmp(&(self.at, self.version))
    }
}

type Ready = Arc<Mutex<VecDeque<Arc<Knock>>>>;

struct Knock {
    task: usize,
    /// It is in the queue already.
    queued: AtomicBool,
    ready: Ready,
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, AtomicOrdering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(&self));
        }
    }
}

/// The world's clock and its tasks.
pub(crate) struct Sim {
    pub(crate) chance: Chance,
    now: Cell<Duration>,
    version: Cell<u64>,
    events: RefCell<BinaryHeap<Timed>>,
    tasks: RefCell<Vec<Option<Task>>>,
    ready: Ready,
    story: Option<RefCell<Vec<String>>>,
}

impl Sim {
    /// `tells`: the story is kept.
    pub(crate) fn new(seed: u64, tells: bool) -> Self {
        Self {
            chance: Chance::new(seed),
            now: Cell::default(),
            version: Cell::default(),
            events: RefCell::default(),
            tasks: RefCell::default(),
            ready: Arc::default(),
            story: tells.then(RefCell::default),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now.get()
    }

    /// One line of the story.
    pub(crate) fn tell(&self, who: &str, words: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            let line = format!("{:9.4} {who:<6} {}", self.now().as_secs_f64(), words());
            story.borrow_mut().push(line);
        }
    }

    pub(crate) fn story(&self) -> Vec<String> {
        self.story.as_ref().map(|story| story.borrow().clone()).unwrap_or_default()
    }

    pub(crate) fn after(&self, delay: Duration, act: impl FnOnce() + 'static) {
        let version = self.version.get();
        self.version.set(version + 1);
        self.events.borrow_mut().push(Timed { at: self.now() + delay, version, act: Box::new(act) });
    }

    pub(crate) fn spawn(&self, halt: Option<Rc<Halt>>, future: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        let knock = Knock { task: tasks.len(), queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) };
        let waker = Waker::from(Arc::new(knock));
        waker.wake_by_ref();
        tasks.push(Some(Task { future: Box::pin(future), halt, waker }));
    }

    /// Goes on until `ends` says so, or nothing is left to happen.
    pub(crate) fn run(&self, mut ends: impl FnMut() -> bool) {
        while !ends() {
            self.run_ready();
            let Some(next) = self.events.borrow_mut().pop() else { return };
            self.now.set(next.at);
            (next.act)();
        }
    }

    fn run_ready(&self) {
        loop {
            let next = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(knock) = next else { return };
            knock.queued.store(false, AtomicOrdering::Relaxed);
            self.poll(knock.task);
        }
    }

    fn poll(&self, number: usize) {
        let Some(mut task) = self.tasks.borrow_mut().get_mut(number).and_then(Option::take) else { return };
        if let Some(halt) = &task.halt {
            if halt.dead.get() {
                return;
            }
            if halt.halted.get() {
                halt.stuck.borrow_mut().push(task.waker.clone());
                self.put_back(number, task);
                return;
            }
        }
        let done = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
        if !done && !task.halt.as_ref().is_some_and(|halt| halt.dead.get()) {
            self.put_back(number, task);
        }
    }

    fn put_back(&self, number: usize, task: Task) {
        if let Some(place) = self.tasks.borrow_mut().get_mut(number) {
            *place = Some(task);
        }
    }

    /// Lets a halted process run on; who wakes first is drawn.
    pub(crate) fn resume(&self, halt: &Halt) {
        halt.halted.set(false);
        let mut stuck = halt.stuck.take();
        self.chance.shuffle(&mut stuck);
        stuck.into_iter().for_each(Waker::wake);
    }

    /// Drops a dead process's tasks where they stand.
    pub(crate) fn bury(&self, dead: &Rc<Halt>) {
        dead.dead.set(true);
        let is_its = |task: &Option<Task>| {
            task.as_ref().and_then(|task| task.halt.as_ref()).is_some_and(|halt| Rc::ptr_eq(halt, dead))
        };
        let mut buried = Vec::new();
        for place in self.tasks.borrow_mut().iter_mut().filter(|place| is_its(place)) {
            buried.push(place.take());
        }
        // Dropped here, where nothing is borrowed: what they held tells others.
        drop(buried);
    }

    /// Drops everything, so that what refers to itself in circles is freed.
    pub(crate) fn clear(&self) {
        let (tasks, events) = (self.tasks.take(), self.events.take());
        drop((tasks, events));
    }
}

/// Wakes the tasks that wait for a change.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until `look` finds something.
    pub(crate) async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        std::future::poll_fn(|context| {
            look().map_or_else(
                || {
                    let mut waiting = self.waiting.borrow_mut();
                    if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                        waiting.push(context.waker().clone());
                    }
                    Poll::Pending
                },
                Poll::Ready,
            )
        })
        .await
    }
}

/// Where an answer is put.
pub(crate) struct Mailbox<T> {
    answer: RefCell<Option<T>>,
    bell: Bell,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { answer: RefCell::new(None), bell: Bell::default() }
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn put(&self, answer: T) {
        self.answer.replace(Some(answer));
        self.bell.ring();
    }

    pub(crate) async fn take(&self) -> T {
        self.bell.wait(|| self.answer.take()).await
    }
}

/// Whichever of two is done first, the left one where both are.
pub(crate) async fn either<A, B>(left: impl Future<Output = A>, right: impl Future<Output = B>) -> Result<A, B> {
    let (mut left, mut right) = (Box::pin(left), Box::pin(right));
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = left.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        right.as_mut().poll(context).map(Err)
    })
    .await
}
