//! Provisioning: requests that change a node's state. One use case for REST, gRPC and bulks.
//!
//! The APIs decode a request into a [`Provision`]. Whether the node takes it is decided by `domain::provision::step` from
//! [`NodeFacts`], which are read here from the node's records and nowhere else.

use domain::{
    driver::{Driver, Interface},
    failure::{Cause, Failure},
    id::NodeId,
    plan::Executor,
    provision::{Event, NetworkBoot, NodeFacts, Phase, Refused, State, Support, Verb, step},
    step::{self, Step},
};
use keyspace::{
    Expect, key,
    seal::{Place, Sealed},
    stored_size,
    value::{ConfigDrive, Deployment, Intent, NodeSpec, Stamped},
};
use proto::convert::Invalid;
use service_kit::clock;

use crate::{
    Error, RequestContext,
    app_state::AppState,
    metrics,
    registry::{Record, Registry, wants_power},
};

/// Maximum number of steps in a request.
const MAX_STEPS: usize = 64;
/// Maximum size of all steps of a request, in bytes: each boot stores them again, beside the config drive.
const MAX_STEPS_BYTES: usize = 128 << 10;
/// Maximum size of the files of a config drive in a request, in bytes; a larger one is given as a URL.
pub const MAX_CONFIG_DRIVE_BYTES: usize = 512 << 10;

/// A command to provision a node, as our own APIs give it: the image by name, and the files of the config drive.
#[derive(Debug, Clone)]
pub struct ProvisionNode {
    /// Node.
    pub node: NodeId,
    /// Verb.
    pub verb: Verb,
    /// Image by its id or name. Empty if none is named.
    pub image: String,
    /// Files of the config drive, by path. Empty if there is none.
    pub config_drive: ConfigDrive,
    /// Requested steps, in their order.
    pub steps: Vec<Step>,
    /// Password for a rescue. Empty for other verbs.
    pub rescue_password: String,
}

/// A decoded request to provision a node.
#[derive(Debug, Clone, Default)]
pub struct Provision {
    /// Requested steps, in their order. Empty for the default steps of the verb.
    pub steps: Vec<Step>,
    /// Whether the steps run without booting an agent.
    pub ramdisk: Ramdisk,
    /// Deployment. `None` to keep that of the intent.
    pub deployment: Option<Deployment>,
    /// Changes of the node's specification, stored in the same transaction.
    pub spec: Option<SpecChange>,
}

/// A node's specification after a request.
#[derive(Debug, Clone)]
pub struct SpecChange {
    /// Expected revision of the record.
    pub before: Expect,
    /// New record.
    pub after: Stamped<NodeSpec>,
}

/// Whether an operation boots an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ramdisk {
    /// If its steps need one.
    #[default]
    Booted,
    /// Never (Ironic's `disable_ramdisk`).
    Disabled,
}

/// Provisions a node.
///
/// # Errors
/// [`Error::Refused`] and [`Error::NoMac`] where the node does not take the verb; [`Error::Request`] where its arguments do
/// not fit; [`Error::Missing`] for the node or the image.
pub async fn provision_node(context: &RequestContext, app: &AppState, command: ProvisionNode) -> Result<(), Error> {
    let ProvisionNode { node, verb, image, config_drive, steps, rescue_password } = command;
    let registry = &app.registry;
    let record = registry.named(&node.to_string())?;
    let driver = record.intent.value.driver;
    // First the checks that no other arguments could satisfy.
    registry.check(&record, verb, &steps)?;
    check_steps(verb, &steps, driver)?;
    check_password(verb, &rescue_password)?;
    let names_image = !image.is_empty() || !config_drive.is_empty();
    let deploys = matches!(verb, Verb::Deploy | Verb::Rebuild) || verb == Verb::Adopt && names_image;
    let deployment = if deploys { Some(registry.deployment(&record, &image, &config_drive)?) } else { None };
    registry.accept(context, &record, verb, Provision { steps, deployment, ..Provision::default() }).await?;
    let state = registry.named(&node.to_string())?.life.value.state;
    app.live_state.tell(Some(node), "STATE", state.to_string());
    Ok(())
}

