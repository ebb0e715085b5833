//! The functional tests of Ironic's own command line, unmodified, with the release that has them.
//!
//! They also ran against a real Ironic 39.0.0 with the same configuration (noauth, fake hardware): tests that fail there may
//! fail here.

use std::{fs, os::unix::fs::symlink, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{fault::tell, fleet::Fleet, mesh::Options};

/// Tests whose expectations a real Ironic does not meet: other texts, or a missing image.
const NOT_THERE_EITHER: [&str; 4] = [
    "test_create_negative_02_____uuid_________________Expected_UUID_for_uuid__",
    "test_create_negative_11_____candidate_node____banana_____Nodes_cannot_be_found__",
    "test_create_negative_7_____steps__________is_too_short__",
    "test_deploy_rebuild_undeploy_manage",
];
/// Number of all tests.
const ALL: usize = 108;

#[test]
#[ignore = "needs an old client, and takes minutes: scripts/test --all"]
fn the_functional_tests_of_the_stock_command_line_pass() {
    let fleet = Fleet::up("clitests", 0, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    run(&fleet, folder.path()).unwrap();
}

fn run(fleet: &Fleet, folder: &Path) -> Result<()> {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/functional");
    let client = client.canonicalize().context("target/functional is not there; scripts/test --all installs it")?;
    // The tests look for the command line there.
    fs::create_dir(folder.join(".tox"))?;
    symlink(&client, folder.join(".tox/functional"))?;
    let (file, endpoint) = (folder.join("test.conf"), fleet.mesh().rest(1)?);
    fs::write(&file, format!("[functional]\nauth_strategy=noauth\nironic_url={endpoint}\n"))?;
    let site = fs::read_dir(client.join("lib"))?.next().context("no Python")??.path().join("site-packages");
    let tests = site.join("ironicclient/tests/functional");
    let mut command = fleet.place().command(&client.join("bin/stestr").display().to_string());
    command.arg("--test-path").arg(&tests).arg("--top-dir").arg(&site).args(["run", "--concurrency", "2"]);
    command.env("IRONICCLIENT_TEST_CONFIG", &file).current_dir(folder).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let outcomes: Vec<(&str, &str)> = said.lines().filter_map(outcome).collect();
    let failed: Vec<&str> = outcomes.iter().filter(|(_, how)| *how != "ok").map(|(test, _)| *test).collect();
    tell(format_args!("{} of {} tests of the command line pass", outcomes.len() - failed.len(), outcomes.len()));
    let wrong: Vec<&&str> =
        failed.iter().filter(|test| !NOT_THERE_EITHER.iter().any(|known| test.ends_with(known))).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(outcomes.len() == ALL, "{} tests, not {ALL}:\n{said}", outcomes.len());
    Ok(())
}

/// A test and its outcome, from a line such as `{0} TEST [1.2s] ... ok`.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let (test, how) = line.strip_prefix('{')?.split_once("} ")?.1.split_once(" ... ")?;
    Some((test.split(" [").next()?, how.trim()))
}
