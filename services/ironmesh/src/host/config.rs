//! `host.toml`: what a host is and runs. It has no secrets.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use domain::service::Service;
use durable_file::Access;
use serde::{Deserialize, Serialize};
use service_kit::config::{FULL_WEIGHT, HOST_NAME_RULE, MAX_WEIGHT, RACK_NAME_RULE, is_host_name, is_rack_name};

use crate::up::setting;
use service_kit::ports::MAX_RACKS;

/// Name of the file.
pub(crate) const FILE: &str = "host.toml";
/// The services of a rack.
pub(crate) const RACK_SERVICES: [Service; 4] = [Service::Power, Service::Pxe, Service::Storage, Service::Inventory];

/// What a host is and runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostConfig {
    /// Its name, unique in the datacenter.
    pub(crate) name: String,
    /// Name of the datacenter.
    pub(crate) datacenter: String,
    /// Trust domain of the identities.
    pub(crate) trust_domain: String,
    /// Address on which its services listen and at which others call them.
    pub(crate) advertise: IpAddr,
    /// Its share of the nodes of its racks, in percent of a full share.
    #[serde(default = "full_weight")]
    pub(crate) weight: u32,
    /// Address of listeners for metrics and health, which are plain HTTP.
    #[serde(default = "loopback")]
    pub(crate) monitor: IpAddr,
    /// The authority, as `host:port`.
    pub(crate) authority: String,
    /// Whether it runs a member of the built-in etcd.
    #[serde(default)]
    pub(crate) store: bool,
    /// Members with their peers' addresses, as etcd's option `initial-cluster`, if the own member was added to others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) initial_cluster: String,
    /// Members of etcd, as `https://host:port`.
    pub(crate) etcd: Vec<String>,
    /// Whether that is the built-in etcd, whose members change as hosts join.
    pub(crate) built_in_etcd: bool,
    /// scheduler-services, as `host:port`.
    #[serde(default)]
    pub(crate) schedulers: Vec<String>,
    /// Racks that the first start creates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) new_racks: Vec<String>,
    /// Log filter of its services, in the syntax of `EnvFilter`.
    #[serde(default = "info")]
    pub(crate) log: String,
    /// OTLP endpoint for traces; empty disables them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) otlp: String,
    /// Keys of the services' own tables, as `TABLE.KEY=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) set: Vec<String>,
    /// The scheduler-service, if it runs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scheduler: Option<SchedulerConfig>,
    /// The racks that it serves.
    #[serde(default, rename = "rack", skip_serializing_if = "Vec::is_empty")]
    pub(crate) racks: Vec<RackConfig>,
}

/// The scheduler-service of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchedulerConfig {
    /// Address of the REST API.
    pub(crate) rest: SocketAddr,
}

/// What a host does for a rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RackConfig {
    /// Name of the rack.
    pub(crate) name: String,
    /// Which of the host's racks it is, from 0: ports follow from it.
    pub(crate) slot: u8,
    /// The services that it runs for the rack.
    pub(crate) services: BTreeSet<Service>,
    /// Interface on the provisioning network; empty: no machine is booted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) interface: String,
    /// Addresses of this host on that interface. Services use the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Prefix length of the network.
    #[serde(default = "default_prefix")]
    pub(crate) prefix: u8,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostConfigError {
    /// It does not exist.
    #[error(
        "{0} does not exist: {1} is no directory of a host; make it one with ironmesh init on the first host of a \
         datacenter, or with ironmesh join on another"
    )]
    Missing(PathBuf, PathBuf),
    /// It cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// It is not what is expected.
    #[error("invalid {path}:\n  {}", .problems.join("\n  "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The problems; each names its key.
        problems: Vec<String>,
    },
    /// It cannot be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, String),
}

impl HostConfig {
    /// Reads it from a data directory. `None` if there is none yet.
    pub(crate) fn find(data: &Path) -> Result<Option<Self>, HostConfigError> {
        match Self::load(data) {
            Ok(config) => Ok(Some(config)),
            Err(HostConfigError::Missing(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads it from a data directory.
    pub(crate) fn load(data: &Path) -> Result<Self, HostConfigError> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HostConfigError::Missing(path, data.to_owned()));
            }
            Err(error) => return Err(HostConfigError::Read(path, error)),
        };
        Self::parse(&text).map_err(|problems| HostConfigError::Invalid { path, problems })
    }

