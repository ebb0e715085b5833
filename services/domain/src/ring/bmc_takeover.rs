//! One owner's takeover at a BMC (OWNERSHIP.md, "Changing a BMC"): claim, name the sessions of those before, log in,
//! close theirs, wait where a close is not confirmed, read. Only then may a command be journalled and sent.
//!
//! Driven by power-service over etcd and sockets, and by a model over neither: the order is decided here alone.

use std::{ops::Add, time::Duration};

use crate::generation::Token;

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAction<S, T> {
    /// Have the claim, by a conditional write.
    Claim,
    /// Read from the store which sessions the journal names.
    Sessions,
    /// Open a session of one's own; it changes nothing at the BMC.
    Login,
    /// Close this session of an earlier owner.
    Close(S),
    /// Do nothing until then: a command of a session that could not be closed may still be under way.
    Settle(T),
    /// Read the BMC's state: the deciding read.
    Read,
    /// Journal and act.
    Act,
}

/// Where a takeover stands. `S` names a session, `T` is any clock reading.
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
    /// Begins. `settle` is D.
    #[must_use]
    pub const fn new(settle: Duration) -> Self {
        Self { settle, claimed: None, to_close: None, own: None, settle_until: None, has_read: false }
    }

    /// What is next.
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

    /// The store answered the claim at `now`. A new token begins the takeover anew: others may have acted in between.
    pub fn claimed(&mut self, token: Token, now: T) {
        if self.claimed.is_none_or(|(before, _)| before != token) {
            *self = Self { own: None, ..Self::new(self.settle) };
            self.claimed = Some((token, now));
        }
    }

    /// The journal names these sessions, each with the token that it belonged to.
    pub fn sessions(&mut self, named: impl IntoIterator<Item = S>) {
        self.to_close = Some(named.into_iter().collect());
    }

    /// A session of one's own is open. What was read through another one does not count.
    pub fn logged_in(&mut self, session: S) {
        self.own = Some(session);
        self.has_read = false;
        if let Some(to_close) = &mut self.to_close {
            to_close.retain(|other| *other != session);
        }
    }

    /// The session of one's own is lost.
    pub fn logged_out(&mut self) {
        if let (Some(own), Some(to_close)) = (self.own.take(), &mut self.to_close) {
            to_close.push(own);
        }
    }

    /// The BMC confirmed that the session is closed, or did not.
    pub fn closed(&mut self, session: S, confirmed: bool) {
        if let Some(to_close) = &mut self.to_close {
            to_close.retain(|other| *other != session);
        }
        if !confirmed && let Some((_, at)) = self.claimed {
            self.settle_until = Some(at + self.settle);
        }
    }

    /// The deciding read is done.
    pub fn read(&mut self) {
        self.has_read = true;
    }

    /// The claim's token, where there is one.
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

    fn begun() -> Takeover<u32, Duration> {
        let mut takeover = Takeover::new(D);
        assert_eq!(takeover.next_action(at(0)), NextAction::Claim);
        takeover.claimed(Token::from_number(7), at(0));
        assert_eq!(takeover.next_action(at(0)), NextAction::Sessions);
        takeover
    }

    #[test]
    fn nothing_is_sent_before_the_sessions_of_those_before_are_closed_and_the_state_is_read() {
        let mut takeover = begun();
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
    fn a_close_that_is_not_confirmed_is_waited_for_from_the_claims_answer() {
        let mut takeover = begun();
        takeover.sessions([3]);
        takeover.logged_in(9);
        takeover.closed(3, false);
        assert_eq!(takeover.next_action(at(499)), NextAction::Settle(at(500)));
        assert_eq!(takeover.next_action(at(500)), NextAction::Read);
    }

    #[test]
    fn a_new_login_closes_the_old_session_and_reads_again() {
        let mut takeover = begun();
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
    fn a_new_token_begins_the_turn_anew() {
        let mut takeover = begun();
        takeover.sessions([]);
        takeover.logged_in(9);
        takeover.read();
        takeover.claimed(Token::from_number(8), at(3));
        assert_eq!(takeover.next_action(at(3)), NextAction::Sessions);
    }
}
