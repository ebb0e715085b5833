//! The context file: the endpoint to call, and the certificate or the login to use. It is found in one of three places.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use service_kit::tls::Files;

use crate::{
    error::Error,
    login::{LoginConfig, store::LoginFile},
};

/// The variable that names the file.
const VARIABLE: &str = "IRONMESH_CONTEXT";
/// Its default path in the home directory.
const BESIDE_HOME: &str = ".config/ironmesh/client.toml";

/// An endpoint, and how the user proves who it is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The scheduler-service, as `host:port`; several replicas with commas between them.
    pub(crate) endpoint: String,
    ca: PathBuf,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    login: Option<LoginConfig>,
    /// The file itself.
    #[serde(skip)]
    pub(crate) path: PathBuf,
}

/// How a user proves who it is.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// With a certificate.
    Certificate(Files),
    /// With the access tokens of an OpenID provider. The servers' CA is that of this file.
    Login {
        /// The CA file.
        ca: PathBuf,
        /// The provider.
        login: LoginConfig,
    },
}

/// A context does not say clearly how the user proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must have either the keys certificate and key, or the table [login]; ironmesh login --issuer URL --client-id ID \
     --server HOST:PORT --ca FILE writes one with a login"
)]
pub(crate) struct UnclearCredentials;

impl Context {
    /// Returns how the user proves who it is.
    ///
    /// # Errors
    /// [`UnclearCredentials`] if the context says it not at all, in part, or in two ways.
    pub(crate) fn credentials(&self) -> Result<Credentials, UnclearCredentials> {
        let ca = self.ca.clone();
        match (self.certificate.clone(), self.key.clone(), self.login.clone()) {
            (Some(certificate), Some(key), None) => Ok(Credentials::Certificate(Files { ca, certificate, key })),
            (None, None, Some(login)) => Ok(Credentials::Login { ca, login }),
            _ => Err(UnclearCredentials),
        }
    }

    /// Returns the login, and the file with its tokens; `None` if the context has a certificate.
    pub(crate) fn login(&self) -> Option<(&LoginConfig, LoginFile)> {
        self.login.as_ref().map(|login| (login, LoginFile::beside(&self.path)))
    }

    /// Reads a file's text; relative paths are relative to the folder of the file.
    fn parse(text: &str, path: &Path) -> Result<Self, toml::de::Error> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let mut context: Self = toml::from_str(text)?;
        path.clone_into(&mut context.path);
        let of_login = context.login.as_mut().and_then(|login| login.ca.as_mut());
        let paths = [context.certificate.as_mut(), context.key.as_mut(), of_login];
        for path in std::iter::once(&mut context.ca).chain(paths.into_iter().flatten()) {
            *path = folder.join(&*path);
        }
        Ok(context)
    }
}

/// Returns the context file that the command line names, else the environment, else the one in the home folder.
pub(crate) fn path(named: Option<&Path>) -> Option<PathBuf> {
    let at_home = || environment("HOME").map(|home| Path::new(&home).join(BESIDE_HOME));
    named.map(Path::to_owned).or_else(|| environment(VARIABLE).map(PathBuf::from)).or_else(at_home)
}

/// Reads the file that the command line names, else the environment, else the one in the home folder.
pub(crate) fn find(named: Option<&Path>) -> Result<Context, Error> {
    let is_named = named.is_some() || environment(VARIABLE).is_some();
    let Some(path) = path(named) else {
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
    let context = Context::parse(&text, &path).with_context(|| {
        format!(
            "the context {} is invalid; it needs the keys endpoint, ca, and certificate and key or the table [login]. If it is \
             empty or cut, ironmesh up --data DIR writes DIR/client.toml again",
            path.display()
        )
    })?;
    Ok(context)
}

fn nowhere(why: &str) -> anyhow::Error {
    anyhow!(
        "no scheduler-service is configured: --context is not given, ${VARIABLE} is not set, and {why}\nnext: \
         ironmesh up --data DIR starts a rack and writes DIR/client.toml; then: export {VARIABLE}=DIR/client.toml. Where \
         the site has an OpenID provider: ironmesh login --help"
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

    const LOGIN: &str = "[login]\nissuer = \"https://id\"\nclient_id = \"ironmesh\"\n";
    const TEXT: &str = "endpoint = \"a:1\"\nca = \"ca.pem\"\ncertificate = \"/x/me.pem\"\nkey = \"me.key\"\n";

    #[test]
    fn relative_paths_count_from_the_file() {
        let context = Context::parse(TEXT, Path::new("/data/client.toml")).unwrap();
        assert_eq!(context.ca, Path::new("/data/ca.pem"));
        assert_eq!(context.certificate.as_deref(), Some(Path::new("/x/me.pem")));
        let text = format!("endpoint = \"a:1\"\nca = \"ca.pem\"\n{LOGIN}ca = \"id.pem\"\n");
        let context = Context::parse(&text, Path::new("/data/client.toml")).unwrap();
        let (login, file) = context.login().unwrap();
        assert_eq!(login.ca.as_deref(), Some(Path::new("/data/id.pem")));
        assert_eq!(file.path(), Path::new("/data/client.login.json"));
    }

    #[test]
    fn a_context_has_a_certificate_or_a_login() {
        let (certificate, key) = ("certificate = \"me.pem\"\n", "key = \"me.key\"\n");
        for (text, is_clear) in [
            (format!("{certificate}{key}"), true),
            (LOGIN.to_owned(), true),
            (String::new(), false),
            (certificate.to_owned(), false),
            (key.to_owned(), false),
            (format!("{certificate}{LOGIN}"), false),
            (format!("{certificate}{key}{LOGIN}"), false),
        ] {
            let text = format!("endpoint = \"a:1\"\nca = \"ca.pem\"\n{text}");
            let context = Context::parse(&text, Path::new("client.toml")).unwrap();
            assert_eq!(context.credentials().is_ok(), is_clear, "{text}");
        }
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
