//! The virtual rack itself, with real firmware and a real IPMI client. Needs root and the packages of `scripts/test`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use integration_tests::bmc::qemu::Responder;
use integration_tests::check::words;
use integration_tests::mesh::beside;
use integration_tests::rack::console::Console;
use integration_tests::rack::daemon::Daemon;
use integration_tests::rack::fault::{self, Cable, Traffic};
use integration_tests::rack::machine::{Behind, Firmware};
use integration_tests::rack::namespace::Namespace;
use integration_tests::rack::{Node, Plan, Rack, down_by_tag, wait};

/// Ten times the duration of firmware on two idle cores.
const FIRMWARE: Duration = Duration::from_secs(60);

/// A rack that is taken down however the test ends.
struct Guarded(Rack);

impl Guarded {
    /// A rack with one BIOS node behind `ipmi_sim`, off.
    fn up(tag: &str, state: &Path) -> Self {
        Self::of(tag, state, Behind::IpmiSim)
    }

    fn of(tag: &str, state: &Path, behind: Behind) -> Self {
        let plan = Plan {
            tag: tag.to_owned(),
            state: state.to_owned(),
            program: beside("virtual-rack").unwrap(),
            nodes: vec![Firmware::Bios],
            behind,
            memory_mib: Some(128),
            disk_mib: 64,
        };
        Self(Rack::up(&plan).unwrap())
    }

    fn node(&self) -> &Node {
        self.0.nodes.first().unwrap()
    }

    fn ipmitool(&self, words: &str) -> String {
        self.try_ipmitool(&self.node().bmc.password, words).unwrap()
    }

    fn try_ipmitool(&self, password: &str, words: &str) -> anyhow::Result<String> {
        let bmc = &self.node().bmc;
        let host = bmc.address.to_string();
        let mut command = vec!["ipmitool", "-I", "lanplus", "-C", "3", "-H", &host, "-U", &bmc.user, "-P", password];
        command.extend(words.split(' '));
        self.0.services().run(&command)
    }

    /// Whether a program on the node's cable can reach the services in this way.
    fn node_can(&self, words: &str) -> bool {
        let words: Vec<&str> = words.split(' ').collect();
        Namespace::named(&self.node().namespace).run(&words).is_ok()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("the rack stays up: {error:#}");
        }
    }
}

/// Programs whose command line contains this folder. A zombie has no command line.
fn programs_of(state: &Path) -> Vec<String> {
    let state = state.to_str().unwrap();
    let programs = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = programs.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(state)).collect()
}

#[test]
fn a_virtual_rack_comes_up_and_leaves_nothing_behind() {
    let state = tempfile::tempdir().unwrap();
    let interfaces = || Command::new("ip").args(["-br", "link"]).output().unwrap().stdout;
    let before = interfaces();
    let rack = Guarded::up("tlife", state.path());
    assert_eq!(rack.ipmitool("power status").trim(), "Chassis Power is off");
    rack.ipmitool("power on");
    assert_eq!(rack.ipmitool("power status").trim(), "Chassis Power is on");
    let mut console = Console::open(&rack.node().console);
    console.wait_for("SeaBIOS", FIRMWARE).unwrap();
    console.wait_for("iPXE initialising devices", FIRMWARE).unwrap();
    assert!(programs_of(state.path()).len() >= 3, "{:?}", programs_of(state.path()));

    Rack::load(state.path()).unwrap().down().unwrap();
    assert_eq!(programs_of(state.path()), Vec::<String>::new());
    assert_eq!(Namespace::with_prefix("im-tlife-").unwrap(), []);
    assert_eq!(interfaces(), before);
    rack.0.down().unwrap();
}

#[test]
fn a_boot_device_set_by_ipmitool_changes_what_the_machine_boots() {
    let state = tempfile::tempdir().unwrap();
    boots_what_ipmitool_says(&Guarded::up("tboot", state.path()));
}

#[test]
fn our_bmc_makes_a_machine_boot_from_ipmitools_device_and_logs_the_session() {
    let state = tempfile::tempdir().unwrap();
    let rack = Guarded::of("town", state.path(), Behind::Responder);
    let ours = Responder::begin(rack.node(), &beside("virtual-rack").unwrap()).unwrap();
    boots_what_ipmitool_says(&rack);
    rack.ipmitool("power off");
    assert_eq!(rack.ipmitool("power status").trim(), "Chassis Power is off");
    rack.try_ipmitool("labpass", "power cycle").unwrap_err();

    let mut commands = ours.bmc().mutations();
    // ipmitool repeats the command in the same session if QEMU takes long to start.
    commands.dedup_by(|again, first| again.session == first.session && again.change == first.change);
    let once = |device: &str| format!("boot {device} Once bios");
    let told = [once("Pxe"), "power on".into(), "reset".into(), once("Pxe"), "reset".into(), once("Disk")];
    let told: Vec<String> = told.into_iter().chain(["cycle".into(), "power off".into()]).collect();
    assert_eq!(commands.iter().map(|command| words(command.change)).collect::<Vec<_>>(), told);
    let sessions: BTreeSet<u32> = commands.iter().map(|command| command.session).collect();
    assert_eq!(sessions.len(), commands.len(), "each call of ipmitool has its own session");
}

