//! Nodes, drawn.

use proto::{
    api::v1::{GetNodeRequest, Node, NodeIntent, NodeObserved, Operation, Owner},
    common::v1::{BootMode, Hardware, Power},
    convert::time::duration,
};

use super::super::answered;
use crate::{
    call::Api,
    error::Error,
    human::{self, ago, at, length, moment, size},
    json,
    output::Screen,
    table, timeline_chart, words,
};

/// In the order in which people look for them.
pub(super) fn by_place(mut nodes: Vec<Node>) -> Vec<Node> {
    nodes.sort_by(|a, b| (&a.rack, &a.name).cmp(&(&b.rack, &b.name)));
    nodes
}

/// A line for each node.
pub(super) fn table_of(screen: &Screen, nodes: &[Node]) -> String {
    let heading = ["NODE", "RACK", "STATE", "SINCE", "POWER", "IMAGE", "BMC", "WAITS FOR, OR FAILED"];
    table::list(screen, &heading, nodes.iter().map(|node| row(screen, node)))
}

fn row(screen: &Screen, node: &Node) -> Vec<String> {
    let (intent, observed) = parts(node);
    vec![
        node.name.clone(),
        human::rack(&node.rack),
        observed.state.clone(),
        ago(screen.now(), observed.state_start_time),
        power(observed.power()).to_owned(),
        intent.image.clone(),
        intent.bmc_address.clone(),
        note(&observed),
    ]
}

/// What a node waits for, or why it failed.
pub(super) fn note(observed: &NodeObserved) -> String {
    if let Some(waiting) = &observed.waiting {
        return if observed.diagnosis.is_empty() {
            waiting.thing.clone()
        } else {
            format!("{} ({})", waiting.thing, observed.diagnosis)
        };
    }
    observed.last_failure.as_ref().map(|failure| failure.cause.clone()).unwrap_or_default()
}

/// A node's parts; an absent one is empty.
pub(super) fn parts(node: &Node) -> (NodeIntent, NodeObserved) {
    (node.intent.clone().unwrap_or_default(), node.observed.clone().unwrap_or_default())
}

/// Power in a word; empty where it was never read.
pub(super) fn power(power: Power) -> &'static str {
    match power {
        Power::Unspecified => "",
        Power::On => "on",
        Power::Off => "off",
    }
}

fn boot_mode(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Unspecified => "",
        BootMode::Bios => "bios",
        BootMode::Uefi => "uefi",
    }
}

pub(super) async fn one(screen: &Screen, api: &Api, node: String) -> Result<(), Error> {
    shown(screen, &answered(api.nodes().get_node(GetNodeRequest { node }).await?.into_inner().node)?)
}

/// Writes one node.
pub(super) fn shown(screen: &Screen, node: &Node) -> Result<(), Error> {
    screen.show(|| drawn(screen, node), || json::node(node))
}

fn drawn(screen: &Screen, node: &Node) -> String {
    let (intent, observed) = parts(node);
    let mut facts = vec![
        ("node", node.name.clone()),
        ("id", node.id.clone()),
        ("rack", human::rack(&node.rack)),
        ("generation", node.generation.to_string()),
    ];
    facts.extend(wanted(&intent));
    facts.extend(seen(screen, &observed));
    facts.push(("owners", node.owners.iter().map(owner).collect::<Vec<_>>().join("\n")));
    facts.extend(observed.hardware.iter().flat_map(machine));
    table::facts(screen, facts)
}

fn wanted(intent: &NodeIntent) -> Vec<(&'static str, String)> {
    let ports = intent.ports.iter();
    let ports = ports.map(|port| format!("{} {}", port.mac, port.address).trim_end().to_owned());
    let life = intent.sign_of_life_timeout.and_then(|timeout| duration("sign_of_life_timeout", timeout).ok());
    vec![
        ("bmc", format!("{} as {}", intent.bmc_address, intent.bmc_user)),
        ("boot mode", boot_mode(intent.boot_mode()).to_owned()),
        ("boot files", if intent.boot_files_by_tftp { "by TFTP".to_owned() } else { String::new() }),
        ("wait for life", life.map(length).unwrap_or_default()),
        ("ports", ports.collect::<Vec<_>>().join("\n")),
        ("image", intent.image.clone()),
        ("driver", intent.driver.clone()),
        ("class", intent.resource_class.clone()),
        ("traits", intent.traits.join(", ")),
        ("owner", intent.owner.clone()),
        ("maintenance", maintenance(intent)),
    ]
}