impl Registry {
    fn deployment(&self, record: &Record, image: &str, files: &ConfigDrive) -> Result<Deployment, Error> {
        let before = record.intent.value.deployment.as_ref();
        let image = match (image.is_empty(), before) {
            (true, Some(before)) => before.image,
            (true, None) => return Err(Invalid::Missing("image").into()),
            (false, _) => self.image_named(image)?.value.id,
        };
        if files.is_empty() {
            return Ok(Deployment { image, config_drive: None });
        }
        let config_drive = self.sealed_drive(&Place::config_drive(record.rack, record.node), files)?;
        Ok(Deployment { image, config_drive: Some(config_drive) })
    }

    /// Seals the files of a config drive for a place in the store.
    ///
    /// # Errors
    /// [`Error::Request`] where they are larger than [`MAX_CONFIG_DRIVE_BYTES`] together.
    pub fn sealed_drive(&self, place: &Place, files: &ConfigDrive) -> Result<Sealed, Error> {
        let size: usize = files.values().map(Vec::len).sum();
        if size > MAX_CONFIG_DRIVE_BYTES {
            let why = format!("{size} octets; at most {MAX_CONFIG_DRIVE_BYTES}");
            return Err(Invalid::wrong("config_drive", why).into());
        }
        Ok(self.sealer.seal_files(place, files)?)
    }

    /// Accepts a request to provision a node: stores its new state, its intent, its changed fields and the operation that
    /// begins in one transaction.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::NoMac`] where the node does not take the verb; [`Error::Request`] where its agent cannot
    /// evaluate the hints for its disks; a conflict where its records changed since they were read.
    pub async fn accept(
        &self,
        context: &RequestContext,
        record: &Record,
        verb: Verb,
        request: Provision,
    ) -> Result<(), Error> {
        let Provision { mut steps, ramdisk, deployment, spec } = request;
        let key = key::node_spec(record.rack, record.node);
        let read = self.view().get(&key);
        let size = stored_size(&steps);
        if size > MAX_STEPS_BYTES {
            let why = format!("{} KiB together; at most {}", size >> 10, MAX_STEPS_BYTES >> 10);
            return Err(Invalid::wrong("steps", why).into());
        }
        let intent = &record.intent.value;
        let specified = read.as_ref().map(|read| &read.value.spec);
        let executor = |phase| NodeSpec::executor(specified, intent.driver, phase);
        let agent_has_steps = intent.ironic_ramdisk.is_some() || executor(Phase::Deploy) == Executor::StandIn;
        if matches!(verb, Verb::Deploy | Verb::Rebuild) && !agent_has_steps {
            let skipped = step::skip_unknown_deploy_steps(&mut steps, intent.driver);
            if !skipped.is_empty() {
                tracing::info!(node = %record.node, ?skipped, "deploy steps unknown to the driver skipped");
                // Without any step the image would be written, which the request may have disabled.
                if steps.is_empty() {
                    return Err(Invalid::wrong("steps", format!("the driver has none of them: {skipped:?}")).into());
                }
            }
        }
        // The decision is stored only if these fields are unchanged: the node may become protected at this moment.
        if let (Verb::Deploy | Verb::Rebuild, Some(spec)) = (verb, specified) {
            driver_info::check_disks(intent.driver, spec).map_err(|error| Invalid::wrong("node", error.text))?;
        }
        let facts = facts(record, specified, &steps);
        let failure = (verb == Verb::Abort).then(|| aborted(record.life.value.state));
        let moved = self.moved(record, (Event::Asked(verb), facts), failure);
        let mut moved = moved.map_err(|refused| Self::refusal(record, refused))?;
        let before = record.operation.as_ref().map(|read| read.value.id);
        let mut begins = None;
        if let Some(operation) = moved.operation.as_mut().filter(|operation| Some(operation.id) != before) {
            operation.trace.clone_from(&context.trace);
            operation.steps = steps;
            operation.without_ramdisk = ramdisk == Ramdisk::Disabled;
            operation.by_stand_in = executor(operation.phase) == Executor::StandIn;
            begins = Some(operation.id);
            tracing::info!(node = %record.node, operation = %operation.id, %verb, actor = context.actor, "operation begins");
        }
        // An operation replaces a requested power state.
        let deployment = deployment.or_else(|| intent.deployment.clone());
        let after = Intent { power: None, raw_data: None, deployment, ..intent.clone() };
        let changed = (after != *intent).then_some(&after);
        let mut change = self.add_move(self.mesh.as_member()?, record, &moved, changed)?;
        change = change.expect(&key, Expect::same(read.as_ref()));
        if let Some(SpecChange { before, after }) = spec {
            change = change.put(&key, &after, before)?;
        }
        self.commit_beginning(context, change, begins).await?;
        metrics::step("asked");
        Ok(())
    }

