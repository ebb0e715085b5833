//! The whole command line against a scheduler-service of canned answers, over real gRPC and mutual TLS.

mod canned;
mod failover;
mod fake;
mod fleet;
mod logins;

use std::path::Path;

use canned::NOW;
use clap::{CommandFactory as _, Parser, Subcommand};
use domain::time::Timestamp;
use fake::Fake;
use proto::api::v1::ProvisionVerb;
use serde_json::Value;

use super::*;

#[derive(Debug, Parser)]
#[command(name = "ironmesh")]
struct Tree {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: All,
}

/// The commands as the binary has them.
#[derive(Debug, Subcommand)]
enum All {
    #[command(flatten)]
    Ask(Command),
    /// List hosts, drain them and remove them.
    #[command(subcommand)]
    Host(HostCommand),
}

/// What a command said and how it ended.
struct Ended {
    code: String,
    answers: String,
    remarks: String,
}

async fn at(context: &Path, words: &str) -> Ended {
    of(context, &words.split(' ').collect::<Vec<_>>()).await
}

async fn of(context: &Path, words: &[&str]) -> Ended {
    of_width(context, words, 110).await
}

async fn of_width(context: &Path, words: &[&str], width: u16) -> Ended {
    let words = ["ironmesh", "--context", context.to_str().unwrap()].into_iter().chain(words.iter().copied());
    let tree = Tree::try_parse_from(words).unwrap();
    let (screen, said) = Screen::in_memory(tree.global.output, width, Timestamp::from_millis(NOW));
    let command = match tree.command {
        All::Ask(command) => command,
        All::Host(command) => Command::Host(command),
    };
    let code = Box::pin(attempt(&screen, &tree.global, command)).await;
    let said = std::mem::take(&mut *said.lock());
    Ended { code: format!("{code:?}"), answers: said.answers, remarks: said.remarks }
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

/// Compares with what was approved; `UPDATE=1` approves what is there now.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let approved = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(approved == text, "{name} is another:\n{text}\napproved was:\n{approved}");
}

#[test]
fn the_command_tree_holds_together() {
    Tree::command().debug_assert();
}

#[test]
fn every_command_says_what_it_is_for_and_gives_an_example() {
    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} says nothing about itself");
        assert!(command.has_subcommands() || command.get_after_help().is_some(), "{path} gives no example");
        command.get_subcommands().for_each(|inner| walk(inner, &path));
    }
    Tree::command().get_subcommands().for_each(|command| walk(command, "ironmesh"));
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    let words = "ironmesh node create n1 --bmc 10.0.0.5 --bmc-user a --mac 52:54:00:00:00:01 --bmc-password x";
    assert!(Tree::try_parse_from(words.split(' ')).is_err());
}

#[tokio::test]
async fn nodes_are_listed_as_was_approved() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node list").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    golden("node-list.txt", &ended.answers);
}

#[tokio::test]
async fn nodes_are_watched_though_the_replica_stops_meanwhile_with_a_line_for_each_change() {
    let fake = Fake::serve().await;
    let words = ["node", "list", "--watch", "--state", "active", "--state", "deploy failed"];
    let ended = of(&fake.context, &words).await;
    assert_eq!(ended.code, code(1));
    golden("node-watch.txt", &ended.answers);
    assert!(ended.remarks.starts_with("the scheduler-service went away; "), "{}", ended.remarks);
    assert!(ended.remarks.contains("the end of the test"), "{}", ended.remarks);
    let ended = of(&fake.context, &[&words[..], &["-o", "json"]].concat()).await;
    let lines = ended.answers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<_> = lines.map(|line| (line["event"].clone(), line["revision"].clone())).collect();
    let expected =
        [("begin", 0), ("node", 0), ("node", 0), ("settled", 120), ("node", 120), ("gone", 120), ("settled", 130)];
    assert_eq!(events, expected.map(|(event, revision)| (Value::from(event), Value::from(revision))));
}

#[tokio::test]
async fn a_failed_node_shows_why_and_what_next() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node show n2").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    golden("node-show.txt", &ended.answers);
}

#[tokio::test]
async fn a_rack_shows_who_serves_it() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "rack show r1").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    golden("rack-show.txt", &ended.answers);
}

