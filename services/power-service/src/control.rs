//! Decides which commands bring power to a target, one at a time, each after reading the power state.

use std::time::Duration;

use domain::{
    failure::Cause,
    power::{Boot, Power, PowerTarget},
    time::Timestamp,
};

use crate::{bmc::Command, config};

/// The next step of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this command.
    Send(Command),
    /// Wait, then read power again.
    Wait,
    /// The target is reached.
    Reached,
    /// The target cannot be reached.
    Stuck(Cause, String),
}

/// Progress of an instruction.
#[derive(Debug, Clone)]
pub(crate) struct PowerSequence {
    target: PowerTarget,
    boot_steps: usize,
    /// Whether each command was accepted since the start.
    off_sent: bool,
    soft_sent: bool,
    seen_off: bool,
    boot_done: usize,
    on_sent: bool,
    /// Time waited for power to change since the last command.
    waited: Duration,
}

impl PowerSequence {
    /// Starts a sequence. `boot_steps` is the number of commands that the BMC needs to set the boot order.
    pub(crate) const fn new(target: PowerTarget, boot_steps: usize) -> Self {
        Self {
            target,
            boot_steps,
            off_sent: false,
            soft_sent: false,
            seen_off: false,
            boot_done: 0,
            on_sent: false,
            waited: Duration::ZERO,
        }
    }

    /// Records that the BMC accepted a command.
    pub(crate) fn sent(&mut self, command: Command) {
        self.waited = Duration::ZERO;
        match command {
            Command::On => self.on_sent = true,
            Command::Off => self.off_sent = true,
            Command::SoftOff => self.soft_sent = true,
            // The instruction ends with it.
            Command::Interrupt | Command::ResetBmc(_) | Command::Raw { .. } => {}
            Command::Boot(_, step) => self.boot_done = step + 1,
        }
    }

    /// Records that time passed without a command.
    pub(crate) fn waited(&mut self, by: Duration) {
        self.waited += by;
    }

    /// Returns the next step, given the current power state.
    pub(crate) fn next(&mut self, power: Power, now: Timestamp, limits: &config::Power) -> Step {
        if power == Power::Off {
            self.seen_off = true;
        }
        if let Some(text) = too_late(self.target, now) {
            return Step::Stuck(Cause::Deadline, text);
        }
        match self.target {
            PowerTarget::On => self.on(power, limits),
            PowerTarget::Off => self.off(power, limits),
            PowerTarget::SoftOff { by: Some(by) } => self.soft_off(power, now, by),
            PowerTarget::SoftOff { by: None } if power == Power::Off => Step::Reached,
            PowerTarget::SoftOff { by: None } if !self.soft_sent => Step::Send(Command::SoftOff),
            // Power is switched off if the operating system does not react.
            PowerTarget::SoftOff { by: None } if !self.off_sent && self.waited < limits.soft_off => Step::Wait,
            PowerTarget::SoftOff { by: None } => self.off(power, limits),
            PowerTarget::SoftBooted { by } if !self.seen_off => self.soft_off(power, now, by),
            PowerTarget::SoftBooted { .. } => self.booted(None, power, limits),
            PowerTarget::Booted { boot } => self.booted(boot, power, limits),
            PowerTarget::BootOrder { boot } if self.boot_done < self.boot_steps => {
                Step::Send(Command::Boot(boot, self.boot_done))
            }
            PowerTarget::BootOrder { .. } => Step::Reached,
            PowerTarget::Interrupted { .. } if power == Power::Off => {
                let text = "the machine is off: there is no system to interrupt";
                Step::Stuck(Cause::PowerStuck, text.to_owned())
            }
            PowerTarget::Interrupted { .. } => Step::Send(Command::Interrupt),
            PowerTarget::BmcReset { reset, .. } => Step::Send(Command::ResetBmc(reset)),
            PowerTarget::RawCommand { netfn, command, .. } => Step::Send(Command::Raw { netfn, command }),
        }
    }

    /// Powers off by a graceful shutdown only. After the deadline, as after a crash, nothing is sent any more.
    fn soft_off(&self, power: Power, now: Timestamp, by: Timestamp) -> Step {
        match power {
            Power::Off => Step::Reached,
            Power::On if now >= by => Step::Stuck(
                Cause::PowerStuck,
                format!(
                    "the machine was asked to shut down and is still on at {by}; its operating system ignores the \
                     power button or needs more time"
                ),
            ),
            Power::On if !self.soft_sent => Step::Send(Command::SoftOff),
            Power::On => Step::Wait,
        }
    }

