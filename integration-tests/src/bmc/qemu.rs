//! BMC of a QEMU machine, instead of `ipmi_sim`: it logs its actions, as input for the checker.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use service_kit::Host;
use wire_ipmi::Completion;
use wire_ipmi::chassis::boot::{Choice, Device};
use wire_ipmi::chassis::{Control, Power};
use wire_ipmi::responder::Call;
use wire_ipmi::responder::machine::{Answer, Change, Machine as Board};

use virtual_rack::Node;
use virtual_rack::chassis::{Ask, Chassis};
use virtual_rack::machine::BootDevice;
use virtual_rack::namespace::Namespace;

use super::Bmc;

/// IPMI 2.0 Table 5-2: "unspecified error".
const UNSPECIFIED: Completion = Completion(0xff);

/// A BMC with a thread in the machine's namespace. It ends when it is dropped; the machine continues.
#[derive(Debug)]
pub struct Responder {
    bmc: Arc<Bmc>,
    host: Host,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Responder {
    /// The BMC of this node, with `program`, which is `virtual-rack`, for its chassis.
    ///
    /// # Errors
    /// There are too many threads.
    pub fn begin(node: &Node, program: &Path) -> Result<Self> {
        let bmc = Arc::new(Bmc::new(&node.bmc.password, node.machine.path("bmc.log")));
        let host = Host::default();
        let wired = Wired { board: Board::default(), chassis: Chassis::of(node.machine.clone(), program) };
        let (own, stopping, address) = (Arc::clone(&bmc), host.clone(), node.bmc.address);
        let name = format!("{}-bmc", node.machine.name);
        let thread = Namespace::named(&node.namespace)
            .inhabit(&name, async move || own.serve(wired, address, stopping).await)?;
        Ok(Self { bmc, host, thread: Some(thread) })
    }

    /// Its log and traps.
    pub fn bmc(&self) -> &Bmc {
        &self.bmc
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.host.stop();
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => eprintln!("a BMC: {error:#}"),
            Some(Err(_)) => eprintln!("a BMC panicked"),
        }
    }
}

/// The board that speaks IPMI, and its connections to a machine.
struct Wired {
    board: Board,
    chassis: Chassis,
}

impl super::Chassis for Wired {
    async fn carry_out(&mut self, call: &Call) -> Answer {
        match self.decide(call) {
            Ok((answer, asks)) if asks.is_empty() => answer,
            Ok((answer, asks)) => {
                let chassis = self.chassis.clone();
                // It takes as long as QEMU takes; the BMC's own thread has timers to serve.
                let done =
                    tokio::task::spawn_blocking(move || asks.into_iter().try_for_each(|ask| chassis.ask(ask))).await;
                match done.context("the chassis").flatten() {
                    Ok(()) => answer,
                    // Part of it may have been done, so it stays in the log.
                    Err(error) => failed(&error, answer.change),
                }
            }
            Err(error) => failed(&error, None),
        }
    }
}

impl Wired {
    /// The answer to a command, and the chassis' action before it is sent.
    fn decide(&mut self, call: &Call) -> Result<(Answer, Vec<Ask>)> {
        // The machine may have switched itself off.
        let before = if self.chassis.is_on()? { Power::On } else { Power::Off };
        self.board.set_power(before);
        let answer = self.board.answer(call);
        let asks = match answer.change {
            None | Some(Change::Identify(_) | Change::Reset(_)) => vec![],
            Some(Change::Boot(choice)) => vec![Ask::Boot(device(choice)?)],
            Some(Change::Power(control)) => self.asks(control, before)?,
        };
        Ok((answer, asks))
    }

    fn asks(&mut self, control: Control, before: Power) -> Result<Vec<Ask>> {
        let order: &[Ask] = match control {
            Control::On => &[Ask::On],
            Control::Off => &[Ask::Off],
            Control::Soft => &[Ask::Shutdown],
            Control::Cycle => &[Ask::Off, Ask::On],
            Control::Reset => &[Ask::Reset],
            Control::Diagnostic => bail!("this machine has no NMI"),
        };
        let boots = matches!((control, before), (Control::On, Power::Off) | (Control::Cycle | Control::Reset, _));
        // The chassis forgets its device at each start; a persistent choice is stored in the board.
        let chosen = if boots { self.board.take_boot() } else { None };
        let chosen = chosen.map(device).transpose()?.map(Ask::Boot);
        Ok(chosen.into_iter().chain(order.iter().copied()).collect())
    }
}

fn failed(error: &anyhow::Error, change: Option<Change>) -> Answer {
    eprintln!("a BMC cannot: {error:#}");
    Answer { completion: UNSPECIFIED, data: vec![], change }
}

/// Boot devices of the machine.
fn device(choice: Choice) -> Result<BootDevice> {
    match choice.device {
        Device::Unchanged => Ok(BootDevice::Unsaid),
        Device::Network => Ok(BootDevice::Network),
        Device::Disk => Ok(BootDevice::Disk),
        Device::SafeDisk
        | Device::Diagnostic
        | Device::Cd
        | Device::Setup
        | Device::RemoteRemovable
        | Device::RemoteCd
        | Device::RemoteDisk
        | Device::Removable => bail!("this machine has no {:?}", choice.device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wired() -> (Wired, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let machine = virtual_rack::machine::Machine {
            name: "n1".to_owned(),
            firmware: virtual_rack::machine::Firmware::Bios,
            behind: virtual_rack::machine::Behind::Responder,
            mac: "52:54:00:01:00:01".to_owned(),
            uuid: "4c4c4544-0001-4c41-8042-525400010001".to_owned(),
            memory_mib: 80,
            disk_mib: 1,
            directory: folder.path().to_owned(),
        };
        (Wired { board: Board::default(), chassis: Chassis::of(machine, Path::new("virtual-rack")) }, folder)
    }

    fn call(command: wire_ipmi::Command) -> Call {
        Call { id: 1, session: 1, privilege: wire_ipmi::Privilege::Administrator, command }
    }

    #[test]
    fn a_device_for_all_boots_is_told_the_chassis_at_every_start() {
        use wire_ipmi::chassis::boot::{Firmware, Persistence};
        let (mut wired, _folder) = wired();
        for (persistence, later) in
            [(Persistence::Once, vec![Ask::On]), (Persistence::Always, vec![Ask::Boot(BootDevice::Network), Ask::On])]
        {
            let choice = Choice { device: Device::Network, persistence, firmware: Firmware::Bios };
            let (_, asks) = wired.decide(&call(choice.command())).unwrap();
            assert_eq!(asks, [Ask::Boot(BootDevice::Network)]);
            let (_, asks) = wired.decide(&call(Control::On.command())).unwrap();
            assert_eq!(asks, [Ask::Boot(BootDevice::Network), Ask::On]);
            // No process ran it: the machine is off again.
            let (_, asks) = wired.decide(&call(Control::On.command())).unwrap();
            assert_eq!(asks, later);
        }
    }

    #[test]
    fn what_a_machine_that_is_off_can_not_do_is_refused_and_not_done() {
        let (mut wired, _folder) = wired();
        for control in [Control::Cycle, Control::Reset] {
            let (answer, asks) = wired.decide(&call(control.command())).unwrap();
            assert_eq!((answer.completion, answer.change, asks), (Completion::NOT_NOW, None, vec![]));
        }
    }
}