#[tokio::test]
async fn a_timeline_is_drawn_with_its_diagnosis() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node timeline n2").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    golden("node-timeline.txt", &ended.answers);
}

#[tokio::test]
async fn json_is_complete_and_reads_back() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node show n2 -o json").await;
    let node: Value = serde_json::from_str(&ended.answers).unwrap();
    assert_eq!(node.pointer("/observed/last_failure/cause").unwrap(), "IMAGE_DIGEST");
    assert_eq!(node.pointer("/observed/power").unwrap(), "on");
    assert_eq!(node.pointer("/intent/ports/0/mac").unwrap(), "52:54:00:00:00:02");
    assert_eq!(node.pointer("/observed/waiting").unwrap(), &Value::Null);
    let ended = at(&fake.context, "-o json node list").await;
    assert_eq!(serde_json::from_str::<Value>(&ended.answers).unwrap().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_deploy_is_watched_to_its_end_though_the_replica_stops_meanwhile() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node deploy n1 --image debian --wait").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    assert!(ended.answers.starts_with("n1: active after "), "{}", ended.answers);
    let seen = "n1: deploying; writing the image: debian to vda (40 %); waits for its agent to do the work\n";
    assert!(ended.remarks.contains(seen), "{}", ended.remarks);
    assert!(ended.remarks.contains("trying to reach it again"), "{}", ended.remarks);
}

#[tokio::test]
async fn of_several_deploys_each_ends_with_a_line_and_one_failure_is_a_failure() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node deploy n1 n2 n9 --image debian --wait").await;
    assert_eq!(ended.code, code(1));
    assert!(ended.answers.starts_with("n1: active after "), "{}", ended.answers);
    assert!(ended.remarks.contains("n2: deploy failed: IMAGE_DIGEST: the image hashes to"), "{}", ended.remarks);
    assert!(ended.remarks.contains("\n  next: compute the digest again"), "{}", ended.remarks);
    assert!(ended.remarks.contains("n9: error: there is no node \"n9\""), "{}", ended.remarks);
}

#[tokio::test]
async fn a_deploy_that_outlasts_its_timeout_is_said_to_go_on() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node deploy slow --image debian --wait --timeout 300ms -o json").await;
    assert_eq!(ended.code, code(1));
    let outcomes: Value = serde_json::from_str(&ended.answers).unwrap();
    assert_eq!(outcomes.pointer("/0/outcome").unwrap(), "late");
    assert_eq!(outcomes.pointer("/0/node/observed/state").unwrap(), "deploying");
}

#[tokio::test]
async fn an_inspection_is_watched_to_its_end_and_shows_what_it_found() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node inspect m1 --wait").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    assert!(ended.answers.starts_with("m1: manageable after "), "{}", ended.answers);
    assert!(ended.remarks.contains("m1: inspect wait; waits for its agent to call\n"), "{}", ended.remarks);
    let ended = at(&fake.context, "node show m1").await;
    golden("node-show-inspected.txt", &ended.answers);
    let ended = at(&fake.context, "node show m1 -o json").await;
    let node: Value = serde_json::from_str(&ended.answers).unwrap();
    assert_eq!(node.pointer("/observed/inspection_finished_at").unwrap(), "2026-01-31T12:00:42.000Z");
    assert!(node.pointer("/observed/inspection_remarks/0").unwrap().as_str().unwrap().contains("node n2"));
}

#[tokio::test]
async fn an_adoption_names_the_image_that_runs_there_and_ends_active() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node adopt m1 --image debian --wait -o json").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    let outcomes: Value = serde_json::from_str(&ended.answers).unwrap();
    assert_eq!(outcomes.pointer("/0/outcome").unwrap(), "reached");
    assert_eq!(outcomes.pointer("/0/node/observed/state").unwrap(), "active");
    assert_eq!(outcomes.pointer("/0/node/intent/image").unwrap(), "debian");
    let ended = at(&fake.context, "node adopt m1 n9").await;
    assert_eq!((ended.code, ended.answers.as_str()), (code(1), "m1: adopting\n"));
}

