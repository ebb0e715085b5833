//! What a session is told at its beginning, and with every request.

use std::time::Duration;

use crate::cipher::Suite;
use crate::rakp::{MAX_NAME, Privilege};
use crate::secret::Secret;

/// Which cipher suites a session accepts. There is no way to ask for a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suites {
    /// 17, and 3 where the BMC refuses 17.
    Best,
    /// This one alone.
    Only(Suite),
}

/// Credentials of a login, and its timeouts.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) console: u32,
    pub(crate) name: Vec<u8>,
    pub(crate) password: Secret,
    /// The BMC's own key K_G, where one is set; otherwise the password stands in (IPMI 2.0 §13.31).
    pub bmc_key: Option<Secret>,
    /// The privilege asked for. Default: administrator, needed to close other sessions.
    pub privilege: Privilege,
    /// Default: [`Suites::Best`].
    pub suites: Suites,
    /// How long the BMC has for an answer of the handshake before it is asked again; grows to four times this when
    /// answers come late. Default: one second, as most BMCs answer within 0.2 s.
    pub patience: Duration,
    /// How long the session may be idle before it asks for the device id. A BMC ends an idle session after
    /// 60 ± 3 seconds (IPMI 2.0 §6.12.15). Default: 20 s, which leaves time for the tries.
    pub keep_alive: Duration,
    /// How many commands may wait for their answers at once, 1 to [`MAX_PIPELINE`]. Default: one, since many BMCs
    /// mix up or drop a second.
    pub pipeline: usize,
}

/// More commands in flight than any BMC takes; far below the 64 request sequence numbers, so that the number of an
/// answer that comes late is not given to another command meanwhile.
pub const MAX_PIPELINE: usize = 8;

/// A login that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogin {
    /// More than [`MAX_NAME`] octets.
    #[error("the user name has more than {MAX_NAME} octets")]
    LongName,
    /// More than [`MAX_SECRET`](crate::MAX_SECRET) octets.
    #[error("the password has more than {} octets", crate::MAX_SECRET)]
    LongPassword,
    /// Session id 0 means "no session" (IPMI 2.0 Table 13-9).
    #[error("the console's session id is 0")]
    ZeroId,
}

impl Config {
    /// `console` is the remote console's session id: unique among the sessions of one socket, unpredictable, not 0.
    ///
    /// # Errors
    /// [`InvalidLogin`]: correct the named value.
    pub fn new(console: u32, name: &[u8], password: &[u8]) -> Result<Self, InvalidLogin> {
        if console == 0 {
            return Err(InvalidLogin::ZeroId);
        }
        if name.len() > MAX_NAME {
            return Err(InvalidLogin::LongName);
        }
        Ok(Self {
            console,
            name: name.to_vec(),
            password: Secret::new(password).ok_or(InvalidLogin::LongPassword)?,
            bmc_key: None,
            privilege: Privilege::Administrator,
            suites: Suites::Best,
            patience: Duration::from_secs(1),
            keep_alive: Duration::from_secs(20),
            pipeline: 1,
        })
    }
}

/// How often, and after what wait, a command is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How long to wait for the answer to each try.
    pub timeout: Duration,
    /// How many times the command is sent at most; 0 counts as 1.
    pub tries: u8,
}

impl Retry {
    /// Sent once, and never again: for what is not absolute, such as a reset or an NMI.
    #[must_use]
    pub const fn once(timeout: Duration) -> Self {
        Self { timeout, tries: 1 }
    }
}

/// What a command does to the BMC or its machine. The caller knows; nothing is guessed from the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Reads,
    /// A change: each of its datagrams is marked [`Guard::Mutating`](crate::Guard::Mutating).
    Mutates,
}
