//! Commands that get one datagram each: resets of the BMC, and raw commands.

use domain::{power::BmcReset, raw_command::RawCommand};
use wire_ipmi::{Effect, Meaning, Retry, app, chassis::boot};

use super::{IpmiSession, MaySend};
use crate::bmc::{BmcError, Command, Reply};

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
    /// and may be later is repeated.
    pub(super) async fn send_raw(&mut self, raw: &RawCommand, may_send: MaySend<'_>) -> Result<Reply, BmcError> {
        let command = Command::of_raw(raw);
        let wire = wire_ipmi::Command::raw(raw.netfn(), raw.command(), raw.data().expose());
        let (completion, _) = self.request(wire.clone(), Effect::Mutates, self.once(), Some(may_send)).await?;
        let meaning = match wire.meaning(completion) {
            // A code of the command, or of the manufacturer: the BMC has decided.
            Meaning::Undefined | Meaning::WrongCredentials => Meaning::Never,
            meaning @ (Meaning::Done | Meaning::NotNow | Meaning::Unclear | Meaning::NoPrivilege | Meaning::Never) => {
                meaning
            }
        };
        self.reply(command, meaning, completion, boot::Weight::Required)
    }
}
