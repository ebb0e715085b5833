//! A script of a BMC's faults: one after the other, each for a number of times.

use std::{collections::VecDeque, time::Duration};

use wire_ipmi::{Command, netfn};

/// Payload type of *Open Session Request*, the first message of a login (IPMI 2.0 Table 13-16).
const OPEN_REQUEST: u8 = 0x10;
/// Offsets of the RMCP+ authentication type, and of the payload type behind it (IPMI 2.0 Table 13-8).
const AUTHENTICATION: usize = 4;
/// The authentication type of RMCP+.
const RMCP_PLUS: u8 = 0x06;

/// One fault, and how often it occurs. Each was observed in a data center.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// This many datagrams are lost on arrival.
    Deaf(u32),
    /// This many answers to commands take this long.
    Slow(u32, Duration),
    /// This many commands that would change the machine are answered as successful, and do nothing.
    Lies(u32),
    /// This many datagrams are sent twice.
    Twice(u32),
    /// This many datagrams are sent after the following one.
    Swapped(u32),
    /// This many logins find all session slots in use.
    Full(u32),
    /// The BMC restarts with the command of this number that changes the machine: the command is carried out, its
    /// answer and all sessions are lost.
    Reboots(u32),
}

impl Habit {
    /// A script with one fault of each kind, for a random number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        const LONG: Duration = Duration::from_millis(1300);
        let all = [
            Self::Deaf(3),
            Self::Slow(2, LONG),
            Self::Lies(1),
            Self::Twice(6),
            Self::Swapped(2),
            Self::Full(2),
            Self::Reboots(1),
        ];
        let at = usize::try_from(number % 7).unwrap_or(0);
        all.get(at).copied().unwrap_or(Self::Twice(1))
    }

    /// One time less; `None`: it is over.
    const fn less(self) -> Option<Self> {
        Some(match self {
            Self::Deaf(times @ 2..) => Self::Deaf(times - 1),
            Self::Slow(times @ 2.., how) => Self::Slow(times - 1, how),
            Self::Lies(times @ 2..) => Self::Lies(times - 1),
            Self::Twice(times @ 2..) => Self::Twice(times - 1),
            Self::Swapped(times @ 2..) => Self::Swapped(times - 1),
            Self::Full(times @ 2..) => Self::Full(times - 1),
            Self::Reboots(times @ 2..) => Self::Reboots(times - 1),
            Self::Deaf(_)
            | Self::Slow(..)
            | Self::Lies(_)
            | Self::Twice(_)
            | Self::Swapped(_)
            | Self::Full(_)
            | Self::Reboots(_) => return None,
        })
    }
}

/// Faults to come, the present one first. Empty: a good BMC.
#[derive(Debug, Default)]
pub struct Script {
    habits: VecDeque<Habit>,
    /// A datagram that is sent after the next one.
    kept: Option<Vec<u8>>,
}

impl Script {
    /// A script of these faults, one after the other.
    #[must_use]
    pub fn new(habits: impl IntoIterator<Item = Habit>) -> Self {
        Self { habits: habits.into_iter().collect(), kept: None }
    }

    /// Whether all faults have occurred.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.habits.is_empty()
    }

    /// Uses up one time of the present fault, if it is one of these.
    fn take(&mut self, is_it: impl Fn(Habit) -> bool) -> Option<Habit> {
        let present = self.habits.front().copied().filter(|habit| is_it(*habit))?;
        self.habits.pop_front();
        if let Some(less) = present.less() {
            self.habits.push_front(less);
        }
        Some(present)
    }

    /// Whether a datagram is lost on arrival.
    pub(super) fn is_deaf(&mut self) -> bool {
        self.take(|habit| matches!(habit, Habit::Deaf(_))).is_some()
    }

    /// Whether this datagram is a login that finds no slot.
    pub(super) fn is_full(&mut self, datagram: &[u8]) -> bool {
        let is_login = datagram.get(AUTHENTICATION..AUTHENTICATION + 2) == Some(&[RMCP_PLUS, OPEN_REQUEST]);
        is_login && self.take(|habit| matches!(habit, Habit::Full(_))).is_some()
    }

    /// Whether this command is answered and not carried out.
    pub(super) fn lies(&mut self, command: &Command) -> bool {
        /// *Chassis Control* (IPMI 2.0 §28.3).
        const CONTROL: u8 = 0x02;
        let changes = command.netfn == netfn::CHASSIS && command.command == CONTROL;
        changes && self.take(|habit| matches!(habit, Habit::Lies(_))).is_some()
    }

    /// Delay of the answer to a command.
    pub(super) fn delay(&mut self) -> Duration {
        match self.take(|habit| matches!(habit, Habit::Slow(..))) {
            Some(Habit::Slow(_, how)) => how,
            _ => Duration::ZERO,
        }
    }

    /// Whether it restarts, now that a command has changed the machine.
    pub(super) fn reboots(&mut self) -> bool {
        self.take(|habit| matches!(habit, Habit::Reboots(_))) == Some(Habit::Reboots(1))
    }

    /// The datagrams to send when this one is due.
    pub(super) fn send(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        if let Some(kept) = self.kept.take() {
            return vec![datagram, kept];
        }
        match self.take(|habit| matches!(habit, Habit::Twice(_) | Habit::Swapped(_))) {
            Some(Habit::Twice(_)) => vec![datagram.clone(), datagram],
            Some(Habit::Swapped(_)) => {
                self.kept = Some(datagram);
                vec![]
            }
            _ => vec![datagram],
        }
    }
}

#[cfg(test)]
mod tests {
    use wire_ipmi::chassis::{self, Control};

    use super::*;

    #[test]
    fn habits_come_one_after_the_other_and_end() {
        let mut script = Script::new([Habit::Deaf(2), Habit::Lies(1), Habit::Reboots(2)]);
        assert!(!script.lies(&Control::On.command()));
        assert!(script.is_deaf() && script.is_deaf() && !script.is_deaf());
        assert!(!script.lies(&chassis::get_status()) && script.lies(&Control::On.command()));
        assert!(!script.reboots() && script.reboots() && script.is_over());
    }

    #[test]
    fn datagrams_leave_twice_or_in_another_order_and_none_is_lost() {
        let mut script = Script::new([Habit::Twice(1), Habit::Swapped(1)]);
        assert_eq!(script.send(vec![1]), [[1], [1]]);
        assert_eq!(script.send(vec![2]), [[0; 1]; 0]);
        assert_eq!(script.send(vec![3]), [[3], [2]]);
        assert_eq!(script.send(vec![4]), [[4]]);
    }
}
