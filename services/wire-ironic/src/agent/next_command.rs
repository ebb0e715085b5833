//! Next command for the agent, computed from the work and from the commands that the agent remembers. The result is the
//! same whichever process asks, also after a crash.

use serde_json::{Map, Value, json};

use super::command::{Command, Commands, ImageInfo, Kind, Outcome, Status, StepsFound};

/// Maximum number of times that the agent's steps may change during the work.
const MISMATCHES: usize = 5;
/// Maximum number of the agent's own clean steps.
const MAX_STEPS: usize = 64;
/// Maximum length of a step's name with its interface, in characters.
const MAX_NAME_CHARS: usize = 64;
/// The step that writes the image.
pub const WRITE_IMAGE: &str = "write_image";
/// Order of the interfaces among steps of the same priority.
/// Source: the ranks in Ironic's `conductor/steps.py`.
const RANKS: &[&str] = &["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

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
    /// Write this image to the disk; with steps, by them, in this order: `write_image` among them has the image.
    Write(&'a ImageInfo, Option<&'a [RequestedStep]>),
}

/// Next action.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Send this command.
    Send(Command),
    /// A step runs; its name.
    Wait(String),
    /// The work is done.
    Done,
    /// The agent's clean steps, in their order.
    Lists(Vec<RequestedStep>),
    /// This number of steps is done, and the last one requires a reboot before the next.
    Reboots(usize),
    /// The work failed, with this reason.
    Failed(String),
}

/// Computes the next action. `node` and `ports` are sent with every command.
#[must_use]
pub fn next(task: &Task<'_>, said: &Commands, node: &Value, ports: &Value) -> Next {
    let kind = match task {
        Task::Clean => Kind::Clean,
        Task::Steps(kind, _) => *kind,
        Task::Write(..) => Kind::Deploy,
    };
    let word = kind.word();
    let (asking, making) = (format!("get_{word}_steps"), format!("execute_{word}_step"));
    let asked = said.commands.iter().rposition(|outcome| outcome.command_name == asking);
    let Some(asked) = asked else { return Next::Send(Command::get_steps(kind, node, ports)) };
    let (before, since) = said.commands.split_at(asked);
    let Some((found, since)) = since.split_first() else { return Next::Send(Command::get_steps(kind, node, ports)) };
    let found = match found.command_status {
        Status::Running => return Next::Wait(asking),
        Status::Succeeded => found.command_result.clone().and_then(|result| serde_json::from_value(result).ok()),
        Status::Failed | Status::VersionMismatch => return Next::Failed(refused(found)),
    };
    let Some(found): Option<StepsFound> = found else {
        return Next::Failed(format!("the agent's answer to {asking} cannot be read"));
    };
    let has: Vec<&Value> = found.steps.values().filter_map(Value::as_array).flatten().collect();
    let steps = match task {
        Task::Clean => return own(&has).map_or_else(Next::Failed, Next::Lists),
        Task::Steps(_, named) => chosen(&has, named.iter()),
        Task::Write(image, named) => written(&has, image, *named),
    };
    let steps = match steps {
        Ok(steps) => steps,
        Err(why) => return Next::Failed(why),
    };
    let made: Vec<_> = since.iter().filter(|outcome| outcome.command_name == making).collect();
    let mut done = 0;
    for outcome in made {
        match outcome.command_status {
            Status::Succeeded => done += 1,
            Status::Running => return Next::Wait(steps.get(done).map(name).unwrap_or_default()),
            Status::Failed => return Next::Failed(refused(outcome)),
            Status::VersionMismatch => {
                let asked = before.iter().filter(|outcome| outcome.command_name == asking).count();
                if asked < MISMATCHES {
                    return Next::Send(Command::get_steps(kind, node, ports));
                }
                return Next::Failed("the agent has other steps each time that it is asked".to_owned());
            }
        }
    }
    let rebooting = done.checked_sub(1).and_then(|last| steps.get(last)).is_some_and(reboots);
    let rests = if rebooting { Next::Reboots(done) } else { Next::Done };
    match steps.get(done).filter(|_| !rebooting) {
        // What was written may still be in its memory when power goes: it syncs after the last step, however often it
        // was
        // handed more.
        None if matches!(task, Task::Write(..)) && done > 0 => {
            let last = since.iter().rposition(|outcome| outcome.command_name == making);
            let after = since.get(last.map_or(0, |last| last + 1)..).unwrap_or_default();
            match after.iter().find(|outcome| outcome.command_name == "sync").map(|sync| sync.command_status) {
                None => Next::Send(Command::bare("standby.sync")),
                Some(Status::Running) => Next::Wait("standby.sync".to_owned()),
                Some(Status::Succeeded | Status::Failed | Status::VersionMismatch) => rests,
            }
        }
        None => rests,
        Some(step) => Next::Send(Command::execute_step(kind, step, node, ports, &found.hardware_manager_version)),
    }
}

