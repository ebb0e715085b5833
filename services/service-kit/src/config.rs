//! Configuration: one TOML file per service, loaded and checked at start. Nothing is read from the environment.

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

pub use crate::names::{
    DATACENTER_RULE, HOST_NAME_RULE, RACK_NAME_RULE, TRUST_DOMAIN_RULE, is_datacenter_name, is_host_name, is_rack_name,
    is_trust_domain,
};
use crate::{listener::HttpLimits, tls::Files};

/// Weight of a service with a full share of its rack's nodes.
pub const FULL_WEIGHT: u32 = 100;
/// Highest weight of a service.
pub const MAX_WEIGHT: u32 = 10_000;

/// Settings common to all services: the `[service]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// Name of the rack that this service serves.
    pub rack: String,
    /// Name of the host that this service runs on, as `ironmesh host list` shows it; empty without `ironmesh host run`.
    pub host: String,
    /// Share of the rack's nodes that this service takes, in percent of that of a service with 100: from 1 to 10,000.
    pub weight: u32,
    /// Address of the gRPC listener; port 0 selects a free one.
    pub listen: SocketAddr,
    /// Address that other services call, as `host:port`, if it differs from `listen`.
    pub advertise: String,
    /// Address of the plain HTTP listener for metrics and health.
    pub monitor: SocketAddr,
    /// etcd members, as `https://host:port`.
    pub etcd: Vec<String>,
    /// Whether to follow the members that etcd lists: to use their client URLs instead of those in `etcd`, and to note
    /// them in the data directory for the next start. For a built-in etcd; one whose members advertise other URLs than
    /// clients use must not set it.
    pub etcd_discovery: bool,
    /// Data directory: the view on disk, caches.
    pub data: PathBuf,
    /// Private CA that signed every certificate of the mesh (PEM).
    pub ca: PathBuf,
    /// Certificate of this service, leaf first (PEM).
    pub certificate: PathBuf,
    /// Private key of the certificate (PEM, PKCS #8).
    pub key: PathBuf,
    /// CA that signed the certificates of etcd's members (PEM). It is another one than `ca`.
    pub etcd_ca: PathBuf,
    /// Certificate of this service as a client of etcd (PEM), with its etcd user as the common name.
    pub etcd_certificate: PathBuf,
    /// Private key of the certificate for etcd (PEM, PKCS #8).
    pub etcd_key: PathBuf,
    /// File with the keys that open the secrets in the store that are for this service.
    pub sealing_keys: PathBuf,
    /// Log filter, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// OTLP endpoint for traces, such as `http://collector:4317`; empty disables traces.
    pub otlp: String,
    /// Limits of the HTTP and gRPC listeners.
    pub http: HttpLimits,
}

impl Default for Common {
    fn default() -> Self {
        let etc = Path::new("/etc/ironmesh");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            rack: String::new(),
            host: String::new(),
            weight: FULL_WEIGHT,
            listen: any,
            advertise: String::new(),
            monitor: any,
            etcd: vec!["https://127.0.0.1:2379".to_owned()],
            etcd_discovery: false,
            data: PathBuf::from("/var/lib/ironmesh"),
            ca: etc.join("ca.pem"),
            certificate: etc.join("service.pem"),
            key: etc.join("service.key"),
            etcd_ca: etc.join("etcd-ca.pem"),
            etcd_certificate: etc.join("etcd.pem"),
            etcd_key: etc.join("etcd.key"),
            sealing_keys: etc.join("sealing.keys"),
            log: "info".to_owned(),
            otlp: String::new(),
            http: HttpLimits::default(),
        }
    }
}

impl Common {
    /// Returns the files for connections within the mesh.
    #[must_use]
    pub fn tls_files(&self) -> Files {
        Files { ca: self.ca.clone(), certificate: self.certificate.clone(), key: self.key.clone() }
    }

