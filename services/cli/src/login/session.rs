//! The access token of a login, renewed when it ends.

use std::{sync::Arc, time::Duration};

use domain::time::Timestamp;
use service_kit::clock;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    LoginConfig, LoginError,
    provider::{Provider, Refreshed},
    store::LoginFile,
    token::{Freshness, SecretToken, Tokens},
};

/// How long a call whose token is good waits for the next token.
const EARLY_RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long no other early renewal is tried after one that failed.
const EARLY_RENEWAL_INTERVAL: Duration = Duration::from_secs(10);

/// A login that calls are made with.
#[derive(Debug)]
pub(crate) struct Session {
    renewer: Arc<Renewer>,
    current: Mutex<Current>,
}

/// What a process knows of its login.
#[derive(Debug, Default)]
struct Current {
    tokens: Option<Tokens>,
    /// When the last early renewal failed.
    failed: Option<Instant>,
}

impl Session {
    pub(crate) fn new(config: LoginConfig, file: LoginFile) -> Self {
        let renewer = Arc::new(Renewer { config, file, under_way: Arc::default() });
        Self { renewer, current: Mutex::default() }
    }

    /// Returns the access token for a call, and renews it before if it ends soon. Cancel safe: a renewal that has begun goes
    /// on.
    ///
    /// # Errors
    /// [`LoginError`] says what the user can do.
    pub(crate) async fn token(&self) -> Result<SecretToken, LoginError> {
        let mut current = self.current.lock().await;
        let tokens = self.known(current.tokens.take())?;
        let tokens = match tokens.freshness(clock::now()) {
            Freshness::Fresh => tokens,
            Freshness::Expired => self.renewed(&tokens, Patience::Long).await?,
            Freshness::EndsSoon if current.failed.is_some_and(|at| at.elapsed() < EARLY_RENEWAL_INTERVAL) => tokens,
            Freshness::EndsSoon => {
                let renewal = timeout(EARLY_RENEWAL_TIMEOUT, self.renewed(&tokens, Patience::None)).await;
                let renewed = renewal.ok().and_then(Result::ok);
                // The token is good for this call; a later one tries again.
                current.failed = renewed.is_none().then(Instant::now);
                renewed.unwrap_or(tokens)
            }
        };
        Ok(current.tokens.insert(tokens).access_token.clone())
    }

    /// Returns another access token, after the server has refused this one. Cancel safe: a renewal that has begun goes on.
    ///
    /// # Errors
    /// [`LoginError`] says what the user can do.
    pub(crate) async fn replaced(&self, refused: &SecretToken) -> Result<SecretToken, LoginError> {
        let mut current = self.current.lock().await;
        let tokens = self.known(current.tokens.take())?;
        // Another call has renewed it meanwhile.
        let is_same = tokens.access_token == *refused;
        let tokens = if is_same { self.renewed(&tokens, Patience::Long).await? } else { tokens };
        Ok(current.tokens.insert(tokens).access_token.clone())
    }

    /// Waits until no renewal is under way. Cancel safe.
    pub(crate) async fn settle(&self) {
        drop(self.renewer.under_way.lock().await);
    }

    /// Returns the tokens that this process has, or else the stored ones.
    fn known(&self, current: Option<Tokens>) -> Result<Tokens, LoginError> {
        let Renewer { config, file, .. } = &*self.renewer;
        let tokens = current.map_or_else(|| file.read(config), |tokens| Ok(Some(tokens)));
        tokens?.ok_or(LoginError::NotLoggedIn)
    }

    /// Returns newer tokens than these. The renewal is a task of its own: the provider may have replaced the refresh token
    /// when the call is dropped that needs it, and without its successor the login would have ended.
    #[expect(clippy::disallowed_methods, reason = "a command has no Host; it waits for the task in Session::settle")]
    async fn renewed(&self, old: &Tokens, patience: Patience) -> Result<Tokens, LoginError> {
        let (renewer, old) = (Arc::clone(&self.renewer), old.clone());
        let alone = Arc::clone(&renewer.under_way).lock_owned().await;
        let renewal = tokio::spawn(async move {
            let outcome = renewer.renewed(&old, patience).await;
            drop(alone);
            outcome
        });
        renewal.await.map_err(|error| LoginError::Malformed(error.to_string()))?
    }
}

