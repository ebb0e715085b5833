//! Events of the mesh: members that join, lead, leave or are lost, takeovers, and overdue operations.
//!
//! All events are derived from the view, so every scheduler publishes the same ones.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use domain::{
    id::{InstanceId, NodeId},
    service::Service,
    time::Timestamp,
};
use keyspace::{
    View,
    key::{self, Parsed, Scope},
    value::{Claim, Election, Journal, Member, Operation, StoredRing},
    view::News,
};
use service_kit::clock;

use crate::{app_state::AppState, live_state::LiveState, work::seen};

/// Interval at which overdue operations are searched.
const OVERDUE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Time after a deadline before an operation counts as overdue.
const OVERDUE_GRACE_PERIOD: Duration = Duration::from_secs(5);
/// Number of ended instances whose names are remembered.
const MAX_REMEMBERED_NAMES: usize = 4096;

/// Publishes events until the host stops.
pub async fn tell(shared: Arc<AppState>) {
    let mut news = shared.registry.view().subscribe();
    let mut witness = MeshEvents::default();
    // The initial state causes no events.
    witness.look_everywhere(shared.registry.view(), &LiveState::default());
    loop {
        tokio::select! {
            () = shared.host.stopping() => return,
            news = news.next() => match news {
                Some(News::Path(path)) => witness.look(shared.registry.view(), &shared.live_state, &path),
                Some(News::Everything) => witness.look_everywhere(shared.registry.view(), &shared.live_state),
                None => return,
            },
            () = tokio::time::sleep(OVERDUE_CHECK_INTERVAL) => {}
        }
        if clock::now().since(witness.looked) >= OVERDUE_CHECK_INTERVAL {
            witness.find_overdue(&shared);
        }
    }
}

/// State at the last check.
#[derive(Debug, Default)]
struct MeshEvents {
    members: BTreeMap<String, Member>,
    leaders: BTreeMap<String, InstanceId>,
    rings: BTreeMap<String, usize>,
    holders: BTreeMap<String, InstanceId>,
    running: BTreeMap<String, Running>,
    names: HashMap<InstanceId, String>,
    looked: Timestamp,
}

/// Operation or command with a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    node: NodeId,
    /// Command of a leaf with the time of its journal entry. `None` for an operation of the scheduler.
    command: Option<(String, Timestamp)>,
    deadline: Option<Timestamp>,
    is_told: bool,
}

/// Subject of a key of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Member(Scope, Service, InstanceId),
    Election(Scope, Service),
    Ring(Scope, Service),
    Claim(Scope, Service, NodeId),
    Journal(Scope, Service, NodeId),
    Operation(NodeId),
}

/// Parses a path. Returns `None` if its changes cause no events.
#[expect(clippy::wildcard_enum_match_arm, reason = "most keys are not told")]
fn about(path: &str) -> Option<About> {
    match key::parse(path)? {
        Parsed::Operation { node, .. } => Some(About::Operation(node)),
        Parsed::Member { scope, service, instance } => Some(About::Member(scope, service, instance)),
        Parsed::Election { scope, service } => Some(About::Election(scope, service)),
        Parsed::Ring { scope, service } => Some(About::Ring(scope, service)),
        Parsed::Claim { scope, service, node } => Some(About::Claim(scope, service, node)),
        Parsed::Journal { scope, service, node } => Some(About::Journal(scope, service, node)),
        _ => None,
    }
}

impl MeshEvents {
    fn look_everywhere(&mut self, view: &View, hot: &LiveState) {
        let known = [
            self.members.keys().cloned().collect::<Vec<_>>(),
            self.leaders.keys().cloned().collect(),
            self.holders.keys().cloned().collect(),
            self.running.keys().cloned().collect(),
        ];
        // Members first, because later events name them.
        let mut paths: Vec<String> = known.into_iter().flatten().chain(view.paths(key::ROOT)).collect();
        paths.sort_by_key(|path| !matches!(about(path), Some(About::Member(..))));
        paths.dedup();
        for path in paths {
            self.look(view, hot, &path);
        }
    }

    fn look(&mut self, view: &View, hot: &LiveState, path: &str) {
        match about(path) {
            Some(About::Member(scope, service, instance)) => {
                let seen = view.get(&key::member(scope, service, instance)).map(|read| read.value);
                self.member(hot, path, service, instance, seen);
            }
            Some(About::Election(scope, service)) => {
                let seen = view.get(&key::election(scope, service)).map(|read| read.value);
                self.election(hot, path, service, seen);
            }
            Some(About::Ring(scope, service)) => {
                if let Some(ring) = view.ring(scope, service) {
                    self.ring(hot, path, service, &ring.value);
                }
            }
            Some(About::Claim(scope, service, node)) => {
                let seen = view.get(&key::claim(scope, service, node)).map(|read| read.value);
                self.claim(hot, path, service, node, seen);
            }
            Some(About::Journal(scope, service, node)) => {
                self.journal(path, node, view.get(&key::journal(scope, service, node)).map(|read| read.value));
            }
            Some(About::Operation(node)) => {
                let seen = key::node_of(path).and_then(|(rack, node)| view.get(&key::operation(rack, node)));
                self.operation(path, node, seen.map(|read| read.value));
            }
            None => {}
        }
    }