    /// Power off, boot order, power on, in this order: the machine has booted after the instruction.
    fn booted(&mut self, boot: Option<Boot>, power: Power, limits: &config::Power) -> Step {
        if !self.seen_off {
            return self.off(power, limits);
        }
        if let Some(boot) = boot
            && self.boot_done < self.boot_steps
        {
            return Step::Send(Command::Boot(boot, self.boot_done));
        }
        if !self.on_sent {
            return Step::Send(Command::On);
        }
        self.on(power, limits)
    }

    fn on(&self, power: Power, limits: &config::Power) -> Step {
        match power {
            Power::On => Step::Reached,
            Power::Off if !self.on_sent => Step::Send(Command::On),
            Power::Off if self.waited < limits.settle => Step::Wait,
            Power::Off => stuck("off", "on", limits.settle),
        }
    }

    fn off(&self, power: Power, limits: &config::Power) -> Step {
        match power {
            Power::Off => Step::Reached,
            Power::On if !self.off_sent => Step::Send(Command::Off),
            Power::On if self.waited < limits.settle => Step::Wait,
            Power::On => stuck("on", "off", limits.settle),
        }
    }
}

/// Says that a command is not sent any more, because its client no longer expects it. `None` if it may still be sent.
pub(crate) fn too_late(target: PowerTarget, now: Timestamp) -> Option<String> {
    let by = target.send_by().filter(|_| target.is_too_late(now))?;
    Some(format!("the command was not sent: it would be too late after {by}; repeat the request if it is still wanted"))
}

fn stuck(is: &str, wanted: &str, after: Duration) -> Step {
    let text = format!("the BMC accepted power {wanted}, but power is still {is} after {} s", after.as_secs());
    Step::Stuck(Cause::PowerStuck, text)
}

#[cfg(test)]
mod tests {
    use domain::power::{BmcReset, BootDevice, BootMode, Persistence};

    use super::*;

    /// Start and deadline of the tests.
    const NOW: Timestamp = Timestamp::from_millis(0);
    const LATER: Timestamp = Timestamp::from_millis(90_000);
    const BOOT: Boot = Boot { device: BootDevice::Pxe, persistence: Persistence::Once, mode: BootMode::Bios };

    /// Runs a machine that obeys each command and returns the commands.
    fn run_machine(target: PowerTarget, mut power: Power) -> Vec<Command> {
        let (sent, ended) = simulate(target, &mut power, None);
        assert_eq!(ended, Step::Reached);
        sent
    }

    /// Runs a machine and returns the commands and the last step. Its system shuts down after `shuts_down_after`, or
    /// never.
    fn simulate(target: PowerTarget, power: &mut Power, shuts_down_after: Option<Duration>) -> (Vec<Command>, Step) {
        const POWER_CHECK_INTERVAL: Duration = Duration::from_secs(10);
        let (mut sequence, mut sent, mut now) = (PowerSequence::new(target, 2), Vec::new(), NOW);
        for _ in 0..50 {
            match sequence.next(*power, now, &config::Power::default()) {
                Step::Send(command) => {
                    sent.push(command);
                    sequence.sent(command);
                    match command {
                        Command::On => *power = Power::On,
                        Command::Off => *power = Power::Off,
                        Command::SoftOff | Command::Boot(..) => {}
                        // The instruction ends with it.
                        Command::Interrupt | Command::ResetBmc(_) | Command::Raw { .. } => {
                            return (sent, Step::Reached);
                        }
                    }
                }
                Step::Wait => {
                    sequence.waited(POWER_CHECK_INTERVAL);
                    now = now.plus(POWER_CHECK_INTERVAL);
                    if sent.last() == Some(&Command::SoftOff)
                        && shuts_down_after.is_some_and(|after| now >= NOW.plus(after))
                    {
                        *power = Power::Off;
                    }
                }
                ended @ (Step::Reached | Step::Stuck(..)) => return (sent, ended),
            }
        }
        panic!("does not end: {sent:?}")
    }

    #[test]
    fn what_is_reached_is_left_alone() {
        assert_eq!(run_machine(PowerTarget::On, Power::On), []);
        assert_eq!(run_machine(PowerTarget::Off, Power::Off), []);
        assert_eq!(run_machine(PowerTarget::SoftOff { by: None }, Power::Off), []);
        assert_eq!(run_machine(PowerTarget::SoftOff { by: Some(LATER) }, Power::Off), []);
    }

    #[test]
    fn a_boot_is_off_then_boot_order_then_on() {
        let booted = PowerTarget::Booted { boot: Some(BOOT) };
        let from_off = [Command::Boot(BOOT, 0), Command::Boot(BOOT, 1), Command::On];
        assert_eq!(run_machine(booted, Power::Off), from_off);
        let from_on = [Command::Off, Command::Boot(BOOT, 0), Command::Boot(BOOT, 1), Command::On];
        assert_eq!(run_machine(booted, Power::On), from_on);
    }

