//! Numbers that only grow: what an instruction carries, so that an older one can be refused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Orders the instructions about one node. Zero is *none yet*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// As read from a record or a message.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// As written to a record or a message.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a claim is worth: the revision at which etcd stored it. A later claim has a greater token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(u64);

impl Token {
    /// As read from the store or a message.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// As written to a message.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an instruction stands: first by who sent it, then by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Order {
    /// The sender's claim.
    pub token: Token,
    /// The instruction's number.
    pub generation: Generation,
}

impl Order {
    /// Whether an instruction with this order may still be obeyed after `highest` was.
    ///
    /// A token or a generation that is less than the highest one seen is refused; equal ones repeat.
    #[must_use]
    pub fn obeys(self, highest: Self) -> bool {
        self.token >= highest.token && self.generation >= highest.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(token: u64, generation: u64) -> Order {
        Order { token: Token(token), generation: Generation(generation) }
    }

    #[test]
    fn an_older_sender_or_an_older_instruction_is_refused() {
        assert!(order(7, 3).obeys(order(7, 3)));
        assert!(order(8, 3).obeys(order(7, 3)));
        assert!(!order(6, 4).obeys(order(7, 3)));
        assert!(!order(8, 2).obeys(order(7, 3)));
    }
}
