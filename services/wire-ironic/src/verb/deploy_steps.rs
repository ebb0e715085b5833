//! Order of the steps of a deployment.

use super::Step;
use super::step::rank;

/// Reserved steps, which belong to no interface. Each may occur any number of times.
const RESERVED: &[&str] = &["hold", "wait", "power_on", "power_off", "reboot"];

/// Returns the steps of a deployment, highest priority first. Steps of templates replace the driver's own, and steps of the
/// request replace both. A step of priority 0 is left out. Returns an empty list if no step was requested: the driver then
/// executes its default steps.
/// Source: Ironic's `conductor/steps.py`, `_get_all_deployment_steps`.
#[must_use]
pub fn order_deploy_steps(own: Step, templates: impl IntoIterator<Item = Vec<Step>>, request: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![own];
    let mut is_requested = false;
    for list in templates.into_iter().chain([request]) {
        is_requested |= !list.is_empty();
        for step in list {
            let is_same = |known: &&mut Step| known.interface == step.interface && known.step == step.step;
            match steps.iter_mut().find(is_same).filter(|_| !RESERVED.contains(&step.step.as_str())) {
                Some(known) => *known = step,
                None => steps.push(step),
            }
        }
    }
    if !is_requested {
        return Vec::new();
    }
    steps.retain(|step| step.priority.unwrap_or(0) > 0);
    steps.sort_by_key(|step| (std::cmp::Reverse(step.priority), rank(&step.interface)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn step(name: &str, priority: u64) -> Step {
        let (interface, step) = name.split_once('.').unwrap();
        Step {
            interface: interface.to_owned(),
            step: step.to_owned(),
            args: Map::new(),
            priority: Some(priority),
            on_children: false,
            children: Vec::new(),
        }
    }

    fn names(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| format!("{}.{} {}", step.interface, step.step, step.priority.unwrap_or(0))).collect()
    }

    #[test]
    fn steps_of_the_request_replace_those_of_templates_which_replace_those_of_the_driver() {
        let own = || step("deploy.write_image", 80);
        let template = vec![step("raid.apply_configuration", 90), step("bios.apply_configuration", 90)];
        let request = vec![step("raid.apply_configuration", 0), step("power.hold", 85), step("power.hold", 5)];
        let ordered = order_deploy_steps(own(), [template.clone()], request);
        assert_eq!(
            names(&ordered),
            ["bios.apply_configuration 90", "power.hold 85", "deploy.write_image 80", "power.hold 5"]
        );
        // Steps of the same priority are ordered by their interfaces.
        assert_eq!(
            names(&order_deploy_steps(own(), [template], vec![])).first().unwrap(),
            "bios.apply_configuration 90"
        );
        assert_eq!(order_deploy_steps(own(), [], vec![]), []);
    }
}
