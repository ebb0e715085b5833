//! Finds the data of a raw command, which is sealed in the node's intent.

use domain::{failure::Cause, id::NodeId, power::PowerTarget, raw_command::RawCommand};
use keyspace::{key, seal::open_raw_data, value::Bmc};

use super::{
    Work,
    attempt::{AttemptError, Instruction},
    chain, failure,
};
use crate::bmc::BmcError;

impl Work {
    /// Returns the raw command of an instruction, for this BMC. `None` if it has another target.
    ///
    /// # Errors
    /// [`AttemptError::Stopped`] if the command cannot be opened or was replaced, or the node has another BMC since;
    /// [`AttemptError::Transient`] if our view does not show it yet, or the node's BMC is being changed.
    pub(super) fn raw_command(
        &self,
        node: NodeId,
        instruction: Instruction,
        bmc: Option<&Bmc>,
    ) -> Result<Option<RawCommand>, AttemptError> {
        let PowerTarget::RawCommand { netfn, command, .. } = instruction.target else { return Ok(None) };
        let generation = instruction.version.generation;
        let intent = self.intent(node).map_err(|error| failure(Cause::BmcRefused, chain(&error)))?;
        if intent.bmc_address() != bmc.map(|bmc| &bmc.address) {
            return Err(AttemptError::Transient(BmcError::NotPermitted));
        }
        let data = open_raw_data(&self.joined.sealer, (self.rack, node), &intent, generation);
        let data = data.map_err(|error| failure(Cause::BmcPassword, chain(&error)))?;
        let Some(data) = data else {
            let latest = self.mesh().view().get(&key::life(self.rack, node)).map(|life| life.value.generation);
            let is_shown = intent.raw_data.is_some_and(|raw| raw.generation == generation);
            if !is_shown && latest.is_some_and(|latest| latest <= generation) {
                return Err(AttemptError::Transient(BmcError::NotPermitted));
            }
            let text = "the raw command was not sent: a later request replaced it, or the node has another BMC since";
            return Err(failure(Cause::BmcRefused, text.to_owned()).into());
        };
        let raw = RawCommand::new(netfn.into(), command.into(), data);
        raw.map(Some).map_err(|error| failure(Cause::BmcRefused, error.to_string()).into())
    }
}
