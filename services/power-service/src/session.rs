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
    bmc::{Bmc, BmcError, BootOrder, Command, Firmware, Reply},
    config,
    fake::FakeSession,
    ipmi::{self, Ipmi, IpmiSession},
    redfish::{self, Redfish, RedfishSession},
};

/// What BMCs are spoken to with. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Hands {
    pub(crate) ipmi: Ipmi,
    pub(crate) redfish: Redfish,
}

/// What is needed to reach a node's BMC.
pub(crate) enum Reach {
    /// Over IPMI.
    Ipmi(ipmi::Login),
    /// Over Redfish.
    Redfish(redfish::Login),
    /// There is none; its power is as it was last heard of.
    Fake(Power),
    /// Nobody said how, or we can not.
    No(Driver, &'static str),
}

/// An open session.
pub(crate) enum Session {
    /// Over IPMI.
    Ipmi(Box<IpmiSession>),
    /// Over Redfish.
    Redfish(Box<RedfishSession>),
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
        let open = |sealed| {
            let opened = sealer.open(&format!("{node}/bmc-password"), sealed);
            opened.map_err(|source| Error::Sealed { node, source })
        };
        Ok(match (driver, bmc) {
            (Driver::Ipmi, Some(bmc)) => {
                let password = open(&bmc.password)?;
                Self::Ipmi(ipmi::Login { address: bmc.address, user: bmc.user, password })
            }
            (Driver::Redfish, Some(bmc)) => {
                let (password, redfish) = (open(&bmc.password)?, bmc.redfish.unwrap_or_default());
                Self::Redfish(redfish::Login { address: bmc.address, user: bmc.user, password, redfish })
            }
            (Driver::Ipmi, None) => Self::No(driver, "nobody said where its BMC is (driver_info/ipmi_address)"),
            // By hand, as it was asked for: nobody can tell whether somebody did it.
            (Driver::FakeHardware | Driver::ManualManagement, _) => Self::Fake(heard.unwrap_or(Power::Off)),
            (Driver::Redfish, None) => {
                Self::No(driver, "nobody said rightly where its BMC is (driver_info/redfish_address)")
            }
        })
    }

    /// Where it is, for messages.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Ipmi(login) => login.address.to_string(),
            Self::Redfish(login) => login.address.to_string(),
            Self::Fake(_) => "no BMC".to_owned(),
            Self::No(driver, _) => driver.to_string(),
        }
    }

    /// Whether its BMC says what the firmware is set to.
    pub(crate) const fn tells_firmware(&self) -> bool {
        matches!(self, Self::Redfish(_))
    }

    /// Logs in.
    ///
    /// # Errors
    /// The BMC's, or that there is none to reach.
    pub(crate) async fn open(&self, hands: &Hands, limits: &config::Power) -> Result<Session, BmcError> {
        match self {
            Self::Ipmi(login) => hands.ipmi.open(login, limits).await.map(Box::new).map(Session::Ipmi),
            Self::Redfish(login) => hands.redfish.open(login).await.map(Box::new).map(Session::Redfish),
            Self::Fake(power) => FakeSession::open(*power, limits.fake).map(Session::Fake),
            Self::No(driver, why) => Err(BmcError::Refused { address: driver.to_string(), why: (*why).to_owned() }),
        }
    }
}

impl Bmc for Session {
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
