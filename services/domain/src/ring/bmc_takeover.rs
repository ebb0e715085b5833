//! Takeover of a BMC by a new owner (OWNERSHIP.md, "Changing a BMC"): claim, find the sessions of earlier owners, log in,
//! close their sessions, wait if a close is not confirmed, read the state. Only then may a command be journaled and sent.
//!
//! The power-service drives it over etcd and sockets, the model test over neither. Only this module decides the order.

use std::{ops::Add, time::Duration};

use crate::generation::Token;

/// Next action of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAction<S, T> {
    /// Claim the node, by a conditional write.
    Claim,
    /// Read the sessions in the journal from the store.
    Sessions,
    /// Open an own session, which does not change the machine.
    Login,
    /// Close this session of an earlier owner.
    Close(S),
    /// Wait until this time: a command of a session that could not be closed may still be executed.
    Settle(T),
    /// Read the state of the BMC, on which commands are based.
    Read,
    /// Journal and send commands.
    Act,
}

/// State of a takeover. `S` identifies a session, `T` is any clock reading.
#[derive(Debug, Clone)]
pub struct Takeover<S, T> {
    settle: Duration,
    claimed: Option<(Token, T)>,
    to_close: Option<Vec<S>>,
    own: Option<S>,
    settle_until: Option<T>,
    has_read: bool,
}

impl<S: Copy + PartialEq, T: Copy + Add<Duration, Output = T> + PartialOrd> Takeover<S, T> {
    /// Starts a takeover. `settle` is D.
    #[must_use]
    pub const fn new(settle: Duration) -> Self {
        Self { settle, claimed: None, to_close: None, own: None, settle_until: None, has_read: false }
    }

    /// Returns the next action.
    pub fn next_action(&self, now: T) -> NextAction<S, T> {
        let Some(to_close) = (match (self.claimed, &self.to_close) {
            (None, _) => return NextAction::Claim,
            (Some(_), to_close) => to_close.as_ref(),
        }) else {
            return NextAction::Sessions;
        };
        if self.own.is_none() {
            return NextAction::Login;
        }
        if let Some(session) = to_close.first() {
            return NextAction::Close(*session);
        }
        if let Some(until) = self.settle_until
            && now < until
        {
            return NextAction::Settle(until);
        }
        if self.has_read { NextAction::Act } else { NextAction::Read }
    }

    /// Records the store's response to the claim at `now`. A new token restarts the takeover, because other owners may have
    /// acted meanwhile.
    pub fn claimed(&mut self, token: Token, now: T) {
        if self.claimed.is_none_or(|(before, _)| before != token) {
            *self = Self { own: None, ..Self::new(self.settle) };
            self.claimed = Some((token, now));
        }
    }

    /// Records the sessions in the journal, each with its token.
    pub fn sessions(&mut self, named: impl IntoIterator<Item = S>) {
        self.to_close = Some(named.into_iter().collect());
    }

    /// Records that an own session is open. State that was read through another one is discarded.
    pub fn logged_in(&mut self, session: S) {
        self.own = Some(session);
        self.has_read = false;
        if let Some(to_close) = &mut self.to_close {
            to_close.retain(|other| *other != session);
        }
    }

    /// Records that the own session is lost.
    pub fn logged_out(&mut self) {
        if let (Some(own), Some(to_close)) = (self.own.take(), &mut self.to_close) {
            to_close.push(own);
        }
    }

    /// Records whether the BMC confirmed that a session is closed.
    pub fn closed(&mut self, session: S, confirmed: bool) {
        if let Some(to_close) = &mut self.to_close {
            to_close.retain(|other| *other != session);
        }
        if !confirmed && let Some((_, at)) = self.claimed {
            self.settle_until = Some(at + self.settle);
        }
    }

    /// Records that the state was read.
    pub fn read(&mut self) {
        self.has_read = true;
    }

    /// Returns the token of the claim, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.claimed.map(|(token, _)| token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn started() -> Takeover<u32, Duration> {
        let mut takeover = Takeover::new(D);
        assert_eq!(takeover.next_action(at(0)), NextAction::Claim);
        takeover.claimed(Token::from_number(7), at(0));
        assert_eq!(takeover.next_action(at(0)), NextAction::Sessions);
        takeover
    }

    #[test]
    fn no_command_is_sent_before_earlier_sessions_are_closed_and_the_state_is_read() {
        let mut takeover = started();
        takeover.sessions([3, 4]);
        assert_eq!(takeover.next_action(at(1)), NextAction::Login);
        takeover.logged_in(9);
        assert_eq!(takeover.next_action(at(1)), NextAction::Close(3));
        takeover.closed(3, true);
        assert_eq!(takeover.next_action(at(1)), NextAction::Close(4));
        takeover.closed(4, true);
        assert_eq!(takeover.next_action(at(1)), NextAction::Read);
        takeover.read();
        assert_eq!(takeover.next_action(at(1)), NextAction::Act);
    }

    #[test]
    fn the_wait_after_an_unconfirmed_close_starts_at_the_response_to_the_claim() {
        let mut takeover = started();
        takeover.sessions([3]);
        takeover.logged_in(9);
        takeover.closed(3, false);
        assert_eq!(takeover.next_action(at(499)), NextAction::Settle(at(500)));
        assert_eq!(takeover.next_action(at(500)), NextAction::Read);
    }

    #[test]
    fn a_new_login_closes_the_old_session_and_reads_again() {
        let mut takeover = started();
        takeover.sessions([]);
        takeover.logged_in(9);
        takeover.read();
        takeover.logged_out();
        assert_eq!(takeover.next_action(at(1)), NextAction::Login);
        takeover.logged_in(10);
        assert_eq!(takeover.next_action(at(1)), NextAction::Close(9));
        takeover.closed(9, true);
        assert_eq!(takeover.next_action(at(1)), NextAction::Read);
    }

    #[test]
    fn a_new_token_restarts_the_takeover() {
        let mut takeover = started();
        takeover.sessions([]);
        takeover.logged_in(9);
        takeover.read();
        takeover.claimed(Token::from_number(8), at(3));
        assert_eq!(takeover.next_action(at(3)), NextAction::Sessions);
    }
}
