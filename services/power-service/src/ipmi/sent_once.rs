//! Commands that get one datagram each: resets of the BMC, and raw commands.

use domain::{power::BmcReset, raw_command::RawCommand};
use wire_ipmi::{Completion, Effect, Meaning, Retry, app, chassis::boot};

use super::{IpmiSession, MaySend};
use crate::bmc::{BmcError, Command, Reply};

/// Completion codes of IPMI 2.0 Table 5-2.
const NODE_BUSY: u8 = 0xc0;
const OUT_OF_SPACE: u8 = 0xc4;
const TRUNCATED: u8 = 0xc6;
const INITIALIZING: u8 = 0xd2;
const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;

impl IpmiSession {
    /// One datagram, whose answer is awaited as long as that of a read, which is sent several times.
    fn once(&self) -> Retry {
        Retry::once(self.retry.timeout.saturating_mul(self.retry.tries.max(1).into()))
    }

    /// Restarts the BMC (IPMI 2.0 §20.2, §20.3). A BMC may restart before it answers. So no answer means that it does: it
    /// answered in this session a moment before, and a BMC that does not have the command answers a completion code.
    pub(super) async fn reset_bmc(&mut self, reset: BmcReset, may_send: MaySend<'_>) -> Result<Reply, BmcError> {
        let wire = match reset {
            BmcReset::Cold => app::Reset::Cold.command(),
            BmcReset::Warm => app::Reset::Warm.command(),
        };
        let reply = match self.request(wire.clone(), Effect::Mutates, self.once(), Some(may_send)).await {
            Ok((completion, _)) => {
                self.reply(Command::ResetBmc(reset), wire.meaning(completion), completion, boot::Weight::Required)?
            }
            Err(BmcError::Unknown(bmc)) => {
                tracing::info!(bmc, %reset, "BMC did not answer its reset, and is taken to restart");
                Reply::Done
            }
            Err(error) => return Err(error),
        };
        self.is_reset = reply == Reply::Done;
        Ok(reply)
    }

    /// Sends a raw command. Every completion code but success ends it, with the code; only what was certainly not carried out
    /// and may be later is repeated ([`raw_meaning`]).
    pub(super) async fn send_raw(&mut self, raw: &RawCommand, may_send: MaySend<'_>) -> Result<Reply, BmcError> {
        let command = Command::of_raw(raw);
        let wire = wire_ipmi::Command::raw(raw.netfn(), raw.command(), raw.data().expose());
        let (completion, _) = self.request(wire.clone(), Effect::Mutates, self.once(), Some(may_send)).await?;
        self.reply(command, raw_meaning(&wire, completion), completion, boot::Weight::Required)
    }
}

/// What a completion code says about a raw command, of which nothing but network function and number is known.
///
/// A manufacturer's code, or one of the command, may follow what the command has already changed. So may "out of space" and
/// "request truncated". Of the other codes that ask for a later try, only those of a BMC that has not looked at the command
/// are repeated: node busy, and initialization in progress; and that of a missing privilege, which some BMCs answer for a
/// moment after the login.
const fn raw_meaning(wire: &wire_ipmi::Command, completion: Completion) -> Meaning {
    match (completion.0, wire.meaning(completion)) {
        (NODE_BUSY | INITIALIZING, Meaning::NotNow) => Meaning::NotNow,
        (OUT_OF_SPACE | TRUNCATED, _) => Meaning::Unclear,
        (INSUFFICIENT_PRIVILEGE, Meaning::NoPrivilege) => Meaning::NoPrivilege,
        (_, Meaning::Done) => Meaning::Done,
        (_, Meaning::NotNow | Meaning::NoPrivilege | Meaning::Never) => Meaning::Never,
        (_, Meaning::Unclear | Meaning::Undefined | Meaning::WrongCredentials) => Meaning::Unclear,
    }
}