    /// Checks that a node accepts a verb with these steps, as [`Self::accept`] does.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::NoMac`]
    pub fn check(&self, record: &Record, verb: Verb, steps: &[Step]) -> Result<(), Error> {
        let taken = self.decide(record, verb, steps);
        taken.map_err(|refused| Self::refusal(record, refused))
    }

    /// The same, with the domain's error.
    pub fn decide(&self, record: &Record, verb: Verb, steps: &[Step]) -> Result<(), Refused> {
        step(record.life.value.state, Event::Asked(verb), self.facts(record, steps)).map(drop)
    }

    /// Returns the facts about a node besides its state; `steps` are those of the request.
    pub fn facts(&self, record: &Record, steps: &[Step]) -> NodeFacts {
        let read = self.view().get(&key::node_spec(record.rack, record.node));
        facts(record, read.as_ref().map(|read| &read.value.spec), steps)
    }

    /// Adds the node's name to a refusal, and what the client can do.
    fn refusal(record: &Record, refused: Refused) -> Error {
        if let Refused::NoNetworkBoot { lacks, .. } = refused {
            return no_network_boot(&record.intent.value.name, lacks);
        }
        Error::Refused(refused)
    }
}

/// Checks that the verb accepts the steps and the driver has them.
fn check_steps(verb: Verb, steps: &[Step], driver: Driver) -> Result<(), Error> {
    let takes = matches!(verb, Verb::Clean | Verb::Service);
    if !takes && !steps.is_empty() {
        return Err(Invalid::wrong("steps", format!("{verb} takes none; clean and service do")).into());
    }
    if verb == Verb::Clean && steps.is_empty() {
        return Err(Invalid::Missing("steps").into());
    }
    if steps.len() > MAX_STEPS {
        return Err(Invalid::wrong("steps", format!("{} of them; at most {MAX_STEPS}", steps.len())).into());
    }
    match step::first_unsupported(steps, driver, Phase::ManualClean) {
        None => Ok(()),
        Some(Step { interface, step, .. }) => {
            let why = format!("the driver {driver} has no step {interface}.{step}");
            Err(Invalid::wrong("steps", why).into())
        }
    }
}

/// Rejects a rescue without a password, which would be inaccessible.
fn check_password(verb: Verb, password: &str) -> Result<(), Invalid> {
    match (verb, password.trim().is_empty()) {
        (Verb::Rescue, true) => Err(Invalid::Missing("rescue_password")),
        (Verb::Rescue, false) => Ok(()),
        (_, true) => Ok(()),
        (_, false) => Err(Invalid::wrong("rescue_password", format!("{verb} takes none; rescue does"))),
    }
}

/// Computes the facts about a node besides its state. Unless its specification says otherwise, a new node is not wiped, and
/// one that was in use is.
fn facts(record: &Record, spec: Option<&NodeSpec>, steps: &[Step]) -> NodeFacts {
    let unspecified = NodeSpec::default();
    let spec = spec.unwrap_or(&unspecified);
    let intent = &record.intent.value;
    let is_fake = intent.driver == Driver::FakeHardware;
    let supports = |interface: Interface| {
        let implementation = spec.implementation(interface, intent.driver).unwrap_or("no-");
        Support::from(!implementation.starts_with("no-"))
    };
    // Our own agent executes no steps on a node in use; ironic-python-agent does, and reserved steps need no agent.
    let needs_agent = steps.is_empty() || steps.iter().any(|step| step.reserved().is_none());
    NodeFacts {
        cleans_before_use: spec.automated_clean.unwrap_or(false),
        cleans_after_use: spec.automated_clean.unwrap_or(true),
        retired: spec.retired,
        protected: spec.protected,
        in_maintenance: spec.maintenance,
        has_instance: spec.instance().is_some(),
        stays_on: spec.disable_power_off,
        network_boot: if is_fake { NetworkBoot::Ready } else { network_boot(record) },
        inspect: supports(Interface::Inspect),
        rescue: supports(Interface::Rescue),
        ipmi_commands: (spec.implementation(Interface::Vendor, intent.driver) == Some("ipmitool")).into(),
        awaits: wants_power(record).filter(|target| !target.is_too_late(clock::now())),
        service: Support::from(is_fake || intent.ironic_ramdisk.is_some() || !needs_agent),
        not_carried_out: spec.not_carried_out(intent.driver),
        step_interfaces: steps.iter().filter_map(Step::interface).collect(),
    }
}

