//! The BMCs of a schedule and the network to them: datagrams are delayed, duplicated and lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::id::NodeId;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    bmc::{Bmc, Datagram, Reply, Request},
    chance::Chance,
    sim::Sim,
};

/// Longest delay of a datagram, in milliseconds: just below D's lower bound.
const MAX_DELAY: u64 = 399;

/// Delays of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delays {
    Short,
    Mixed,
    /// Either very short or, this often of a hundred times, as long as possible.
    Extreme(usize),
}

impl Delays {
    fn draw(self, chance: &Chance) -> Duration {
        match self {
            Self::Short => chance.millis(1, 20),
            Self::Mixed => chance.millis(1, MAX_DELAY),
            Self::Extreme(late) if chance.percent(late) => chance.millis(MAX_DELAY - 30, MAX_DELAY),
            Self::Extreme(_) => chance.millis(1, 10),
        }
    }
}

/// Current behavior of the network.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    delays: Delays,
    /// Percentage of lost datagrams.
    loss: usize,
    /// No answers arrive until then.
    deaf_until: Duration,
    /// No answers to commands arrive until then.
    mute_until: Duration,
}

pub(crate) struct BmcNetwork {
    sim: Arc<Sim>,
    bmcs: Mutex<BTreeMap<NodeId, Bmc>>,
    conditions: Mutex<Conditions>,
}

impl BmcNetwork {
    /// `all_close`: every BMC closes sessions by id.
    pub(crate) fn new(sim: &Arc<Sim>, nodes: &[NodeId], all_close: bool) -> Self {
        let chance = &sim.chance;
        let bmc = |node: &NodeId| (*node, Bmc::new(all_close || chance.percent(35), 4 + chance.below(3)));
        let bmcs = Mutex::new(nodes.iter().map(bmc).collect());
        let delays = [Delays::Short, Delays::Mixed, Delays::Extreme(40), Delays::Extreme(15)];
        let delays = chance.one(&delays, Delays::Short);
        let (loss, never) = (chance.one(&[0, 5, 20], 0), Duration::ZERO);
        let conditions = Mutex::new(Conditions { delays, loss, deaf_until: never, mute_until: never });
        Self { sim: Arc::clone(sim), bmcs, conditions }
    }

    /// Sends a datagram to the BMC of a node. The reply, if one arrives, is sent to `replies`.
    pub(crate) fn send(self: &Arc<Self>, node: NodeId, datagram: Datagram, replies: &mpsc::UnboundedSender<Reply>) {
        let chance = &self.sim.chance;
        let Conditions { delays, loss, .. } = *self.conditions.lock();
        let copies = 1 + usize::from(chance.percent(8));
        for _ in 0..copies {
            if chance.percent(loss) {
                continue;
            }
            let (network, replies) = (Arc::clone(self), replies.clone());
            self.sim.after(delays.draw(chance), move || network.arrive(node, datagram, replies));
        }
    }

    fn arrive(&self, node: NodeId, datagram: Datagram, replies: mpsc::UnboundedSender<Reply>) {
        let (now, chance) = (self.sim.now(), &self.sim.chance);
        let fresh = u32::try_from(chance.draw() >> 33).unwrap_or(1) | 1;
        let reply = self.bmcs.lock().get_mut(&node).and_then(|bmc| bmc.receive(now, datagram, fresh));
        let Datagram { session, request, .. } = datagram;
        if matches!(request, Request::Command(_) | Request::Close(_)) {
            self.sim.trace("bmc", || format!("{node}: {request:?} in {session:08x}: {reply:?}"));
        }
        let Conditions { delays, loss, deaf_until, mute_until } = *self.conditions.lock();
        let is_mute = matches!(request, Request::Command(_)) && now < mute_until;
        let is_lost = is_mute || now < deaf_until || chance.percent(loss);
        if let (Some(reply), false) = (reply, is_lost) {
            // The client may not wait any more.
            self.sim.after(delays.draw(chance), move || {
                let _is_received = replies.send(reply);
            });
        }
    }

    /// No answers arrive for a while.
    pub(crate) fn drop_answers(&self, time: Duration) {
        self.conditions.lock().deaf_until = self.sim.now() + time;
    }

    /// No answers to commands arrive for a while.
    pub(crate) fn drop_confirmations(&self, time: Duration) {
        self.conditions.lock().mute_until = self.sim.now() + time;
    }

    /// From now on everything arrives soon.
    pub(crate) fn heal(&self) {
        let never = Duration::ZERO;
        *self.conditions.lock() = Conditions { delays: Delays::Short, loss: 0, deaf_until: never, mute_until: never };
    }

    /// Reads something of a BMC.
    pub(crate) fn with<T>(&self, node: NodeId, read: impl FnOnce(&Bmc) -> T) -> Option<T> {
        self.bmcs.lock().get(&node).map(read)
    }

    /// Number of commands that arrived through closed sessions.
    pub(crate) fn refused(&self) -> usize {
        self.bmcs.lock().values().map(|bmc| bmc.refused).sum()
    }
}