    fn member(&mut self, hot: &LiveState, path: &str, service: Service, instance: InstanceId, seen: Option<Member>) {
        match (self.members.get(path), seen) {
            (None, Some(member)) => {
                if self.names.len() >= MAX_REMEMBERED_NAMES {
                    self.names.clear();
                }
                let name = format!("{service} at {}", member.endpoint);
                hot.tell(None, "JOINED", format!("{name} joined, as {instance}"));
                self.names.insert(instance, name);
                self.members.insert(path.to_owned(), member);
            }
            (Some(before), Some(member)) => {
                if member.stopping && !before.stopping {
                    hot.tell(None, "STOPPING", format!("{} stops, and hands over first", self.name(instance)));
                }
                self.members.insert(path.to_owned(), member);
            }
            (Some(before), None) => {
                let name = self.name(instance);
                if before.stopping {
                    hot.tell(None, "LEFT", format!("{name} left"));
                } else {
                    let why = "killed, hanging or cut off from etcd; what it had passes on by itself";
                    hot.tell(None, "LOST", format!("{name} lost its lease: {why}; see: ironmesh rack show"));
                }
                self.members.remove(path);
            }
            (None, None) => {}
        }
    }

    fn election(&mut self, hot: &LiveState, path: &str, service: Service, seen: Option<Election>) {
        let Some(Election { instance }) = seen else { return };
        if self.leaders.insert(path.to_owned(), instance) != Some(instance) {
            hot.tell(None, "LEADER", format!("{} leads the ring of {service}", self.name(instance)));
        }
    }

    fn ring(&mut self, hot: &LiveState, path: &str, service: Service, ring: &StoredRing) {
        let members = ring.ring.members.len();
        if self.rings.insert(path.to_owned(), members) != Some(members) {
            let leaving = match ring.ring.leaving.len() {
                0 => String::new(),
                leaving => format!(", {leaving} leaving"),
            };
            hot.tell(None, "RING", format!("the nodes of {service} are shared by {members} instances{leaving}"));
        }
    }

    fn claim(&mut self, hot: &LiveState, path: &str, service: Service, node: NodeId, seen: Option<Claim>) {
        let Some(claim) = seen else {
            self.holders.remove(path);
            return;
        };
        let before = self.holders.insert(path.to_owned(), claim.instance);
        if let Some(before) = before.filter(|before| *before != claim.instance) {
            let (now, before) = (self.name(claim.instance), self.name(before));
            hot.tell(Some(node), "TAKEOVER", format!("{now} took the {service} part of it over from {before}"));
        }
    }

    fn journal(&mut self, path: &str, node: NodeId, seen: Option<Journal>) {
        let open = seen.and_then(|journal| journal.entry).filter(|entry| entry.outcome.is_none());
        match open.map(|entry| (entry.command, entry.at)) {
            None => drop(self.running.remove(path)),
            command if self.running.get(path).is_some_and(|running| running.command == command) => {}
            command => {
                drop(self.running.insert(path.to_owned(), Running { node, command, deadline: None, is_told: false }))
            }
        }
    }

    fn operation(&mut self, path: &str, node: NodeId, seen: Option<Operation>) {
        if seen.is_some_and(|operation| operation.is_running()) {
            let begun = Running { node, command: None, deadline: None, is_told: false };
            self.running.entry(path.to_owned()).or_insert(begun);
        } else {
            self.running.remove(path);
        }
    }

    /// Finds operations that run past their deadline, because their owner hangs.
    fn find_overdue(&mut self, shared: &AppState) {
        let now = clock::now();
        self.looked = now;
        for running in self.running.values_mut() {
            let deadline = match &running.command {
                Some((_, at)) => Some(at.plus(shared.limits.power)),
                // A waiting operation has the deadline of its plan; others have none.
                None => deadline(shared, running.node),
            };
            if deadline.is_some() && deadline != running.deadline {
                running.deadline = deadline;
                running.is_told = false;
            }
            if let Some(text) = running.overdue(now) {
                running.is_told = true;
                tracing::warn!(node = %running.node, text, "overdue");
                shared.live_state.tell(Some(running.node), "LOCK_OVERDUE", text);
            }
        }
    }

    fn name(&self, instance: InstanceId) -> String {
        self.names.get(&instance).cloned().unwrap_or_else(|| format!("instance {instance}"))
    }
}

/// Returns the deadline of a node's operation.
fn deadline(shared: &AppState, node: NodeId) -> Option<Timestamp> {
    let record = shared.registry.record(shared.registry.rack_of(node)?, node)?;
    seen::waiting(shared, &record).map(|waiting| waiting.until)
}

impl Running {
    fn overdue(&self, now: Timestamp) -> Option<String> {
        let deadline = self.deadline.filter(|deadline| now > deadline.plus(OVERDUE_GRACE_PERIOD) && !self.is_told)?;
        let what = self.command.as_ref().map_or("its operation", |(command, _)| command);
        let next = "see who holds it: ironmesh lock list; if it hangs: ironmesh lock break";
        Some(format!("{what} should have ended at {deadline} and has not; {next}"))
    }
}

#[cfg(test)]
mod tests;