fn network_boot(record: &Record) -> NetworkBoot {
    if record.ports.iter().any(|(_, port)| port.value.address.is_some()) {
        NetworkBoot::Ready
    } else if record.ports.is_empty() {
        NetworkBoot::NoPort
    } else {
        NetworkBoot::NoAddress
    }
}

/// Returns the error for a node that cannot boot from the network, with what to do.
fn no_network_boot(name: &str, lacks: NetworkBoot) -> Error {
    let name = name.to_owned();
    let add = format!("ironmesh node set {name} --add-mac MAC");
    let (lacks, next) = match lacks {
        NetworkBoot::NoPort => ("no MAC", format!("add that of a NIC that it boots from: {add}")),
        NetworkBoot::NoAddress | NetworkBoot::Ready => (
            "no MAC with an address on its rack's network",
            format!(
                "give its rack a network, where it has none (ironmesh rack set), and name the MAC that it boots from anew: \
                 ironmesh node set {name} --remove-mac MAC, then {add}"
            ),
        ),
    };
    Error::NoMac { name, lacks, next }
}

/// Returns the failure of an aborted operation.
fn aborted(state: State) -> Failure {
    Failure { cause: Cause::Aborted, text: format!("aborted by a person while {state}"), at: clock::now() }
}

#[cfg(test)]
mod tests {
    use keyspace::value::ExtraFields;

    use super::*;

    #[test]
    fn a_node_that_cannot_boot_from_the_network_is_told_what_to_do() {
        let text = |lacks| service_kit::status::chain(&no_network_boot("n1", lacks));
        let none = text(NetworkBoot::NoPort);
        assert!(
            none.contains("no MAC, so it cannot boot") && none.ends_with("ironmesh node set n1 --add-mac MAC"),
            "{none}"
        );
        let unaddressed = text(NetworkBoot::NoAddress);
        assert!(unaddressed.contains("rack set") && unaddressed.contains("--remove-mac"), "{unaddressed}");
    }

    fn steps(names: &[&str]) -> Vec<Step> {
        let split = names.iter().map(|name| name.split_once('.').unwrap());
        split
            .map(|(interface, step)| Step {
                interface: interface.to_owned(),
                step: step.to_owned(),
                args: ExtraFields::new().into_map(),
            })
            .collect()
    }

    #[test]
    fn steps_are_for_clean_and_service_and_are_the_drivers() {
        let check = |verb, names: &[&str], driver| check_steps(verb, &steps(names), driver);
        assert!(check(Verb::Clean, &["deploy.erase_devices"], Driver::Ipmi).is_ok());
        assert!(check(Verb::Clean, &[], Driver::Ipmi).is_err());
        assert!(check(Verb::Deploy, &["deploy.erase_devices"], Driver::Ipmi).is_err());
        let refused = check(Verb::Service, &["raid.none"], Driver::FakeHardware).unwrap_err();
        assert!(service_kit::status::chain(&refused).contains("no step raid.none"), "{refused:?}");
        assert!(check(Verb::Service, &[], Driver::FakeHardware).is_ok());
    }

    #[test]
    fn a_password_is_for_a_rescue_and_a_rescue_needs_one() {
        assert!(check_password(Verb::Rescue, "secret").is_ok() && check_password(Verb::Manage, "").is_ok());
        assert!(check_password(Verb::Rescue, " ").is_err() && check_password(Verb::Manage, "secret").is_err());
    }
}
