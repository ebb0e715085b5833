//! Where faults fall, and which: drawn by the seed, at the protocol's own points.

use std::time::Duration;

use super::{rules::Fences, sim::Chance};

/// A place in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeKeepAlive,
    AfterKeepAlive,
    BeforeAck,
    BeforeRing,
    /// Between the clock's reading and the view's.
    BeforeLook,
    BeforeClaim,
    AfterClaim,
    BeforeLogin,
    BeforeClose,
    BeforeRead,
    BeforeJournal,
    AfterJournal,
    BeforeSend,
    BeforeRepeat,
    /// Between the permit's check and the send.
    Permitted,
    AfterSend,
    BeforeOutcome,
    BeforeSettle,
}

/// Points at which an owner has an act outstanding.
const ACTING: [Point; 7] = [
    Point::BeforeJournal,
    Point::AfterJournal,
    Point::BeforeSend,
    Point::BeforeRepeat,
    Point::Permitted,
    Point::AfterSend,
    Point::BeforeOutcome,
];
/// The others.
const BETWEEN: [Point; 11] = [
    Point::BeforeKeepAlive,
    Point::AfterKeepAlive,
    Point::BeforeAck,
    Point::BeforeRing,
    Point::BeforeLook,
    Point::BeforeClaim,
    Point::AfterClaim,
    Point::BeforeLogin,
    Point::BeforeClose,
    Point::BeforeRead,
    Point::BeforeSettle,
];

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGSTOP: its clock runs on.
    Pause(Duration),
    /// The whole machine: its clock stands still too.
    Freeze(Duration),
    /// Killed, and started again after this.
    Kill(Duration),
    /// SIGTERM, and started again this long after it ended.
    Stop(Duration),
    /// Its lease vanishes early.
    Revoke,
    /// Its member key vanishes, its lease does not.
    Vanish,
    /// Nothing passes between it and etcd; what was sent may arrive afterwards.
    Cut(Duration),
    /// Requests and answers take long.
    Slow(Duration),
    /// So many answers are lost after the request was carried out.
    LoseAnswers(u32),
    /// Its watch brings nothing.
    Stall(Duration),
    /// All watches bring nothing.
    StallAll(Duration),
    /// A place that is empty is taken by a new process.
    Join,
    /// A person breaks the claims that it holds.
    Break,
    /// BMCs answer nothing.
    Deaf(Duration),
}

/// Whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whoever came to the point.
    Victim,
    /// The present leader.
    Leader,
    /// Somebody else.
    Other,
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blow {
    pub(crate) delay: Duration,
    pub(crate) kind: Kind,
    pub(crate) whom: Whom,
}

/// Faults that begin when a process comes to a point.
#[derive(Debug, Clone)]
pub(crate) struct Strike {
    pub(crate) from: Duration,
    pub(crate) point: Point,
    pub(crate) blows: Vec<Blow>,
}

/// What a plan may contain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Every BMC closes sessions: only then is a frozen clock fenced at all.
    pub(crate) all_close: bool,
    pub(crate) fences: Fences,
}

/// The faults of one schedule.
pub(crate) fn plan(chance: &Chance, limits: Limits) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let mut from = chance.millis(900, 3000);
    for _ in 0..=chance.below(3) {
        strikes.push(strike(chance, limits, from));
        from += chance.millis(500, 5000);
    }
    strikes
}

fn strike(chance: &Chance, limits: Limits, from: Duration) -> Strike {
    let point = if chance.percent(75) {
        chance.one(&ACTING, Point::BeforeSend)
    } else {
        chance.one(&BETWEEN, Point::BeforeLook)
    };
    let mut blows = Vec::new();
    let mut delay = Duration::ZERO;
    for number in 0..=chance.below(4) {
        let whom = match chance.below(10) {
            0 | 1 if number > 0 => Whom::Leader,
            2 | 3 if number > 0 => Whom::Other,
            _ => Whom::Victim,
        };
        // Faults that come together are the ones that hurt.
        if number > 0 && chance.percent(50) {
            delay += if chance.percent(50) { chance.millis(0, 300) } else { chance.millis(0, 3000) };
        }
        blows.push(Blow { delay, kind: kind(chance, limits), whom });
    }
    Strike { from, point, blows }
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
        6 | 7 => Kind::Stop(chance.millis(100, 3000)),
        8..11 => Kind::Revoke,
        // Only A tells of it where the watch is late.
        11 if limits.fences != Fences::FenceOnly => Kind::Vanish,
        11 | 12 => Kind::Cut(time),
        13 => Kind::Slow(time),
        14 => Kind::LoseAnswers(1 + u32::from(chance.percent(30))),
        15 => Kind::Stall(time),
        16 => Kind::StallAll(time),
        17 => Kind::Join,
        // A broken claim is fenced by A alone.
        18 if limits.fences != Fences::FenceOnly => Kind::Break,
        18 => Kind::Join,
        _ => Kind::Deaf(chance.millis(200, 3000)),
    }
}
