//! Reads every owned node's power now and then, so that what a hand at the machine did is noticed.
//!
//! [`Rounds`] decides who is looked at when; [`poll`] looks. A look reads and changes nothing at the BMC; only what is
//! news is written.

use std::{
    collections::{HashMap, HashSet},
    ops::Add,
    time::Duration,
};

use domain::id::NodeId;
use futures::{StreamExt as _, stream::FuturesUnordered};
use service_kit::Host;
use tokio::time::{Instant, sleep};

use crate::{metrics, work::Work};

/// BMCs that are looked at in the same moment. A dead one takes a place for as long as its tries last.
const AT_ONCE: usize = 64;
/// Between two questions of who is due.
const TICK: Duration = Duration::from_secs(1);
/// Looks in vain, one after the other, before a BMC counts as silent: a datagram may be lost.
const IN_VAIN: u32 = 3;
/// How much rarer a BMC is asked that refused our password: some lock a user out who tries too often.
const REFUSED: u32 = 10;

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It answered.
    Answered,
    /// It did not.
    Silent,
    /// It refused us.
    Refused,
}

/// Who is looked at when. `T` is any clock reading.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    every: Duration,
    nodes: HashMap<NodeId, Turn<T>>,
}

#[derive(Debug)]
struct Turn<T> {
    /// `None`: a look is under way.
    due: Option<T>,
    in_vain: u32,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Rounds<T> {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, nodes: HashMap::new() }
    }

    /// Who of these is due; it counts as under way from now on. Nodes that are not among these are forgotten. A node
    /// that is new comes at a moment of its own within the first round, so that looks do not come in bursts.
    pub(crate) fn due(&mut self, now: T, nodes: &[NodeId], most: usize) -> Vec<NodeId> {
        let named: HashSet<_> = nodes.iter().collect();
        self.nodes.retain(|node, turn| turn.due.is_none() || named.contains(node));
        for node in nodes {
            let first = || Turn { due: Some(now + self.every.mul_f64(share(*node))), in_vain: 0 };
            self.nodes.entry(*node).or_insert_with(first);
        }
        let due =
            nodes.iter().filter(|node| self.nodes.get(node).and_then(|turn| turn.due).is_some_and(|due| due <= now));
        let due: Vec<_> = due.take(most).copied().collect();
        for node in &due {
            if let Some(turn) = self.nodes.get_mut(node) {
                turn.due = None;
            }
        }
        due
    }

    /// A look has ended. True: from now on the BMC counts as of no use.
    pub(crate) fn ended(&mut self, now: T, node: NodeId, look: Look) -> bool {
        let Some(turn) = self.nodes.get_mut(&node) else { return false };
        let (rest, is_news) = match look {
            Look::Answered => {
                turn.in_vain = 0;
                (self.every, false)
            }
            Look::Silent => {
                turn.in_vain += 1;
                (self.every, turn.in_vain == IN_VAIN)
            }
            Look::Refused => {
                turn.in_vain = IN_VAIN;
                (self.every * REFUSED, true)
            }
        };
        turn.due = Some(now + rest);
        is_news
    }
}

/// A number in [0, 1) of the node's own.
fn share(node: NodeId) -> f64 {
    let (high, low) = node.uuid().as_u64_pair();
    let [octet, ..] = (high ^ low).to_le_bytes();
    f64::from(octet) / 256.0
}

/// Looks until the host stops.
pub(crate) async fn poll(work: Work, every: Duration, host: Host) {
    let mut rounds = Rounds::new(every);
    let mut looks = FuturesUnordered::new();
    loop {
        let free = AT_ONCE.saturating_sub(looks.len());
        for node in rounds.due(Instant::now(), &work.idle_nodes(), free) {
            let work = &work;
            looks.push(async move { (node, work.look_at(node).await) });
        }
        tokio::select! {
            () = host.stopping() => return,
            () = sleep(TICK.min(every)) => {}
            Some((node, looked)) = looks.next() => {
                let look = match &looked {
                    Ok(()) => Look::Answered,
                    Err(error) if error.may_pass() => Look::Silent,
                    Err(_) => Look::Refused,
                };
                metrics::look(look);
                if let (true, Err(error)) = (rounds.ended(Instant::now(), node, look), looked) {
                    work.note_trouble(node, &error).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const EVERY: Duration = Duration::from_secs(60);

    fn nodes(count: u64) -> Vec<NodeId> {
        (0..count).map(|n| NodeId::new(Uuid::from_u64_pair(0, n))).collect()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_round_is_spread_and_every_node_comes_once_in_it() {
        let (mut rounds, nodes) = (Rounds::new(EVERY), nodes(256));
        let mut seen = Vec::new();
        for second in 0..=60 {
            let due = rounds.due(at(second), &nodes, 1000);
            assert!(due.len() <= 10, "{} at once", due.len());
            seen.extend(due);
        }
        seen.sort_unstable();
        assert_eq!(seen, nodes);
    }

    #[test]
    fn a_node_is_looked_at_again_after_the_interval_and_never_twice_at_once() {
        let (mut rounds, nodes) = (Rounds::new(EVERY), nodes(1));
        let due = |rounds: &mut Rounds<Duration>, second| rounds.due(at(second), &nodes, 1).len();
        due(&mut rounds, 0);
        assert_eq!(due(&mut rounds, 200), 0, "still under way");
        rounds.ended(at(200), nodes[0], Look::Answered);
        assert_eq!((due(&mut rounds, 259), due(&mut rounds, 260)), (0, 1));
    }

    #[test]
    fn a_bmc_counts_as_silent_after_three_looks_in_vain_and_once() {
        let (mut rounds, nodes) = (Rounds::new(EVERY), nodes(1));
        rounds.due(at(0), &nodes, 1);
        let news: Vec<_> = (0..5).map(|n| rounds.ended(at(n), nodes[0], Look::Silent)).collect();
        assert_eq!(news, [false, false, true, false, false]);
        assert!(!rounds.ended(at(9), nodes[0], Look::Answered));
        assert!(!rounds.ended(at(9), nodes[0], Look::Silent), "it counts anew");
    }

    #[test]
    fn a_bmc_that_refused_us_is_left_alone_for_longer() {
        let (mut rounds, nodes) = (Rounds::new(EVERY), nodes(1));
        rounds.due(at(0), &nodes, 1);
        assert!(rounds.ended(at(0), nodes[0], Look::Refused));
        assert!(rounds.due(at(599), &nodes, 1).is_empty());
        assert_eq!(rounds.due(at(600), &nodes, 1), nodes);
    }

    #[test]
    fn what_is_owned_no_longer_is_forgotten_and_no_more_are_due_than_there_is_room_for() {
        let (mut rounds, nodes) = (Rounds::new(EVERY), nodes(10));
        rounds.due(at(0), &nodes, 0);
        assert_eq!(rounds.due(at(60), &nodes, 3).len(), 3);
        rounds.due(at(60), &[], 3);
        assert_eq!(rounds.nodes.len(), 3, "those under way");
    }
}
