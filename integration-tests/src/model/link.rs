//! Connection of a place to the store, with faults for the requests and watches of the process that runs there.

use std::{sync::Arc, time::Duration};

use keyspace::testing::{Delivery, Leg, MemoryClient, MemoryEtcd, WatchDelivery};
use parking_lot::Mutex;

use super::sim::Sim;

#[derive(Debug, Default)]
struct Conditions {
    /// Nothing passes until then. Requests that were sent may arrive afterwards.
    cut_until: Duration,
    slow_until: Duration,
    /// No watch message arrives until then.
    stalled_until: Duration,
    /// Number of answers that are still to be lost.
    answers_to_lose: u32,
    /// The present process.
    client: Option<MemoryClient>,
}

pub(crate) struct Link {
    sim: Arc<Sim>,
    conditions: Mutex<Conditions>,
}

impl Link {
    pub(crate) fn new(sim: &Arc<Sim>) -> Arc<Self> {
        Arc::new(Self { sim: Arc::clone(sim), conditions: Mutex::default() })
    }

    /// Connects a new process.
    pub(crate) fn connect(self: &Arc<Self>, etcd: &MemoryEtcd) -> MemoryClient {
        let client = etcd.client();
        let link = Arc::downgrade(self);
        client.set_plan(move |_| link.upgrade().map_or(Delivery::LOST, |link| link.delivery()));
        self.conditions.lock().client = Some(client.clone());
        self.deliver_watches();
        client
    }

    fn delivery(&self) -> Delivery {
        let (now, mut conditions) = (self.sim.now(), self.conditions.lock());
        let request = self.leg(now, &conditions);
        let answer = if conditions.answers_to_lose > 0 {
            conditions.answers_to_lose -= 1;
            Leg::Lost
        } else {
            self.leg(now, &conditions)
        };
        Delivery { request, answer }
    }

    fn leg(&self, now: Duration, conditions: &Conditions) -> Leg {
        let chance = &self.sim.chance;
        if now < conditions.cut_until {
            let late = conditions.cut_until - now + chance.millis(1, 200);
            return if chance.percent(50) { Leg::Arrives(late) } else { Leg::Lost };
        }
        Leg::Arrives(if now < conditions.slow_until { chance.millis(50, 650) } else { chance.millis(0, 6) })
    }

    fn deliver_watches(&self) {
        let is_stalled = self.sim.now() < self.conditions.lock().stalled_until;
        let delay = WatchDelivery::Delayed(self.sim.chance.millis(1, 10));
        let client = self.conditions.lock().client.clone();
        if let Some(client) = client {
            client.set_watch_delivery(if is_stalled { WatchDelivery::Stalled } else { delay });
        }
    }

    /// Nothing passes for a while.
    pub(crate) fn cut(self: &Arc<Self>, time: Duration) {
        self.conditions.lock().cut_until = self.sim.now() + time;
        self.stall(time);
    }

    /// Requests and answers are slow for a while.
    pub(crate) fn slow(&self, time: Duration) {
        self.conditions.lock().slow_until = self.sim.now() + time;
    }

    /// The next answers are lost.
    pub(crate) fn lose_answers(&self, count: u32) {
        self.conditions.lock().answers_to_lose += count;
    }

    /// No watch message arrives for a while.
    pub(crate) fn stall(self: &Arc<Self>, time: Duration) {
        self.conditions.lock().stalled_until = self.sim.now() + time;
        self.deliver_watches();
        let link = Arc::clone(self);
        self.sim.after(time, move || link.deliver_watches());
    }

    /// Everything passes again.
    pub(crate) fn heal(&self) {
        {
            let mut conditions = self.conditions.lock();
            (conditions.cut_until, conditions.slow_until) = (Duration::ZERO, Duration::ZERO);
            (conditions.stalled_until, conditions.answers_to_lose) = (Duration::ZERO, 0);
        }
        self.deliver_watches();
    }
}
