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
    /// A worker has its guard and no claim.
    Staked,
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
const BETWEEN: [Point; 12] = [
    Point::Staked,
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
    /// SIGTERM, and started again when it has ended.
    Stop,
    /// Its lease vanishes early.
    Revoke,
    /// The same, for a process that is cut off already.
    RevokeCut,
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
    /// All watches but its own bring nothing.
    StallOthers(Duration),
    /// A place that is empty is taken by a new process.
    Join,
    /// A person breaks the claims that it holds.
    Break,
    /// BMCs answer nothing.
    Deaf(Duration),
    /// BMCs do what they are told and do not say so.
    Mute(Duration),
}

/// Whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The process that came to the point.
    Victim,
    /// The present leader.
    Leader,
    /// Another process.
    Other,
    /// Who was started last.
    Newest,
    /// Another process, with an act outstanding if there is one.
    Acting,
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
    let mut from = chance.millis(200, 3000);
    for _ in 0..=chance.below(3) {
        let strike = if chance.percent(60) { story(chance, from) } else { strike(chance, limits, from) };
        strikes.push(strike);
        from += chance.millis(500, 5000);
    }
    strikes
}

/// Faults that have nothing to do with each other but their time.
fn strike(chance: &Chance, limits: Limits, from: Duration) -> Strike {
    let point = if chance.percent(85) {
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

/// Faults that belong together, as they did in real outages; their times are drawn.
fn story(chance: &Chance, from: Duration) -> Strike {
    let acting = chance.one(&ACTING, Point::BeforeSend);
    let (point, blows) = match chance.below(8) {
        0 => (acting, unseen_loss(chance)),
        1 => (chance.one(&[Point::BeforeLook, acting], acting), sleeping_observer(chance)),
        2 => (acting, leaders_end(chance)),
        3 => (acting, two_rings(chance)),
        4 => (acting, two_joins(chance)),
        5 => (Point::BeforeJournal, back_again(chance)),
        6 => (Point::Staked, late_claim(chance)),
        _ => (Point::AfterKeepAlive, late_answer(chance)),
    };
    let blows = blows.into_iter().map(|(delay, kind, whom)| Blow { delay, kind, whom }).collect();
    Strike { from, point, blows }
}

type Blows = Vec<(Duration, Kind, Whom)>;

/// A lease vanishes, and its owner neither sees it nor can ask.
fn unseen_loss(chance: &Chance) -> Blows {
    let blind = if chance.percent(50) { Kind::Stall } else { Kind::Cut };
    let time = chance.millis(500, 5000);
    let mut blows =
        vec![(chance.millis(0, 400), blind(time), Whom::Victim), (chance.millis(0, 400), Kind::Revoke, Whom::Victim)];
    if chance.percent(40) {
        blows.push((Duration::ZERO, Kind::Mute(time), Whom::Victim));
    }
    blows
}

/// A process sleeps, and wakes just after an owner's lease has vanished.
fn sleeping_observer(chance: &Chance) -> Blows {
    let sleep = chance.millis(2500, 7000);
    let late = sleep.saturating_sub(chance.millis(0, 1200));
    let sleeper = if chance.percent(50) { Whom::Victim } else { Whom::Other };
    vec![
        (Duration::ZERO, Kind::Pause(sleep), sleeper),
        (late, Kind::Mute(chance.millis(500, 3500)), Whom::Acting),
        (late, Kind::Cut(chance.millis(2000, 5000)), Whom::Acting),
        (late, Kind::RevokeCut, Whom::Acting),
    ]
}

/// An owner is on its way out, unseen by itself, when the leader goes too.
fn leaders_end(chance: &Chance) -> Blows {
    let mut blows = unseen_loss(chance);
    let leader = if chance.percent(60) { Kind::Revoke } else { Kind::Stop };
    blows.push((chance.millis(20, 1500), leader, Whom::Leader));
    blows
}

/// An owner is asked to stop and does not see the rings that follow.
fn two_rings(chance: &Chance) -> Blows {
    let mut blows = vec![
        (chance.millis(30, 200), Kind::Stall(chance.millis(2000, 7000)), Whom::Victim),
        (Duration::ZERO, Kind::Stop, Whom::Victim),
    ];
    let then = chance.millis(200, 2500);
    blows.push((then, if chance.percent(50) { Kind::Join } else { Kind::Stop }, Whom::Other));
    if chance.percent(50) {
        blows.push((chance.millis(0, 2500), Kind::Mute(chance.millis(500, 3500)), Whom::Victim));
    }
    blows
}

/// Two processes join one after the other, and the first one's line is slow.
fn two_joins(chance: &Chance) -> Blows {
    let first = chance.millis(0, 300);
    vec![
        (Duration::ZERO, Kind::Stall(chance.millis(100, 1500)), Whom::Victim),
        (Duration::ZERO, Kind::Mute(chance.millis(500, 3500)), Whom::Victim),
        (first, Kind::Join, Whom::Victim),
        (first + chance.millis(50, 300), Kind::Slow(chance.millis(1000, 5000)), Whom::Newest),
        (first + chance.millis(300, 1500), Kind::Join, Whom::Victim),
    ]
}

/// A lease vanishes, and no process sees that its owner comes back.
fn back_again(chance: &Chance) -> Blows {
    let blind = chance.millis(3600, 4600);
    let (owner, others) = (chance.millis(0, 30), chance.millis(60, 150));
    vec![
        (owner, Kind::Stall(blind + chance.millis(200, 3000)), Whom::Victim),
        (owner + chance.millis(10, 30), Kind::Revoke, Whom::Victim),
        (others, Kind::StallOthers(blind), Whom::Victim),
    ]
}

/// A process that wants to claim sleeps meanwhile, and the node passes to another.
fn late_claim(chance: &Chance) -> Blows {
    let sleep = chance.millis(600, 2900);
    vec![
        (Duration::ZERO, Kind::Pause(sleep), Whom::Victim),
        (chance.millis(0, 1000), Kind::Join, Whom::Victim),
        (Duration::ZERO, Kind::Mute(sleep + chance.millis(300, 1500)), Whom::Victim),
    ]
}

/// The answer to a keep-alive is read long after it came.
fn late_answer(chance: &Chance) -> Blows {
    vec![
        (Duration::ZERO, Kind::Pause(chance.millis(4000, 9000)), Whom::Victim),
        (chance.millis(0, 300), Kind::Revoke, Whom::Victim),
    ]
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
        18 => Kind::Mute(time),
        _ => Kind::Deaf(chance.millis(200, 3000)),
    }
}