#[tokio::test]
async fn a_nodes_boots_are_listed_a_line_each() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node history n2").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    golden("node-history.txt", &ended.answers);
}

#[tokio::test]
async fn cleaning_and_rescue_say_their_steps_and_their_password() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node clean m1 --step deploy.erase_devices --step raid.delete_configuration").await;
    assert_eq!((ended.code, ended.answers.as_str()), (code(0), "m1: cleaning\n"), "{}", ended.remarks);
    let asked = fake.asked();
    let steps: Vec<_> = asked.steps.iter().map(|step| format!("{}.{}", step.interface, step.step)).collect();
    assert_eq!(steps, ["deploy.erase_devices", "raid.delete_configuration"]);
    let file = fake.folder.path().join("password");
    std::fs::write(&file, "open sesame\n").unwrap();
    let ended = at(&fake.context, &format!("node rescue n1 --password-file {}", file.display())).await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    assert_eq!((fake.asked().verb(), fake.asked().rescue_password.as_str()), (ProvisionVerb::Rescue, "open sesame"));
}

#[tokio::test]
async fn a_deploy_without_names_is_a_bulk_of_those_that_are_meant() {
    let fake = Fake::serve().await;
    let words = "node deploy --image debian --resource-class big --count 2 --canary 1 --wait";
    let ended = at(&fake.context, words).await;
    assert_eq!((ended.code, ended.answers.contains("debian")), (code(1), true), "{}", ended.remarks);
    assert!(ended.remarks.contains("asks deploy of 2 nodes"), "{}", ended.remarks);
    for wrong in ["node deploy --image debian", "node deploy n1 --count 2 --image debian"] {
        let ended = at(&fake.context, wrong).await;
        assert_eq!(ended.code, code(2));
        assert!(ended.remarks.contains("name the nodes, or select them with a filter"), "{}", ended.remarks);
    }
}

#[tokio::test]
async fn nodes_are_named_line_by_line_for_a_shell_and_written_as_yaml() {
    let fake = Fake::serve().await;
    let names = at(&fake.context, "node list -o name").await.answers;
    let all: Value = serde_json::from_str(&at(&fake.context, "node list -o json").await.answers).unwrap();
    let expected: Vec<_> = all.as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert!(expected.len() > 1);
    assert_eq!(names.lines().collect::<Vec<_>>(), expected);
    let yaml = at(&fake.context, "node list -o yaml").await.answers;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), all);
}

#[tokio::test]
async fn a_bulk_is_waited_for_and_one_failure_is_a_failure() {
    let fake = Fake::serve().await;
    let words = "bulk start deploy --image debian --resource-class big --count 2 --canary 1 --wait";
    let ended = at(&fake.context, words).await;
    assert_eq!(ended.code, code(1), "{}", ended.remarks);
    golden("bulk-start.txt", &ended.answers);
    let expected = "bulk 00000000-0000-4000-8000-000000000700 asks deploy of 2 nodes\n\
                    running: 0 done, 0 failed, 1 running, 1 waiting\n\
                    running: 1 done, 0 failed, 1 running, 0 waiting\n\
                    done: 1 done, 1 failed, 0 running, 0 waiting\n";
    assert_eq!(ended.remarks, expected);
}

#[test]
fn a_rescue_without_a_password_and_a_step_without_an_interface_are_refused() {
    for words in ["node rescue n1", "node clean n1", "node clean n1 --step erase_devices"] {
        assert!(Tree::try_parse_from(["ironmesh"].into_iter().chain(words.split(' '))).is_err(), "{words}");
    }
}

#[tokio::test]
async fn power_is_waited_for_until_its_instruction_has_ended() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node power n1 off --timeout 20s").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    assert!(ended.answers.starts_with("n1: off after "), "{}", ended.answers);
}

