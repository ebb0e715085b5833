//! Next command for the agent, computed from the work and from the commands that the agent remembers. The result is the
//! same whichever process asks, also after a crash.

use serde_json::{Map, Value, json};

use super::command::{Command, Commands, ImageInfo, Kind, Outcome, Status, StepsFound};

/// Maximum number of times that the agent's steps may change during the work.
const MAX_VERSION_MISMATCHES: usize = 5;
/// Maximum number of the agent's own clean steps.
const MAX_STEPS: usize = 64;
/// Maximum length of a step's name with its interface, in characters.
const MAX_NAME_CHARS: usize = 64;
/// The step that writes the image.
pub const WRITE_IMAGE: &str = "write_image";
/// Order of the interfaces among steps of the same priority.
/// Source: the ranks in Ironic's `conductor/steps.py`.
const INTERFACE_ORDER: &[&str] = &["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

/// Requested step.
#[derive(Clone, PartialEq)]
pub struct RequestedStep {
    /// Interface of the step.
    pub interface: String,
    /// Name of the step.
    pub step: String,
    /// Arguments. They may contain secrets.
    pub args: Map<String, Value>,
}

impl std::fmt::Debug for RequestedStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestedStep")
            .field("interface", &self.interface)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// Work of the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Task<'a> {
    /// List the agent's clean steps: those with a priority, highest first. At least one of them must erase disks.
    Clean,
    /// Execute these clean or service steps, in this order.
    Steps(Kind, &'a [RequestedStep]),
    /// Write this image to the disk. With steps, execute them in this order; `write_image` among them writes the image.
    Write(&'a ImageInfo, Option<&'a [RequestedStep]>),
}

/// Next action.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Send this command.
    Send(Command),
    /// Wait for the running step with this name.
    Wait(String),
    /// The work is done.
    Done,
    /// The agent has listed its clean steps, in their order.
    Listed(Vec<RequestedStep>),
    /// Reboot: this number of steps is done, and the last one requires a reboot.
    Reboot(usize),
    /// The work failed, with this reason.
    Failed(String),
}

/// Computes the next action. `node` and `ports` are sent with every command.
#[must_use]
pub fn next(task: &Task<'_>, received: &Commands, node: &Value, ports: &Value) -> Next {
    let kind = match task {
        Task::Clean => Kind::Clean,
        Task::Steps(kind, _) => *kind,
        Task::Write(..) => Kind::Deploy,
    };
    let word = kind.word();
    let (list_command, execute_command) = (format!("get_{word}_steps"), format!("execute_{word}_step"));
    let listed = received.commands.iter().rposition(|outcome| outcome.command_name == list_command);
    let Some(listed) = listed else { return Next::Send(Command::get_steps(kind, node, ports)) };
    let (before, since) = received.commands.split_at(listed);
    let Some((found, since)) = since.split_first() else { return Next::Send(Command::get_steps(kind, node, ports)) };
    let found = match found.command_status {
        Status::Running => return Next::Wait(list_command),
        Status::Succeeded => found.command_result.clone().and_then(|result| serde_json::from_value(result).ok()),
        Status::Failed | Status::VersionMismatch => return Next::Failed(failure_text(found)),
    };
    let Some(found): Option<StepsFound> = found else {
        return Next::Failed(format!("the agent's response to {list_command} is malformed"));
    };
    let available: Vec<&Value> = found.steps.values().filter_map(Value::as_array).flatten().collect();
    let steps = match task {
        Task::Clean => return default_clean_steps(&available).map_or_else(Next::Failed, Next::Listed),
        Task::Steps(_, named) => select_steps(&available, named.iter()),
        Task::Write(image, named) => write_steps(&available, image, *named),
    };
    let steps = match steps {
        Ok(steps) => steps,
        Err(why) => return Next::Failed(why),
    };
    let executed: Vec<_> = since.iter().filter(|outcome| outcome.command_name == execute_command).collect();
    let mut done = 0;
    for outcome in executed {
        match outcome.command_status {
            Status::Succeeded => done += 1,
            Status::Running => return Next::Wait(steps.get(done).map(name).unwrap_or_default()),
            Status::Failed => return Next::Failed(failure_text(outcome)),
            Status::VersionMismatch => {
                let lists = before.iter().filter(|outcome| outcome.command_name == list_command).count();
                if lists < MAX_VERSION_MISMATCHES {
                    return Next::Send(Command::get_steps(kind, node, ports));
                }
                return Next::Failed("the agent's steps change each time that they are listed".to_owned());
            }
        }
    }
    let rebooting = done.checked_sub(1).and_then(|last| steps.get(last)).is_some_and(reboots);
    let finished = if rebooting { Next::Reboot(done) } else { Next::Done };
    match steps.get(done).filter(|_| !rebooting) {
        // Written data may still be in the page cache. The agent syncs after the last step, also if it received more steps
        // after an earlier sync.
        None if matches!(task, Task::Write(..)) && done > 0 => {
            let last = since.iter().rposition(|outcome| outcome.command_name == execute_command);
            let after = since.get(last.map_or(0, |last| last + 1)..).unwrap_or_default();
            match after.iter().find(|outcome| outcome.command_name == "sync").map(|sync| sync.command_status) {
                None => Next::Send(Command::bare("standby.sync")),
                Some(Status::Running) => Next::Wait("standby.sync".to_owned()),
                Some(Status::Succeeded | Status::Failed | Status::VersionMismatch) => finished,
            }
        }
        None => finished,
        Some(step) => Next::Send(Command::execute_step(kind, step, node, ports, &found.hardware_manager_version)),
    }
}

