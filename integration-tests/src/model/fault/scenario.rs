//! Faults that belong together, as in real outages. Their times are drawn.

use std::time::Duration;

use mesh::Step;

use super::{ACTING, Fault, Kind, Limits, Point, Whom};
use crate::model::{chance::Chance, rules::Fences};

/// Each fault, and how long after the first point it happens.
type Faults = Vec<(Duration, Kind, Whom)>;

/// Draws a scenario and the point at which it begins.
pub(super) fn draw(chance: &Chance, limits: Limits) -> (Point, Vec<Fault>) {
    let acting = chance.one(&ACTING, Point::BeforeSend);
    let (point, faults) = match chance.below(12) {
        0 => (acting, unseen_loss(chance)),
        1 => (acting, sudden_loss(chance)),
        2 => (chance.one(&[Point::Mesh(Step::BeforeLook), acting], acting), sleeping_observer(chance)),
        3 => (acting, loss_of_leader(chance)),
        4 => (acting, two_rings(chance)),
        5 => (acting, two_joins(chance)),
        6 => (Point::Mesh(Step::BeforeJournal), unseen_return(chance)),
        7 => (Point::BeforeWork, late_claim(chance)),
        8 => (acting, handover(chance)),
        9 => (Point::AfterSend, handover(chance)),
        // Only A fences the holder of a broken claim.
        10 if limits.fences != Fences::FenceOnly => (Point::Mesh(Step::BeforeClaim), broken_claims(chance)),
        _ => {
            let late = [Point::Mesh(Step::AfterKeepAlive), Point::Mesh(Step::AfterJournal)];
            (chance.one(&late, acting), late_answer(chance))
        }
    };
    (point, faults.into_iter().map(|(delay, kind, whom)| Fault { delay, kind, whom }).collect())
}

/// A lease vanishes, and its owner neither sees that nor can ask.
fn unseen_loss(chance: &Chance) -> Faults {
    let blind = if chance.percent(50) { Kind::Stall } else { Kind::Cut };
    let time = chance.millis(500, 5000);
    let mut faults =
        vec![(chance.millis(0, 400), blind(time), Whom::Victim), (chance.millis(0, 400), Kind::Revoke, Whom::Victim)];
    if chance.percent(40) {
        faults.push((Duration::ZERO, Kind::Mute(time), Whom::Victim));
    }
    faults
}

/// A lease vanishes during a command of its owner, which does not notice it.
fn sudden_loss(chance: &Chance) -> Faults {
    let time = chance.millis(500, 3000);
    vec![
        (Duration::ZERO, Kind::Stall(time), Whom::Victim),
        (Duration::ZERO, Kind::Mute(time), Whom::Victim),
        (chance.millis(0, 60), Kind::Revoke, Whom::Victim),
    ]
}

/// An owner must hand over while a command is under way.
fn handover(chance: &Chance) -> Faults {
    let kind = if chance.percent(50) { Kind::Stop } else { Kind::Join };
    let mut faults = vec![(chance.millis(0, 60), kind, Whom::Victim)];
    if chance.percent(50) {
        faults.push((Duration::ZERO, Kind::Mute(chance.millis(500, 2000)), Whom::Victim));
    }
    faults
}

/// A process sleeps, and wakes just after an owner's lease has vanished.
fn sleeping_observer(chance: &Chance) -> Faults {
    let sleep = chance.millis(3500, 7000);
    let late = sleep.saturating_sub(chance.millis(0, 1000));
    let sleeper = if chance.percent(50) { Whom::Victim } else { Whom::Other };
    // Commands without confirmation are repeated, so one is outstanding when the lease vanishes.
    let before = late.saturating_sub(chance.millis(200, 1500));
    vec![
        (Duration::ZERO, Kind::Pause(sleep), sleeper),
        (before, Kind::Mute(chance.millis(2000, 5000)), Whom::Victim),
        (late, Kind::Cut(chance.millis(2000, 5000)), Whom::Acting),
        (late, Kind::Revoke, Whom::Acting),
    ]
}

/// An owner has lost its lease without seeing it, and the leader goes, too.
fn loss_of_leader(chance: &Chance) -> Faults {
    let time = chance.millis(2500, 5000);
    let lost = chance.millis(0, 300);
    let leader = if chance.percent(60) { Kind::Revoke } else { Kind::Stop };
    vec![
        (Duration::ZERO, Kind::Mute(time), Whom::Victim),
        (chance.millis(0, 300), Kind::Cut(time), Whom::Victim),
        (lost, Kind::Revoke, Whom::Victim),
        (lost + chance.millis(20, 900), leader, Whom::Leader),
    ]
}

/// An owner is asked to stop and does not see the rings that follow.
fn two_rings(chance: &Chance) -> Faults {
    let then = chance.millis(300, 2000);
    let mut faults = vec![
        (chance.millis(30, 200), Kind::Stall(chance.millis(2000, 7000)), Whom::Victim),
        (Duration::ZERO, Kind::Stop, Whom::Victim),
        (then, if chance.percent(40) { Kind::Join } else { Kind::Stop }, Whom::Other),
    ];
    if chance.percent(80) {
        faults.push((Duration::ZERO, Kind::Mute(then + chance.millis(1000, 4000)), Whom::Victim));
    }
    faults
}

/// Two processes join one after the other, and the first one's way to the store is slow.
fn two_joins(chance: &Chance) -> Faults {
    let first = chance.millis(0, 300);
    vec![
        (Duration::ZERO, Kind::Stall(chance.millis(100, 1500)), Whom::Victim),
        (Duration::ZERO, Kind::Mute(chance.millis(500, 3500)), Whom::Victim),
        (first, Kind::Join, Whom::Victim),
        (first + chance.millis(50, 300), Kind::Slow(chance.millis(1000, 5000)), Whom::Newest),
        (first + chance.millis(300, 1500), Kind::Join, Whom::Victim),
    ]
}

/// A lease vanishes, and no process sees its owner return.
fn unseen_return(chance: &Chance) -> Faults {
    let blind = chance.millis(3600, 4600);
    let (owner, others) = (chance.millis(0, 30), chance.millis(60, 150));
    let returns = blind + chance.millis(700, 2500);
    vec![
        (owner, Kind::Stall(returns), Whom::Victim),
        (owner + chance.millis(10, 30), Kind::Revoke, Whom::Victim),
        (others, Kind::StallOthers(blind), Whom::Victim),
        // Until it sees the return, it gives no node back.
        (others + Duration::from_millis(1), Kind::Stall(returns), Whom::Leader),
    ]
}

/// A process that is about to claim sleeps, and the node passes to another one.
fn late_claim(chance: &Chance) -> Faults {
    let sleep = chance.millis(600, 2900);
    vec![
        (Duration::ZERO, Kind::Pause(sleep), Whom::Victim),
        (chance.millis(0, 1000), Kind::Join, Whom::Victim),
        (Duration::ZERO, Kind::Mute(sleep + chance.millis(300, 1500)), Whom::Victim),
    ]
}

/// An operator breaks all claims while a process is about to claim.
fn broken_claims(chance: &Chance) -> Faults {
    vec![
        (Duration::ZERO, Kind::Pause(chance.millis(20, 500)), Whom::Victim),
        (chance.millis(0, 20), Kind::BreakAll, Whom::Victim),
    ]
}

/// The answer to a keep-alive or a journal entry is read long after it arrived.
fn late_answer(chance: &Chance) -> Faults {
    vec![
        (Duration::ZERO, Kind::Pause(chance.millis(4000, 9000)), Whom::Victim),
        (chance.millis(0, 300), Kind::Revoke, Whom::Victim),
    ]
}
