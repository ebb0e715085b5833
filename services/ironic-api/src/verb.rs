//! Checks provision verbs, in Ironic's order. Pure.

use domain::provision::{Refused, State, Verb as DomainVerb};
use wire_ironic::{
    error::{Class, Error, text},
    verb::{Arguments, Provision, Verb},
};

use super::{ApiRequest, validate::InvalidInterface};
use scheduler_core::node_view::NodeView;

/// Converts a verb to the domain's type.
pub(super) const fn domain_verb(verb: Verb) -> DomainVerb {
    match verb {
        Verb::Active => DomainVerb::Deploy,
        Verb::Rebuild => DomainVerb::Rebuild,
        Verb::Deleted => DomainVerb::Undeploy,
        Verb::Manage => DomainVerb::Manage,
        Verb::Provide => DomainVerb::Provide,
        Verb::Inspect => DomainVerb::Inspect,
        Verb::Abort => DomainVerb::Abort,
        Verb::Clean => DomainVerb::Clean,
        Verb::Adopt => DomainVerb::Adopt,
        Verb::Rescue => DomainVerb::Rescue,
        Verb::Unrescue => DomainVerb::Unrescue,
        Verb::Unhold => DomainVerb::Unhold,
        Verb::Service => DomainVerb::Service,
    }
}

/// Request to `states/provision`, and its node.
pub(super) struct ProvisionCheck<'a> {
    pub(super) request: &'a ApiRequest,
    pub(super) provision: &'a Provision,
    pub(super) node: &'a NodeView,
    pub(super) state: State,
}

impl ProvisionCheck<'_> {
    /// Returns the verb of the request, if the API version and the node's state permit it. `decide` is the domain's decision.
    pub(super) fn verb(&self, decide: impl FnOnce(DomainVerb) -> Result<(), Refused>) -> Result<Verb, Error> {
        let uuid = &self.node.node.to_string();
        Verb::check_version(self.request.version, &self.provision.target)?;
        let wrong = || text::wrong_state(&self.provision.target, uuid, Some(self.state.ironic_name()));
        let verb = Verb::read(&self.provision.target).ok_or_else(wrong)?;
        match decide(domain_verb(verb)) {
            Err(refused) if refused.precedes_arguments() => Err(self.refusal(verb, refused)),
            Ok(()) | Err(_) => Ok(verb),
        }
    }

    /// Returns the arguments of the request.
    pub(super) fn arguments(&self, verb: Verb) -> Result<Arguments, Error> {
        self.provision.check(self.request.version, verb, self.state.ironic_name())
    }

    /// Translates a refusal of the domain into Ironic's error.
    pub(super) fn refusal(&self, verb: Verb, refused: Refused) -> Error {
        let (uuid, driver) = (&self.node.node.to_string(), &self.node.intent.driver.to_string());
        match refused {
            Refused::Retired => {
                Class::Invalid.error(format!("Node {uuid} cannot be made available because it is retired."))
            }
            Refused::Protected => text::protected(uuid),
            Refused::InMaintenance { .. } => text::in_maintenance(verb.in_maintenance().unwrap_or("provisioning"), uuid),
            Refused::Unsupported { verb } => text::unsupported(driver, &verb.to_string(), Class::Invalid),
            Refused::NotCarriedOut { interface } => {
                let why = InvalidInterface::not_carried_out(self.node, interface);
                Class::Invalid.error(format!("Failed to validate {interface} info for node {uuid}: {why}"))
            }
            Refused::NoNetworkBoot { .. } => Class::Invalid.error(format!(
                "Failed to validate deploy or power info for node {uuid}: Node {uuid} does not have any port associated \
                 with it that has an address on its rack's network"
            )),
            Refused::Busy { .. } | Refused::AwaitsPower => text::locked(uuid, self.node.conductor.as_deref().unwrap_or_default()),
            Refused::NotHere { .. }
            | Refused::NotRemovable { .. }
            | Refused::HasInstance
            | Refused::NoIpmiCommands
            | Refused::StaysOn
            | Refused::Meaningless { .. } => {
                text::wrong_state(&self.provision.target, uuid, Some(self.state.ironic_name()))
            }
        }
    }
}