/// Returns whether a step requires a reboot.
fn reboots(step: &Value) -> bool {
    step.get("reboot_requested") == Some(&Value::Bool(true))
}

/// Returns the steps that the agent cleans by if the request names none.
fn own(has: &[&Value]) -> Result<Vec<RequestedStep>, String> {
    let mut steps: Vec<&Value> = has.iter().copied().filter(|one| priority(one) > 0).collect();
    steps.sort_by_key(|one| (std::cmp::Reverse(priority(one)), rank(one)));
    if !steps.iter().any(|one| text(one, "step").starts_with("erase_devices")) {
        return Err(format!("none of the agent's steps with a priority erases disks: {}", names(has)));
    }
    if steps.len() > MAX_STEPS || steps.iter().any(|one| name(one).len() > MAX_NAME_CHARS) {
        return Err(format!(
            "the agent would clean by {} steps, the first {}: more than {MAX_STEPS}, or longer names than any has",
            steps.len(),
            steps.first().map(|step| name(step).chars().take(MAX_NAME_CHARS).collect::<String>()).unwrap_or_default(),
        ));
    }
    let wish = |one: &Value| RequestedStep {
        interface: text(one, "interface").to_owned(),
        step: text(one, "step").to_owned(),
        args: Map::new(),
    };
    Ok(steps.into_iter().map(wish).collect())
}

/// Returns the steps that write an image: the requested ones, or the write step alone if none are requested.
fn written(has: &[&Value], image: &ImageInfo, named: Option<&[RequestedStep]>) -> Result<Vec<Value>, String> {
    let args = json!({"image_info": image, "configdrive": image.configdrive});
    let Value::Object(args) = args else { return Err("the image cannot be described".to_owned()) };
    let write = RequestedStep { interface: "deploy".to_owned(), step: WRITE_IMAGE.to_owned(), args };
    let named = named.unwrap_or_else(|| std::slice::from_ref(&write)).iter();
    chosen(has, named.map(|wish| if wish.step == WRITE_IMAGE { &write } else { wish }))
}

/// Returns the agent's steps with the requested arguments.
fn chosen<'a>(has: &[&Value], named: impl Iterator<Item = &'a RequestedStep>) -> Result<Vec<Value>, String> {
    named.map(|wish| told(has, wish)).collect()
}

/// Returns the agent's step with the requested arguments.
fn told(has: &[&Value], wish: &RequestedStep) -> Result<Value, String> {
    let RequestedStep { interface, step, args } = wish;
    let mine = has.iter().copied().find(|one| text(one, "interface") == interface && text(one, "step") == step);
    let mine = mine.cloned();
    let mut own = mine.ok_or_else(|| format!("the agent has no step {interface}.{step}; it has {}", names(has)))?;
    if let Some(members) = own.as_object_mut().filter(|_| !args.is_empty()) {
        members.insert("args".to_owned(), Value::Object(args.clone()));
    }
    Ok(own)
}

fn text<'a>(step: &'a Value, member: &str) -> &'a str {
    step.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn priority(step: &Value) -> i64 {
    step.get("priority").and_then(Value::as_i64).unwrap_or(0)
}

fn rank(step: &Value) -> usize {
    RANKS.iter().position(|rank| *rank == text(step, "interface")).unwrap_or(RANKS.len())
}

