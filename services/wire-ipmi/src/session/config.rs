//! Configuration of a session and its requests.

use std::time::Duration;

use crate::cipher::Suite;
use crate::rakp::{MAX_NAME, Privilege};
use crate::secret::Secret;

/// Cipher suites that a session accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suites {
    /// 17, or 3 if the BMC refuses 17 or does not answer to it.
    Best,
    /// Only this one.
    Only(Suite),
}

/// Credentials and timeouts of a login.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) console: u32,
    pub(crate) name: Vec<u8>,
    pub(crate) password: Secret,
    /// Key K_G of the BMC, if set; otherwise the password is used (IPMI 2.0 §13.31).
    pub bmc_key: Option<Secret>,
    /// Requested privilege. Default: administrator, which is required to close other sessions.
    pub privilege: Privilege,
    /// Default: [`Suites::Best`].
    pub suites: Suites,
    /// Timeout for a response of the handshake, after which the message is repeated. It grows to four times this value if
    /// responses are late. Default: one second; most BMCs respond within 0.2 s.
    pub response_timeout: Duration,
    /// Idle time after which the session requests the device id to stay open. A BMC ends an idle session after 60 ± 3 seconds
    /// (IPMI 2.0 §6.12.15). Default: 20 s, which leaves time for repeats.
    pub keep_alive: Duration,
    /// Maximum number of outstanding commands, 1 to [`MAX_PIPELINE`]. Default: one, because many BMCs confuse or drop a
    /// second one.
    pub pipeline: usize,
}

/// Maximum number of outstanding commands. It is far below the 64 request sequence numbers, so that the number of a late
/// response is not reused by another command.
pub const MAX_PIPELINE: usize = 8;

/// Reason why a login is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogin {
    /// The user name has more than [`MAX_NAME`] octets.
    #[error("the user name has more than {MAX_NAME} octets")]
    LongName,
    /// The password has more than [`MAX_SECRET`](crate::MAX_SECRET) octets.
    #[error("the password has more than {} octets", crate::MAX_SECRET)]
    LongPassword,
    /// The session id is 0, which means "no session" (IPMI 2.0 Table 13-9).
    #[error("the console's session id is 0")]
    ZeroId,
}

impl Config {
    /// `console` is the remote console's session id: unique among the sessions of one socket, unpredictable, not 0.
    ///
    /// # Errors
    /// [`InvalidLogin`] if one of the values is invalid.
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
            response_timeout: Duration::from_secs(1),
            keep_alive: Duration::from_secs(20),
            pipeline: 1,
        })
    }
}

/// Number and timeout of the tries of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Timeout of each try.
    pub timeout: Duration,
    /// Maximum number of tries. 0 counts as 1.
    pub tries: u8,
}

impl Retry {
    /// Returns a single try, for commands that are not absolute, such as a reset or an NMI.
    #[must_use]
    pub const fn once(timeout: Duration) -> Self {
        Self { timeout, tries: 1 }
    }
}

/// Whether a command changes the BMC or its machine. The caller declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing.
    Reads,
    /// It changes something. Each of its datagrams is marked [`Guard::Mutating`](crate::Guard::Mutating).
    Mutates,
}