#[tokio::test]
async fn a_command_to_a_bmc_is_sent_as_it_was_written_and_waited_for() {
    let fake = Fake::serve().await;
    let file = fake.folder.path().join("raw");
    std::fs::write(&file, "0x06 0x47 2 2 0x70\n").unwrap();
    let from_file = format!("node raw n1 --file {}", file.display());
    for (words, sent) in [
        ("node bmc-reset n1", "Warm"),
        ("node bmc-reset n1 --warm --timeout 20s", "Warm"),
        ("node bmc-reset n1 --cold", "Cold"),
        ("node raw n1 0x00 0x04 15", "0x00 0x04 [15]"),
        ("node raw n1 chassis 1", "0x00 0x01 []"),
        (from_file.as_str(), "0x06 0x47 [2, 2, 112]"),
    ] {
        let ended = at(&fake.context, words).await;
        assert_eq!(ended.code, code(0), "{words}: {}", ended.remarks);
        assert!(ended.answers.starts_with("n1: off after "), "{words}: {}", ended.answers);
        assert_eq!(fake.bmc_commands().last().map(String::as_str), Some(sent), "{words}");
    }
    let begun = fake.bmc_commands().len();
    for (words, text) in [
        ("node raw n1 0x06", "at least two"),
        ("node raw n1 0x06 0x100", "word 2"),
        ("node raw n1 0x07 1", "word 1 is 0x07"),
        ("node raw n1 6 0x47 hunter2", "word 3, octet 1 of the data,"),
    ] {
        let ended = at(&fake.context, words).await;
        assert_eq!(ended.code, code(2), "{words}: {}", ended.remarks);
        assert!(ended.remarks.contains(text) && !ended.remarks.contains("hunter2"), "{words}: {}", ended.remarks);
    }
    assert_eq!(fake.bmc_commands().len(), begun, "nothing was sent");
    for words in ["node raw n1", "node bmc-reset", "node bmc-reset n1 --warm --cold", "node raw n1 6 1 --stdin"] {
        assert!(Tree::try_parse_from(["ironmesh"].into_iter().chain(words.split(' '))).is_err(), "{words}");
    }
}

#[tokio::test]
async fn an_image_is_registered_by_its_file_with_the_digest_computed() {
    let fake = Fake::serve().await;
    let file = fake.folder.path().join("disk.raw");
    std::fs::write(&file, b"abc").unwrap();
    let ended = at(&fake.context, &format!("-o json image create d --file {}", file.display())).await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    let image: Value = serde_json::from_str(&ended.answers).unwrap();
    // FIPS 180-4's own example.
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(image.pointer("/digest").unwrap(), digest);
    assert_eq!(image.pointer("/unpacked_size").unwrap(), 3);
    assert!(image.pointer("/url").unwrap().as_str().unwrap().starts_with("file:///"));
}

#[tokio::test]
async fn a_refusal_is_reported_with_its_reason() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "node show n9").await;
    assert_eq!(ended.code, code(1));
    assert_eq!(ended.remarks, "error: there is no node \"n9\"; see: ironmesh node list\nreason: MISSING\n");
}

#[tokio::test]
async fn the_remembered_events_end_by_themselves() {
    let fake = Fake::serve().await;
    let ended = at(&fake.context, "events --last 5").await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    assert_eq!(ended.answers, "2026-01-31 12:00:00Z  n1             STATE     active\n");
}

#[tokio::test]
async fn an_unreachable_endpoint_is_reported_with_the_next_step() {
    let fake = Fake::serve().await;
    let text = std::fs::read_to_string(&fake.context).unwrap().replace(&fake.endpoint, "127.0.0.1:1");
    std::fs::write(&fake.context, text).unwrap();
    let ended = at(&fake.context, "node list").await;
    assert_eq!(ended.code, code(2));
    assert!(
        ended.remarks.starts_with("error: cannot reach the scheduler-service at 127.0.0.1:1: "),
        "{}",
        ended.remarks
    );
    assert!(ended.remarks.contains("refused") && ended.remarks.contains("\nnext: "), "{}", ended.remarks);
    let ended = at(&fake.context, "node manage n1 n2").await;
    assert_eq!(ended.code, code(2), "{}", ended.remarks);
}

#[tokio::test]
async fn a_missing_context_is_reported_with_the_next_step() {
    let ended = at(Path::new("/nowhere/client.toml"), "node list").await;
    assert_eq!(ended.code, code(2));
    assert!(
        ended.remarks.contains("/nowhere/client.toml") && ended.remarks.contains("ironmesh up"),
        "{}",
        ended.remarks
    );
}