/// How long a renewal waits for another process that renews the same login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Not at all.
    None,
    /// As long as a renewal may last.
    Long,
}

/// Renews a login.
#[derive(Debug)]
struct Renewer {
    config: LoginConfig,
    file: LoginFile,
    /// Held during a renewal of this process.
    under_way: Arc<Mutex<()>>,
}

impl Renewer {
    /// Returns newer tokens than these: those that another process has stored, or new ones.
    async fn renewed(&self, old: &Tokens, patience: Patience) -> Result<Tokens, LoginError> {
        let _alone = match patience {
            Patience::None => self.file.try_lock()?,
            Patience::Long => self.file.lock().await?,
        };
        let stored = self.file.read(&self.config)?.ok_or(LoginError::NotLoggedIn)?;
        if is_newer(&stored, old, clock::now()) {
            return Ok(stored);
        }
        let refresh_token = stored.refresh_token.as_ref().ok_or(LoginError::NoRefreshToken)?;
        let provider = Provider::discover(&self.config).await?;
        match provider.refresh(refresh_token).await? {
            Refreshed::Tokens(tokens) => {
                self.file.write(&self.config, &tokens)?;
                Ok(tokens)
            }
            Refreshed::Ended(why) => Err(LoginError::Ended(why)),
        }
    }
}

/// Returns whether stored tokens are to be used in place of those that a process has.
fn is_newer(stored: &Tokens, old: &Tokens, now: Timestamp) -> bool {
    stored.access_token != old.access_token && stored.freshness(now) == Freshness::Fresh
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;

    use super::*;
    use crate::login::DEFAULT_SCOPES;

    fn config() -> LoginConfig {
        let (issuer, client_id) = ("https://127.0.0.1:1".to_owned(), "c".to_owned());
        LoginConfig { issuer, client_id, scopes: DEFAULT_SCOPES.to_owned(), ca: None }
    }

    /// Tokens of an hour, of which this many seconds are left.
    fn tokens(token: &str, left: i64) -> Tokens {
        let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r"});
        let received = Timestamp::from_millis(clock::now().millis() - (3600 - left) * 1000);
        Tokens::read(answer.to_string().as_bytes(), None, received).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_token_is_good_does_not_wait_for_another_process_that_renews_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = LoginFile::beside(&folder.path().join("client.toml"));
        file.write(&config(), &tokens("old", 30)).unwrap();
        let session = Session::new(config(), file.clone());
        let (held, begun) = (file.lock().await.unwrap(), Instant::now());
        assert_eq!(session.token().await.unwrap().reveal(), "old");
        assert!(begun.elapsed() < Duration::from_secs(1), "the clock of the test moves only if something waits");
        file.write(&config(), &tokens("new", 3600)).unwrap();
        drop(held);
        assert_eq!(session.token().await.unwrap().reveal(), "old", "it was just tried");
        tokio::time::advance(EARLY_RENEWAL_INTERVAL).await;
        assert_eq!(session.token().await.unwrap().reveal(), "new");
    }

    #[tokio::test]
    async fn a_renewal_goes_on_without_the_call_that_began_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = LoginFile::beside(&folder.path().join("client.toml"));
        file.write(&config(), &tokens("refused", 3600)).unwrap();
        let session = Session::new(config(), file.clone());
        let held = file.lock().await.unwrap();
        let refused = SecretToken::new("refused".to_owned());
        assert!(session.replaced(&refused).now_or_never().is_none());
        assert!(session.settle().now_or_never().is_none(), "the renewal ended with the call");
        file.write(&config(), &tokens("new", 3600)).unwrap();
        drop(held);
        session.settle().await;
        assert_eq!(session.replaced(&refused).await.unwrap().reveal(), "new");
    }
}
