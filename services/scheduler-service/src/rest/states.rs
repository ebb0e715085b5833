//! What is asked of a node's life and of its power.

use domain::{
    power::PowerTarget,
    provision::{self, Event, State, Verb as Move},
};
use serde_json::{Map, Value, json};
use wire_ironic::{
    error::{Class, Error, text},
    fields, links,
    verb::{Arguments, ConfigDrive, Power, Provision, Seen, Target, Verb},
};

use super::{Ask, Face, answer::Answer, fault::fault, shelf::Shown};
use crate::work::pass::{aborted, without_power};

/// How often a verb is tried that others' changes can get in the way of.
const TRIES: u32 = 3;

/// What the domain calls a verb of the protocol.
const fn asked(verb: Verb) -> Move {
    match verb {
        Verb::Active => Move::Deploy,
        Verb::Rebuild => Move::Rebuild,
        Verb::Deleted => Move::Undeploy,
        Verb::Manage => Move::Manage,
        Verb::Provide => Move::Provide,
        Verb::Inspect => Move::Inspect,
        Verb::Abort => Move::Abort,
        Verb::Clean => Move::Clean,
        Verb::Adopt => Move::Adopt,
        Verb::Rescue => Move::Rescue,
        Verb::Unrescue => Move::Unrescue,
        Verb::Unhold => Move::Unhold,
        Verb::Service => Move::Service,
    }
}

fn word<'a>(node: &'a Map<String, Value>, name: &str) -> &'a str {
    node.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is(node: &Map<String, Value>, name: &str) -> bool {
    node.get(name).and_then(Value::as_bool).unwrap_or_default()
}

impl Face {
    pub(super) fn node_states(&self, ask: &Ask, ident: &str) -> Result<Answer, Error> {
        let node = self.node(ask, ident)?;
        Ok(Answer::shows(Value::Object(fields::node_states(ask.version, &node.whole))))
    }

    pub(super) async fn provision(&self, ask: &Ask, ident: &str) -> Result<Answer, Error> {
        let node = self.node(ask, ident)?;
        let request = Provision::read(&ask.arguments()?)?;
        let mut tries = TRIES;
        loop {
            match self.try_provision(ask, &request, &node).await? {
                Ok(()) => break,
                Err(error) if tries <= 1 || !is_conflict(&error) => return Err(fault(ident, &error)),
                Err(_) => tries -= 1,
            }
            if let Some(held) = self.shared.registry.held(node.node) {
                self.shared.registry.seen_anew(&held).await;
            }
        }
        Ok(Answer::accepted(Some(links::location(&ask.base, &format!("nodes/{ident}/states")))))
    }

    /// One try; the inner error is the store's.
    async fn try_provision(
        &self,
        ask: &Ask,
        request: &Provision,
        node: &Shown,
    ) -> Result<Result<(), crate::Error>, Error> {
        let uuid = node.node.to_string();
        let registry = &self.shared.registry;
        let record = registry.record(node.rack, node.node).ok_or_else(|| text::not_found("Node", &uuid))?;
        let shown = self.shelf.get(node.node).ok_or_else(|| text::not_found("Node", &uuid))?;
        let state = record.life.value.state;
        let (verb, arguments) = check(ask, request, &shown.whole, state)?;
        let event = Event::Asked(asked(verb));
        let intent = without_power(&record.intent.value);
        let failure = (verb == Verb::Abort).then(|| aborted(state));
        let changed = (intent != record.intent.value).then_some(&intent);
        let drive = arguments.configdrive.as_ref().map(drive);
        if let Some(drive) = drive {
            self.change_node(&uuid, node.node, |before| {
                let mut after = before.clone();
                if let Some(Value::Object(info)) = after.get_mut("instance_info") {
                    info.insert("configdrive".to_owned(), drive.clone());
                } else {
                    after.insert("instance_info".to_owned(), json!({"configdrive": drive}));
                }
                Ok(after)
            })
            .await?;
        }
        let accepted = registry.accept(&record, event, failure, changed).await;
        if accepted.is_ok() {
            let state = registry.held(node.node).map(|held| held.life.value.state.to_string()).unwrap_or_default();
            self.shared.hot.tell(Some(node.node), "STATE", state);
        }
        Ok(accepted)
    }

    pub(super) async fn power(&self, ask: &Ask, ident: &str) -> Result<Answer, Error> {
        let node = self.node(ask, ident)?;
        let seen = Seen {
            ident,
            power: node.whole.get("power_state").and_then(Value::as_str),
            provision: word(&node.whole, "provision_state"),
            stays_on: is(&node.whole, "disable_power_off"),
        };
        let power = Power::read(ask.version, &ask.arguments()?, seen)?;
        let registry = &self.shared.registry;
        let record = registry.record(node.rack, node.node).ok_or_else(|| text::not_found("Node", ident))?;
        if record.life.value.state.is_busy() {
            return Err(text::locked(&node.node.to_string(), word(&node.whole, "conductor")));
        }
        let target = match power.target {
            Target::On => PowerTarget::On,
            Target::Off => PowerTarget::Off,
            Target::SoftOff => PowerTarget::SoftOff,
            Target::Reboot | Target::SoftReboot => PowerTarget::Booted { boot: None },
        };
        registry.accept_power(&record, target).await.map_err(|error| fault(ident, &error))?;
        Ok(Answer::accepted(Some(links::location(&ask.base, &format!("nodes/{ident}/states")))))
    }
}

fn is_conflict(error: &crate::Error) -> bool {
    matches!(error, crate::Error::Mesh(mesh::Error::Store(keyspace::Error::Conflict)))
}

/// Everything that is checked of a verb, in the protocol's order.
fn check(ask: &Ask, request: &Provision, node: &Map<String, Value>, state: State) -> Result<(Verb, Arguments), Error> {
    let uuid = word(node, "uuid");
    Verb::check_version(ask.version, &request.target)?;
    if is(node, "maintenance") {
        Verb::check_maintenance(&request.target, uuid)?;
    }
    let shown = state.ironic_name();
    let wrong = || text::wrong_state(&request.target, uuid, Some(shown));
    let verb = Verb::read(&request.target).ok_or_else(wrong)?;
    provision::step(state, Event::Asked(asked(verb))).map_err(|_| wrong())?;
    let arguments = request.check(ask.version, verb, shown)?;
    if let Some(operation) = verb.in_maintenance().filter(|_| is(node, "maintenance")) {
        return Err(text::in_maintenance(operation, uuid));
    }
    if is(node, "protected") {
        verb.check_protected(uuid)?;
    }
    if verb == Verb::Provide && is(node, "retired") {
        let refusal = format!("Node {uuid} can not be made available because it is retired.");
        return Err(Class::Invalid.says(refusal));
    }
    Ok((verb, arguments))
}

/// A config drive as a node keeps it.
fn drive(drive: &ConfigDrive) -> Value {
    match drive {
        ConfigDrive::Url(text) | ConfigDrive::Packed(text) => Value::from(text.as_str()),
        ConfigDrive::Parts(parts) => Value::Object(parts.clone()),
    }
}
