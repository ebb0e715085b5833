//! What users want of a node, and its state.

use std::{collections::BTreeMap, net::Ipv4Addr};

use domain::{
    driver::Driver,
    failure::Failure,
    generation::Generation,
    id::{ImageId, NodeId, PortId},
    kernel_arguments::KernelArguments,
    net::BmcAddr,
    plan::{Executor, Waiting},
    power::{BootMode, BootPersistence},
    provision::State,
    time::Timestamp,
    timeline,
};
use serde::{Deserialize, Serialize};

use super::{Ipmi, Operation, PortSpec, Protocol, Sealed, Stamped};

/// The holder of something unique, such as a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The kind of the holder: `node`, `rack`, `image`, or a collection of Ironic's API.
    pub kind: String,
    /// Its id.
    pub id: uuid::Uuid,
    /// The holder's name when it took it, for messages.
    pub name: String,
}

/// What users asked of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its name, unique within the datacenter. Empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// The driver that controls it.
    #[serde(default)]
    pub driver: Driver,
    /// How its BMC is reached. `None` if it has no BMC, or its BMC was not specified yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<Bmc>,
    /// The firmware interface that it boots with.
    pub boot_mode: BootMode,
    /// Which boot orders last longer than one boot.
    #[serde(default, skip_serializing_if = "BootPersistence::is_default")]
    pub boot_persistence: BootPersistence,
    /// What is deployed, or to be deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Seconds that a deployed system may take until it phones home. `None` if it need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_life_seconds: Option<u32>,
    /// Whether boot files are served over TFTP instead of HTTP.
    #[serde(default)]
    pub boot_files_by_tftp: bool,
    /// The ramdisk of an agent that speaks Ironic's protocol. `None` for the rack's own agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ironic_ramdisk: Option<IronicRamdisk>,
    /// Whether its BMC is not told what to boot from, because an operator has set it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_boot_order: bool,
    /// The requested power state and its generation, if a user requested one outside an operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<domain::power::PowerTarget>,
    /// The data of the raw command that `power` requests. Replaced with `power`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_data: Option<RawData>,
}

/// The data of a raw command for a BMC. It may be a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawData {
    /// The generation of the instruction that it belongs to.
    pub generation: Generation,
    /// Address of the BMC that it was given for. It is sent to no other.
    pub address: Option<BmcAddr>,
    /// The data, sealed.
    pub data: Sealed,
}

impl Intent {
    /// What is asked of a node that was just enrolled, and nothing more.
    #[must_use]
    pub fn new(name: String, driver: Driver, enrolled_at: Timestamp) -> Self {
        Self {
            name,
            enrolled_at,
            driver,
            bmc: None,
            boot_mode: BootMode::default(),
            boot_persistence: BootPersistence::default(),
            deployment: None,
            wait_for_life_seconds: None,
            boot_files_by_tftp: false,
            ironic_ramdisk: None,
            keeps_boot_order: false,
            power: None,
            raw_data: None,
        }
    }

    /// The address of its BMC, if it has one.
    #[must_use]
    pub fn bmc_address(&self) -> Option<&BmcAddr> {
        self.bmc.as_ref().map(|bmc| &bmc.address)
    }
}

impl Intent {
    /// The protocol of the agent that does the work of an operation.
    #[must_use]
    pub fn protocol(&self, operation: Option<&Operation>) -> Protocol {
        match self.driver {
            Driver::FakeHardware if operation.is_some_and(|operation| operation.by_stand_in) => Protocol::StandIn,
            Driver::Ipmi | Driver::ManualManagement | Driver::Redfish if self.ironic_ramdisk.is_some() => {
                Protocol::Ironic
            }
            Driver::FakeHardware | Driver::Ipmi | Driver::ManualManagement | Driver::Redfish => Protocol::Ironmesh,
        }
    }

    /// What executes the work of an operation.
    #[must_use]
    pub fn executor(&self, operation: Option<&Operation>) -> Executor {
        match (self.driver, self.protocol(operation)) {
            (Driver::FakeHardware, Protocol::StandIn) => Executor::StandIn,
            (Driver::FakeHardware, Protocol::Ironmesh | Protocol::Ironic) => Executor::Fake,
            (Driver::Ipmi | Driver::ManualManagement | Driver::Redfish, _) => Executor::Agent,
        }
    }
}

