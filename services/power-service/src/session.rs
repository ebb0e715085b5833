//! A session with whichever kind of BMC a node has.

use domain::{
    driver::Driver,
    id::NodeId,
    power::{Boot, Power},
};
use keyspace::{seal::Sealer, value::Intent};
use mesh::Permit;

use crate::{
    Error,
    bmc::{Bmc, BmcError, Command, Reply},
    config,
    fake::FakeSession,
    ipmi::{Ipmi, IpmiSession, Login},
};

/// What is needed to reach a node's BMC.
pub(crate) enum Reach {
    /// Over IPMI.
    Ipmi(Login),
    /// There is none; its power is as it was last heard of.
    Fake(Power),
    /// Nobody said how, or we can not.
    No(Driver, &'static str),
}

/// An open session.
pub(crate) enum Session {
    /// Over IPMI.
    Ipmi(Box<IpmiSession>),
    /// With nothing.
    Fake(FakeSession),
}

impl Reach {
    /// How a node's BMC is reached. `heard` is how its power was last heard of.
    ///
    /// # Errors
    /// Its password can not be opened.
    pub(crate) fn of(node: NodeId, intent: Intent, heard: Option<Power>, sealer: &Sealer) -> Result<Self, Error> {
        let Intent { driver, bmc, .. } = intent;
        Ok(match (driver, bmc) {
            (Driver::Ipmi, Some(bmc)) => {
                let opened = sealer.open(&format!("{node}/bmc-password"), &bmc.password);
                let password = opened.map_err(|source| Error::Sealed { node, source })?;
                Self::Ipmi(Login { address: bmc.address, user: bmc.user, password })
            }
            (Driver::Ipmi, None) => Self::No(driver, "nobody said where its BMC is (driver_info/ipmi_address)"),
            (Driver::FakeHardware, _) => Self::Fake(heard.unwrap_or(Power::Off)),
            (Driver::Redfish, _) => Self::No(driver, "Redfish is not spoken yet"),
            (Driver::ManualManagement, _) => Self::No(driver, "its power is switched by hand"),
        })
    }

    /// Logs in.
    ///
    /// # Errors
    /// The BMC's, or that there is none to reach.
    pub(crate) async fn open(&self, ipmi: &Ipmi, limits: &config::Power) -> Result<Session, BmcError> {
        match self {
            Self::Ipmi(login) => ipmi.open(login, limits).await.map(Box::new).map(Session::Ipmi),
            Self::Fake(power) => FakeSession::open(*power, limits.fake).map(Session::Fake),
            Self::No(driver, why) => Err(BmcError::Refused { address: driver.to_string(), why: (*why).to_owned() }),
        }
    }
}

impl Bmc for Session {
    fn session(&self) -> u32 {
        match self {
            Self::Ipmi(session) => session.session(),
            Self::Fake(session) => session.session(),
        }
    }

    async fn power(&mut self) -> Result<Power, BmcError> {
        match self {
            Self::Ipmi(session) => session.power().await,
            Self::Fake(session) => session.power().await,
        }
    }

    async fn describe(&mut self) -> Result<String, BmcError> {
        match self {
            Self::Ipmi(session) => session.describe().await,
            Self::Fake(session) => session.describe().await,
        }
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        match self {
            Self::Ipmi(session) => session.command(command, permit).await,
            Self::Fake(session) => session.command(command, permit).await,
        }
    }

    fn boot_steps(&self, boot: Boot) -> usize {
        match self {
            Self::Ipmi(session) => session.boot_steps(boot),
            Self::Fake(session) => session.boot_steps(boot),
        }
    }

    async fn close_other(&mut self, session: u32) -> Result<bool, BmcError> {
        match self {
            Self::Ipmi(own) => own.close_other(session).await,
            Self::Fake(own) => own.close_other(session).await,
        }
    }

    async fn close(self) -> bool {
        match self {
            Self::Ipmi(session) => session.close().await,
            Self::Fake(session) => session.close().await,
        }
    }
}