/// Reason for maintenance; empty if the node is not in maintenance.
fn maintenance(intent: &NodeIntent) -> String {
    match (intent.maintenance, intent.maintenance_reason.as_str()) {
        (false, _) => String::new(),
        (true, "") => "yes".to_owned(),
        (true, reason) => reason.to_owned(),
    }
}

fn seen(screen: &Screen, observed: &NodeObserved) -> Vec<(&'static str, String)> {
    let now = screen.now();
    let since =
        at(observed.state_start_time).map_or_else(String::new, |start| format!(", for {}", length(now.since(start))));
    let power = match power(observed.power()) {
        "" => String::new(),
        word => format!("{word}, seen {}", ago(now, observed.power_observe_time)),
    };
    let waits = observed.waiting.as_ref().map(|waiting| {
        let until = at(waiting.expire_time).map_or_else(Default::default, |expire| expire.since(now));
        format!("{}, since {}, for another {}", waiting.thing, ago(now, waiting.start_time), length(until))
    });
    let failure = observed
        .last_failure
        .as_ref()
        .map(|failure| format!("{}: {}\n{}", failure.cause, failure.text, moment(now, failure.occur_time)));
    let entry = observed.last_entry.as_ref();
    let entry = entry.map(|entry| format!("{}, {}", timeline_chart::sentence(entry), ago(now, entry.observe_time)));
    vec![
        ("state", format!("{}{since}", observed.state)),
        ("power", power),
        ("waits for", waits.unwrap_or_default()),
        ("last seen", entry.unwrap_or_default()),
        ("diagnosis", observed.diagnosis.clone()),
        ("failed", failure.unwrap_or_default()),
        ("next step", observed.next_step.clone()),
        ("operation", observed.operation.as_ref().map(|operation| running(screen, operation)).unwrap_or_default()),
        ("can be asked to", observed.verbs().map(words::verb).collect::<Vec<_>>().join(", ")),
        ("inspected", inspected(screen, observed)),
        ("remarks", observed.inspection_remarks.join("\n")),
    ]
}

/// An operation that runs: what is done, since when, and its id.
fn running(screen: &Screen, operation: &Operation) -> String {
    format!(
        "{}, started {}, {}",
        words::phase(operation.phase()),
        ago(screen.now(), operation.start_time),
        operation.id
    )
}

/// Returns the time of the last inspection, and whether a later one failed or is in progress.
fn inspected(screen: &Screen, observed: &NodeObserved) -> String {
    let (began, ended) = (observed.inspection_start_time, observed.inspection_end_time);
    let mut words = ago(screen.now(), ended);
    if at(began) > at(ended) {
        let separator = if words.is_empty() { "" } else { "; " };
        words.push_str(&format!("{separator}last tried {}", ago(screen.now(), began)));
    }
    words
}

/// Who looks after it for one service, and whether that has claimed it yet.
fn owner(owner: &Owner) -> String {
    let instance: String = owner.instance.chars().take(8).collect();
    let claim = match owner.claimed_by.as_str() {
        "" => "not claimed".to_owned(),
        holder if holder == owner.instance => format!("token {}", owner.token),
        holder => format!("still claimed by {}", holder.chars().take(8).collect::<String>()),
    };
    words_of(&[words::service(owner.service()), &instance, "at", &owner.endpoint, "-", &claim])
}

fn machine(hardware: &Hardware) -> Vec<(&'static str, String)> {
    let disks = hardware.disks.iter().map(|disk| {
        let kind = if disk.rotational { "rotating" } else { "" };
        words_of(&[&disk.name, &size(disk.size_bytes), &disk.model, &disk.serial, kind])
    });
    let nics = hardware.nics.iter().map(|nic| {
        let carrier = if nic.carrier { "up" } else { "no carrier" };
        words_of(&[&nic.name, &nic.mac, carrier, if nic.booted_from { "booted from" } else { "" }])
    });
    vec![
        ("machine", words_of(&[&hardware.manufacturer, &hardware.product, &hardware.serial])),
        ("uuid", hardware.uuid.clone()),
        ("cpu", words_of(&[&hardware.cpu_count.to_string(), "x", &hardware.cpu_model, &hardware.cpu_arch])),
        ("memory", size(hardware.memory_bytes)),
        ("booted with", boot_mode(hardware.boot_mode()).to_owned()),
        ("disks", disks.collect::<Vec<_>>().join("\n")),
        ("nics", nics.collect::<Vec<_>>().join("\n")),
    ]
}

fn words_of(words: &[&str]) -> String {
    words.iter().copied().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
