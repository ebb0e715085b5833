//! How power is brought to a target: one command at a time, each after a look.

use std::time::Duration;

use domain::{
    failure::Cause,
    power::{Boot, Power, PowerTarget},
    time::Timestamp,
};

use crate::{bmc::Command, config};

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send this.
    Send(Command),
    /// Look again after a moment.
    Look,
    /// The target is reached.
    Reached,
    /// It is not, and will not be.
    Stuck(Cause, String),
}

/// How far an instruction has come. `T` is any clock reading.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    target: PowerTarget,
    boot_steps: usize,
    /// Commands that went through since this began.
    off_sent: bool,
    soft_sent: bool,
    interrupt_sent: bool,
    seen_off: bool,
    boot_done: usize,
    on_sent: bool,
    /// How long power has been waited for since the last command.
    waited: Duration,
}

impl Course {
    /// Begins. `boot_steps`: how many commands the BMC needs for the boot order.
    pub(crate) const fn new(target: PowerTarget, boot_steps: usize) -> Self {
        Self {
            target,
            boot_steps,
            off_sent: false,
            soft_sent: false,
            interrupt_sent: false,
            seen_off: false,
            boot_done: 0,
            on_sent: false,
            waited: Duration::ZERO,
        }
    }

    /// The command went through.
    pub(crate) fn sent(&mut self, command: Command) {
        self.waited = Duration::ZERO;
        match command {
            Command::On => self.on_sent = true,
            Command::Off => self.off_sent = true,
            Command::SoftOff => self.soft_sent = true,
            Command::Interrupt => self.interrupt_sent = true,
            Command::Boot(_, step) => self.boot_done = step + 1,
        }
    }

    /// Time went by without a command.
    pub(crate) fn waited(&mut self, by: Duration) {
        self.waited += by;
    }

    /// What comes next, now that power was seen so.
    pub(crate) fn next(&mut self, power: Power, now: Timestamp, limits: &config::Power) -> Next {
        if power == Power::Off {
            self.seen_off = true;
        }
        match self.target {
            PowerTarget::On => self.on(power, limits),
            PowerTarget::Off => self.off(power, limits),
            PowerTarget::SoftOff { by: Some(by) } => self.soft_off(power, now, by),
            PowerTarget::SoftOff { by: None } if power == Power::Off => Next::Reached,
            PowerTarget::SoftOff { by: None } if !self.soft_sent => Next::Send(Command::SoftOff),
            // An operating system that does not listen is switched off.
            PowerTarget::SoftOff { by: None } if !self.off_sent && self.waited < limits.soft_off => Next::Look,
            PowerTarget::SoftOff { by: None } => self.off(power, limits),
            PowerTarget::SoftBooted { by } if !self.seen_off => self.soft_off(power, now, by),
            PowerTarget::SoftBooted { .. } => self.booted(None, power, limits),
            PowerTarget::Booted { boot } => self.booted(boot, power, limits),
            PowerTarget::BootOrder { boot } if self.boot_done < self.boot_steps => {
                Next::Send(Command::Boot(boot, self.boot_done))
            }
            PowerTarget::BootOrder { .. } => Next::Reached,
            PowerTarget::Interrupted if self.interrupt_sent => Next::Reached,
            PowerTarget::Interrupted if power == Power::Off => {
                let text = "the machine is off: nothing runs that could be interrupted";
                Next::Stuck(Cause::PowerStuck, text.to_owned())
            }
            PowerTarget::Interrupted => Next::Send(Command::Interrupt),
        }
    }

    /// Off by the system's own will alone. Whoever comes late, as one does after a crash, asks for nothing any more.
    fn soft_off(&self, power: Power, now: Timestamp, by: Timestamp) -> Next {
        match power {
            Power::Off => Next::Reached,
            Power::On if now >= by => Next::Stuck(
                Cause::PowerStuck,
                format!(
                    "the machine was asked to shut down and is still on at {by}: its system does not heed the power \
                     button, or needs longer"
                ),
            ),
            Power::On if !self.soft_sent => Next::Send(Command::SoftOff),
            Power::On => Next::Look,
        }
    }

    /// Off, seen off, boot order, on: in this order, so that the machine has booted after the instruction.
    fn booted(&mut self, boot: Option<Boot>, power: Power, limits: &config::Power) -> Next {
        if !self.seen_off {
            return self.off(power, limits);
        }
        if let Some(boot) = boot
            && self.boot_done < self.boot_steps
        {
            return Next::Send(Command::Boot(boot, self.boot_done));
        }
        if !self.on_sent {
            return Next::Send(Command::On);
        }
        self.on(power, limits)
    }

    fn on(&self, power: Power, limits: &config::Power) -> Next {
        match power {
            Power::On => Next::Reached,
            Power::Off if !self.on_sent => Next::Send(Command::On),
            Power::Off if self.waited < limits.settle => Next::Look,
            Power::Off => stuck("off", "on", limits.settle),
        }
    }

    fn off(&self, power: Power, limits: &config::Power) -> Next {
        match power {
            Power::Off => Next::Reached,
            Power::On if !self.off_sent => Next::Send(Command::Off),
            Power::On if self.waited < limits.settle => Next::Look,
            Power::On => stuck("on", "off", limits.settle),
        }
    }
}

