//! Collects the steps of a provision request: its own, those of a runbook, or those of the templates that the instance's
//! traits name.

use domain::{
    driver::Driver,
    id::NodeId,
    plan::Executor,
    provision::Phase,
    step::{ReservedStep, Step},
    step_plan::MAX_PAUSE,
};
use keyspace::{
    seal::has_sealed,
    value::{DeployTemplateSpec, InstanceInfo, NodeSpec, RunbookSpec, StepSpec},
};
use serde_json::{Map, Value};
use wire_ironic::{
    agent::WRITE_IMAGE,
    error::{Class, Error},
    fields::is_secret,
    verb::{self, Arguments, Provision, Verb, order_deploy_steps},
};

use super::{ApiRequest, RestApi};
use scheduler_core::{node_view::NodeView, registry::Record};

/// First minor version with runbooks.
const RUNBOOKS: u16 = 92;
/// Start of Ironic's errors about the steps of templates, and of the request.
const OF_TEMPLATES: &str =
    "Validation of deploy steps from deploy templates matching this node's instance traits failed. Errors: ";
const OF_REQUEST: &str = "Validation of deploy steps from \"deploy steps\" argument failed.";
/// First minor version in which runbooks have traits.
const RUNBOOK_TRAITS: u16 = 112;

impl RestApi {
    /// Returns the steps of a verb, in their order. Empty for the default steps.
    pub(super) fn requested_steps(
        &self,
        verb: Verb,
        runbook: Option<Vec<verb::Step>>,
        arguments: &Arguments,
        node: &NodeView,
    ) -> Result<Vec<Step>, Error> {
        let steps = match (verb, runbook) {
            (Verb::Active | Verb::Rebuild, _) => {
                let templates = self.templates(node);
                templates.iter().try_for_each(|steps| check_core(node.node, steps, OF_TEMPLATES))?;
                check_core(node.node, &arguments.steps, OF_REQUEST)?;
                let executor = NodeSpec::executor(Some(node.spec()), node.intent.driver, Phase::Deploy);
                let is_requested = templates.iter().chain([&arguments.steps]).any(|steps| !steps.is_empty());
                let steps = order_deploy_steps(image_step(executor), templates, arguments.steps.clone());
                if is_requested && steps.is_empty() {
                    return Err(invalid_deployment(node.node, "No deploy steps returned by the driver"));
                }
                steps
            }
            (_, Some(steps)) => steps,
            (_, None) => arguments.steps.clone(),
        };
        Ok(steps.into_iter().map(domain_step).collect())
    }

    /// Returns the steps of the runbook that a request names, if it is approved for the node.
    pub(super) fn runbook(
        &self,
        request: &ApiRequest,
        provision_request: &Provision,
        node: &NodeView,
    ) -> Result<Option<Vec<verb::Step>>, Error> {
        let Some(ident) = provision_request.runbook.as_deref().filter(|_| request.version.has(RUNBOOKS)) else {
            return Ok(None);
        };
        let runbook = self.resource::<RunbookSpec>(ident)?;
        check_approved(request, runbook.spec(), node)?;
        let mut steps: Vec<_> = runbook.spec().steps.iter().map(stored).collect();
        steps.sort_by_key(|step| step.priority);
        Ok(Some(steps))
    }

    /// Returns the steps of the templates that the instance's traits name, template by template.
    fn templates(&self, node: &NodeView) -> Vec<Vec<verb::Step>> {
        let traits = node.spec().instance_info.iter().flat_map(|info| InstanceInfo::of(info).traits());
        let found = traits.filter_map(|name| self.app.resource_named::<DeployTemplateSpec>(name));
        found.map(|template| template.spec().steps.iter().map(stored).collect()).collect()
    }
}

/// Rejects a step that replaces a core step of the driver. One of priority 0 disables it.
fn check_core(node: NodeId, steps: &[verb::Step], prefix: &str) -> Result<(), Error> {
    let replaces = |step: &&verb::Step| step.priority.unwrap_or(0) > 0 && domain_step((*step).clone()).is_core();
    let Some(verb::Step { interface, step, .. }) = steps.iter().find(replaces) else { return Ok(()) };
    let why = format!(
        "{prefix}deploy step {step} on interface {interface} is a core step and cannot be overridden by user steps. It may \
         be disabled by setting the priority to 0"
    );
    Err(invalid_deployment(node, &why))
}

fn invalid_deployment(node: NodeId, why: &str) -> Error {
    Class::Invalid.error(format!("Failed to validate deploy or power info for node {node}: {why}"))
}

/// A stored step as the protocol knows it.
fn stored(step: &StepSpec) -> verb::Step {
    verb::Step {
        interface: step.interface.clone(),
        step: step.step.clone(),
        args: step.args.as_map().clone(),
        priority: step.priority.or(step.order),
        on_children: step.execute_on_child_nodes.unwrap_or_default(),
        children: step.limit_child_node_execution.clone().unwrap_or_default(),
    }
}

