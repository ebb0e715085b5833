//! The course of an operation whose steps a person named: which is next, and who makes it.

use std::time::Duration;

use crate::{power::PowerTarget, step::Step};

/// The longest pause that a step may ask for.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    /// No steps were named: the work is one piece.
    #[default]
    Whole,
    /// Nothing, until a person says so.
    Hold,
    /// Time passes; none: the agent is to be heard.
    Pause(Option<Duration>),
    /// The machine's power is brought to this.
    Power(PowerTarget),
    /// So many steps in a row, by whoever does the work on the node.
    Work(usize),
    /// All are made.
    Over,
}

/// A course, as far as the plan has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Course {
    /// What is next.
    pub turn: Turn,
    /// The machine boots a ramdisk for some of it.
    pub ramdisk: bool,
    /// One agent can be handed more steps after it has made some.
    pub goes_on: bool,
}

impl Course {
    /// Whether the machine boots nothing now: no step needs it, or not before another.
    #[must_use]
    pub const fn skips_boot(&self) -> bool {
        match self.turn {
            Turn::Whole => false,
            Turn::Work(_) => !self.ramdisk,
            Turn::Hold | Turn::Pause(_) => !self.ramdisk || !self.goes_on,
            Turn::Power(_) | Turn::Over => true,
        }
    }

    /// Whether the machine is left as the steps leave it, where the work is not to bring a system up.
    #[must_use]
    pub const fn is_beside_the_machine(&self) -> bool {
        !self.ramdisk && !matches!(self.turn, Turn::Whole)
    }
}

/// What is next of these steps, where so many are made.
#[must_use]
pub fn turn(steps: &[Step], made: usize) -> Turn {
    if steps.is_empty() {
        return Turn::Whole;
    }
    let rest = steps.get(made..).unwrap_or_default();
    match rest.first() {
        None => Turn::Over,
        Some(first) => first
            .reserved()
            .unwrap_or_else(|| Turn::Work(rest.iter().take_while(|step| step.reserved().is_none()).count())),
    }
}

/// How many steps a turn is.
#[must_use]
pub const fn length(turn: Turn) -> usize {
    match turn {
        Turn::Whole | Turn::Over => 0,
        Turn::Hold | Turn::Pause(_) | Turn::Power(_) => 1,
        Turn::Work(steps) => steps,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(name: &str, args: serde_json::Value) -> Step {
        Step { interface: "deploy".to_owned(), step: name.to_owned(), args: serde_json::from_value(args).unwrap() }
    }

    #[test]
    fn a_course_is_walked_turn_by_turn_and_what_one_agent_can_make_in_a_row_is_one() {
        let steps = [
            step("erase_devices_metadata", json!({})),
            step("erase_devices", json!({})),
            step("hold", json!({})),
            step("wait", json!({"seconds": 7})),
            step("wait", json!({})),
            step("power_off", json!({})),
            step("erase_devices", json!({})),
        ];
        let (mut made, mut turns) = (0, vec![]);
        loop {
            let turn = turn(&steps, made);
            turns.push(turn);
            if turn == Turn::Over {
                break;
            }
            made += length(turn);
        }
        let wanted = [
            Turn::Work(2),
            Turn::Hold,
            Turn::Pause(Some(Duration::from_secs(7))),
            Turn::Pause(None),
            Turn::Power(PowerTarget::Off),
            Turn::Work(1),
            Turn::Over,
        ];
        assert_eq!(turns, wanted);
        assert_eq!(turn(&[], 0), Turn::Whole);
    }

    #[test]
    fn nothing_is_booted_for_steps_that_need_no_agent_or_not_yet() {
        let course = |turn, ramdisk, goes_on| Course { turn, ramdisk, goes_on };
        assert!(!course(Turn::Whole, false, false).skips_boot());
        assert!(!course(Turn::Work(1), true, false).skips_boot());
        assert!(course(Turn::Hold, false, true).skips_boot());
        // An agent that does one thing in its life would have to be booted again after the hold.
        assert!(course(Turn::Hold, true, false).skips_boot() && !course(Turn::Hold, true, true).skips_boot());
        assert!(course(Turn::Power(PowerTarget::Off), true, true).skips_boot());
    }
}
