//! Selects the BMC driver of a node and dispatches to it.

use domain::{
    driver::Driver,
    id::{NodeId, RackId},
    power::{Boot, Power},
    raw_command::RawCommand,
};
use keyspace::{
    seal::{Place, Sealer},
    value::Intent,
};
use mesh::Permit;

use crate::{
    Error,
    bmc::{Bmc, BmcError, BootOrder, Command, Firmware, Reply},
    config,
    fake::FakeSession,
    ipmi::{self, Ipmi, IpmiSession},
    redfish::{self, Redfish, RedfishSession},
};

/// The drivers of all kinds of BMCs. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct BmcDrivers {
    pub(crate) ipmi: Ipmi,
    pub(crate) redfish: Redfish,
}

/// How to reach the BMC of a node.
pub(crate) enum BmcTarget {
    /// Over IPMI.
    Ipmi(ipmi::Login),
    /// Over Redfish.
    Redfish(redfish::Login),
    /// There is no BMC; power is as last recorded.
    Fake(Power),
    /// The BMC cannot be reached, and why.
    Unavailable(Driver, &'static str),
}

/// An open session.
pub(crate) enum BmcSession {
    /// Over IPMI.
    Ipmi(Box<IpmiSession>),
    /// Over Redfish.
    Redfish(Box<RedfishSession>),
    /// Simulated.
    Fake(FakeSession),
}

impl BmcTarget {
    /// Determines how to reach the BMC of a node. `recorded` is the recorded power state, if any.
    ///
    /// # Errors
    /// [`Error::Sealed`] if the password cannot be decrypted.
    pub(crate) fn resolve(
        rack: RackId,
        node: NodeId,
        intent: Intent,
        recorded: Option<Power>,
        sealer: &Sealer,
    ) -> Result<Self, Error> {
        let Intent { driver, bmc, .. } = intent;
        let open = |sealed| {
            let opened = sealer.open(&Place::bmc_password(rack, node), sealed);
            opened.map_err(|source| Error::Sealed { node, source })
        };
        Ok(match (driver, bmc) {
            (Driver::Ipmi, Some(bmc)) => {
                let password = open(&bmc.password)?;
                let key = bmc.ipmi.key.as_ref().map(|sealed| sealer.open(&Place::bmc_key(rack, node), sealed));
                let key = key.transpose().map_err(|source| Error::Sealed { node, source })?;
                Self::Ipmi(ipmi::Login { address: bmc.address, user: bmc.user, password, key, ipmi: bmc.ipmi })
            }
            (Driver::Redfish, Some(bmc)) => {
                let (password, redfish) = (open(&bmc.password)?, bmc.redfish.unwrap_or_default());
                Self::Redfish(redfish::Login { address: bmc.address, user: bmc.user, password, redfish })
            }
            (Driver::Ipmi, None) => Self::Unavailable(driver, "driver_info/ipmi_address is missing"),
            // An operator switches the machine by hand; we assume that it happens.
            (Driver::FakeHardware | Driver::ManualManagement, _) => Self::Fake(recorded.unwrap_or(Power::Off)),
            (Driver::Redfish, None) => Self::Unavailable(driver, "driver_info/redfish_address is missing or invalid"),
        })
    }

    /// Returns the address, for messages.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Ipmi(login) => login.address.to_string(),
            Self::Redfish(login) => login.address.to_string(),
            Self::Fake(_) => "no BMC".to_owned(),
            Self::Unavailable(driver, _) => driver.to_string(),
        }
    }

    /// Returns whether the BMC reports firmware settings.
    pub(crate) const fn reports_firmware(&self) -> bool {
        matches!(self, Self::Redfish(_))
    }

    /// Logs in.
    ///
    /// # Errors
    /// The error of the BMC, or [`BmcError::Refused`] if the node has none.
    pub(crate) async fn open(&self, drivers: &BmcDrivers, limits: &config::Power) -> Result<BmcSession, BmcError> {
        match self {
            Self::Ipmi(login) => drivers.ipmi.open(login, limits).await.map(Box::new).map(BmcSession::Ipmi),
            Self::Redfish(login) => drivers.redfish.open(login).await.map(Box::new).map(BmcSession::Redfish),
            Self::Fake(power) => FakeSession::open(*power, limits.fake).map(BmcSession::Fake),
            Self::Unavailable(driver, why) => {
                Err(BmcError::Refused { address: driver.to_string(), why: (*why).to_owned() })
            }
        }
    }
}

impl Bmc for BmcSession {
    fn session(&self) -> u32 {
        match self {
            Self::Ipmi(session) => session.session(),
            Self::Redfish(session) => session.session(),
            Self::Fake(session) => session.session(),
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Ipmi(session) => session.path(),
            Self::Redfish(session) => session.path(),
            Self::Fake(session) => session.path(),
        }
    }

    async fn power(&mut self) -> Result<Power, BmcError> {
        match self {
            Self::Ipmi(session) => session.power().await,
            Self::Redfish(session) => session.power().await,
            Self::Fake(session) => session.power().await,
        }
    }

    async fn describe(&mut self) -> Result<String, BmcError> {
        match self {
            Self::Ipmi(session) => session.describe().await,
            Self::Redfish(session) => session.describe().await,
            Self::Fake(session) => session.describe().await,
        }
    }

    async fn boot_order(&mut self) -> Result<BootOrder, BmcError> {
        match self {
            Self::Ipmi(session) => session.boot_order().await,
            Self::Redfish(session) => session.boot_order().await,
            Self::Fake(session) => session.boot_order().await,
        }
    }

    async fn firmware(&mut self) -> Result<Option<Firmware>, BmcError> {
        match self {
            Self::Ipmi(session) => session.firmware().await,
            Self::Redfish(session) => session.firmware().await,
            Self::Fake(session) => session.firmware().await,
        }
    }

    async fn prepare(&mut self) -> Result<(), BmcError> {
        match self {
            Self::Ipmi(session) => session.prepare().await,
            Self::Redfish(session) => session.prepare().await,
            Self::Fake(session) => session.prepare().await,
        }
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        match self {
            Self::Ipmi(session) => session.command(command, permit).await,
            Self::Redfish(session) => session.command(command, permit).await,
            Self::Fake(session) => session.command(command, permit).await,
        }
    }

    async fn raw(&mut self, raw: &RawCommand, permit: &Permit) -> Result<Reply, BmcError> {
        match self {
            Self::Ipmi(session) => session.raw(raw, permit).await,
            Self::Redfish(session) => session.raw(raw, permit).await,
            Self::Fake(session) => session.raw(raw, permit).await,
        }
    }

    fn boot_steps(&self, boot: Boot) -> usize {
        match self {
            Self::Ipmi(session) => session.boot_steps(boot),
            Self::Redfish(session) => session.boot_steps(boot),
            Self::Fake(session) => session.boot_steps(boot),
        }
    }

    async fn close_other(&mut self, session: u32, path: &str) -> Result<bool, BmcError> {
        match self {
            Self::Ipmi(own) => own.close_other(session, path).await,
            Self::Redfish(own) => own.close_other(session, path).await,
            Self::Fake(own) => own.close_other(session, path).await,
        }
    }

    async fn close(self) -> bool {
        match self {
            Self::Ipmi(session) => session.close().await,
            Self::Redfish(session) => session.close().await,
            Self::Fake(session) => session.close().await,
        }
    }
}