    /// Returns the files for connections to etcd.
    #[must_use]
    pub fn etcd_files(&self) -> Files {
        Files { ca: self.etcd_ca.clone(), certificate: self.etcd_certificate.clone(), key: self.etcd_key.clone() }
    }
}

/// The configuration of a service.
pub trait Config: fmt::Debug + Default + Serialize + DeserializeOwned + Send + 'static {
    /// Returns the `[service]` table.
    fn common(&self) -> &Common;
    /// Returns all invalid settings, each with what to do.
    fn problems(&self) -> Vec<String>;
}

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}; pass an existing file with --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("invalid configuration {path}: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's message, with the position.
        why: String,
    },
    /// The file has unknown keys or invalid values.
    #[error("invalid configuration {path}:\n  {}", .problems.join("\n  "))]
    Check {
        /// The file.
        path: PathBuf,
        /// All problems, each naming its key.
        problems: Vec<String>,
    },
}

/// Loads and checks a configuration file.
///
/// # Errors
/// [`Error`] with all problems at once.
pub fn load<C: Config>(path: &Path) -> Result<C, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let not_toml = |why: String| Error::Parse { path: path.to_owned(), why };
    let (file, wrong) = DeTable::parse_recoverable(&text);
    if !wrong.is_empty() {
        return Err(not_toml(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    }
    let values = toml::from_str(&text).map_err(|why| not_toml(why.to_string()))?;
    let mut reading = Reading::<C>::new(&text).map_err(|why| not_toml(why.to_string()))?;
    reading.take(&mut Vec::new(), file.get_ref(), &values);
    let Reading { config, mut problems, .. } = reading;
    problems.extend(common_problems(config.common()));
    problems.extend(config.problems());
    if problems.is_empty() { Ok(config) } else { Err(Error::Check { path: path.to_owned(), problems }) }
}

/// A configuration to which the keys of a file are added one by one, so that an invalid key does not hide the others.
struct Reading<'t, C> {
    text: &'t str,
    /// The defaults and the valid keys so far.
    table: Table,
    config: C,
    problems: Vec<String>,
}

impl<'t, C: Config> Reading<'t, C> {
    fn new(text: &'t str) -> Result<Self, toml::ser::Error> {
        let config = C::default();
        Ok(Self { text, table: Table::try_from(&config)?, config, problems: Vec::new() })
    }

    /// Adds the table at `path`. `spans` and `values` are the same table, once with positions and once with values.
    fn take(&mut self, path: &mut Vec<String>, spans: &DeTable<'_>, values: &Table) {
        for (key, span) in spans {
            let Some(value) = values.get(key.get_ref().as_ref()) else { continue };
            path.push(key.get_ref().clone().into_owned());
            let is_table = matches!(at(&mut self.table, path), Some(Value::Table(_)));
            if let (true, DeValue::Table(spans), Value::Table(values)) = (is_table, span.get_ref(), value) {
                self.take(path, spans, values);
            } else {
                self.put(path, key.span().start, value);
            }
            path.pop();
        }
    }

    fn put(&mut self, path: &[String], place: usize, value: &Value) {
        let mut table = self.table.clone();
        let Some((last, above)) = path.split_last() else { return };
        let folder =
            if above.is_empty() { Some(&mut table) } else { at(&mut table, above).and_then(Value::as_table_mut) };
        if let Some(folder) = folder {
            folder.insert(last.clone(), value.clone());
        }
        match C::deserialize(table.clone()) {
            Ok(config) => (self.table, self.config) = (table, config),
            Err(why) => {
                let line = 1 + self.text.bytes().take(place).filter(|byte| *byte == b'\n').count();
                self.problems.push(format!("{} (line {line}): {}", path.join("."), why.message()));
            }
        }
    }
}

fn at<'t>(table: &'t mut Table, path: &[String]) -> Option<&'t mut Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get_mut(first)?, |value, key| value.get_mut(key))
}

/// Formats the effective configuration as a TOML file.
#[must_use]
pub fn print<C: Config>(config: &C) -> String {
    toml::to_string_pretty(config).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
}