/// Returns the step that writes the image. Other steps are ordered around it.
fn image_step(executor: Executor) -> verb::Step {
    let (step, priority) = match executor {
        Executor::Fake => ("deploy", 100),
        Executor::Agent | Executor::StandIn => (WRITE_IMAGE, 80),
    };
    verb::Step {
        interface: "deploy".to_owned(),
        step: step.to_owned(),
        args: Map::new(),
        priority: Some(priority),
        on_children: false,
        children: Vec::new(),
    }
}

/// Converts a step to the domain's type.
fn domain_step(step: verb::Step) -> Step {
    Step { interface: step.interface, step: step.step, args: step.args }
}

/// Rejects steps that cannot succeed.
pub(super) fn check(steps: &[Step], record: &Record) -> Result<(), Error> {
    let intent = &record.intent.value;
    let by_our_agent = intent.driver != Driver::FakeHardware && intent.ironic_ramdisk.is_none();
    for step in steps {
        let name = format!("{}.{}", step.interface, step.step);
        if let Some(secret) = step.args.iter().find_map(|(key, value)| secret_in(key, value)) {
            return Err(Class::Invalid.error(format!(
                "The step {name} has a secret among its arguments, {secret}, but arguments are not encrypted: pass it in the \
                 config drive"
            )));
        }
        match step.reserved() {
            Some(ReservedStep::Wait(pause)) => {
                if pause.is_none() != step.args.is_empty() || pause.is_some_and(|pause| pause > MAX_PAUSE) {
                    return Err(Class::Invalid.error(format!(
                        "The step {name} takes seconds, a number of at most {}, or nothing",
                        MAX_PAUSE.as_secs()
                    )));
                }
            }
            None if by_our_agent && !step.args.is_empty() => {
                let unexpected: Vec<&str> = step.args.keys().map(String::as_str).collect();
                return Err(Class::Invalid
                    .error(format!("The step {name} has these unexpected arguments: {}", unexpected.join(", "))));
            }
            Some(ReservedStep::Hold | ReservedStep::Power(_)) | None => {}
        }
    }
    Ok(())
}

/// Returns the key of the first secret in an argument, plain or sealed.
fn secret_in<'a>(key: &'a str, value: &'a Value) -> Option<&'a str> {
    if is_secret(key, value) || has_sealed(value) {
        return Some(key);
    }
    match value {
        Value::Object(members) => members.iter().find_map(|(key, value)| secret_in(key, value)),
        Value::Array(items) => items.iter().find_map(|item| secret_in(key, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Checks that a runbook is approved for a node: both have a common trait, or in older versions the node has a trait with the
/// runbook's name.
fn check_approved(request: &ApiRequest, runbook: &RunbookSpec, node: &NodeView) -> Result<(), Error> {
    let name = &runbook.name;
    let approving = if request.version.has(RUNBOOK_TRAITS) { runbook.traits.clone() } else { vec![name.clone()] };
    if approving.is_empty() {
        return Err(
            Class::Invalid.error(format!("Runbook {name} has no traits configured: add a trait that the nodes have"))
        );
    }
    if approving.iter().any(|one| node.spec().traits.contains(one)) {
        return Ok(());
    }
    Err(Class::Invalid.error(format!(
        "This runbook has not been approved for use on this node {}: the node needs one of the traits {}",
        node.node,
        approving.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from a real Ironic 39.0.0.
    #[test]
    fn a_core_step_can_be_disabled_but_not_replaced() {
        let node = NodeId::new(uuid::Uuid::from_u128(7));
        let step = |name: &str, priority| {
            let (interface, step) = name.split_once('.').unwrap();
            verb::Step {
                interface: interface.to_owned(),
                step: step.to_owned(),
                args: Map::new(),
                priority,
                on_children: false,
                children: Vec::new(),
            }
        };
        for (name, priority, is_refused) in [
            ("deploy.deploy", Some(50), true),
            ("deploy.deploy", Some(1), true),
            ("deploy.deploy", Some(0), false),
            ("deploy.write_image", Some(50), false),
            ("raid.deploy", Some(50), false),
            ("deploy.nope", Some(50), false),
        ] {
            let checked = check_core(node, &[step("power.hold", Some(5)), step(name, priority)], OF_REQUEST);
            assert_eq!(checked.is_err(), is_refused, "{name} {priority:?}");
        }
        let refused = check_core(node, &[step("deploy.deploy", Some(50))], OF_REQUEST).unwrap_err();
        let theirs = format!(
            "Failed to validate deploy or power info for node {node}: Validation of deploy steps from \"deploy steps\" \
             argument failed.deploy step deploy on interface deploy is a core step and cannot be overridden by user steps. \
             It may be disabled by setting the priority to 0"
        );
        assert_eq!((refused.status, refused.text), (400, theirs));
    }
}
