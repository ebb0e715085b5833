//! Effects of BMC commands on a QEMU machine: power, reset and boot device.
//!
//! Our own BMC calls it as a library. `ipmi_sim` runs a program for it (ipmi_lan(5), `chassis_control`): `get power
//! boot` is answered with the lines `power:1` and `boot:pxe`; `set power 1 boot pxe …` is carried out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::daemon::Daemon;
use super::machine::{BootDevice, Machine, bootindexes};
use super::qmp::Qmp;

/// A request of a BMC, in `ipmi_sim`'s words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `set power 1`
    On,
    /// `set power 0`
    Off,
    /// `set reset 1`
    Reset,
    /// `set shutdown 1`
    Shutdown,
    /// `set boot …`
    Boot(BootDevice),
    /// `set identify SECONDS FORCED`: there is no lamp.
    Identify,
}

/// The action for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Run QEMU with this order.
    Start(BootDevice),
    /// End QEMU.
    Stop,
    /// Tell QEMU this boot order. The firmware reads it at the *next* reset of the machine.
    Order(BootDevice),
    /// The same, unless an [`Act::ResetOnce`] is running: that one ends by telling QEMU the stored order, and holds the
    /// monitor for so long that the BMC would seem silent.
    OrderSoon(BootDevice),
    /// Store the boot device of the next start or reset.
    Remember(BootDevice),
    /// Reset, and withdraw the boot order once the firmware has read it, without keeping the BMC waiting.
    ResetOnce,
    /// Press the power button of a running machine.
    PressButton,
}

/// Decides the action for one request. A boot device holds for one start or one reset (IPMI 2.0 Table 28-14, parameter
/// 5: not persistent).
///
/// # Errors
/// A machine that is off can be neither reset nor asked to shut down.
pub fn decide(ask: Ask, running: bool, boot: BootDevice) -> Result<Vec<Act>> {
    Ok(match (ask, running) {
        (Ask::On, true) | (Ask::Off, false) | (Ask::Identify, _) => vec![],
        (Ask::On, false) => {
            vec![Act::Start(boot), Act::Remember(BootDevice::Unsaid), Act::Order(BootDevice::Unsaid)]
        }
        (Ask::Off, true) => vec![Act::Stop],
        (Ask::Reset, true) => vec![Act::Order(boot), Act::Remember(BootDevice::Unsaid), Act::ResetOnce],
        (Ask::Shutdown, true) => vec![Act::PressButton],
        (Ask::Reset | Ask::Shutdown, false) => bail!("the machine is off"),
        (Ask::Boot(device), false) => vec![Act::Remember(device)],
        (Ask::Boot(device), true) => vec![Act::Remember(device), Act::OrderSoon(device)],
    })
}

/// Parses the words after `set`.
///
/// # Errors
/// Unknown words: the BMC answers its client with an error.
pub fn asks(words: &[String]) -> Result<Vec<Ask>> {
    let mut words = words.iter().map(String::as_str);
    let mut asks = Vec::new();
    while let Some(parameter) = words.next() {
        let value = words.next().with_context(|| format!("{parameter} without a value"))?;
        asks.push(match (parameter, value) {
            ("power", "1") => Ask::On,
            ("power", "0") => Ask::Off,
            ("reset", _) => Ask::Reset,
            ("shutdown", _) => Ask::Shutdown,
            ("boot", device) => Ask::Boot(device_of(device)?),
            ("identify", _) => {
                words.next();
                Ask::Identify
            }
            other => bail!("unknown: {other:?}"),
        });
    }
    Ok(asks)
}

/// Handles `chassis NODEDIR WORDS…`, with `program` for work that must not delay the BMC. Returns the answer
/// for `ipmi_sim`.
///
/// # Errors
/// The machine cannot do it, or the words are unknown.
pub fn run(program: &Path, directory: &Path, words: &[String]) -> Result<String> {
    let chassis = Chassis::of(Machine::load(directory)?, program);
    match words.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("get", parameters)) => chassis.tell(parameters),
        Some(("set", words)) => {
            asks(words)?.into_iter().try_for_each(|ask| chassis.ask(ask))?;
            Ok(String::new())
        }
        Some(("reset-once", [])) => chassis.reset_once().map(|()| String::new()),
        _ => bail!("chassis: get or set, not {words:?}"),
    }
}

/// A machine, as its BMC sees it.
#[derive(Clone, Debug)]
pub struct Chassis {
    machine: Machine,
    program: PathBuf,
}

/// SeaBIOS answers a warm reset with a second, real one; the order may be withdrawn only after that.
const RESETS_SETTLE: Duration = Duration::from_millis(1500);