    #[test]
    fn a_system_that_does_not_shut_down_is_switched_off() {
        assert_eq!(run_machine(PowerTarget::SoftOff { by: None }, Power::On), [Command::SoftOff, Command::Off]);
    }

    #[test]
    fn a_system_that_has_until_then_to_shut_down_is_never_switched_off() {
        let (soft, reboot) = (PowerTarget::SoftOff { by: Some(LATER) }, PowerTarget::SoftBooted { by: LATER });
        let of = |target, shuts_down_after| simulate(target, &mut Power::On, shuts_down_after);
        let minute = Some(Duration::from_secs(60));
        assert_eq!(of(soft, minute), (vec![Command::SoftOff], Step::Reached));
        assert_eq!(of(reboot, minute), (vec![Command::SoftOff, Command::On], Step::Reached));
        for target in [soft, reboot] {
            let (sent, ended) = of(target, None);
            assert_eq!(sent, [Command::SoftOff]);
            assert!(matches!(&ended, Step::Stuck(Cause::PowerStuck, why) if why.contains("00:01:30")), "{ended:?}");
        }
        assert_eq!(run_machine(reboot, Power::Off), [Command::On], "nothing to shut down");
        let late = PowerSequence::new(soft, 0).next(Power::On, LATER, &config::Power::default());
        assert!(matches!(late, Step::Stuck(..)), "{late:?}");
    }

    #[test]
    fn a_boot_order_is_set_and_power_left_as_it_is() {
        for power in [Power::On, Power::Off] {
            let steps = [Command::Boot(BOOT, 0), Command::Boot(BOOT, 1)];
            assert_eq!(run_machine(PowerTarget::BootOrder { boot: BOOT }, power), steps);
        }
    }

    #[test]
    fn what_runs_is_interrupted_once_and_what_is_off_is_not() {
        assert_eq!(run_machine(PowerTarget::Interrupted { by: Some(LATER) }, Power::On), [Command::Interrupt]);
        let (sent, ended) = simulate(PowerTarget::Interrupted { by: Some(LATER) }, &mut Power::Off, None);
        assert!(sent.is_empty() && matches!(ended, Step::Stuck(..)), "{sent:?} {ended:?}");
    }

    #[test]
    fn a_bmc_is_reset_and_gets_a_raw_command_once_whatever_the_power_is() {
        let (netfn, command) = (6, 0x47);
        for power in [Power::On, Power::Off] {
            for reset in [BmcReset::Cold, BmcReset::Warm] {
                assert_eq!(run_machine(PowerTarget::BmcReset { reset, by: None }, power), [Command::ResetBmc(reset)]);
            }
            let sent = run_machine(PowerTarget::RawCommand { netfn, command, by: None }, power);
            assert_eq!(sent, [Command::Raw { netfn, command }]);
        }
    }

    #[test]
    fn a_command_that_is_sent_once_is_not_sent_after_its_deadline() {
        let just_in_time = Timestamp::from_millis(LATER.millis() - 1);
        let by = Some(LATER);
        for (target, now, sends, source) in [
            (PowerTarget::Interrupted { by }, just_in_time, true, "in time"),
            (PowerTarget::Interrupted { by }, LATER, false, "at the deadline"),
            (PowerTarget::BmcReset { reset: BmcReset::Cold, by }, just_in_time, true, "in time"),
            (PowerTarget::BmcReset { reset: BmcReset::Cold, by }, LATER, false, "at the deadline"),
            (PowerTarget::RawCommand { netfn: 6, command: 1, by }, just_in_time, true, "in time"),
            (PowerTarget::RawCommand { netfn: 6, command: 1, by }, LATER, false, "at the deadline"),
            (
                PowerTarget::RawCommand { netfn: 6, command: 1, by },
                LATER.plus(Duration::from_secs(3600)),
                false,
                "hours later",
            ),
        ] {
            match PowerSequence::new(target, 0).next(Power::On, now, &config::Power::default()) {
                Step::Send(_) => assert!(sends, "{target:?}: {source}"),
                Step::Stuck(cause, text) => {
                    assert!(!sends && cause == Cause::Deadline, "{target:?}: {source}: {text}");
                    assert!(text.contains("not sent") && text.contains("00:01:30"), "{text}");
                }
                other @ (Step::Wait | Step::Reached) => panic!("{target:?}: {source}: {other:?}"),
            }
        }
    }

    #[test]
    fn power_that_does_not_follow_is_stuck() {
        let mut sequence = PowerSequence::new(PowerTarget::Off, 0);
        sequence.sent(Command::Off);
        sequence.waited(Duration::from_secs(30));
        let next = sequence.next(Power::On, NOW, &config::Power::default());
        assert!(matches!(next, Step::Stuck(Cause::PowerStuck, _)), "{next:?}");
    }
}
