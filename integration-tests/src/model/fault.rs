//! Which faults happen in a schedule, and at which points of the protocol they begin: drawn by the seed.

mod scenario;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use mesh::Step;
use parking_lot::Mutex;

use super::{chance::Chance, rules::Fences};

/// A point at which a fault can begin: the steps of `mesh`, and those of an owner at a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    Mesh(Step),
    /// A worker has its guard and no claim.
    BeforeWork,
    BeforeLogin,
    BeforeClose,
    BeforeRead,
    BeforeSend,
    BeforeRepeat,
    /// Between the permit's check and the send.
    Permitted,
    AfterSend,
    BeforeOutcome,
    BeforeSettle,
}

/// Points at which an owner has a command outstanding.
const ACTING: [Point; 7] = [
    Point::Mesh(Step::BeforeJournal),
    Point::Mesh(Step::AfterJournal),
    Point::BeforeSend,
    Point::BeforeRepeat,
    Point::Permitted,
    Point::AfterSend,
    Point::BeforeOutcome,
];
/// The others.
const BETWEEN: [Point; 12] = [
    Point::BeforeWork,
    Point::Mesh(Step::BeforeKeepAlive),
    Point::Mesh(Step::AfterKeepAlive),
    Point::Mesh(Step::BeforeAck),
    Point::Mesh(Step::BeforeRing),
    Point::Mesh(Step::BeforeLook),
    Point::Mesh(Step::BeforeClaim),
    Point::Mesh(Step::AfterClaim),
    Point::BeforeLogin,
    Point::BeforeClose,
    Point::BeforeRead,
    Point::BeforeSettle,
];

/// Kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The process is stopped (SIGSTOP). Its clock advances.
    Pause(Duration),
    /// The machine is suspended: its clock stands still, too.
    Freeze(Duration),
    /// The process is killed, and started again after this time.
    Kill(Duration),
    /// The process is asked to stop (SIGTERM), and started again after it has ended.
    Stop,
    /// Its lease vanishes early.
    Revoke,
    /// Its member key vanishes, its lease does not.
    Vanish,
    /// Nothing passes between it and the store.
    Cut(Duration),
    /// Requests to the store and answers are slow.
    Slow(Duration),
    /// This many answers are lost after the requests were carried out.
    LoseAnswers(u32),
    /// No watch messages arrive at it.
    Stall(Duration),
    /// No watch messages arrive at any process.
    StallAll(Duration),
    /// No watch messages arrive at any other process.
    StallOthers(Duration),
    /// A new process starts at a place that is free.
    Join,
    /// An operator breaks the claims that it holds.
    Break,
    /// An operator breaks all claims.
    BreakAll,
    /// No answers arrive from BMCs.
    Deaf(Duration),
    /// BMCs carry out commands, and their confirmations do not arrive.
    Mute(Duration),
}

/// Which process it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The process that reached the point.
    Victim,
    /// The present leader.
    Leader,
    /// Another process.
    Other,
    /// The process that a fault started last.
    Newest,
    /// Another process, with a command outstanding if there is one.
    Acting,
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Time after the point was reached.
    pub(crate) delay: Duration,
    pub(crate) kind: Kind,
    pub(crate) whom: Whom,
}

/// Faults that begin when a process reaches a point.
#[derive(Debug, Clone)]
struct Strike {
    not_before: Duration,
    point: Point,
    faults: Vec<Fault>,
}

/// Faults whose point was reached.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) place: usize,
    pub(crate) faults: Vec<Fault>,
}

/// Faults that a plan may contain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Every BMC closes sessions. Nothing else fences a process whose clock stands still.
    pub(crate) all_close: bool,
    pub(crate) fences: Fences,
}

/// The faults of one schedule.
pub(crate) struct FaultPlan {
    strikes: Mutex<Vec<Strike>>,
    left: AtomicUsize,
    due: Mutex<Vec<Due>>,
    is_due: AtomicBool,
}

