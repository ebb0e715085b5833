//! One TOML file per service: read once, checked whole, passed by value. Nothing reads the environment later.

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What every service is told: the `[service]` table of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// The name of the rack that it serves.
    pub rack: String,
    /// Where it answers gRPC; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What others are told to call, where that is not the address it listens on: `host:port`.
    pub advertise: String,
    /// Where it shows metrics and health over plain HTTP.
    pub monitor: SocketAddr,
    /// etcd's members, as `https://host:port`.
    pub etcd: Vec<String>,
    /// Its folder: view on disk, caches.
    pub data: PathBuf,
    /// The private CA that signed every certificate of the mesh (PEM).
    pub ca: PathBuf,
    /// Its own certificate, leaf first (PEM).
    pub certificate: PathBuf,
    /// The key of the certificate (PEM, PKCS #8).
    pub key: PathBuf,
    /// The key that secrets in the store are sealed with: 32 octets, hexadecimal.
    pub sealing_key: PathBuf,
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// Where traces go, as `http://collector:4317`; empty: nowhere.
    pub otlp: String,
}

impl Default for Common {
    fn default() -> Self {
        let etc = Path::new("/etc/ironmesh");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            rack: String::new(),
            listen: any,
            advertise: String::new(),
            monitor: any,
            etcd: vec!["https://127.0.0.1:2379".to_owned()],
            data: PathBuf::from("/var/lib/ironmesh"),
            ca: etc.join("ca.pem"),
            certificate: etc.join("service.pem"),
            key: etc.join("service.key"),
            sealing_key: etc.join("sealing.key"),
            log: "info".to_owned(),
            otlp: String::new(),
        }
    }
}

/// A service's configuration.
pub trait Config: fmt::Debug + Default + Serialize + DeserializeOwned + Send + 'static {
    /// The `[service]` table.
    fn common(&self) -> &Common;
    /// What is wrong, each with what to do; nothing where all is well.
    fn problems(&self) -> Vec<String>;
}

/// A file that can not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can not be read.
    #[error("cannot read the configuration {path}; name an existing file with --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or names a key that there is not.
    #[error("the configuration {path} is not right: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why; the parser's words.
        why: String,
    },
    /// Its values do not fit.
    #[error("the configuration {path} is not right:\n  {}", .problems.join("\n  "))]
    Check {
        /// The file.
        path: PathBuf,
        /// All of what is wrong.
        problems: Vec<String>,
    },
}

/// Reads and checks a file.
///
/// # Errors
/// All problems at once, each naming the key.
pub fn load<C: Config>(path: &Path) -> Result<C, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let config: C =
        toml::from_str(&text).map_err(|why| Error::Parse { path: path.to_owned(), why: why.to_string() })?;
    let mut problems = common_problems(config.common());
    problems.extend(config.problems());
    if problems.is_empty() { Ok(config) } else { Err(Error::Check { path: path.to_owned(), problems }) }
}

/// The effective configuration, as a file would have it.
#[must_use]
pub fn print<C: Config>(config: &C) -> String {
    toml::to_string_pretty(config).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// Whether a rack can have this name: lower-case, digits and dashes, fit for a certificate's DNS name.
#[must_use]
pub fn is_rack_name(name: &str) -> bool {
    name.len() <= 63
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn common_problems(common: &Common) -> Vec<String> {
    let mut problems = Vec::new();
    if !is_rack_name(&common.rack) {
        problems.push(format!("service.rack: {:?} must be lower-case letters, digits and dashes", common.rack));
    }
    if common.etcd.is_empty() {
        problems.push("service.etcd: name at least one member, such as https://127.0.0.1:2379".to_owned());
    }
    for member in common.etcd.iter().filter(|member| !member.starts_with("https://")) {
        problems.push(format!("service.etcd: {member:?} must begin with https://, etcd is spoken to over TLS alone"));
    }
    if !common.otlp.is_empty() && !common.otlp.starts_with("http://") && !common.otlp.starts_with("https://") {
        problems.push(format!("service.otlp: {:?} must be a URL such as http://127.0.0.1:4317", common.otlp));
    }
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
    fn what_is_printed_loads_again() {
        let text = print(&Toy { size: 3, ..Toy::default() });
        assert_eq!(load_text(&text).unwrap().size, 3);
    }
}
