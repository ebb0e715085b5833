//! Effects of BMC commands on a simulated machine.

use std::sync::Arc;

use tokio::sync::mpsc;
use wire_ipmi::chassis::{Control, Power};
use wire_ipmi::responder::{
    Call,
    machine::{Answer, Change},
};

use super::{Shared, fault, held};
use crate::bmc;

/// Power was switched by the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    On,
    Off,
}

/// The machine, as its BMC sees it.
pub(super) struct Chassis {
    pub(super) shared: Arc<Shared>,
    pub(super) turns: mpsc::UnboundedSender<Turn>,
}

impl bmc::Chassis for Chassis {
    async fn carry_out(&mut self, call: &Call) -> Answer {
        let (answer, turns) = self.shared.command(call);
        for turn in turns {
            // The machine's thread has ended, so the rack has.
            let _ended = self.turns.send(turn);
        }
        answer
    }

    fn fault(&self) -> fault::Bmc {
        self.shared.faults().bmc
    }

    fn hears(&self, words: String) {
        self.shared.say(words);
    }
}

impl Shared {
    /// Executes a command, and returns its effect on the power.
    fn command(&self, call: &Call) -> (Answer, Vec<Turn>) {
        let mut board = held(&self.board);
        let before = board.power();
        let answer = board.answer(call);
        let Some(change) = answer.change else { return (answer, vec![]) };
        if change == Change::Power(Control::Soft) {
            board.set_power(Power::Off);
        }
        let turns = match (change, before, board.power()) {
            (Change::Power(Control::Cycle | Control::Reset), Power::On, _) => vec![Turn::Off, Turn::On],
            (_, Power::Off, Power::On) => vec![Turn::On],
            (_, Power::On, Power::Off) => vec![Turn::Off],
            _ => vec![],
        };
        (answer, turns)
    }
}
