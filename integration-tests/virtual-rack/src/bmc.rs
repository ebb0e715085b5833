//! A machine's BMC: OpenIPMI's `ipmi_sim` on UDP 623, with the machine's serial port behind its serial-over-LAN.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;
use super::machine::Machine;
use super::namespace::Namespace;
use super::wait;

/// IPMI's port (RMCP, ASF 2.0 §3.2.3).
pub const PORT: u16 = 623;
/// Name of the only user.
pub const USER: &str = "admin";
/// Its initial password.
pub const PASSWORD: &str = "labpass";

/// Address and credentials of a BMC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Address on the BMC network.
    pub address: Ipv4Addr,
    /// UDP port.
    pub port: u16,
    /// Name of an administrator.
    pub user: String,
    /// The administrator's password.
    pub password: String,
}

/// One BMC.
#[derive(Debug)]
pub struct Bmc<'m> {
    machine: &'m Machine,
    access: &'m Access,
    namespace: Namespace,
    /// The program that `ipmi_sim` runs for power and boot device: `virtual-rack`.
    program: PathBuf,
}

/// `ipmi_sim` and `socat` need a tenth of this on an idle host.
const START: Duration = Duration::from_secs(10);

impl<'m> Bmc<'m> {
    /// The BMC of `machine` in the machine's namespace.
    pub fn of(machine: &'m Machine, access: &'m Access, namespace: Namespace, program: &Path) -> Self {
        Self { machine, access, namespace, program: program.to_owned() }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// A program is missing or does not start; the reason is in its log.
    pub fn start(&self) -> Result<()> {
        fs::write(self.file("bmc.emu"), EMULATION)?;
        fs::write(self.file("lan.conf"), self.configuration(&self.access.password))?;
        self.lay_serial_line()?;
        self.run()
    }

    /// Ends it, like a power loss; the machine continues.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&self) -> Result<()> {
        for record in ["ipmi_sim.record", "socat.record"] {
            if let Some(daemon) = Daemon::recorded(&self.file(record))? {
                daemon.end()?;
            }
        }
        Ok(())
    }

    /// Restarts it with another password. `Access` keeps the earlier one.
    ///
    /// # Errors
    /// It does not end or does not start.
    pub fn restart_with_password(&self, password: &str) -> Result<()> {
        if let Some(daemon) = Daemon::recorded(&self.file("ipmi_sim.record"))? {
            daemon.end()?;
        }
        fs::write(self.file("lan.conf"), self.configuration(password))?;
        self.run()
    }

    /// Sends its simulator a signal: STOP makes it silent, CONT ends that.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Daemon::recorded(&self.file("ipmi_sim.record"))?.context("the BMC never ran")?.signal(signal)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.machine.path(name)
    }

    /// The BMC's end of the serial line. Its name must be unique on the host: `ipmi_sim` locks it by its name alone, in
    /// /var/lock.
    fn serial_end(&self) -> PathBuf {
        self.file(&format!("{}-com1", self.namespace.name()))
    }

    /// A null modem that exists while the machine starts and ends. (Over TCP, `ipmi_sim` would reconnect ten seconds
    /// after the machine, too late for the firmware's output.)
    fn lay_serial_line(&self) -> Result<()> {
        let [ours, machines] = [self.serial_end(), self.file("com1.qemu")];
        let mut command = self.namespace.command("setsid");
        command.args(["socat", "-d"]);
        command.args([&ours, &machines].map(|link| format!("PTY,link={},raw,echo=0", link.display())));
        let socat = Daemon::spawn(command, &self.file("socat.log"), &self.file("socat.record"))?;
        wait::until("the serial line", START, || {
            ensure!(socat.alive(), "socat ended: see {}", self.file("socat.log").display());
            Ok((ours.exists() && machines.exists()).then_some(()))
        })
    }

    fn run(&self) -> Result<()> {
        let mut command = self.namespace.command("setsid");
        command.args(["ipmi_sim", "-n", "-c"]).arg(self.file("lan.conf"));
        command.arg("-f").arg(self.file("bmc.emu")).arg("-s").arg(self.file("ipmi_sim"));
        let bmc = Daemon::spawn(command, &self.file("ipmi_sim.log"), &self.file("ipmi_sim.record"))?;
        wait::until("the BMC to answer", START, || {
            ensure!(bmc.alive(), "ipmi_sim ended: see {}", self.file("ipmi_sim.log").display());
            Ok(bound(bmc, self.access.port).then_some(()))
        })
    }

    /// Configuration of `ipmi_sim` (ipmi_lan(5)).
    fn configuration(&self, password: &str) -> String {
        let Access { address, port, user, .. } = self.access;
        let levels = ["callback", "user", "operator", "admin"];
        let auths = levels.map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n")).concat();
        format!(
            "name \"{name}\"\nset_working_mc 0x20\n  startlan 1\n    addr {address} {port}\n    priv_limit admin\n{auths}    \
             guid {guid}\n  endlan\n  chassis_control \"{program} chassis {directory}\"\n  \
             serial 15 127.0.0.1 9002 codec VM\n  sol \"{serial}\" 115200 history=65536\n  \
             user 1 false \"\" \"\" user 10 none md2 md5 straight\n  \
             user 2 true \"{user}\" \"{password}\" admin 10 none md2 md5 straight\n",
            name = self.machine.name,
            guid = self.machine.uuid.replace('-', ""),
            program = self.program.display(),
            directory = self.machine.directory.display(),
            serial = self.serial_end().display(),
        )
    }
}

/// Returns whether `daemon` has the UDP port. Its /proc shows the sockets of its namespace.
fn bound(daemon: Daemon, port: u16) -> bool {
    let local = format!(":{port:04X}");
    let sockets = fs::read_to_string(format!("/proc/{}/net/udp", daemon.pid())).unwrap_or_default();
    sockets.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|address| address.ends_with(&local))
}

/// The simulated management controller (ipmi_sim_cmd(5)): a watchdog, which must be sensor 0, and an event log.
const EMULATION: &str = "\
mc_setbmc 0x20
mc_add 0x20 0x20 no-device-sdrs 0x01 2 10 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 0 35 0x6f event-only
sensor_set_event_support 0x20 0 0 enable scanning per-state 000000000001111 000000000000000 000000000001111 000000000000000
mc_enable 0x20
";