    /// Reads it from its text.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        // The message has the line with the key.
        let config: Self = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Writes it into a data directory.
    pub(crate) fn save(&self, data: &Path) -> Result<(), HostConfigError> {
        let path = data.join(FILE);
        let written = toml::to_string_pretty(self).map_err(|error| error.to_string()).and_then(|text| {
            durable_file::replace(&path, text.as_bytes(), Access::Everyone)
                .map_err(|error| service_kit::status::chain(&error))
        });
        written.map_err(|why| HostConfigError::Write(path, why))
    }

    /// Returns all invalid settings.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, value) in [("name", &self.name), ("datacenter", &self.datacenter)] {
            if !is_host_name(value) {
                problems.push(format!("{key}: {value:?} {HOST_NAME_RULE}"));
            }
        }
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            problems.push(format!("weight: must be from 1 to {MAX_WEIGHT}; {FULL_WEIGHT} is a full share"));
        }
        if self.advertise.is_unspecified() || self.advertise.is_multicast() {
            problems.push(format!("advertise: {} is no address that others can call", self.advertise));
        }
        if self.etcd.is_empty() {
            problems.push("etcd: name at least one member, such as https://10.0.0.11:2379".to_owned());
        }
        for member in &self.etcd {
            if let Err(error) = crate::store::member(member) {
                problems.push(format!("etcd: {error}"));
            }
        }
        if self.store && !self.built_in_etcd {
            problems.push("store: the host cannot run a member of an etcd that is not built in".to_owned());
        }
        for text in &self.set {
            if let Err(error) = setting(text) {
                problems.push(format!("set: {text:?}: {error:#}"));
            }
        }
        let (mut names, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for rack in &self.racks {
            problems.extend(rack.problems());
            if !names.insert(&rack.name) {
                problems.push(format!("rack.name: {:?} is there twice", rack.name));
            }
            if !slots.insert(rack.slot) {
                problems.push(format!("rack.slot: {} is there twice", rack.slot));
            }
        }
        problems
    }
}

impl RackConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let name = &self.name;
        if !is_rack_name(name) {
            problems.push(format!("rack.name: {name:?} {RACK_NAME_RULE}"));
        }
        if self.slot >= MAX_RACKS {
            problems
                .push(format!("rack.slot: {} of rack {name:?}: a host serves at most {MAX_RACKS} racks", self.slot));
        }
        if self.services.is_empty() || self.services.contains(&Service::Scheduler) {
            problems.push(format!(
                "rack.services: rack {name:?}: name some of power-, pxe-, storage- and inventory-service"
            ));
        }
        if self.interface.is_empty() != self.addresses.is_empty() {
            problems.push(format!("rack.interface: rack {name:?}: interface and addresses belong together"));
        }
        if !(1..=30).contains(&self.prefix) {
            problems.push(format!("rack.prefix: {} of rack {name:?}: from 1 to 30", self.prefix));
        }
        problems
    }
}

/// Reads services of a rack, as `power,pxe` or with their full names.
pub(crate) fn services(text: &str) -> Result<BTreeSet<Service>, String> {
    let one = |word: &str| {
        let named = |service: &Service| service.name() == word || service.name().strip_suffix("-service") == Some(word);
        let found = RACK_SERVICES.into_iter().find(named);
        found.ok_or_else(|| format!("{word:?} is no service of a rack; they are power, pxe, storage and inventory"))
    };
    text.split(',').map(str::trim).map(one).collect()
}

const fn full_weight() -> u32 {
    FULL_WEIGHT
}

const fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

const fn default_prefix() -> u8 {
    24
}

