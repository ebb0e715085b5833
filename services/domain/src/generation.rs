//! Monotonic numbers of instructions. A leaf rejects older instructions by them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of an instruction for a node. Zero before the first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// Creates the value from its number in a record or a message.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number for a record or a message.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the next value.
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

/// Number of adopted restored backups of a store. Zero for a store that never was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Creates the value from its number in a record or a message.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number for a record or a message.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the next value.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns whether the store was never restored.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fencing token of a claim: the revision at which etcd stored it, within an incarnation of the store. A later claim
/// has a greater token, even after a backup was restored and revisions restarted.
///
/// Its JSON is a plain number in the first incarnation, and an object in later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "StoredToken", into = "StoredToken")]
pub struct Token {
    // The derived order compares the fields in this order.
    incarnation: Incarnation,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredToken {
    First(u64),
    Later { incarnation: Incarnation, revision: u64 },
}

impl From<StoredToken> for Token {
    fn from(stored: StoredToken) -> Self {
        match stored {
            StoredToken::First(revision) => Self::from_number(revision),
            StoredToken::Later { incarnation, revision } => Self { incarnation, revision },
        }
    }
}

impl From<Token> for StoredToken {
    fn from(Token { incarnation, revision }: Token) -> Self {
        if incarnation.is_first() { Self::First(revision) } else { Self::Later { incarnation, revision } }
    }
}

impl Token {
    /// Creates the token of a claim that was stored at this revision.
    #[must_use]
    pub const fn new(incarnation: Incarnation, revision: u64) -> Self {
        Self { incarnation, revision }
    }

    /// Creates a token in the store's first incarnation.
    #[must_use]
    pub const fn from_number(revision: u64) -> Self {
        Self::new(Incarnation(0), revision)
    }

    /// Returns the store's incarnation.
    #[must_use]
    pub const fn incarnation(self) -> Incarnation {
        self.incarnation
    }

    /// Returns the revision of the claim.
    #[must_use]
    pub const fn revision(self) -> u64 {
        self.revision
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.incarnation.is_first() {
            self.revision.fmt(f)
        } else {
            write!(f, "{}:{}", self.incarnation, self.revision)
        }
    }
}

/// Version of an instruction: ordered by the sender's claim, then by the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct InstructionVersion {
    /// Claim of the sender.
    pub token: Token,
    /// Number of the instruction.
    pub generation: Generation,
}

impl InstructionVersion {
    /// Returns whether an instruction with this version may be executed after one with version `highest`.
    ///
    /// A lower token or generation is rejected; equal ones are a repetition. Generations are compared within one incarnation
    /// of the store: they continue from the value in an adopted backup.
    #[must_use]
    pub fn may_follow(self, highest: Self) -> bool {
        let is_later = self.token.incarnation > highest.token.incarnation;
        self.token >= highest.token && (is_later || self.generation >= highest.generation)
    }

    /// Returns whether the instruction precedes `other`: by the store's incarnation, then by its number.
    #[must_use]
    pub fn is_older_than(self, other: Self) -> bool {
        (self.token.incarnation, self.generation) < (other.token.incarnation, other.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(token: u64, generation: u64) -> InstructionVersion {
        InstructionVersion { token: Token::from_number(token), generation: Generation(generation) }
    }

    fn adopted(token: u64, generation: u64) -> InstructionVersion {
        InstructionVersion { token: Token::new(Incarnation(1), token), generation: Generation(generation) }
    }

    #[test]
    fn an_older_sender_or_an_older_instruction_is_rejected() {
        assert!(version(7, 3).may_follow(version(7, 3)));
        assert!(version(8, 3).may_follow(version(7, 3)));
        assert!(!version(6, 4).may_follow(version(7, 3)));
        assert!(!version(8, 2).may_follow(version(7, 3)));
    }

    #[test]
    fn after_a_backup_is_adopted_only_instructions_of_the_new_incarnation_are_accepted() {
        assert!(adopted(2, 1).may_follow(version(7, 3)));
        assert!(!version(9, 9).may_follow(adopted(2, 1)));
        assert!(!adopted(2, 1).may_follow(adopted(2, 2)));
        assert!(version(7, 3).is_older_than(adopted(2, 1)) && !adopted(2, 1).is_older_than(version(7, 3)));
    }

    #[test]
    fn a_token_of_the_first_incarnation_is_serialized_as_a_number() {
        let read = |text: &str| serde_json::from_str::<Token>(text).unwrap();
        for (token, text) in
            [(Token::from_number(12), "12"), (Token::new(Incarnation(2), 12), r#"{"incarnation":2,"revision":12}"#)]
        {
            assert_eq!((serde_json::to_string(&token).unwrap(), read(text)), (text.to_owned(), token));
        }
        assert_eq!(Token::new(Incarnation(2), 12).to_string(), "2:12");
    }
}
