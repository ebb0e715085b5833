//! What is wrong in a datacenter, and what to do about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{service::Service, time::Timestamp};
use keyspace::{
    View, key,
    value::{Host, JoinToken},
};
use uuid::Uuid;

use crate::{
    Survey,
    host_state::{self, HostState},
    survey::RingFacts,
};

/// After this time a drain or a removal should have ended.
const PATIENCE: Duration = Duration::from_secs(300);
/// An unused token that expires within this time is told.
const TOKEN_WARNING: Duration = Duration::from_secs(3600);

/// How bad a problem is. The order is from note to error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is as intended, but may be forgotten.
    Note,
    /// Something works, but would not if one thing more failed.
    Warning,
    /// Something does not work.
    Error,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Stable identifier.
    pub reason: &'static str,
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub text: String,
    /// What to do about it: a command, or a sentence.
    pub next_step: String,
}

/// What the status is computed from.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Hosts, racks, running services and rings.
    pub survey: Survey,
    /// The nodes of each rack by their provisioning state.
    pub nodes: BTreeMap<String, BTreeMap<String, usize>>,
    /// Valid join tokens.
    pub tokens: Vec<(Uuid, JoinToken)>,
    /// Why the store cannot be changed, and since when; `None` if it can.
    pub island: Option<(String, Timestamp)>,
    /// What has to be said about the end of the scheduler-service's own certificate.
    pub certificate: Option<String>,
    /// The time.
    pub now: Timestamp,
}

impl Facts {
    /// Reads what the view has. The store's and the certificate's state are the caller's.
    #[must_use]
    pub fn read(view: &View, now: Timestamp) -> Self {
        let survey = Survey::read(view);
        let mut nodes = BTreeMap::new();
        for rack in &survey.racks {
            let mut states = BTreeMap::<String, usize>::new();
            for node in view.nodes(rack.value.id) {
                if let Some(life) = view.get(&key::life(rack.value.id, node)) {
                    let count = states.entry(life.value.state.to_string()).or_default();
                    *count = count.saturating_add(1);
                }
            }
            nodes.insert(rack.value.name.clone(), states);
        }
        let tokens = view.list(&key::join_tokens()).into_iter();
        let tokens = tokens.filter_map(|(path, token)| Some((key::last(&path)?, token.value)));
        let tokens = tokens.filter(|(_, token)| token.expires > now).collect();
        Self { survey, nodes, tokens, now, ..Self::default() }
    }
}

/// Finds what is wrong, the worst first.
#[must_use]
pub fn problems(facts: &Facts) -> Vec<Problem> {
    let mut found = Vec::new();
    found.extend(store(facts));
    for host in &facts.survey.hosts {
        found.extend(of_host(facts, &host.value));
    }
    for rack in &facts.survey.racks {
        of_rack(facts, &rack.value.name, &mut found);
    }
    found.extend(schedulers(facts));
    found.extend(facts.survey.rings.iter().flat_map(|ring| of_ring(facts, ring)));
    found.extend(facts.tokens.iter().filter_map(|(id, token)| of_token(facts, *id, token)));
    if let Some(text) = &facts.certificate {
        found.push(Problem {
            severity: Severity::Warning,
            reason: "CERTIFICATE",
            subject: "scheduler-service".to_owned(),
            text: text.clone(),
            next_step: "see that the authority's host is up: it renews certificates by itself".to_owned(),
        });
    }
    // Stable: what is found first of one severity stays first.
    found.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    found
}

fn store(facts: &Facts) -> Vec<Problem> {
    let mut found = Vec::new();
    let problem = |severity, reason, text, next_step: &str| Problem {
        severity,
        reason,
        subject: "store".to_owned(),
        text,
        next_step: next_step.to_owned(),
    };
    if let Some((why, since)) = &facts.island {
        let text = format!("it cannot be changed for {}: {why}", length(facts.now.since(*since)));
        found.push(problem(Severity::Error, "ISLAND", text, "ironmesh store status"));
    }
    let members = facts.survey.hosts.iter().filter(|host| host.value.store && host.value.removal.is_none()).count();
    let hosts = facts.survey.hosts.len();
    if (members == 1 && hosts >= 3) || members == 2 {
        let text = format!("it has {members} of 3 members, so that it is gone with one host");
        found.push(problem(Severity::Warning, "STORE_MEMBERS", text, "ironmesh token create --store"));
    }
    found
}

fn of_host(facts: &Facts, host: &Host) -> Option<Problem> {
    let running: Vec<_> = facts.survey.running_on(&host.name).collect();
    let services = host_state::services(host, &running);
    let name = &host.name;
    let problem = |severity, reason, text, next_step| {
        Some(Problem { severity, reason, subject: format!("host {name}"), text, next_step })
    };
    let look = || "on the host: journalctl -u ironmesh-host".to_owned();
    let marked = |mark: Option<&keyspace::value::Mark>| {
        mark.map(|mark| (mark.by.clone(), facts.now.since(mark.at))).unwrap_or_default()
    };
    match host_state::state(host, &services) {
        HostState::Ready => None,
        HostState::Degraded => {
            let down = services.iter().filter(|service| service.running.is_none());
            let down: Vec<_> = down.map(|service| of_place(service.service, &service.rack)).collect();
            problem(Severity::Error, "HOST_DEGRADED", format!("it does not run {}", down.join(", ")), look())
        }
        HostState::Down => {
            let is_its = |ring: &&RingFacts| {
                services.iter().any(|service| service.service == ring.service && service.rack == ring.rack)
            };
            // The rings were written without its instances when these were gone.
            let since = facts.survey.rings.iter().filter(is_its).map(|ring| ring.since).min();
            let since = since.map(|since| format!(" for {}", length(facts.now.since(since)))).unwrap_or_default();
            let next = if host.authority {
                "start it, or restore its data directory on another machine: no host can join without it".to_owned()
            } else {
                format!("bring it up, or: ironmesh host remove {name} --force")
            };
            problem(Severity::Error, "HOST_DOWN", format!("none of its services runs{since}"), next)
        }
        HostState::Draining => {
            let (by, since) = marked(host.drain.as_ref());
            let severity = if since > PATIENCE { Severity::Warning } else { Severity::Note };
            problem(severity, "HOST_DRAINING", format!("{by} drains it for {}", length(since)), look())
        }
        HostState::Drained => {
            let (by, since) = marked(host.drain.as_ref());
            let next = format!("ironmesh host undrain {name}, or ironmesh host remove {name}");
            problem(Severity::Note, "HOST_DRAINED", format!("{by} drained it {} ago", length(since)), next)
        }
        HostState::Removing => {
            let (by, since) = marked(host.removal.as_ref());
            let severity = if since > PATIENCE { Severity::Warning } else { Severity::Note };
            let text = format!("{by} removes it for {}", length(since));
            problem(severity, "HOST_REMOVING", text, "see that the authority's host is up".to_owned())
        }
    }
}

