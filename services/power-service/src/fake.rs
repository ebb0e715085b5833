//! Simulated BMC for machines that do not exist (`fake-hardware`) or are switched by hand (`manual-management`): it
//! obeys immediately, and its power is what the store has recorded. Claim, journal and permit work as for any other
//! BMC.

use std::time::Duration;

use domain::power::{Boot, BootDevice, Persistence, Power};
use mesh::Permit;
use tokio::time::sleep;

use crate::bmc::{Bmc, BmcError, BootOrder, Command, Reply};

/// A session with a simulated BMC.
#[derive(Debug)]
pub(crate) struct FakeSession {
    id: u32,
    power: Power,
    takes: Duration,
}

impl FakeSession {
    /// Opens a session. `power` is the recorded power state, and each command takes `takes`.
    pub(crate) fn open(power: Power, takes: Duration) -> Result<Self, BmcError> {
        let refused = |error| BmcError::Refused {
            address: "fake".to_owned(),
            why: format!("no random numbers available: {error}"),
        };
        Ok(Self { id: getrandom::u32().map_err(refused)?.max(1), power, takes })
    }
}

impl Bmc for FakeSession {
    fn session(&self) -> u32 {
        self.id
    }

    async fn power(&mut self) -> Result<Power, BmcError> {
        Ok(self.power)
    }

    async fn describe(&mut self) -> Result<String, BmcError> {
        Ok("no BMC".to_owned())
    }

    /// The machine boots from the network, once, whatever was set, like Ironic's fake driver.
    async fn boot_order(&mut self) -> Result<BootOrder, BmcError> {
        Ok(BootOrder { device: Some(BootDevice::Pxe), persistence: Some(Persistence::Once) })
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        if !permit.allows(self.id) {
            return Err(BmcError::NotPermitted);
        }
        sleep(self.takes).await;
        match command {
            Command::On => self.power = Power::On,
            Command::Off | Command::SoftOff => self.power = Power::Off,
            Command::Interrupt | Command::Boot(..) | Command::ResetBmc(_) | Command::Raw { .. } => {}
        }
        Ok(Reply::Done)
    }

    fn boot_steps(&self, _: Boot) -> usize {
        1
    }

    /// Every command is executed when it is answered, so that nothing can be pending in another session.
    async fn close_other(&mut self, _: u32, _: &str) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn close(self) -> bool {
        true
    }
}