fn name(step: &Value) -> String {
    format!("{}.{}", text(step, "interface"), text(step, "step"))
}

fn names(steps: &[&Value]) -> String {
    steps.iter().map(|step| name(step)).collect::<Vec<_>>().join(", ")
}

/// Returns the error of a failed command.
fn refused(outcome: &Outcome) -> String {
    let empty = Map::new();
    let error = outcome.command_error.as_ref().and_then(Value::as_object).unwrap_or(&empty);
    let said = ["details", "message"].into_iter().find_map(|member| error.get(member)?.as_str());
    let said: String = said.unwrap_or("it gives no reason").chars().filter(|c| !c.is_control()).take(500).collect();
    format!("the agent could not do {}: {said}", outcome.command_name)
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

    fn sent(next: Next) -> String {
        let Next::Send(command) = next else { panic!("{next:?}") };
        let step = command.params.get("step").map(name).unwrap_or_default();
        format!("{} {step}", command.name)
    }

    fn made(status: Status) -> Outcome {
        outcome("execute_clean_step", status, Value::Null)
    }

    fn wish(interface: &str, step: &str) -> RequestedStep {
        RequestedStep { interface: interface.to_owned(), step: step.to_owned(), args: Map::new() }
    }

    #[test]
    fn a_cleaning_lists_the_agents_own_steps_the_most_urgent_first() {
        assert_eq!(sent(after(&Task::Clean, vec![])), "clean.get_clean_steps ");
        let wanted = [wish("deploy", "erase_devices_metadata"), wish("raid", "check"), wish("deploy", "erase_devices")];
        assert_eq!(after(&Task::Clean, vec![steps()]), Next::Lists(wanted.to_vec()));
        let many = (0..=MAX_STEPS)
            .map(|n| json!({"interface": "deploy", "step": format!("erase_devices_{n}"), "priority": 1}))
            .collect::<Vec<_>>();
        let many = json!({"clean_steps": {"A": many}, "hardware_manager_version": {}});
        let many = after(&Task::Clean, vec![outcome("get_clean_steps", Status::Succeeded, many)]);
        assert!(matches!(&many, Next::Failed(why) if why.contains("65 steps")), "{many:?}");
    }

    #[test]
    fn a_step_that_runs_is_waited_for_and_one_that_failed_ends_the_work_with_its_reason() {
        let named = [wish("deploy", "erase_devices_metadata")];
        let task = Task::Steps(Kind::Clean, &named);
        let running = after(&task, vec![steps(), made(Status::Running)]);
        assert_eq!(running, Next::Wait("deploy.erase_devices_metadata".to_owned()));
        let Next::Failed(why) = after(&task, vec![steps(), made(Status::Failed)]) else { panic!() };
        assert!(why.contains("the disk is gone"), "{why}");
    }

    #[test]
    fn steps_that_changed_are_asked_for_anew_but_not_for_ever() {
        let named = [wish("deploy", "erase_devices")];
        let task = Task::Steps(Kind::Clean, &named);
        let mut said = vec![steps(), made(Status::VersionMismatch)];
        assert_eq!(sent(after(&task, said.clone())), "clean.get_clean_steps ");
        for _ in 0..MISMATCHES {
            said.extend([steps(), made(Status::VersionMismatch)]);
        }
        assert!(matches!(after(&task, said), Next::Failed(_)));
    }

    #[test]
    fn named_steps_are_made_as_named_and_one_that_the_agent_has_not_is_named() {
        let named = |interface: &str, step: &str| {
            let args = Map::from_iter([("agent_burnin_cpu_timeout".to_owned(), json!(60))]);
            [RequestedStep { interface: interface.to_owned(), step: step.to_owned(), args }]
        };
        let burnin = named("deploy", "burnin_cpu");
        let task = Task::Steps(Kind::Clean, &burnin);
        let Next::Send(command) = after(&task, vec![steps()]) else { panic!() };
        assert_eq!(sent(Next::Send(command.clone())), "clean.execute_clean_step deploy.burnin_cpu");
        let args = command.params.get("step").and_then(|step| step.get("args"));
        assert_eq!(args, Some(&json!({"agent_burnin_cpu_timeout": 60})));
        assert_eq!(after(&task, vec![steps(), made(Status::Succeeded)]), Next::Done);
        let Next::Failed(why) = after(&Task::Steps(Kind::Clean, &named("bios", "x")), vec![steps()]) else { panic!() };
        assert!(why.contains("bios.x") && why.contains("deploy.burnin_cpu"), "{why}");
    }

    #[test]
    fn a_step_that_wants_a_reboot_ends_a_part_of_the_work() {
        let has = json!({"clean_steps": {"A": [
            {"interface": "bios", "step": "apply", "priority": 5, "reboot_requested": true},
            {"interface": "deploy", "step": "erase_devices", "priority": 9, "reboot_requested": false},
        ]}, "hardware_manager_version": {"A": "1"}});
        let mut said = vec![outcome("get_clean_steps", Status::Succeeded, has)];
        let named = [wish("deploy", "erase_devices"), wish("bios", "apply"), wish("deploy", "erase_devices")];
        let task = Task::Steps(Kind::Clean, &named);
        said.push(made(Status::Succeeded));
        assert_eq!(sent(after(&task, said.clone())), "clean.execute_clean_step bios.apply");
        said.push(made(Status::Running));
        assert_eq!(after(&task, said.clone()), Next::Wait("bios.apply".to_owned()));
        said.pop();
        said.push(made(Status::Succeeded));
        assert_eq!(after(&task, said.clone()), Next::Reboots(2));
        assert_eq!(
            after(&Task::Steps(Kind::Clean, &named[..2]), said.clone()),
            Next::Reboots(2),
            "the last one as well"
        );
        said.truncate(1);
        let own = [wish("deploy", "erase_devices"), wish("bios", "apply")];
        assert_eq!(after(&Task::Clean, said), Next::Lists(own.to_vec()), "nor is it kept out of the agent's own list");
    }

    #[test]
    fn a_cleaning_that_erases_nothing_is_none() {
        let none = json!({"clean_steps": {"A": [{"interface": "raid", "step": "check", "priority": 1}]},
                          "hardware_manager_version": {}});
        let said = vec![outcome("get_clean_steps", Status::Succeeded, none)];
        assert!(matches!(after(&Task::Clean, said), Next::Failed(why) if why.contains("erases")));
    }

    #[test]
    fn an_image_is_an_argument_of_the_step_that_writes_it() {
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
        let mut said = vec![outcome("get_deploy_steps", Status::Succeeded, has)];
        let Next::Send(command) = after(&Task::Write(&image, None), said.clone()) else { panic!() };
        assert_eq!(command.name, "deploy.execute_deploy_step");
        let params = Value::Object(command.params);
        let at = |pointer: &str| params.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(at("/step/args/image_info/urls/0"), "http://s/f");
        assert_eq!(at("/step/args/configdrive"), "H4sI");
        assert_eq!(at("/deploy_version"), json!({"A": "1"}));
        // Written where its place among others is.
        let course = [wish("deploy", "write_image")];
        assert_eq!(
            after(&Task::Write(&image, Some(&course)), said.clone()),
            after(&Task::Write(&image, None), said.clone())
        );
        said.push(outcome("execute_deploy_step", Status::Succeeded, Value::Null));
        assert_eq!(after(&Task::Write(&image, None), said.clone()), Next::Send(Command::bare("standby.sync")));
        said.push(outcome("sync", Status::Succeeded, Value::Null));
        assert_eq!(after(&Task::Write(&image, None), said.clone()), Next::Done);
        // A step that it is handed later has a sync of its own; one that is only there has done nothing.
        let course = [wish("deploy", "write_image"), wish("deploy", "write_image")];
        said.push(outcome("execute_deploy_step", Status::Succeeded, Value::Null));
        assert_eq!(after(&Task::Write(&image, Some(&course)), said.clone()), Next::Send(Command::bare("standby.sync")));
        said.truncate(1);
        assert_eq!(after(&Task::Write(&image, Some(&[])), said), Next::Done);
    }
}
