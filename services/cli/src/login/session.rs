//! The access token of a login, renewed when it ends.

use domain::time::Timestamp;
use service_kit::clock;
use tokio::sync::Mutex;

use super::{
    LoginConfig, LoginError,
    provider::{Provider, Refreshed},
    store::LoginFile,
    token::{Freshness, SecretToken, Tokens},
};

/// A login that calls are made with.
#[derive(Debug)]
pub(crate) struct Session {
    config: LoginConfig,
    file: LoginFile,
    current: Mutex<Option<Tokens>>,
}

impl Session {
    pub(crate) fn new(config: LoginConfig, file: LoginFile) -> Self {
        Self { config, file, current: Mutex::new(None) }
    }

    /// Returns the access token for a call, and renews it before if it ends soon. Cancel safe, apart from a refresh token
    /// that was used and whose successor is not stored yet.
    ///
    /// # Errors
    /// [`LoginError`] says what the user can do.
    pub(crate) async fn token(&self) -> Result<SecretToken, LoginError> {
        let mut current = self.current.lock().await;
        let tokens = self.known(current.take())?;
        let tokens = match tokens.freshness(clock::now()) {
            Freshness::Fresh => tokens,
            Freshness::Expired => self.renewed(&tokens).await?,
            Freshness::EndsSoon => match self.renewed(&tokens).await {
                Ok(tokens) => tokens,
                // The token is good for this call; a later one tries again.
                Err(_) => tokens,
            },
        };
        Ok(current.insert(tokens).access_token.clone())
    }

    /// Returns another access token, after the server has refused this one.
    ///
    /// # Errors
    /// [`LoginError`] says what the user can do.
    pub(crate) async fn replaced(&self, refused: &SecretToken) -> Result<SecretToken, LoginError> {
        let mut current = self.current.lock().await;
        let tokens = self.known(current.take())?;
        // Another call has renewed it meanwhile.
        let tokens = if tokens.access_token == *refused { self.renewed(&tokens).await? } else { tokens };
        Ok(current.insert(tokens).access_token.clone())
    }

    /// Returns the tokens that this process has, or else the stored ones.
    fn known(&self, current: Option<Tokens>) -> Result<Tokens, LoginError> {
        let tokens = current.map_or_else(|| self.file.read(&self.config), |tokens| Ok(Some(tokens)));
        tokens?.ok_or(LoginError::NotLoggedIn)
    }

    /// Returns newer tokens than these: those that another process has stored, or new ones.
    async fn renewed(&self, old: &Tokens) -> Result<Tokens, LoginError> {
        let _alone = self.file.lock().await?;
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
