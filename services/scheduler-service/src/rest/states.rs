//! What is asked of a node's life and of its power.

use std::time::Duration;

use domain::{driver::Driver, power::PowerTarget, provision::Event};
use serde_json::{Value, json};
use service_kit::clock;
use wire_ironic::{
    error::{Class, Error, text},
    fields, links,
    verb::{ConfigDrive, Power, Provision, Seen, Target, Verb},
};

use super::{
    Ask, Face,
    answer::Answer,
    condition::Condition,
    fault::fault,
    gate::Lens,
    shelf::Shown,
    verb::{arguments, asked, is, verb, word},
};
use crate::{
    registry::Record,
    work::pass::{aborted, without_power},
};

/// How long a system may take to shut down where the request does not say it, and at most.
const SOFT: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a verb is tried that others' changes can get in the way of.
const TRIES: u32 = 3;

impl Face {
    pub(super) fn node_states(&self, ask: &Ask, ident: &str) -> Result<Answer, Error> {
        let node = self.node(ask, ident)?;
        Ok(Answer::shows(Value::Object(fields::node_states(ask.version, &Lens::nodes(ask).shown(&node.whole)))))
    }

    pub(super) async fn provision(&self, ask: &Ask, ident: &str) -> Result<Answer, Error> {
        let node = self.node(ask, ident)?;
        let request = Provision::read(&ask.arguments()?)?;
        let mut tries = TRIES;
        loop {
            match self.try_provision(ask, &request, &node).await? {
                Ok(()) => break,
                Err(error) if tries <= 1 || !error.is_conflict() => return Err(fault(ident, &error)),
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
        self.check_since(ask, &uuid, &shown, &record)?;
        let state = record.life.value.state;
        let verb = verb(ask, request, &shown.whole, state, registry.given(&record))?;
        let runbook = self.runbook(ask, request, &shown)?;
        let arguments = arguments(ask, request, verb, &shown.whole, state)?;
        let steps = self.course(verb, runbook, &arguments, (&shown, &record))?;
        let (event, steps) = (Event::Asked(asked(verb)), (steps, arguments.without_ramdisk));
        let mut intent = without_power(&record.intent.value);
        check_boots(verb, &record)?;
        if matches!(verb, Verb::Active | Verb::Rebuild) {
            let deployment = self.deployment(&record, &shown.whole, arguments.configdrive.as_ref()).await?;
            intent.deployment = deployment.or(intent.deployment);
        }
        let failure = (verb == Verb::Abort).then(|| aborted(state));
        let changed = (intent != record.intent.value).then_some(&intent);
        let drive = arguments.configdrive.as_ref().map(drive);
        if let Some(drive) = drive {
            self.change_node(&Condition::default(), &uuid, node.node, |before| {
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
        let accepted = registry.accept(&record, event, steps, failure, changed).await;
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
        self.check_since(ask, ident, &node, &record)?;
        if record.life.value.state.is_busy() {
            return Err(text::locked(&node.node.to_string(), word(&node.whole, "conductor")));
        }
        // A reboot that leaves no moment off is one that no system is asked for.
        if power.target == Target::SoftReboot && is(&node.whole, "disable_power_off") {
            let driver = record.intent.value.driver;
            let refusal =
                format!("The driver {driver} does not support the power state, soft rebooting, with disable_power_off");
            return Err(Class::Invalid.says(refusal));
        }
        let patience = power.timeout.map_or(SOFT, Duration::from_secs).min(LONGEST);
        let by = clock::now().plus(patience);
        let target = match power.target {
            Target::On => PowerTarget::On,
            Target::Off => PowerTarget::Off,
            Target::Reboot => PowerTarget::Booted { boot: None },
            Target::SoftOff => PowerTarget::SoftOff { by: Some(by) },
            Target::SoftReboot => PowerTarget::SoftBooted { by },
        };
        registry.accept_power(&record, target).await.map_err(|error| fault(ident, &error))?;
        Ok(Answer::accepted(Some(links::location(&ask.base, &format!("nodes/{ident}/states")))))
    }
}

/// A machine that boots from the network needs a NIC that it may boot from.
fn check_boots(verb: Verb, record: &Record) -> Result<(), Error> {
    let boots = matches!(verb, Verb::Active | Verb::Rebuild | Verb::Inspect | Verb::Clean);
    let has_port = record.ports.iter().any(|(_, port)| port.value.address.is_some());
    if !boots || has_port || record.intent.value.driver == Driver::FakeHardware {
        return Ok(());
    }
    Err(Class::Invalid.says(format!(
        "Failed to validate deploy or power info for node {node}: Node {node} does not have any port associated with it \
         that has an address on its rack's network",
        node = record.node
    )))
}

/// A config drive as a node keeps it.
fn drive(drive: &ConfigDrive) -> Value {
    match drive {
        ConfigDrive::Url(text) | ConfigDrive::Packed(text) => Value::from(text.as_str()),
        ConfigDrive::Parts(parts) => Value::Object(parts.clone()),
    }
}
