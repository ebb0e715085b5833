//! Lasting faults of a BMC; [`super::Script`] has those that occur a number of times.

/// Fault of a BMC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bmc {
    /// None.
    #[default]
    Well,
    /// It does not answer.
    Deaf,
    /// It takes seconds for each command that changes its machine.
    Slow,
    /// It closes a session only when that session asks. Read when it starts, and when its password is changed.
    ClosesOwnAlone,
}
