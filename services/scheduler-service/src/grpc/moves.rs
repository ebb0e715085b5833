//! What comes with a move of a node's life, and whether its driver has it.

use std::net::Ipv4Addr;

use domain::{
    driver::Driver,
    provision::{Phase, Verb},
    step::{self, Step},
};
use proto::{api::v1::ProvisionNodeRequest, convert::Invalid};

use crate::Error;

/// Steps that one request may name.
const MOST_STEPS: usize = 64;

/// The steps that a request names, where its verb takes any.
pub(super) fn steps(verb: Verb, request: &ProvisionNodeRequest, driver: Driver) -> Result<Vec<Step>, Error> {
    let named = request.steps.iter();
    let steps: Vec<_> = named
        .map(|one| Step { interface: one.interface.clone(), step: one.step.clone(), args: serde_json::Map::new() })
        .collect();
    let takes = matches!(verb, Verb::Clean | Verb::Service);
    if !takes && !steps.is_empty() {
        return Err(Invalid::wrong("steps", format!("{verb} takes none; clean and service do")).into());
    }
    if verb == Verb::Clean && steps.is_empty() {
        return Err(Invalid::Missing("steps").into());
    }
    if steps.len() > MOST_STEPS {
        return Err(Invalid::wrong("steps", format!("{} of them; at most {MOST_STEPS}", steps.len())).into());
    }
    match step::unknown(&steps, driver, Phase::ManualClean) {
        None => Ok(steps),
        Some(Step { interface, step, .. }) => {
            let why = format!("the driver {driver} has no step {interface}.{step}");
            Err(Invalid::wrong("steps", why).into())
        }
    }
}

/// A rescue without a password would let nobody in.
pub(super) fn check_password(verb: Verb, password: &str) -> Result<(), Invalid> {
    match (verb, password.trim().is_empty()) {
        (Verb::Rescue, true) => Err(Invalid::Missing("rescue_password")),
        (Verb::Rescue, false) => Ok(()),
        (_, true) => Ok(()),
        (_, false) => Err(Invalid::wrong("rescue_password", format!("{verb} takes none; rescue does"))),
    }
}

/// What the driver has nothing for is refused before it begins.
pub(super) fn check_driver(verb: Verb, driver: Driver) -> Result<(), Error> {
    let fake = driver == Driver::FakeHardware;
    match verb {
        Verb::Rescue | Verb::Service if !fake => {
            Err(Error::InUse(format!("the driver {driver} does not support {verb}")))
        }
        Verb::Manage
        | Verb::Provide
        | Verb::Deploy
        | Verb::Rebuild
        | Verb::Undeploy
        | Verb::Clean
        | Verb::Inspect
        | Verb::Abort
        | Verb::Adopt
        | Verb::Rescue
        | Verb::Unrescue
        | Verb::Service
        | Verb::Unhold => Ok(()),
    }
}

/// What a node with ports of these addresses lacks for the pxe-service to answer it, and what gives it that.
pub(super) fn lacks_to_boot(
    name: &str,
    addresses: impl Iterator<Item = Option<Ipv4Addr>>,
) -> Option<(&'static str, String)> {
    let addresses: Vec<_> = addresses.collect();
    if addresses.iter().any(Option::is_some) {
        return None;
    }
    let add = format!("ironmesh node set {name} --add-mac MAC");
    Some(if addresses.is_empty() {
        ("no MAC", format!("add that of a NIC that it boots from: {add}"))
    } else {
        let next = format!(
            "give its rack a network, where it has none (ironmesh rack set), and name the MAC that it boots from anew: \
             ironmesh node set {name} --remove-mac MAC, then {add}"
        );
        ("no MAC with an address on its rack's network", next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_boots_by_a_port_with_an_address_and_without_one_is_told_what_to_do() {
        let address = Some(Ipv4Addr::LOCALHOST);
        assert_eq!(lacks_to_boot("n1", [None, address].into_iter()), None);
        let (lacks, next) = lacks_to_boot("n1", [].into_iter()).unwrap();
        assert!(lacks == "no MAC" && next.ends_with("ironmesh node set n1 --add-mac MAC"), "{next}");
        let (lacks, next) = lacks_to_boot("n1", [None].into_iter()).unwrap();
        assert!(lacks.contains("address") && next.contains("rack set") && next.contains("--remove-mac"), "{next}");
    }

    fn asked(steps: &[&str]) -> ProvisionNodeRequest {
        let steps = steps.iter().map(|step| {
            let (interface, step) = step.split_once('.').unwrap();
            proto::api::v1::Step { interface: interface.to_owned(), step: step.to_owned() }
        });
        ProvisionNodeRequest { steps: steps.collect(), ..Default::default() }
    }

    #[test]
    fn steps_are_for_clean_and_service_and_are_the_drivers() {
        let known = steps(Verb::Clean, &asked(&["deploy.erase_devices"]), Driver::Ipmi).unwrap();
        assert_eq!(known.first().map(|step| step.step.as_str()), Some("erase_devices"));
        assert!(steps(Verb::Clean, &asked(&[]), Driver::Ipmi).is_err());
        assert!(steps(Verb::Deploy, &asked(&["deploy.erase_devices"]), Driver::Ipmi).is_err());
        let refused = steps(Verb::Service, &asked(&["raid.none"]), Driver::FakeHardware).unwrap_err();
        assert!(service_kit::status::chain(&refused).contains("no step raid.none"), "{refused:?}");
        assert!(steps(Verb::Service, &asked(&[]), Driver::FakeHardware).is_ok());
    }

    #[test]
    fn a_password_is_for_a_rescue_and_a_rescue_needs_one() {
        assert!(check_password(Verb::Rescue, "secret").is_ok() && check_password(Verb::Manage, "").is_ok());
        assert!(check_password(Verb::Rescue, " ").is_err() && check_password(Verb::Manage, "secret").is_err());
    }
}
