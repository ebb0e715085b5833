//! The API tests of `ironic-tempest-plugin`, unmodified, against our REST API: those of resources without
//! authentication, and those of authorization with a real Keystone.
//!
//! The former also ran against a real Ironic 39.0.0 with the same configuration (noauth, fake hardware, no Neutron);
//! tests that fail there are skipped here, too.

use std::{fmt::Write as _, fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    fault::tell,
    fleet::Fleet,
    keystone::{Keystone, PASSWORD},
    lab::WAIT_TIMEOUT,
    mesh::Options,
    rack::{daemon::Daemon, namespace::Namespace, wait},
};

/// Address of the stand-in for Keystone, inside the namespace.
const KEYSTONE: u16 = 5000;
/// Tests that fail with a real Ironic as well: VIFs without Neutron, and a port change that it answers with 400 instead
/// of the expected 409.
const NOT_THERE_EITHER: &str = "TestNodesVif|inconsistent_physical_network_2";
/// Number of tests that pass with a real Ironic; a plugin that finds no tests would pass, too.
const AT_LEAST: usize = 380;
/// Number of the plugin's authorization tests, and their module.
const ROLES: usize = 94;
const ROLES_PART: &str = "rbac_defaults";

#[test]
#[ignore = "needs tempest, and takes a minute: scripts/test --all"]
fn the_api_tests_of_tempest_pass() {
    let fleet = Fleet::up("tempest", 0, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    run(&fleet, folder.path()).unwrap();
}

fn run(fleet: &Fleet, folder: &Path) -> Result<()> {
    let (place, rest) = (fleet.place(), fleet.mesh().rest(1)?);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut keystone = place.command("python3");
    keystone.arg(here.join("ironic/keystone.py")).args([&KEYSTONE.to_string(), &rest]);
    let keystone = Daemon::spawn(keystone, &folder.join("keystone.log"), &folder.join("keystone"))?;
    let answers = || Ok(place.run(&["curl", "-s", &format!("http://127.0.0.1:{KEYSTONE}/v3")]).ok());
    wait::until("Keystone's stand-in", WAIT_TIMEOUT, answers)?;
    fs::write(folder.join("accounts.yaml"), accounts()?)?;
    let accounts = format!("use_dynamic_credentials=false\ntest_accounts_file={}/accounts.yaml\n", folder.display());
    let outcome = tests(place, folder, &configuration(folder, &accounts, "RegionOne", false), "admin", AT_LEAST);
    keystone.end()?;
    outcome
}

#[test]
#[ignore = "needs tempest, and takes minutes: scripts/test --all"]
fn the_authorization_tests_of_tempest_pass_with_a_real_keystone() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let set = vec![
        format!("scheduler.rest_keystone.url={}", Keystone::url()),
        format!("scheduler.rest_keystone.password={}", password.display()),
    ];
    let fleet = Fleet::up("whomay", 0, &Options { set, ..Options::default() }).unwrap();
    let keystone = Keystone::up(fleet.place(), folder.path()).unwrap();
    keystone.people(&fleet.mesh().rest(1).unwrap()).unwrap();
    // It makes its own users and projects.
    let admin = format!(
        "use_dynamic_credentials=true\nadmin_username=admin\nadmin_password={PASSWORD}\nadmin_project_name=admin\n\
         admin_domain_name=Default\nadmin_system=all\n"
    );
    let configuration = configuration(folder.path(), &admin, "one", true);
    tests(fleet.place(), folder.path(), &configuration, ROLES_PART, ROLES).unwrap();
}

/// Runs one part of the plugin's tests, of which at least this many have to pass, and none may fail.
fn tests(place: &Namespace, folder: &Path, configuration: &str, part: &str, at_least: usize) -> Result<()> {
    let tempest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tempest");
    fs::create_dir(folder.join("etc"))?;
    fs::write(folder.join("etc/tempest.conf"), configuration)?;
    let python = place.command(&tempest.join("bin/python").display().to_string());
    let site = "import tempest, os; print(os.path.dirname(tempest.__path__[0]))";
    let site = command_output(python, &["-c", site], folder)?;
    let stestr = tempest.join("bin/stestr").display().to_string();
    let top = ["--test-path", &format!("{site}/tempest/test_discover"), "--top-dir", &site].map(str::to_owned);
    let mut words: Vec<&str> = top.iter().map(String::as_str).collect();
    // Keystone with SQLite allows one writer at a time.
    let workers = if part == ROLES_PART { "1" } else { "2" };
    words.extend(["run", "--concurrency", workers, "--exclude-regex", NOT_THERE_EITHER]);
    let part = format!("ironic_tempest_plugin.tests.api.{part}");
    words.push(&part);
    let said = command_output(place.command(&stestr), &words, folder)?;
    let passed = said.lines().find_map(|line| line.trim().strip_prefix("- Passed: ")).context("no count")?;
    tell(format_args!("tempest: {passed} passed"));
    ensure!(passed.parse::<usize>()? >= at_least, "{passed} passed, not {at_least}");
    Ok(())
}

fn command_output(mut command: std::process::Command, words: &[&str], folder: &Path) -> Result<String> {
    command.args(words).env("TEMPEST_CONFIG_DIR", folder.join("etc")).current_dir(folder).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

/// Tempest takes each test's credentials from a list: one entry of each kind per concurrent test.
fn accounts() -> Result<String> {
    let mut accounts = String::new();
    for number in 0..4 {
        for role in ["admin", "member", "reader"] {
            write!(
                accounts,
                "- {{username: p{role}{number}, password: x, project_name: {role}{number}, domain_name: Default, roles: [{role}]}}\n\
                 - {{username: s{role}{number}, password: x, system: all, roles: [{role}]}}\n"
            )?;
        }
    }
    Ok(accounts)
}

fn configuration(folder: &Path, credentials: &str, region: &str, enforces: bool) -> String {
    let folder = folder.display();
    format!(
        "[oslo_concurrency]\nlock_path={folder}/locks\n\
         [auth]\n{credentials}\
         [identity]\nuri_v3=http://127.0.0.1:{KEYSTONE}/v3\nauth_version=v3\nregion={region}\n\
         [service_available]\nironic=true\nneutron=false\n[enforce_scope]\nironic={enforces}\n\
         [baremetal]\ndriver=fake-hardware\nmin_microversion=1.1\nmax_microversion=1.115\nendpoint_type=public\n\
         enabled_drivers=fake-hardware\nenabled_hardware_types=fake-hardware\n\
         [baremetal_feature_enabled]\nadoption=true\n"
    )
}