fn stuck(is: &str, wanted: &str, after: Duration) -> Next {
    let text = format!("the BMC accepted power {wanted} and power is still {is} after {} s", after.as_secs());
    Next::Stuck(Cause::PowerStuck, text)
}

#[cfg(test)]
mod tests {
    use domain::power::{BootDevice, BootMode, Persistence};

    use super::*;

    /// When the machines of these tests are told something.
    const NOW: Timestamp = Timestamp::from_millis(0);
    const LATER: Timestamp = Timestamp::from_millis(90_000);
    const BOOT: Boot = Boot { device: BootDevice::Pxe, persistence: Persistence::Once, mode: BootMode::Bios };

    /// A machine that does what it is told.
    fn play(target: PowerTarget, mut power: Power) -> Vec<Command> {
        let (sent, ended) = course(target, &mut power, None);
        assert_eq!(ended, Next::Reached);
        sent
    }

    /// The same, and how it ended. Its system shuts down within so much time, or never.
    fn course(target: PowerTarget, power: &mut Power, heeds: Option<Duration>) -> (Vec<Command>, Next) {
        const LOOK: Duration = Duration::from_secs(10);
        let (mut course, mut sent, mut now) = (Course::new(target, 2), Vec::new(), NOW);
        for _ in 0..50 {
            match course.next(*power, now, &config::Power::default()) {
                Next::Send(command) => {
                    sent.push(command);
                    course.sent(command);
                    match command {
                        Command::On => *power = Power::On,
                        Command::Off => *power = Power::Off,
                        Command::SoftOff | Command::Interrupt | Command::Boot(..) => {}
                    }
                }
                Next::Look => {
                    course.waited(LOOK);
                    now = now.plus(LOOK);
                    if sent.last() == Some(&Command::SoftOff) && heeds.is_some_and(|after| now >= NOW.plus(after)) {
                        *power = Power::Off;
                    }
                }
                ended @ (Next::Reached | Next::Stuck(..)) => return (sent, ended),
            }
        }
        panic!("goes in circles: {sent:?}")
    }

    #[test]
    fn what_is_reached_is_left_alone() {
        assert_eq!(play(PowerTarget::On, Power::On), []);
        assert_eq!(play(PowerTarget::Off, Power::Off), []);
        assert_eq!(play(PowerTarget::SoftOff { by: None }, Power::Off), []);
        assert_eq!(play(PowerTarget::SoftOff { by: Some(LATER) }, Power::Off), []);
    }

    #[test]
    fn a_boot_is_off_then_boot_order_then_on() {
        let booted = PowerTarget::Booted { boot: Some(BOOT) };
        let from_off = [Command::Boot(BOOT, 0), Command::Boot(BOOT, 1), Command::On];
        assert_eq!(play(booted, Power::Off), from_off);
        let from_on = [Command::Off, Command::Boot(BOOT, 0), Command::Boot(BOOT, 1), Command::On];
        assert_eq!(play(booted, Power::On), from_on);
    }

    #[test]
    fn a_system_that_does_not_shut_down_is_switched_off() {
        assert_eq!(play(PowerTarget::SoftOff { by: None }, Power::On), [Command::SoftOff, Command::Off]);
    }

    #[test]
    fn a_system_that_has_until_then_to_shut_down_is_never_switched_off() {
        let (soft, reboot) = (PowerTarget::SoftOff { by: Some(LATER) }, PowerTarget::SoftBooted { by: LATER });
        let of = |target, heeds| course(target, &mut Power::On, heeds);
        let minute = Some(Duration::from_secs(60));
        assert_eq!(of(soft, minute), (vec![Command::SoftOff], Next::Reached));
        assert_eq!(of(reboot, minute), (vec![Command::SoftOff, Command::On], Next::Reached));
        for target in [soft, reboot] {
            let (sent, ended) = of(target, None);
            assert_eq!(sent, [Command::SoftOff]);
            assert!(matches!(&ended, Next::Stuck(Cause::PowerStuck, why) if why.contains("00:01:30")), "{ended:?}");
        }
        assert_eq!(play(reboot, Power::Off), [Command::On], "what is off needs no asking");
        let late = Course::new(soft, 0).next(Power::On, LATER, &config::Power::default());
        assert!(matches!(late, Next::Stuck(..)), "{late:?}");
    }

    #[test]
    fn a_boot_order_is_set_and_power_left_as_it_is() {
        for power in [Power::On, Power::Off] {
            let steps = [Command::Boot(BOOT, 0), Command::Boot(BOOT, 1)];
            assert_eq!(play(PowerTarget::BootOrder { boot: BOOT }, power), steps);
        }
    }

    #[test]
    fn what_runs_is_interrupted_once_and_what_is_off_is_not() {
        assert_eq!(play(PowerTarget::Interrupted, Power::On), [Command::Interrupt]);
        let (sent, ended) = course(PowerTarget::Interrupted, &mut Power::Off, None);
        assert!(sent.is_empty() && matches!(ended, Next::Stuck(..)), "{sent:?} {ended:?}");
    }

    #[test]
    fn power_that_does_not_follow_is_stuck() {
        let mut course = Course::new(PowerTarget::Off, 0);
        course.sent(Command::Off);
        course.waited(Duration::from_secs(30));
        let next = course.next(Power::On, NOW, &config::Power::default());
        assert!(matches!(next, Next::Stuck(Cause::PowerStuck, _)), "{next:?}");
    }
}