/// Returns whether a step requires a reboot.
fn reboots(step: &Value) -> bool {
    step.get("reboot_requested") == Some(&Value::Bool(true))
}

/// Returns the agent's clean steps with a priority, in the order of their execution.
fn default_clean_steps(available: &[&Value]) -> Result<Vec<RequestedStep>, String> {
    let mut steps: Vec<&Value> = available.iter().copied().filter(|one| priority(one) > 0).collect();
    steps.sort_by_key(|one| (std::cmp::Reverse(priority(one)), rank(one)));
    if !steps.iter().any(|one| text(one, "step").starts_with("erase_devices")) {
        return Err(format!("none of the agent's steps with a priority erases disks: {}", names(available)));
    }
    if steps.len() > MAX_STEPS || steps.iter().any(|one| name(one).len() > MAX_NAME_CHARS) {
        return Err(format!(
            "the agent lists {} clean steps, the first one {}: more than {MAX_STEPS}, or a name of more than \
             {MAX_NAME_CHARS} characters",
            steps.len(),
            steps.first().map(|step| name(step).chars().take(MAX_NAME_CHARS).collect::<String>()).unwrap_or_default(),
        ));
    }
    let requested = |one: &Value| RequestedStep {
        interface: text(one, "interface").to_owned(),
        step: text(one, "step").to_owned(),
        args: Map::new(),
    };
    Ok(steps.into_iter().map(requested).collect())
}

/// Returns the steps that write an image: the requested ones, or the write step alone if none are requested.
fn write_steps(available: &[&Value], image: &ImageInfo, named: Option<&[RequestedStep]>) -> Result<Vec<Value>, String> {
    let args = json!({"image_info": image, "configdrive": image.configdrive});
    let Value::Object(args) = args else { return Err("the image cannot be described".to_owned()) };
    let write = RequestedStep { interface: "deploy".to_owned(), step: WRITE_IMAGE.to_owned(), args };
    let named = named.unwrap_or_else(|| std::slice::from_ref(&write)).iter();
    select_steps(available, named.map(|step| if step.step == WRITE_IMAGE { &write } else { step }))
}

/// Returns the agent's steps with the requested arguments.
fn select_steps<'a>(
    available: &[&Value],
    named: impl Iterator<Item = &'a RequestedStep>,
) -> Result<Vec<Value>, String> {
    named.map(|requested| with_arguments(available, requested)).collect()
}

/// Returns the agent's step with the requested arguments.
fn with_arguments(available: &[&Value], requested: &RequestedStep) -> Result<Value, String> {
    let RequestedStep { interface, step, args } = requested;
    let found = available.iter().copied().find(|one| text(one, "interface") == interface && text(one, "step") == step);
    let found = found.cloned();
    let mut found =
        found.ok_or_else(|| format!("the agent has no step {interface}.{step}; it has {}", names(available)))?;
    if let Some(members) = found.as_object_mut().filter(|_| !args.is_empty()) {
        members.insert("args".to_owned(), Value::Object(args.clone()));
    }
    Ok(found)
}

fn text<'a>(step: &'a Value, member: &str) -> &'a str {
    step.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn priority(step: &Value) -> i64 {
    step.get("priority").and_then(Value::as_i64).unwrap_or(0)
}

fn rank(step: &Value) -> usize {
    INTERFACE_ORDER.iter().position(|rank| *rank == text(step, "interface")).unwrap_or(INTERFACE_ORDER.len())
}

fn name(step: &Value) -> String {
    format!("{}.{}", text(step, "interface"), text(step, "step"))
}

fn names(steps: &[&Value]) -> String {
    steps.iter().map(|step| name(step)).collect::<Vec<_>>().join(", ")
}

