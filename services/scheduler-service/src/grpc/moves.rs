//! What comes with a move of a node's life, and whether its driver has it.

use domain::{
    driver::Driver,
    provision::{Phase, Verb},
    step::{self, Step},
};
use proto::{api::v1::ProvisionNodeRequest, convert::Invalid};

use crate::Error;

/// Steps that one request may name.
const MOST_STEPS: usize = 64;

/// The steps that a request names.
pub(super) fn named(request: &ProvisionNodeRequest) -> Vec<Step> {
    let named = request.steps.iter();
    named
        .map(|one| Step { interface: one.interface.clone(), step: one.step.clone(), args: serde_json::Map::new() })
        .collect()
}

/// Whether a verb takes these steps, and the driver has them.
pub(super) fn check_steps(verb: Verb, steps: &[Step], driver: Driver) -> Result<(), Error> {
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
    match step::first_unsupported(steps, driver, Phase::ManualClean) {
        None => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(steps: &[&str]) -> ProvisionNodeRequest {
        let steps = steps.iter().map(|step| {
            let (interface, step) = step.split_once('.').unwrap();
            proto::api::v1::Step { interface: interface.to_owned(), step: step.to_owned() }
        });
        ProvisionNodeRequest { steps: steps.collect(), ..Default::default() }
    }

    #[test]
    fn steps_are_for_clean_and_service_and_are_the_drivers() {
        let check = |verb, names: &[&str], driver| check_steps(verb, &named(&asked(names)), driver);
        assert_eq!(named(&asked(&["deploy.erase_devices"]))[0].step, "erase_devices");
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
