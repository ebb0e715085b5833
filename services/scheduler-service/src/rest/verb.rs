//! Whether a verb may be asked for, in the protocol's order of checks. Pure.

use domain::provision::{self, Event, Given, State, Verb as Move};
use serde_json::{Map, Value};
use wire_ironic::{
    error::{Class, Error, text},
    verb::{Arguments, Provision, Verb},
};

use super::Ask;

/// What the domain calls a verb of the protocol.
pub(super) const fn asked(verb: Verb) -> Move {
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

pub(super) fn word<'a>(node: &'a Map<String, Value>, name: &str) -> &'a str {
    node.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn is(node: &Map<String, Value>, name: &str) -> bool {
    node.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// The verb of a request, once version, maintenance and state take it.
pub(super) fn verb(
    ask: &Ask,
    request: &Provision,
    node: &Map<String, Value>,
    state: State,
    given: Given,
) -> Result<Verb, Error> {
    let uuid = word(node, "uuid");
    Verb::check_version(ask.version, &request.target)?;
    if is(node, "maintenance") {
        Verb::check_maintenance(&request.target, uuid)?;
    }
    let wrong = || text::wrong_state(&request.target, uuid, Some(state.ironic_name()));
    let verb = Verb::read(&request.target).ok_or_else(wrong)?;
    match provision::step(state, Event::Asked(asked(verb)), given) {
        Ok(_) if verb != Verb::Abort || takes_abort(state) => Ok(verb),
        Err(provision::Refused::Retired) => {
            let refusal = format!("Node {uuid} can not be made available because it is retired.");
            Err(Class::Invalid.says(refusal))
        }
        Ok(_) | Err(_) => Err(wrong()),
    }
}

/// What came with it, and what else keeps it from being done.
pub(super) fn arguments(
    ask: &Ask,
    request: &Provision,
    verb: Verb,
    node: &Map<String, Value>,
    state: State,
) -> Result<Arguments, Error> {
    let uuid = word(node, "uuid");
    let arguments = request.check(ask.version, verb, state.ironic_name())?;
    if let Some(operation) = verb.in_maintenance().filter(|_| is(node, "maintenance")) {
        return Err(text::in_maintenance(operation, uuid));
    }
    if is(node, "protected") {
        verb.check_protected(uuid)?;
    }
    check_interface(verb, node)?;
    Ok(arguments)
}

/// What the driver has nothing for is refused before it begins.
fn check_interface(verb: Verb, node: &Map<String, Value>) -> Result<(), Error> {
    let interface = match verb {
        Verb::Rescue => "rescue",
        Verb::Inspect => "inspect",
        Verb::Active
        | Verb::Rebuild
        | Verb::Deleted
        | Verb::Manage
        | Verb::Provide
        | Verb::Abort
        | Verb::Clean
        | Verb::Adopt
        | Verb::Unrescue
        | Verb::Unhold
        | Verb::Service => return Ok(()),
    };
    let chosen = word(node, &format!("{interface}_interface"));
    if !chosen.starts_with("no-") {
        return Ok(());
    }
    Err(text::unsupported(word(node, "driver"), interface, Class::Invalid))
}

/// Clients of the protocol give up what waits, and nothing that somebody is at.
fn takes_abort(state: State) -> bool {
    let name = state.ironic_name();
    name.ends_with(" wait") || name.ends_with(" hold") || matches!(name, "wait call-back" | "service failed")
}
