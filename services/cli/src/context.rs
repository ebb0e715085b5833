//! The context file: the endpoint to call and the certificates to use. It is found in one of three places.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use service_kit::tls::Files;

use crate::error::Error;

/// The variable that names the file.
const VARIABLE: &str = "IRONMESH_CONTEXT";
/// Its default path in the home directory.
const BESIDE_HOME: &str = ".config/ironmesh/client.toml";

/// An endpoint and its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The scheduler-service, as `host:port`; several replicas with commas between them.
    pub(crate) endpoint: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Context {
    /// Returns the paths of the certificates.
    pub(crate) fn files(&self) -> Files {
        Files { ca: self.ca.clone(), certificate: self.certificate.clone(), key: self.key.clone() }
    }

    /// Reads a file's text; relative paths are relative to `folder`.
    fn parse(text: &str, folder: &Path) -> Result<Self, toml::de::Error> {
        let mut context: Self = toml::from_str(text)?;
        for path in [&mut context.ca, &mut context.certificate, &mut context.key] {
            *path = folder.join(&*path);
        }
        Ok(context)
    }
}

/// Reads the file that the command line names, else the environment, else the one in the home folder.
pub(crate) fn find(named: Option<&Path>) -> Result<Context, Error> {
    let by_variable = environment(VARIABLE).map(PathBuf::from);
    let at_home = environment("HOME").map(|home| Path::new(&home).join(BESIDE_HOME));
    let is_named = named.is_some() || by_variable.is_some();
    let Some(path) = named.map(Path::to_owned).or(by_variable).or(at_home) else {
        return Err(nowhere("$HOME is not set").into());
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if !is_named && error.kind() == std::io::ErrorKind::NotFound => {
            return Err(nowhere(&format!("{} does not exist", path.display())).into());
        }
        Err(error) => {
            let text =
                format!("cannot read the context {}; ironmesh up --data DIR writes DIR/client.toml", path.display());
            return Err(anyhow!(error).context(text).into());
        }
    };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let context = Context::parse(&text, folder).with_context(|| {
        format!(
            "the context {} is invalid; it needs the keys endpoint, ca, certificate and key. If it is empty or cut, \
             ironmesh up --data DIR writes DIR/client.toml again",
            path.display()
        )
    })?;
    Ok(context)
}

fn nowhere(why: &str) -> anyhow::Error {
    anyhow!(
        "no scheduler-service is configured: --context is not given, ${VARIABLE} is not set, and {why}\nnext: \
         ironmesh up --data DIR starts a rack and writes DIR/client.toml; then: export {VARIABLE}=DIR/client.toml"
    )
}

/// Returns a variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the only place where the command line reads the environment")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "endpoint = \"a:1\"\nca = \"ca.pem\"\ncertificate = \"/x/me.pem\"\nkey = \"me.key\"\n";

    #[test]
    fn relative_paths_count_from_the_file() {
        let context = Context::parse(TEXT, Path::new("/data")).unwrap();
        assert_eq!(context.ca, Path::new("/data/ca.pem"));
        assert_eq!(context.certificate, Path::new("/x/me.pem"));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Context::parse(&format!("{TEXT}colour = 1\n"), Path::new("")).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }

    #[test]
    fn a_missing_file_that_was_named_is_named_with_the_next_step() {
        let error = find(Some(Path::new("/nowhere/client.toml"))).unwrap_err();
        let told = error.told("").unwrap();
        assert!(told.contains("/nowhere/client.toml") && told.contains("ironmesh up"), "{told}");
    }
}