/// A reset is reported within milliseconds, even on a loaded host.
const RESET_COMES: Duration = Duration::from_secs(10);

impl Chassis {
    /// The chassis of this machine, with `program`, which is `virtual-rack`, to run for what must not keep the BMC
    /// waiting.
    pub fn of(machine: Machine, program: &Path) -> Self {
        Self { machine, program: program.to_owned() }
    }

    /// Whether the machine has power.
    ///
    /// # Errors
    /// The record of its QEMU cannot be read.
    pub fn is_on(&self) -> Result<bool> {
        Ok(self.machine.running()?.is_some())
    }

    /// Carries a request out, and returns when it is done. It takes as long as QEMU takes to start or to end. Call it
    /// inside the machine's namespace.
    ///
    /// # Errors
    /// The machine cannot do it.
    pub fn ask(&self, ask: Ask) -> Result<()> {
        for act in decide(ask, self.is_on()?, self.boot()?)? {
            self.carry_out(act).with_context(|| format!("{act:?}"))?;
        }
        Ok(())
    }

    fn tell(&self, parameters: &[String]) -> Result<String> {
        let mut told = String::new();
        for parameter in parameters {
            told += &match parameter.as_str() {
                "power" => format!("power:{}\n", u8::from(self.is_on()?)),
                "boot" => format!("boot:{}\n", word_of(self.boot()?)),
                other => bail!("unknown: {other:?}"),
            };
        }
        Ok(told)
    }

    fn carry_out(&self, act: Act) -> Result<()> {
        match act {
            Act::Start(first) => self.machine.power_on(first),
            Act::Stop => match self.machine.running()? {
                Some(qemu) => qemu.end(),
                None => Ok(()),
            },
            Act::Order(first) => {
                // A running reset is superseded by this request.
                self.resetting()?.map_or(Ok(()), |reset| reset.end())?;
                order(&mut self.monitor()?, first)
            }
            Act::OrderSoon(_) if self.resetting()?.is_some() => Ok(()),
            Act::OrderSoon(first) => order(&mut self.monitor()?, first),
            Act::Remember(device) => Ok(fs::write(self.machine.path("boot"), word_of(device))?),
            Act::ResetOnce => {
                let mut command = Command::new("setsid");
                command.arg(&self.program).arg("chassis").arg(&self.machine.directory).arg("reset-once");
                Daemon::spawn(command, &self.machine.path("reset.log"), &self.machine.path("reset.record")).map(drop)
            }
            Act::PressButton => self.monitor()?.execute("system_powerdown", json!({})).map(drop),
        }
    }

    /// The running [`Act::ResetOnce`].
    fn resetting(&self) -> Result<Option<Daemon>> {
        Ok(Daemon::recorded(&self.machine.path("reset.record"))?.filter(Daemon::alive))
    }

    fn reset_once(&self) -> Result<()> {
        let mut monitor = self.monitor()?;
        monitor.execute("system_reset", json!({}))?;
        monitor.settle("RESET", RESET_COMES, RESETS_SETTLE)?;
        // Another device may have been requested meanwhile.
        order(&mut monitor, self.boot()?)
    }

    fn monitor(&self) -> Result<Qmp> {
        Qmp::connect(&self.machine.path("qmp.sock"))
    }

    fn boot(&self) -> Result<BootDevice> {
        device_of(&fs::read_to_string(self.machine.path("boot")).unwrap_or_else(|_| "none".to_owned()))
    }
}

/// Changes the boot order of a running machine.
fn order(monitor: &mut Qmp, first: BootDevice) -> Result<()> {
    /// No place in the order.
    const NONE: i16 = -1;
    let (disk, network) = bootindexes(first);
    // QEMU refuses a place that is in use, even by the device itself.
    for (device, index) in [("nic0", NONE), ("vd0", NONE), ("vd0", disk), ("nic0", network)] {
        let path = format!("/machine/peripheral/{device}");
        monitor.execute("qom-set", json!({ "path": path, "property": "bootindex", "value": index }))?;
    }
    Ok(())
}

/// `ipmitool chassis bootdev disk` arrives as `default`.
fn device_of(word: &str) -> Result<BootDevice> {
    match word {
        "none" => Ok(BootDevice::Unsaid),
        "default" => Ok(BootDevice::Disk),
        "pxe" => Ok(BootDevice::Network),
        other => bail!("no such boot device: {other:?}"),
    }
}

fn word_of(device: BootDevice) -> &'static str {
    match device {
        BootDevice::Unsaid => "none",
        BootDevice::Disk => "default",
        BootDevice::Network => "pxe",
    }
}

#[cfg(test)]
mod tests;