fn boots_what_ipmitool_says(rack: &Guarded) {
    let disk = File::options().write(true).open(rack.node().machine.path("disk.img")).unwrap();
    disk.write_all_at(SAYS_HELLO, 0).unwrap();
    // The boot signature.
    disk.write_all_at(&[0x55, 0xaa], 510).unwrap();
    let mut console = Console::open(&rack.node().console);

    rack.ipmitool("chassis bootdev pxe");
    rack.ipmitool("power on");
    console.wait_for("iPXE initialising devices", FIRMWARE).unwrap();

    // The device was set for one start only.
    rack.ipmitool("power reset");
    console.wait_for("hello from the disk", FIRMWARE).unwrap();

    rack.ipmitool("chassis bootdev pxe");
    rack.ipmitool("power reset");
    console.wait_for("iPXE initialising devices", FIRMWARE).unwrap();

    rack.ipmitool("chassis bootdev disk");
    rack.ipmitool("power cycle");
    console.wait_for("hello from the disk", FIRMWARE).unwrap();
}

#[test]
fn a_fault_breaks_what_it_names_until_it_is_mended() {
    let state = tempfile::tempdir().unwrap();
    let rack = Guarded::up("tfault", state.path());
    let node = rack.node();
    Namespace::named(&node.namespace).ip("addr add 10.77.1.50/24 dev br0").unwrap();
    for port in [80, 81] {
        let mut web = rack.0.services().command("socat");
        web.args([&format!("TCP-LISTEN:{port},fork,reuseaddr"), "OPEN:/dev/null"]);
        Daemon::spawn(web, &state.path().join("web.log"), &state.path().join("web.record")).unwrap();
    }
    let [fetch, other] = [80, 81].map(|port| format!("socat -u OPEN:/dev/null TCP:10.77.1.1:{port},connect-timeout=1"));
    let both = || Ok((rack.node_can(&fetch) && rack.node_can(&other)).then_some(()));
    wait::until("the web servers", FIRMWARE, both).unwrap();

    fault::lose(&rack.0, node, Traffic::Tcp(80)).unwrap();
    assert!(!rack.node_can(&fetch));
    assert!(rack.node_can(&other));
    fault::lose(&rack.0, node, Traffic::Udp(69)).unwrap();
    fault::lose(&rack.0, node, Traffic::AnyUdp).unwrap();
    fault::mend(&rack.0, node).unwrap();
    assert!(rack.node_can(&fetch));

    fault::cable(&rack.0, node, Cable::Out).unwrap();
    assert!(!rack.node_can(&other));
    fault::cable(&rack.0, node, Cable::In).unwrap();
    wait::until("the cable", FIRMWARE, both).unwrap();
}

#[test]
fn a_bmc_falls_silent_and_changes_its_password_while_its_machine_continues() {
    let state = tempfile::tempdir().unwrap();
    let rack = Guarded::up("tbmc", state.path());
    let bmc = rack.0.bmc(rack.node());
    let machine = &rack.node().machine;
    rack.ipmitool("power on");
    let qemu = machine.running().unwrap();

    fault::deafen(&bmc).unwrap();
    rack.try_ipmitool("labpass", "-N 1 -R 1 power status").unwrap_err();
    fault::heal(&bmc).unwrap();
    rack.ipmitool("power status");

    fault::change_password(&bmc, "changed").unwrap();
    rack.try_ipmitool("labpass", "power status").unwrap_err();
    assert_eq!(rack.try_ipmitool("changed", "power status").unwrap().trim(), "Chassis Power is on");
    assert_eq!(machine.running().unwrap(), qemu);
}

#[test]
fn the_tag_suffices_to_remove_what_a_crash_left() {
    let state = tempfile::tempdir().unwrap();
    let rack = Guarded::up("tcrash", state.path());
    std::fs::remove_file(state.path().join("rack.json")).unwrap();
    std::fs::remove_file(rack.node().machine.path("ipmi_sim.record")).unwrap();
    down_by_tag("tcrash").unwrap();
    assert_eq!(programs_of(state.path()), Vec::<String>::new());
    assert_eq!(Namespace::with_prefix("im-tcrash-").unwrap(), []);
}

/// A boot sector that writes a text to the first serial port and halts.
const SAYS_HELLO: &[u8] =
    b"\xfa\xfc\x31\xc0\x8e\xd8\xbe\x17\x7c\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5\xf4\xeb\xfd\
\r\nhello from the disk\r\n\0";
