//! The virtual rack itself, with real firmware and a real IPMI client. Needs root and the packages of `scripts/test`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use integration_tests::rack::console::Console;
use integration_tests::rack::machine::Firmware;
use integration_tests::rack::namespace::Namespace;
use integration_tests::rack::{Node, Plan, Rack};

/// Ten times what firmware needs on two idle cores.
const FIRMWARE: Duration = Duration::from_secs(60);

/// A rack that is taken down however the test ends.
struct Guarded(Rack);

impl Guarded {
    /// A rack with one BIOS node, off.
    fn up(tag: &str, state: &Path) -> Self {
        let plan = Plan {
            tag: tag.to_owned(),
            state: state.to_owned(),
            program: env!("CARGO_BIN_EXE_virtual-rack").into(),
            nodes: vec![Firmware::Bios],
            memory_mib: Some(128),
            disk_mib: 64,
        };
        Self(Rack::up(&plan).unwrap())
    }

    fn node(&self) -> &Node {
        self.0.nodes.first().unwrap()
    }

    fn ipmitool(&self, words: &str) -> String {
        let bmc = &self.node().bmc;
        let host = bmc.address.to_string();
        let mut command =
            vec!["ipmitool", "-I", "lanplus", "-C", "3", "-H", &host, "-U", &bmc.user, "-P", &bmc.password];
        command.extend(words.split(' '));
        self.0.services().run(&command).unwrap()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("the rack stays up: {error:#}");
        }
    }
}

/// Programs whose command line names this directory. A dead one that nobody has asked after has no command line.
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
    let rack = Guarded::up("tboot", state.path());
    let disk = File::options().write(true).open(rack.node().machine.path("disk.img")).unwrap();
    disk.write_all_at(SAYS_HELLO, 0).unwrap();
    // What makes it a boot sector.
    disk.write_all_at(&[0x55, 0xaa], 510).unwrap();
    let mut console = Console::open(&rack.node().console);

    rack.ipmitool("chassis bootdev pxe");
    rack.ipmitool("power on");
    console.wait_for("iPXE initialising devices", FIRMWARE).unwrap();

    // The device held for one start only.
    rack.ipmitool("power reset");
    console.wait_for("hello from the disk", FIRMWARE).unwrap();

    rack.ipmitool("chassis bootdev pxe");
    rack.ipmitool("power reset");
    console.wait_for("iPXE initialising devices", FIRMWARE).unwrap();

    rack.ipmitool("chassis bootdev disk");
    rack.ipmitool("power cycle");
    console.wait_for("hello from the disk", FIRMWARE).unwrap();
}

/// A boot sector: writes a text to the first serial port, and halts.
const SAYS_HELLO: &[u8] =
    b"\xfa\xfc\x31\xc0\x8e\xd8\xbe\x17\x7c\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5\xf4\xeb\xfd\
\r\nhello from the disk\r\n\0";
