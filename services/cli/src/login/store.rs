//! The file with the tokens of a login, beside its context. Its owner alone can read it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use durable_file::{Access, DurableFileError};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{LoginConfig, LoginError, token::Tokens};

/// What to do about a damaged file.
const MEND: &str = "remove it, and log in again with ironmesh login";
/// How long another process may take to renew a login: two requests, each with its own limit.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(45);
/// Interval between two tries to take the lock.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The content of the file. The tokens are for the provider and the client that it names, and for no others.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    issuer: String,
    client_id: String,
    #[serde(flatten)]
    tokens: Tokens,
}

/// The file of a context's login.
#[derive(Debug, Clone)]
pub(crate) struct LoginFile {
    path: PathBuf,
}

impl LoginFile {
    /// Returns the file for a context file: `client.toml` has `client.login.json`.
    pub(crate) fn beside(context: &Path) -> Self {
        let name = context.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".toml").unwrap_or(&name);
        Self { path: context.with_file_name(format!("{name}.login.json")) }
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the tokens. `None` if there are none, or those of another provider or client.
    ///
    /// # Errors
    /// [`LoginError::File`]
    pub(crate) fn read(&self, config: &LoginConfig) -> Result<Option<Tokens>, LoginError> {
        let bytes = match durable_file::read(&self.path, MEND) {
            Ok(bytes) => zeroize::Zeroizing::new(bytes),
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The error of the parser may contain a part of a token.
        let stored: Stored = serde_json::from_slice(&bytes)
            .map_err(|_| DurableFileError::damaged(&self.path, &"it is not the JSON of a login", MEND))?;
        let is_ours = stored.issuer == config.issuer && stored.client_id == config.client_id;
        Ok(is_ours.then_some(stored.tokens))
    }

    /// Writes the tokens.
    ///
    /// # Errors
    /// [`LoginError::File`]
    pub(crate) fn write(&self, config: &LoginConfig, tokens: &Tokens) -> Result<(), LoginError> {
        let (issuer, client_id) = (config.issuer.clone(), config.client_id.clone());
        let stored = Stored { issuer, client_id, tokens: tokens.clone() };
        let text = serde_json::to_vec(&stored).map(zeroize::Zeroizing::new);
        let text = text.map_err(|error| LoginError::Malformed(error.to_string()))?;
        Ok(durable_file::write(&self.path, &text, Access::Owner)?)
    }

    /// Removes the tokens. Returns whether there were any.
    ///
    /// # Errors
    /// [`LoginError::File`]
    pub(crate) fn remove(&self) -> Result<bool, LoginError> {
        match durable_file::remove(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the exclusive right to renew the tokens: many providers accept a refresh token once, and take its second
    /// use for a theft, which ends the login (RFC 9700 §4.14.2). The right ends when the result is dropped. Cancel safe.
    ///
    /// # Errors
    /// [`LoginError::Locked`] if another process does not give it up.
    pub(crate) async fn lock(&self) -> Result<File, LoginError> {
        let begun = Instant::now();
        loop {
            match self.try_lock() {
                Err(LoginError::Locked(_)) if begun.elapsed() <= RENEWAL_TIMEOUT => sleep(LOCK_POLL_INTERVAL).await,
                outcome => return outcome,
            }
        }
    }

    /// Takes the exclusive right to renew the tokens, as [`Self::lock`] does, if it is free.
    ///
    /// # Errors
    /// [`LoginError::Locked`] if another process has it.
    pub(crate) fn try_lock(&self) -> Result<File, LoginError> {
        let path = self.path.with_extension("lock");
        let wrong = |source| LoginError::File(DurableFileError::Io { action: "lock", path: path.clone(), source });
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::Error(error)) => Err(wrong(error)),
            Err(TryLockError::WouldBlock) => Err(LoginError::Locked(path.display().to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use domain::time::Timestamp;

    use super::*;
    use crate::login::DEFAULT_SCOPES;

    fn config(issuer: &str, client_id: &str) -> LoginConfig {
        let (issuer, client_id) = (issuer.to_owned(), client_id.to_owned());
        LoginConfig { issuer, client_id, scopes: DEFAULT_SCOPES.to_owned(), ca: None }
    }

    fn tokens() -> Tokens {
        let answer = br#"{"access_token": "hush", "token_type": "Bearer", "expires_in": 60, "refresh_token": "hush2"}"#;
        Tokens::read(answer, None, Timestamp::from_millis(5)).unwrap()
    }

    #[test]
    fn tokens_are_in_a_file_of_their_owner_and_for_their_provider_and_client_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = LoginFile::beside(&folder.path().join("client.toml"));
        assert_eq!(file.path(), folder.path().join("client.login.json"));
        for (context, expected) in [("/a/lab.one", "/a/lab.one.login.json"), ("lab.two.toml", "lab.two.login.json")] {
            assert_eq!(LoginFile::beside(Path::new(context)).path(), Path::new(expected), "{context}");
        }
        let ours = config("https://id.example", "ironmesh");
        assert_eq!(file.read(&ours).unwrap(), None);
        file.write(&ours, &tokens()).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.read(&ours).unwrap(), Some(tokens()));
        for other in [config("https://evil.example", "ironmesh"), config("https://id.example", "other")] {
            assert_eq!(file.read(&other).unwrap(), None, "{other:?}");
        }
        assert!(file.remove().unwrap() && !file.remove().unwrap());
    }

    #[test]
    fn a_damaged_file_is_named_with_the_way_to_mend_it_and_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = LoginFile::beside(&folder.path().join("client.toml"));
        for content in ["", "{", "hush", r#"{"access_token": "hush"}"#, r#"["hush"]"#, r#"{"issuer": {"hush": 1}}"#] {
            fs::write(file.path(), content).unwrap();
            let error = file.read(&config("https://id.example", "ironmesh")).unwrap_err().to_string();
            assert!(error.contains("client.login.json") && error.contains("ironmesh login"), "{content}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[tokio::test]
    async fn one_process_at_a_time_renews_a_login() {
        let folder = tempfile::tempdir().unwrap();
        let file = LoginFile::beside(&folder.path().join("client.toml"));
        let held = file.lock().await.unwrap();
        let mut second = Box::pin(file.lock());
        assert!(futures::FutureExt::now_or_never(&mut second).is_none());
        drop(held);
        assert!(second.await.is_ok());
    }
}
