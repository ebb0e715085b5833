//! The hand for machines that are not there (`fake-hardware`), and for those that a person switches
//! (`manual-management`): a BMC that obeys at once, and whose power is what the store last heard of it. Everything around
//! it, claim, journal and permit, is as for any other.

use std::time::Duration;

use domain::power::{Boot, BootDevice, Persistence, Power};
use mesh::Permit;
use tokio::time::sleep;

use crate::bmc::{Bmc, BmcError, BootOrder, Command, Reply};

/// A session with a BMC that is not there.
#[derive(Debug)]
pub(crate) struct FakeSession {
    id: u32,
    power: Power,
    takes: Duration,
}

impl FakeSession {
    /// Opens it. `power` is as it was last heard of, and each command takes this long.
    pub(crate) fn open(power: Power, takes: Duration) -> Result<Self, BmcError> {
        let refused = |error| BmcError::Refused { address: "fake".to_owned(), why: format!("no randomness: {error}") };
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

    /// A machine that is not there boots from the network, once, whatever it was told: as Ironic's does.
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
            Command::Interrupt | Command::Boot(..) => {}
        }
        Ok(Reply::Done)
    }

    fn boot_steps(&self, _: Boot) -> usize {
        1
    }

    /// Nobody else has one: what was sent through it was done when it was answered.
    async fn close_other(&mut self, _: u32, _: &str) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn close(self) -> bool {
        true
    }
}
