//! Changes of a node's provision state and power state.

use std::time::Duration;

use domain::{power::PowerTarget, provision::Refused};
use keyspace::{
    Expect,
    value::{ExtraFields, set_config_drive},
};
use serde_json::Value;
use service_kit::clock;
use wire_ironic::{
    error::{Class, Error, text},
    fields, links,
    verb::{ConfigDrive, NodeState, Power, Provision as ProvisionRequest, Target, Verb},
};

use super::{
    ApiRequest, RestApi,
    authz::NodeVisibility,
    fault::fault,
    node_document::{NodeDocument, power_name},
    response::ApiResponse,
    step_requests,
    verb::{ProvisionCheck, domain_verb},
};
use scheduler_core::{
    node_view::NodeView,
    provision::{Provision, Ramdisk, SpecChange},
    registry::Record,
};

/// Timeout of a graceful shutdown if the request has none.
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(600);
/// Maximum timeout of a graceful shutdown.
const MAX_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Attempts to store a verb that conflicts with concurrent changes.
const MAX_ATTEMPTS: u32 = 3;

impl RestApi {
    pub(super) fn node_states(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        Ok(ApiResponse::ok(Value::Object(fields::node_states(
            request.version,
            &NodeDocument::new(&node, NodeVisibility::of(&request.caller)),
        ))))
    }

    pub(super) async fn provision(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let provision_request = ProvisionRequest::read(&request.arguments()?)?;
        let mut attempts = MAX_ATTEMPTS;
        loop {
            match self.try_provision(request, &provision_request, &node).await? {
                Ok(()) => break,
                Err(error) if attempts <= 1 || !error.is_conflict() => return Err(fault(ident, &error)),
                Err(_) => attempts -= 1,
            }
            if let Some(held) = self.app.registry.held(node.node) {
                self.app.registry.seen_anew(&held).await;
            }
        }
        Ok(ApiResponse::accepted(Some(links::location(&request.base, &format!("nodes/{ident}/states")))))
    }

    /// Makes one attempt; the inner error is the store's.
    async fn try_provision(
        &self,
        request: &ApiRequest,
        provision_request: &ProvisionRequest,
        node: &NodeView,
    ) -> Result<Result<(), scheduler_core::Error>, Error> {
        let uuid = node.node.to_string();
        let registry = &self.app.registry;
        let record = registry.record(node.rack, node.node).ok_or_else(|| text::not_found("Node", &uuid))?;
        let shown = self.node_cache.get(node.node).ok_or_else(|| text::not_found("Node", &uuid))?;
        self.check_since(request, &uuid, &shown, &record)?;
        let of = ProvisionCheck { request, provision: provision_request, node: &shown, state: record.life.value.state };
        let verb = of.verb(|verb| registry.decide(&record, verb, &[]))?;
        let runbook = self.runbook(request, provision_request, &shown)?;
        let arguments = of.arguments(verb)?;
        let steps = self.requested_steps(verb, runbook, &arguments, &shown)?;
        registry.decide(&record, domain_verb(verb), &steps).map_err(|refused| of.refusal(verb, refused))?;
        step_requests::check(&steps, &record)?;
        let mut provision = Provision { steps, ..Provision::default() };
        if arguments.without_ramdisk {
            provision.ramdisk = Ramdisk::Disabled;
        }
        if matches!(verb, Verb::Active | Verb::Rebuild) {
            let drive = arguments.configdrive.as_ref();
            provision.deployment = self.deployment(request, &record, &shown, drive).await?;
            provision.spec = drive.map(|drive| self.with_drive(&record, drive)).transpose()?;
        }
        let accepted = registry.accept(&request.context(), &record, domain_verb(verb), provision).await;
        if accepted.is_ok() {
            let state = registry.held(node.node).map(|held| held.life.value.state.to_string()).unwrap_or_default();
            self.app.live_state.tell(Some(node.node), "STATE", state);
        }
        Ok(accepted)
    }

    /// A node's specification with the config drive of a request, its secrets sealed.
    fn with_drive(&self, record: &Record, config_drive: &ConfigDrive) -> Result<SpecChange, Error> {
        let uuid = record.node.to_string();
        let registry = &self.app.registry;
        let read = registry.held(record.node).and_then(|held| held.spec);
        let before = Expect::same(read.as_ref());
        let stored = read.map(|read| read.value).unwrap_or_default();
        let mut spec = stored.spec.clone();
        set_config_drive(spec.instance_info.get_or_insert_with(ExtraFields::new), encode_config_drive(config_drive));
        registry.seal_secrets(&mut spec, &uuid).map_err(|error| fault(&uuid, &error))?;
        Ok(SpecChange { before, after: stored.updated(spec, clock::now()) })
    }

    pub(super) async fn power(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let seen = NodeState {
            ident,
            power: node.power.as_ref().map(|power| power_name(power.power)),
            provision: node.life.state.ironic_name(),
            stays_on: node.spec().disable_power_off,
        };
        let power = Power::read(request.version, &request.arguments()?, seen)?;
        let registry = &self.app.registry;
        let record = registry.record(node.rack, node.node).ok_or_else(|| text::not_found("Node", ident))?;
        self.check_since(request, ident, &node, &record)?;
        // A graceful reboot includes a moment without power.
        if power.target == Target::SoftReboot && node.spec().disable_power_off {
            let driver = record.intent.value.driver;
            let refusal =
                format!("The driver {driver} does not support the power state, soft rebooting, with disable_power_off");
            return Err(Class::Invalid.error(refusal));
        }
        let timeout = power.timeout.map_or(DEFAULT_SHUTDOWN_TIMEOUT, Duration::from_secs).min(MAX_SHUTDOWN_TIMEOUT);
        let by = clock::now().plus(timeout);
        let target = match power.target {
            Target::On => PowerTarget::On,
            Target::Off => PowerTarget::Off,
            Target::Reboot => PowerTarget::Booted { boot: None },
            Target::SoftOff => PowerTarget::SoftOff { by: Some(by) },
            Target::SoftReboot => PowerTarget::SoftBooted { by },
        };
        let accepted = registry.accept_power(&request.context(), &record, target).await;
        accepted.map_err(|error| bmc_fault(&node, ident, &error))?;
        Ok(ApiResponse::accepted(Some(links::location(&request.base, &format!("nodes/{ident}/states")))))
    }
}

/// The response to a request to the BMC of a node that was not accepted.
pub(super) fn bmc_fault(node: &NodeView, ident: &str, error: &scheduler_core::Error) -> Error {
    let is_locked = matches!(error, scheduler_core::Error::Refused(Refused::Busy { .. } | Refused::AwaitsPower));
    if is_locked {
        return text::locked(&node.node.to_string(), node.conductor.as_deref().unwrap_or_default());
    }
    fault(ident, error)
}

/// Encodes a config drive for the node's `instance_info`.
fn encode_config_drive(drive: &ConfigDrive) -> Value {
    match drive {
        ConfigDrive::Url(text) | ConfigDrive::Packed(text) => Value::from(text.as_str()),
        ConfigDrive::Parts(parts) => Value::Object(parts.clone()),
    }
}
