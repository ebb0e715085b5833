//! What is wanted of a node, and where its life is.

use std::{collections::BTreeMap, net::Ipv4Addr};

use domain::{
    driver::Driver,
    failure::Failure,
    generation::Generation,
    id::{ImageId, NodeId, OperationId, PortId},
    net::BmcAddr,
    plan::Waiting,
    power::BootMode,
    provision::{Phase, State},
    step::Step,
    time::Timestamp,
    timeline,
};
use serde::{Deserialize, Serialize};

use super::Sealed;
use super::Sheet;

/// Who holds something that only one may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What holds it: `node`, `rack`, `image`.
    pub kind: String,
    /// Its id.
    pub id: uuid::Uuid,
    /// Its name when it took hold; for messages.
    pub name: String,
}

/// What people asked of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its name, unique within the datacenter; empty: it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// What kind of machine it is.
    #[serde(default)]
    pub driver: Driver,
    /// How its BMC is reached; none: it has none, or nobody said yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<Bmc>,
    /// The firmware interface that it boots with.
    pub boot_mode: BootMode,
    /// What is or is to be deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Seconds that a deployed system may take to show life; none: it need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_life_seconds: Option<u32>,
    /// Boot files go over TFTP rather than HTTP.
    #[serde(default)]
    pub boot_files_by_tftp: bool,
    /// The ramdisk of an agent that speaks Ironic's protocol, which it boots; none: the rack's own agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ironic_ramdisk: Option<IronicRamdisk>,
    /// The generation from which `power` wants something, and what, where a person asked for it outside an operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<domain::power::PowerTarget>,
}

/// A ramdisk with an agent that speaks Ironic's protocol, as `driver_info` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IronicRamdisk {
    /// Its kernel: a registered image's name or id, or where it is.
    pub kernel: String,
    /// The ramdisk, alike.
    pub ramdisk: String,
    /// The kernel's arguments in place of the rack's, which `%default%` in it stands for; none: the rack's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// How a BMC is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bmc {
    /// Where.
    pub address: BmcAddr,
    /// The user.
    pub user: String,
    /// The password, sealed.
    pub password: Sealed,
    /// What more is said of one that speaks Redfish; of another, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<Redfish>,
}

/// How a Redfish service is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Redfish {
    /// Whether it is spoken to in clear.
    pub transport: Transport,
    /// The path of its root, without a slash at its end; empty: `/redfish/v1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// The system's path, or its id; empty: the only one that there is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// How one says who one is.
    pub login: Login,
}

impl Redfish {
    /// Its root, as a URL.
    #[must_use]
    pub fn url(&self, address: &BmcAddr) -> String {
        let scheme = match self.transport {
            Transport::Https => "https",
            Transport::Http => "http",
        };
        format!("{scheme}://{address}{}", self.root)
    }
}

/// What a Redfish service is spoken to over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// HTTP over TLS.
    #[default]
    Https,
    /// HTTP in clear: whoever listens reads the password.
    Http,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Those of the authorities that the power-service's host knows.
    #[default]
    Host,
    /// Those in this PEM file on the power-service's host, and what they vouch for.
    File(String),
    /// Anybody's: whoever is in between reads the password.
    Anybody,
}

/// How one says to a Redfish service who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// By a session where the service has them, else by password.
    #[default]
    Auto,
    /// By a session.
    Session,
    /// By password, with each request.
    Basic,
}

/// What is brought up on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The image.
    pub image: ImageId,
    /// What people added to the config drive, sealed: user data often holds secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_drive: Option<Sealed>,
}

/// The files of a config drive by their path.
pub type ConfigDrive = BTreeMap<String, Vec<u8>>;

/// Where a node's life is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What instructions carry.
    pub generation: Generation,
    /// Boots of the running operation that came to nothing.
    #[serde(default)]
    pub boots_lost: u32,
    /// The SHA-256 (hexadecimal) of what the deployed system phones home with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub life_key_hash: String,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The last failure; none after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The last inspection; none: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Inspection>,
}

/// Finding out what a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// When it began.
    pub started_at: Timestamp,
    /// When the last one that ended well did; none: none did yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What that one found that an operator should know of, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// An accepted request and the work it causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The kind of work.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// The steps that a person named, or that its agent listed, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// How many of them are made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub made: u32,
    /// None of them is to boot a ramdisk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_ramdisk: bool,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The trace of the request (W3C Trace Context's `traceparent`), which the work goes on in; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
}

impl Operation {
    /// Whether it has not ended.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.ended.is_none()
    }
}

/// A NIC of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its id.
    pub id: PortId,
    /// Its node.
    pub node: NodeId,
    /// The address reserved for it on the rack's provisioning network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// What Ironic's clients keep at it; none: nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<Sheet>,
}

/// Past boots of a node, the latest last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The boots.
    pub boots: Vec<PastBoot>,
}

/// One past boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastBoot {
    /// Its generation.
    pub generation: Generation,
    /// What was seen of it.
    pub entries: Vec<timeline::Entry>,
}

pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_redfish_service_is_spoken_to_is_readable_and_what_is_not_said_is_the_default() {
        let all = Redfish { system: "1".to_owned(), trust: Trust::File("/ca.pem".to_owned()), ..Redfish::default() };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"{"transport":"https","system":"1","trust":{"file":"/ca.pem"},"login":"auto"}"#);
        assert_eq!(serde_json::from_str::<Redfish>(&text).unwrap(), all);
        assert_eq!(serde_json::from_str::<Redfish>("{}").unwrap(), Redfish::default());
        assert_eq!(all.url(&"bmc:443".parse().unwrap()), "https://bmc:443");
    }
}