/// Returns the error text of a failed command.
fn failure_text(outcome: &Outcome) -> String {
    let empty = Map::new();
    let error = outcome.command_error.as_ref().and_then(Value::as_object).unwrap_or(&empty);
    let text = ["details", "message"].into_iter().find_map(|member| error.get(member)?.as_str());
    let text: String = text.unwrap_or("without a reason").chars().filter(|c| !c.is_control()).take(500).collect();
    format!("the agent's command {} failed: {text}", outcome.command_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, status: Status, result: Value) -> Outcome {
        Outcome {
            id: "1".to_owned(),
            command_name: name.to_owned(),
            command_status: status,
            command_error: Some(json!({"message": "no", "details": "the disk is gone"})),
            command_result: Some(result),
        }
    }

    fn steps() -> Outcome {
        let step = |name: &str, priority: i64| json!({"interface": "deploy", "step": name, "priority": priority});
        let steps = json!({"A": [step("erase_devices", 10), step("erase_devices_metadata", 99), step("burnin_cpu", 0)],
                           "B": [{"interface": "raid", "step": "check", "priority": 99}]});
        outcome(
            "get_clean_steps",
            Status::Succeeded,
            json!({"clean_steps": steps, "hardware_manager_version": {"A": "1"}}),
        )
    }

    fn after(task: &Task<'_>, commands: Vec<Outcome>) -> Next {
        next(task, &Commands { commands }, &json!({"uuid": "n"}), &json!([]))
    }

    fn sent_command(next: Next) -> String {
        let Next::Send(command) = next else { panic!("{next:?}") };
        let step = command.params.get("step").map(name).unwrap_or_default();
        format!("{} {step}", command.name)
    }

    fn executed(status: Status) -> Outcome {
        outcome("execute_clean_step", status, Value::Null)
    }

    fn requested(interface: &str, step: &str) -> RequestedStep {
        RequestedStep { interface: interface.to_owned(), step: step.to_owned(), args: Map::new() }
    }

    #[test]
    fn the_agents_clean_steps_are_listed_by_priority() {
        assert_eq!(sent_command(after(&Task::Clean, vec![])), "clean.get_clean_steps ");
        let wanted = [
            requested("deploy", "erase_devices_metadata"),
            requested("raid", "check"),
            requested("deploy", "erase_devices"),
        ];
        assert_eq!(after(&Task::Clean, vec![steps()]), Next::Listed(wanted.to_vec()));
        let many = (0..=MAX_STEPS)
            .map(|n| json!({"interface": "deploy", "step": format!("erase_devices_{n}"), "priority": 1}))
            .collect::<Vec<_>>();
        let many = json!({"clean_steps": {"A": many}, "hardware_manager_version": {}});
        let many = after(&Task::Clean, vec![outcome("get_clean_steps", Status::Succeeded, many)]);
        assert!(matches!(&many, Next::Failed(why) if why.contains("65 clean steps")), "{many:?}");
    }

    #[test]
    fn a_running_step_is_awaited_and_a_failed_one_ends_the_work_with_its_reason() {
        let named = [requested("deploy", "erase_devices_metadata")];
        let task = Task::Steps(Kind::Clean, &named);
        let running = after(&task, vec![steps(), executed(Status::Running)]);
        assert_eq!(running, Next::Wait("deploy.erase_devices_metadata".to_owned()));
        let Next::Failed(why) = after(&task, vec![steps(), executed(Status::Failed)]) else { panic!() };
        assert!(why.contains("the disk is gone"), "{why}");
    }

    #[test]
    fn changed_steps_are_listed_again_but_not_forever() {
        let named = [requested("deploy", "erase_devices")];
        let task = Task::Steps(Kind::Clean, &named);
        let mut received = vec![steps(), executed(Status::VersionMismatch)];
        assert_eq!(sent_command(after(&task, received.clone())), "clean.get_clean_steps ");
        for _ in 0..MAX_VERSION_MISMATCHES {
            received.extend([steps(), executed(Status::VersionMismatch)]);
        }
        assert!(matches!(after(&task, received), Next::Failed(_)));
    }

    #[test]
    fn requested_steps_are_executed_and_an_unknown_one_fails_with_its_name() {
        let named = |interface: &str, step: &str| {
            let args = Map::from_iter([("agent_burnin_cpu_timeout".to_owned(), json!(60))]);
            [RequestedStep { interface: interface.to_owned(), step: step.to_owned(), args }]
        };
        let burnin = named("deploy", "burnin_cpu");
        let task = Task::Steps(Kind::Clean, &burnin);
        let Next::Send(command) = after(&task, vec![steps()]) else { panic!() };
        assert_eq!(sent_command(Next::Send(command.clone())), "clean.execute_clean_step deploy.burnin_cpu");
        let args = command.params.get("step").and_then(|step| step.get("args"));
        assert_eq!(args, Some(&json!({"agent_burnin_cpu_timeout": 60})));
        assert_eq!(after(&task, vec![steps(), executed(Status::Succeeded)]), Next::Done);
        let Next::Failed(why) = after(&Task::Steps(Kind::Clean, &named("bios", "x")), vec![steps()]) else { panic!() };
        assert!(why.contains("bios.x") && why.contains("deploy.burnin_cpu"), "{why}");
    }

    #[test]
    fn a_step_that_requires_a_reboot_interrupts_the_work() {
        let has = json!({"clean_steps": {"A": [
            {"interface": "bios", "step": "apply", "priority": 5, "reboot_requested": true},
            {"interface": "deploy", "step": "erase_devices", "priority": 9, "reboot_requested": false},
        ]}, "hardware_manager_version": {"A": "1"}});
        let mut received = vec![outcome("get_clean_steps", Status::Succeeded, has)];
        let named =
            [requested("deploy", "erase_devices"), requested("bios", "apply"), requested("deploy", "erase_devices")];
        let task = Task::Steps(Kind::Clean, &named);
        received.push(executed(Status::Succeeded));
        assert_eq!(sent_command(after(&task, received.clone())), "clean.execute_clean_step bios.apply");
        received.push(executed(Status::Running));
        assert_eq!(after(&task, received.clone()), Next::Wait("bios.apply".to_owned()));
        received.pop();
        received.push(executed(Status::Succeeded));
        assert_eq!(after(&task, received.clone()), Next::Reboot(2));
        assert_eq!(
            after(&Task::Steps(Kind::Clean, &named[..2]), received.clone()),
            Next::Reboot(2),
            "also after the last step"
        );
        received.truncate(1);
        let own = [requested("deploy", "erase_devices"), requested("bios", "apply")];
        assert_eq!(after(&Task::Clean, received), Next::Listed(own.to_vec()), "the list contains it, too");
    }

    #[test]
    fn a_cleaning_without_an_erase_step_fails() {
        let none = json!({"clean_steps": {"A": [{"interface": "raid", "step": "check", "priority": 1}]},
                          "hardware_manager_version": {}});
        let received = vec![outcome("get_clean_steps", Status::Succeeded, none)];
        assert!(matches!(after(&Task::Clean, received), Next::Failed(why) if why.contains("erases")));
    }

    #[test]
    fn the_image_is_an_argument_of_the_write_step() {
        let image = ImageInfo {
            id: "debian".to_owned(),
            urls: vec!["http://s/f".to_owned()],
            checksum: None,
            os_hash_algo: Some("sha256".to_owned()),
            os_hash_value: Some("ab".to_owned()),
            disk_format: "raw".to_owned(),
            container_format: "bare".to_owned(),
            stream_raw_images: true,
            node_uuid: "n".to_owned(),
            configdrive: Some("H4sI".to_owned()),
            proxies: None,
            other: Map::new(),
        };
        let has = json!({"deploy_steps": {"A": [{"interface": "deploy", "step": "write_image", "priority": 0}]},
                         "hardware_manager_version": {"A": "1"}});
        let mut received = vec![outcome("get_deploy_steps", Status::Succeeded, has)];
        let Next::Send(command) = after(&Task::Write(&image, None), received.clone()) else { panic!() };
        assert_eq!(command.name, "deploy.execute_deploy_step");
        let params = Value::Object(command.params);
        let at = |pointer: &str| params.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(at("/step/args/image_info/urls/0"), "http://s/f");
        assert_eq!(at("/step/args/configdrive"), "H4sI");
        assert_eq!(at("/deploy_version"), json!({"A": "1"}));
        // The same with requested steps.
        let steps = [requested("deploy", "write_image")];
        assert_eq!(
            after(&Task::Write(&image, Some(&steps)), received.clone()),
            after(&Task::Write(&image, None), received.clone())
        );
        received.push(outcome("execute_deploy_step", Status::Succeeded, Value::Null));
        assert_eq!(after(&Task::Write(&image, None), received.clone()), Next::Send(Command::bare("standby.sync")));
        received.push(outcome("sync", Status::Succeeded, Value::Null));
        assert_eq!(after(&Task::Write(&image, None), received.clone()), Next::Done);
        // A later step needs another sync. Without executed steps there is nothing to sync.
        let steps = [requested("deploy", "write_image"), requested("deploy", "write_image")];
        received.push(outcome("execute_deploy_step", Status::Succeeded, Value::Null));
        assert_eq!(
            after(&Task::Write(&image, Some(&steps)), received.clone()),
            Next::Send(Command::bare("standby.sync"))
        );
        received.truncate(1);
        assert_eq!(after(&Task::Write(&image, Some(&[])), received), Next::Done);
    }
}