impl FaultPlan {
    pub(crate) fn draw(chance: &Chance, limits: Limits) -> Self {
        let mut strikes = Vec::new();
        let mut not_before = chance.millis(200, 3000);
        for _ in 0..=chance.below(3) {
            strikes.push(if chance.percent(75) {
                let (point, faults) = scenario::draw(chance, limits);
                Strike { not_before, point, faults }
            } else {
                unrelated(chance, limits, not_before)
            });
            not_before += chance.millis(500, 4000);
        }
        let left = AtomicUsize::new(strikes.len());
        Self { strikes: Mutex::new(strikes), left, due: Mutex::default(), is_due: AtomicBool::new(false) }
    }

    /// A process reached a point. Returns `true` if faults begin here.
    pub(crate) fn reached(&self, place: usize, point: Point, now: Duration, chance: &Chance) -> bool {
        if self.left() == 0 {
            return false;
        }
        let mut strikes = self.strikes.lock();
        let found = strikes.iter().position(|strike| strike.point == point && strike.not_before <= now);
        let Some(found) = found.filter(|_| chance.percent(60)) else { return false };
        let faults = strikes.remove(found).faults;
        self.left.store(strikes.len(), Ordering::Relaxed);
        self.due.lock().push(Due { place, faults });
        self.is_due.store(true, Ordering::Relaxed);
        true
    }

    /// Takes the faults whose point was reached.
    pub(crate) fn take_due(&self) -> Vec<Due> {
        if !self.is_due.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        std::mem::take(&mut *self.due.lock())
    }

    /// Number of points that no process has reached.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// No faults begin any more. Returns how many had not begun.
    pub(crate) fn cancel(&self) -> usize {
        self.strikes.lock().clear();
        self.left.swap(0, Ordering::Relaxed)
    }
}

/// Faults that have only their time in common.
fn unrelated(chance: &Chance, limits: Limits, not_before: Duration) -> Strike {
    let point = if chance.percent(85) {
        chance.one(&ACTING, Point::BeforeSend)
    } else {
        chance.one(&BETWEEN, Point::BeforeWork)
    };
    let mut faults = Vec::new();
    let mut delay = Duration::ZERO;
    for number in 0..=chance.below(4) {
        let whom = match chance.below(10) {
            0 | 1 if number > 0 => Whom::Leader,
            2 | 3 if number > 0 => Whom::Other,
            _ => Whom::Victim,
        };
        // Faults that come together do more harm.
        if number > 0 && chance.percent(50) {
            delay += if chance.percent(50) { chance.millis(0, 300) } else { chance.millis(0, 3000) };
        }
        faults.push(Fault { delay, kind: kind(chance, limits), whom });
    }
    Strike { not_before, point, faults }
}

fn kind(chance: &Chance, limits: Limits) -> Kind {
    // Short ones end within A, F or W; long ones do not.
    let time = match chance.below(4) {
        0 => chance.millis(50, 900),
        1 => chance.millis(900, 3600),
        _ => chance.millis(3600, 9000),
    };
    match chance.below(20) {
        0..3 => Kind::Pause(time),
        3 | 4 if limits.all_close => Kind::Freeze(time),
        3 | 4 => Kind::Pause(time),
        5 => Kind::Kill(time),
        6 | 7 => Kind::Stop,
        8..11 => Kind::Revoke,
        // Only A fences it while the watch is late.
        11 if limits.fences != Fences::FenceOnly => Kind::Vanish,
        11 | 12 => Kind::Cut(time),
        13 => Kind::Slow(time),
        14 => Kind::LoseAnswers(1 + u32::from(chance.percent(30))),
        15 => Kind::Stall(time),
        16 => Kind::StallAll(time),
        17 => Kind::Join,
        // Only A fences the holder of a broken claim.
        18 if limits.fences != Fences::FenceOnly => Kind::Break,
        18 => Kind::Mute(time),
        _ => Kind::Deaf(chance.millis(200, 3000)),
    }
}