fn info() -> String {
    "info".to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl RackConfig {
        /// All services of a rack, without a provisioning network.
        pub(crate) fn named(name: &str, slot: u8) -> Self {
            let services = RACK_SERVICES.into();
            let (interface, addresses, prefix) = (String::new(), Vec::new(), default_prefix());
            Self { name: name.to_owned(), slot, services, interface, addresses, prefix }
        }
    }

    /// A host that runs everything but the store, for one rack.
    pub(crate) fn host(advertise: IpAddr) -> HostConfig {
        HostConfig {
            name: "h2".to_owned(),
            datacenter: "fra1".to_owned(),
            trust_domain: "ironmesh".to_owned(),
            advertise,
            weight: FULL_WEIGHT,
            monitor: loopback(),
            authority: "10.0.0.11:7380".to_owned(),
            store: false,
            initial_cluster: String::new(),
            etcd: vec!["https://10.0.0.11:2379".to_owned()],
            built_in_etcd: true,
            schedulers: vec!["10.0.0.11:7390".to_owned()],
            new_racks: Vec::new(),
            log: info(),
            otlp: String::new(),
            set: Vec::new(),
            scheduler: Some(SchedulerConfig { rest: SocketAddr::from(([127, 0, 0, 1], 6385)) }),
            racks: vec![RackConfig::named("r7", 0)],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let missing = HostConfig::load(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("host.toml") && missing.contains("ironmesh join"), "{missing}");
        let v6 = HostConfig { set: vec!["power.poll=30s".to_owned()], ..host("fd00::12".parse().unwrap()) };
        for config in [host("10.0.0.12".parse().unwrap()), v6] {
            config.save(folder.path()).unwrap();
            assert_eq!(HostConfig::find(folder.path()).unwrap(), Some(config));
        }
    }

    #[test]
    fn each_wrong_key_is_named() {
        let good = toml::to_string_pretty(&host("10.0.0.12".parse().unwrap())).unwrap();
        HostConfig::parse(&good).unwrap();
        let rack = "\n[[rack]]\nservices = [\"power-service\"]\n";
        for (from, to, words) in [
            ("name = \"h2\"", "name = \"H 2\"", "name: \"H 2\""),
            ("name = \"h2\"", "nam = \"h2\"", "nam"),
            ("datacenter = \"fra1\"", "datacenter = \"\"", "datacenter: \"\""),
            ("advertise = \"10.0.0.12\"", "advertise = \"0.0.0.0\"", "advertise: 0.0.0.0"),
            ("advertise = \"10.0.0.12\"", "advertise = \"h2\"", "advertise"),
            ("weight = 100", "weight = 0", "weight: must be from 1"),
            ("https://10.0.0.11:2379", "http://10.0.0.11:2379", "etcd: \"http:"),
            ("built_in_etcd = true", "built_in_etcd = false\nstore = true", "store: "),
            ("log = \"info\"", "log = \"info\"\nset = [\"service.rack=x\"]", "set: \"service.rack=x\""),
            ("slot = 0", "slot = 9", "rack.slot: 9"),
            ("prefix = 24", "prefix = 31", "rack.prefix: 31"),
            ("prefix = 24", "prefix = 24\ninterface = \"eth1\"", "rack.interface"),
            ("prefix = 24", &format!("prefix = 24\n{rack}name = \"r7\"\nslot = 1"), "rack.name: \"r7\" is there twice"),
            ("prefix = 24", &format!("prefix = 24\n{rack}name = \"r8\"\nslot = 0"), "rack.slot: 0 is there twice"),
            ("name = \"r7\"", "name = \"R7\"", "rack.name: \"R7\""),
        ] {
            let text =
                good.replacen("store = false\n", if to.contains("store = true") { "" } else { "store = false\n" }, 1);
            let text = text.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let problems = HostConfig::parse(&text).unwrap_err().join("\n");
            assert!(problems.contains(words), "{to}: {problems}");
        }
    }

    #[test]
    fn services_of_a_rack_have_short_and_long_names() {
        for (text, expected) in [
            ("power", Some(vec![Service::Power])),
            ("power,pxe", Some(vec![Service::Power, Service::Pxe])),
            ("pxe-service, storage", Some(vec![Service::Pxe, Service::Storage])),
            ("inventory,inventory", Some(vec![Service::Inventory])),
            ("scheduler", None),
            ("", None),
            ("power;pxe", None),
        ] {
            assert_eq!(services(text).ok(), expected.map(BTreeSet::from_iter), "{text}");
        }
    }
}