/// A ramdisk with an agent that speaks Ironic's protocol, as `driver_info` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IronicRamdisk {
    /// Its kernel: the name or id of a registered image, or a URL.
    pub kernel: String,
    /// The ramdisk, in the same form.
    pub ramdisk: String,
    /// Kernel arguments that replace the rack's; `%default%` stands for these. `None` for the rack's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<KernelArguments>,
}

/// How a BMC is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bmc {
    /// Its address.
    pub address: BmcAddr,
    /// The user.
    pub user: String,
    /// The password, sealed.
    pub password: Sealed,
    /// Settings of an IPMI BMC.
    #[serde(default, skip_serializing_if = "Ipmi::is_default")]
    pub ipmi: Ipmi,
    /// Settings of a Redfish BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<Redfish>,
}

/// How a Redfish service is accessed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Redfish {
    /// Whether TLS is used.
    pub transport: Transport,
    /// The path of its root, without a trailing slash. Empty for `/redfish/v1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// The path or id of the system. Empty if there is only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// Which certificates are trusted.
    pub trust: Trust,
    /// How the power-service authenticates.
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

/// How a Redfish service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// HTTP over TLS.
    #[default]
    Https,
    /// HTTP without TLS: everyone on the network path can read the password.
    Http,
}

/// Which certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Those of the certificate authorities that the power-service's host trusts.
    #[default]
    Host,
    /// Those in the file of this name in the power-service's folder `power.ca_folder`, and those that they signed.
    File(String),
    /// Those in this PEM text, and those that they signed.
    Pem(String),
    /// All: everyone on the network path can pose as the BMC and read the password.
    Anybody,
}

impl Trust {
    /// Maximum size of certificates in a record, in bytes: a chain of five with 4096-bit keys has a quarter of it.
    pub const MAX_PEM_BYTES: usize = 32 << 10;
    /// Maximum length of a file name, in bytes.
    const MAX_NAME_BYTES: usize = 255;

    /// Returns the certificates that a client names: by their PEM text (RFC 7468) or by the name of a file. Returns
    /// `None` for everything else, in particular for a path: a client must not choose which file a service opens.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        if text.contains("-----BEGIN CERTIFICATE-----") {
            let is_plain = |octet: u8| octet.is_ascii_graphic() || matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
            let fits = text.len() <= Self::MAX_PEM_BYTES && text.bytes().all(is_plain);
            return fits.then(|| Self::Pem(text.to_owned()));
        }
        Self::is_file_name(text).then(|| Self::File(text.to_owned()))
    }

    /// Returns whether this is the name of a file that a client may choose: of letters, digits, dots, dashes and
    /// underscores, without a leading dot, a leading dash or two dots in a row.
    #[must_use]
    pub fn is_file_name(text: &str) -> bool {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
        !text.is_empty()
            && text.len() <= Self::MAX_NAME_BYTES
            && !text.starts_with(['.', '-'])
            && !text.contains("..")
            && text.bytes().all(is_plain)
    }
}

/// How to authenticate to a Redfish service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// With a session if the service supports them, with basic authentication otherwise.
    #[default]
    Auto,
    /// With a session.
    Session,
    /// With basic authentication on each request.
    Basic,
}

/// What is deployed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The image.
    pub image: ImageId,
    /// What users added to the config drive, sealed because user data often holds secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_drive: Option<Sealed>,
}

/// The files of a config drive by their path.
pub type ConfigDrive = BTreeMap<String, Vec<u8>>;

/// A node's state in its lifecycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The state.
    pub state: State,
    /// When it began.
    pub since: Timestamp,
    /// The generation that instructions carry.
    pub generation: Generation,
    /// Failed boots of the running operation.
    #[serde(default)]
    pub boots_lost: u32,
    /// SHA-256, in hexadecimal, of the key with which the deployed system phones home.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub life_key_hash: String,
    /// What the node is waiting for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The last failure. `None` after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Earlier failures, oldest first: those that a success or another failure has replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_failures: Vec<Failure>,
    /// The last inspection. `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Inspection>,
}

/// Maximum number of earlier failures of a node that are remembered.
const MAX_PAST_FAILURES: usize = 10;

impl Life {
    /// The initial state of an enrolled node.
    #[must_use]
    pub fn newborn(now: Timestamp) -> Self {
        Self {
            state: State::Enroll,
            since: now,
            generation: Generation::default(),
            boots_lost: 0,
            life_key_hash: String::new(),
            waiting: None,
            failure: None,
            past_failures: Vec::new(),
            inspection: None,
        }
    }