fn common_problems(common: &Common) -> Vec<String> {
    let mut problems = Vec::new();
    if !is_rack_name(&common.rack) {
        problems.push(format!("service.rack: {:?} {RACK_NAME_RULE}", common.rack));
    }
    if !common.host.is_empty() && !is_host_name(&common.host) {
        problems.push(format!("service.host: {:?} {HOST_NAME_RULE}", common.host));
    }
    if !(1..=MAX_WEIGHT).contains(&common.weight) {
        problems.push(format!("service.weight: must be from 1 to {MAX_WEIGHT}; {FULL_WEIGHT} is a full share"));
    }
    if common.etcd.is_empty() {
        problems.push("service.etcd: name at least one member, such as https://127.0.0.1:2379".to_owned());
    }
    for member in common.etcd.iter().filter(|member| !member.starts_with("https://")) {
        problems.push(format!("service.etcd: {member:?} must start with https://, etcd requires TLS"));
    }
    if !common.otlp.is_empty() && !common.otlp.starts_with("http://") && !common.otlp.starts_with("https://") {
        problems.push(format!("service.otlp: {:?} must be a URL such as http://127.0.0.1:4317", common.otlp));
    }
    problems.extend(common.http.problems());
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Toy {
        service: Common,
        size: u32,
    }

    impl Config for Toy {
        fn common(&self) -> &Common {
            &self.service
        }
        fn problems(&self) -> Vec<String> {
            if self.size > 9 { vec!["size: at most 9".to_owned()] } else { vec![] }
        }
    }

    fn load_text(text: &str) -> Result<Toy, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        load(file.path())
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let error =
            load_text("size = 12\n[service]\nrack = \"R 1\"\netcd = [\"http://x:1\"]\n").unwrap_err().to_string();
        for part in ["service.rack", "service.etcd", "size: at most 9"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = load_text("siez = 1\n").unwrap_err().to_string();
        assert!(error.contains("siez") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn keys_that_can_not_be_read_hide_nothing_that_is_wrong_with_others() {
        let text = "size = \"x\"\n[service]\nlisten = \"here\"\nrak = 1\nrack = \"R 1\"\n[sevice]\n";
        let error = load_text(text).unwrap_err().to_string();
        let parts =
            ["size (line 1): ", "service.listen (line 3): ", "service.rak (line 4): ", "R 1", "sevice (line 6): "];
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
        let error = load_text("[service\nsize = = 1\n").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_host_is_a_dns_label_and_a_weight_has_limits() {
        let label = "a".repeat(63);
        for (text, problem) in [
            ("host = \"\"".to_owned(), ""),
            ("host = \"h1\"".to_owned(), ""),
            (format!("host = \"{label}\""), ""),
            (format!("host = \"{label}a\""), "service.host"),
            ("host = \"h1.example\"".to_owned(), "service.host"),
            ("host = \"H1\"".to_owned(), "service.host"),
            ("host = \"-h1\"".to_owned(), "service.host"),
            ("host = \"h1-\"".to_owned(), "service.host"),
            ("weight = 1".to_owned(), ""),
            ("weight = 10000".to_owned(), ""),
            ("weight = 0".to_owned(), "service.weight"),
            ("weight = 10001".to_owned(), "service.weight"),
            ("weight = -1".to_owned(), "service.weight"),
        ] {
            let told =
                load_text(&format!("[service]\n{text}\n")).map_or_else(|error| error.to_string(), |_| String::new());
            assert_eq!(told.is_empty(), problem.is_empty(), "{text}: {told}");
            assert!(told.contains(problem), "{text}: {told}");
        }
        assert_eq!(Common::default().weight, FULL_WEIGHT);
    }

    #[test]
    fn what_is_printed_loads_again() {
        let text = print(&Toy { size: 3, ..Toy::default() });
        assert_eq!(load_text(&text).unwrap().size, 3);
    }
}