fn of_rack(facts: &Facts, rack: &str, found: &mut Vec<Problem>) {
    let nodes: usize = facts.nodes.get(rack).map(|states| states.values().sum()).unwrap_or_default();
    let serves = |host: &Host| host.removal.is_none() && host.racks.iter().any(|planned| planned.rack == rack);
    let hosts = facts.survey.hosts.iter().filter(|host| serves(&host.value)).count();
    let (mut missing, mut single) = (Vec::new(), Vec::new());
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
        let is_its = |service: Service| {
            facts.survey.running.iter().filter(move |running| running.service == service && running.rack == rack)
        };
        let place = |running: &crate::survey::Running| {
            (running.host.clone(), running.host.is_empty().then(|| running.endpoint.clone()))
        };
        let places: BTreeSet<_> = is_its(service).filter(|running| !running.stopping).map(place).collect();
        match places.len() {
            0 => missing.push(service.name()),
            1 => single.push(service.name()),
            _ => {}
        }
    }
    let mut problem = |severity, reason, text| {
        let subject = format!("rack {}", if rack.is_empty() { "(default)" } else { rack });
        let quoted = if rack.is_empty() { "\"\"" } else { rack };
        let next_step = format!("ironmesh token create --rack {quoted}");
        found.push(Problem { severity, reason, subject, text, next_step });
    };
    if missing.len() == Service::ALL.len() - 1 && hosts == 0 {
        let severity = if nodes > 0 { Severity::Error } else { Severity::Note };
        let text = format!("no host serves it, and it has {nodes} nodes");
        problem(severity, "RACK_WITHOUT_HOST", text);
    } else if !missing.is_empty() {
        problem(Severity::Error, "RACK_WITHOUT_SERVICE", format!("nothing runs its {}", missing.join(", ")));
    }
    // A datacenter without host records is that of one command on one host.
    if !single.is_empty() && !facts.survey.hosts.is_empty() {
        problem(Severity::Warning, "RACK_SINGLE_HOST", format!("one host alone runs its {}", single.join(", ")));
    }
}

fn schedulers(facts: &Facts) -> Option<Problem> {
    let running = facts.survey.running.iter();
    let running = running.filter(|running| running.service == Service::Scheduler && !running.stopping).count();
    (running < 2 && facts.survey.hosts.len() > 1).then(|| Problem {
        severity: Severity::Warning,
        reason: "SINGLE_SCHEDULER",
        subject: "schedulers".to_owned(),
        text: "one host alone runs a scheduler-service".to_owned(),
        next_step: "ironmesh token create --scheduler".to_owned(),
    })
}

fn of_ring(facts: &Facts, ring: &RingFacts) -> Vec<Problem> {
    let mut found = Vec::new();
    let is_its = |running: &&crate::survey::Running| running.service == ring.service && running.rack == ring.rack;
    let mut running = facts.survey.running.iter().filter(is_its).peekable();
    let mut problem = |reason, text, next_step: &str| {
        let subject = of_place(ring.service, &ring.rack);
        found.push(Problem { severity: Severity::Error, reason, subject, text, next_step: next_step.to_owned() });
    };
    let is_led = |leader| running.clone().any(|running| Some(running.instance) == leader);
    if !is_led(ring.leader) && running.peek().is_some() {
        let text = "its instances have no leader, so that no nodes change hands".to_owned();
        problem("RING_WITHOUT_LEADER", text, "if it lasts for more than 10 s, see the logs of its instances");
    }
    for (instance, since) in &ring.leaving {
        let age = facts.now.since(*since);
        if age > PATIENCE {
            let text = format!("instance {instance} has not let go of its nodes for {}", length(age));
            problem("RING_LEAVING", text, "ironmesh lock list");
        }
    }
    found
}

fn of_token(facts: &Facts, id: Uuid, token: &JoinToken) -> Option<Problem> {
    let left = token.expires.since(facts.now);
    (token.used.is_empty() && left < TOKEN_WARNING).then(|| Problem {
        severity: Severity::Note,
        reason: "TOKEN_UNUSED",
        subject: format!("join token {id}"),
        text: format!("no host has joined with it, and it expires in {}", length(left)),
        next_step: format!("ironmesh token delete {id}"),
    })
}

/// A service of a rack, in words.
fn of_place(service: Service, rack: &str) -> String {
    match (service, rack) {
        (Service::Scheduler, _) => service.to_string(),
        (_, "") => format!("{service} of rack (default)"),
        (_, rack) => format!("{service} of rack {rack}"),
    }
}

/// A length of time in its largest unit.
fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
