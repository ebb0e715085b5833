//! How power is brought to a target: one command at a time, each after a look.

use std::time::Duration;

use domain::{
    failure::Cause,
    power::{Boot, Power, PowerTarget},
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
            Command::Boot(_, step) => self.boot_done = step + 1,
        }
    }

    /// Time went by without a command.
    pub(crate) fn waited(&mut self, by: Duration) {
        self.waited += by;
    }

    /// What comes next, now that power was seen so.
    pub(crate) fn next(&mut self, power: Power, limits: &config::Power) -> Next {
        if power == Power::Off {
            self.seen_off = true;
        }
        match self.target {
            PowerTarget::On => self.on(power, limits),
            PowerTarget::Off => self.off(power, limits),
            PowerTarget::SoftOff if power == Power::Off => Next::Reached,
            PowerTarget::SoftOff if !self.soft_sent => Next::Send(Command::SoftOff),
            // An operating system that does not listen is switched off.
            PowerTarget::SoftOff if !self.off_sent && self.waited < limits.soft_off => Next::Look,
            PowerTarget::SoftOff => self.off(power, limits),
            PowerTarget::Booted { boot } => self.booted(boot, power, limits),
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

    const BOOT: Boot = Boot { device: BootDevice::Pxe, persistence: Persistence::Once, mode: BootMode::Bios };

    /// A machine that does what it is told.
    fn play(target: PowerTarget, mut power: Power) -> Vec<Command> {
        let mut course = Course::new(target, 2);
        let mut sent = Vec::new();
        for _ in 0..50 {
            match course.next(power, &config::Power::default()) {
                Next::Send(command) => {
                    sent.push(command);
                    course.sent(command);
                    match command {
                        Command::On => power = Power::On,
                        Command::Off => power = Power::Off,
                        Command::SoftOff | Command::Boot(..) => {}
                    }
                }
                Next::Look => course.waited(Duration::from_secs(10)),
                Next::Reached => return sent,
                Next::Stuck(cause, text) => panic!("{cause:?} {text}"),
            }
        }
        panic!("goes in circles: {sent:?}")
    }

    #[test]
    fn what_is_reached_is_left_alone() {
        assert_eq!(play(PowerTarget::On, Power::On), []);
        assert_eq!(play(PowerTarget::Off, Power::Off), []);
        assert_eq!(play(PowerTarget::SoftOff, Power::Off), []);
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
        assert_eq!(play(PowerTarget::SoftOff, Power::On), [Command::SoftOff, Command::Off]);
    }

    #[test]
    fn power_that_does_not_follow_is_stuck() {
        let mut course = Course::new(PowerTarget::Off, 0);
        course.sent(Command::Off);
        course.waited(Duration::from_secs(30));
        let next = course.next(Power::On, &config::Power::default());
        assert!(matches!(next, Next::Stuck(Cause::PowerStuck, _)), "{next:?}");
    }
}