    /// Replaces the failure, or clears it. The replaced one is remembered.
    pub fn set_failure(&mut self, failure: Option<Failure>) {
        let Some(replaced) = std::mem::replace(&mut self.failure, failure) else { return };
        if self.failure.as_ref() != Some(&replaced) {
            self.past_failures.push(replaced);
            let excess = self.past_failures.len().saturating_sub(MAX_PAST_FAILURES);
            self.past_failures.drain(..excess);
        }
    }

    /// The failures that are remembered, oldest first.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.past_failures.iter().chain(&self.failure)
    }
}

/// An inspection of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// When it began.
    pub started_at: Timestamp,
    /// When the last successful inspection finished. `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Remarks of that inspection for the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
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
    /// What clients of Ironic's API specified of it. `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Stamped<PortSpec>>,
}

/// Past boots of a node, oldest first.
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
    /// What was observed of it.
    pub entries: Vec<timeline::Entry>,
}

pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redfish_settings_are_readable_and_have_defaults() {
        let all = Redfish { system: "1".to_owned(), trust: Trust::File("ca.pem".to_owned()), ..Redfish::default() };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"{"transport":"https","system":"1","trust":{"file":"ca.pem"},"login":"auto"}"#);
        assert_eq!(serde_json::from_str::<Redfish>(&text).unwrap(), all);
        assert_eq!(serde_json::from_str::<Redfish>("{}").unwrap(), Redfish::default());
        assert_eq!(all.url(&"bmc:443".parse().unwrap()), "https://bmc:443");
    }

    #[test]
    fn a_client_names_certificates_by_their_text_or_by_a_bare_file_name_and_never_by_a_path() {
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(Trust::named(pem), Some(Trust::Pem(pem.to_owned())));
        for name in ["ca.pem", "rack-7_bmc.crt", "CA", "a.b.c", "0"] {
            assert_eq!(Trust::named(name), Some(Trust::File(name.to_owned())));
        }
        let long = "a".repeat(256);
        let large = format!("{pem}{}", " ".repeat(Trust::MAX_PEM_BYTES));
        let hidden = format!("{pem}\u{202e}");
        for (wrong, why) in [
            ("/dev/zero", "a device without end"),
            ("/etc/shadow", "a file of the host"),
            ("../ca.pem", "out of the folder"),
            ("a/../../b", "out of the folder"),
            ("sub/ca.pem", "a path"),
            ("..", "the folder above"),
            (".", "the folder"),
            (".ssh", "a hidden file"),
            ("a..b", "two dots"),
            ("-rf", "an option"),
            ("ca.pem\0", "a NUL ends a name in C"),
            ("ca pem", "a space"),
            ("c\u{e4}.pem", "not ASCII"),
            ("", "nothing"),
            (&long, "longer than NAME_MAX"),
            (&large, "larger than a record may hold"),
            (&hidden, "not printable"),
        ] {
            assert_eq!(Trust::named(wrong), None, "{why}: {wrong:?}");
        }
    }

    #[test]
    fn a_failure_is_remembered_after_it_was_cleared_or_replaced_and_their_number_is_bounded() {
        let failure = |at: i64| Failure {
            cause: domain::failure::Cause::Deadline,
            text: format!("failure {at}"),
            at: Timestamp::from_millis(at),
        };
        let texts = |life: &Life| life.failures().map(|failure| failure.text.clone()).collect::<Vec<_>>();
        let mut life = Life::newborn(Timestamp::from_millis(0));
        life.set_failure(None);
        assert_eq!(texts(&life), [""; 0]);
        life.set_failure(Some(failure(1)));
        life.set_failure(Some(failure(1)));
        assert_eq!(texts(&life), ["failure 1"], "the same failure twice");
        life.set_failure(None);
        assert_eq!((life.failure.clone(), texts(&life)), (None, vec!["failure 1".to_owned()]));
        life.set_failure(Some(failure(2)));
        life.set_failure(Some(failure(3)));
        assert_eq!(texts(&life), ["failure 1", "failure 2", "failure 3"]);
        for at in 4..100 {
            life.set_failure(Some(failure(at)));
        }
        assert_eq!(life.failures().count(), MAX_PAST_FAILURES + 1);
        assert_eq!(texts(&life).last().map(String::as_str), Some("failure 99"));
    }
}
