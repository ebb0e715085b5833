//! Authenticates at a Redfish service.
//!
//! Each kind of credentials is tried at most once per login, because BMCs lock accounts: the password in a new session,
//! and, if `driver_info/redfish_auth_type` leaves the choice and sessions do not work, with basic authentication.

use keyspace::value;
use serde_json::Value;

use super::{
    RedfishSession,
    connection::Answer,
    http_policy::{Exchange, Next},
    request::{self, Credentials, LoginMethod, RedfishRequest},
    response::{self, ResponseKind, classify},
};
use crate::{bmc::BmcError, retry::Verdict};

/// Result of opening a session.
enum Opened {
    /// It is open.
    Session,
    /// The service does not open sessions.
    Unavailable {
        /// Its answer.
        kind: ResponseKind,
        /// Whether that is expected to stay so.
        is_lasting: bool,
    },
}

impl RedfishSession {
    /// Authenticates and returns the service root.
    pub(super) async fn log_in(&mut self) -> Result<Value, BmcError> {
        let (root, method) = (self.root(), self.login.redfish.login);
        let basic = Credentials::basic(&self.login.user, &self.login.password);
        let basic = basic.ok_or_else(|| BmcError::Password(self.address()))?;
        // The root is readable without authentication (DSP0266 §13.2), but some services require it.
        let read_root = RedfishRequest::get(&format!("{root}/"));
        let mut answer = self.ask(&read_root).await?;
        let mut is_basic_rejected = false;
        if is_closed(&answer) && method != value::Login::Session {
            self.credentials = basic.clone();
            answer = self.ask(&read_root).await?;
            is_basic_rejected = answer.status == 401;
        }
        // Basic authentication may be disabled at a service that has sessions.
        let is_closed = is_closed(&answer) && method != value::Login::Basic;
        let resource = if is_closed { Value::Null } else { self.expect_success(answer)?.json().clone() };
        self.credentials = basic.clone();
        let is_basic_only = self.quirks.basic_only && method == value::Login::Auto;
        let chosen = if is_basic_only {
            LoginMethod::Basic
        } else if is_closed {
            LoginMethod::Session(request::sessions(&root))
        } else {
            request::login_method(method, &root, &resource)
        };
        let LoginMethod::Session(sessions) = chosen else { return Ok(resource) };
        self.sessions = sessions;
        match self.open_session().await? {
            Opened::Session => {}
            Opened::Unavailable { kind, is_lasting } if method == value::Login::Auto && !is_basic_rejected => {
                tracing::debug!(bmc = %self.login.address, ?kind, "no session; using basic authentication");
                (self.credentials, self.accepted) = (basic, false);
                // Learned when basic authentication works: until then the password may be wrong.
                self.quirks.basic_only = is_lasting;
                self.drop_session().await;
            }
            Opened::Unavailable { kind, .. } => return Err(self.error(kind)),
        }
        if is_closed {
            let answer = self.ask(&read_root).await?;
            return Ok(self.expect_success(answer)?.json().clone());
        }
        Ok(resource)
    }

    /// Opens a session and uses it from now on.
    async fn open_session(&mut self) -> Result<Opened, BmcError> {
        let password = std::str::from_utf8(self.login.password.expose());
        let password = password.map_err(|_| BmcError::Password(self.address()))?;
        let mut message = RedfishRequest::login(&self.sessions, &self.login.user, password);
        let mut exchange = Exchange::new(self.connection.origin(), Vec::new(), false);
        let answer = loop {
            let request = message.request(&self.login.address, &Credentials::Anonymous);
            let request = request.map_err(|why| self.unusable(&why))?;
            let answer = self.connection.ask(request, || true).await.map_err(|error| self.transport_error(&error))?;
            match exchange.next(message.call(), answer.head()) {
                Next::FollowTo(path) => message.path = path,
                Next::Failed(why) => return Err(self.unusable(&why)),
                Next::Final | Next::RetryWith(_) | Next::NewSession => break answer,
            }
        };
        let kind = classify(&answer);
        let is_lasting = !matches!(kind, ResponseKind::NoSessionSlot | ResponseKind::ServerError(_));
        match kind {
            ResponseKind::Success => {}
            ResponseKind::Busy(_) | ResponseKind::GatewayError => return Err(self.error(kind)),
            ResponseKind::Unauthorized
            | ResponseKind::NotFound
            | ResponseKind::PreconditionFailed
            | ResponseKind::ServerError(_)
            | ResponseKind::NoSessionSlot
            | ResponseKind::Refused(_) => return Ok(Opened::Unavailable { kind, is_lasting }),
        }
        let own = answer.json().get("@odata.id").and_then(Value::as_str);
        let path = answer.location.as_deref().or(own).and_then(response::path).unwrap_or_default();
        let Some(token) = answer.token else {
            self.path = path;
            let kind = ResponseKind::Refused("it opened a session without a token".to_owned());
            return Ok(Opened::Unavailable { kind, is_lasting });
        };
        (self.credentials, self.path, self.accepted) = (Credentials::Session(token), path, false);
        Ok(Opened::Session)
    }

    /// Returns whether a session that is not accepted any more may be replaced: once, and only after the login.
    pub(super) const fn may_replace_session(&self) -> bool {
        matches!(self.credentials, Credentials::Session(_)) && !self.replaced
    }

    /// Replaces a session that the service has ended, or one whose token it never accepted. Returns whether there are new
    /// credentials.
    pub(super) async fn replace_session(&mut self) -> Result<bool, BmcError> {
        if self.accepted {
            self.replaced = true;
            return match self.open_session().await? {
                Opened::Session => Ok(true),
                Opened::Unavailable { kind, .. } => Err(self.error(kind)),
            };
        }
        let basic = Credentials::basic(&self.login.user, &self.login.password);
        let Some(basic) = basic.filter(|_| self.login.redfish.login == value::Login::Auto) else { return Ok(false) };
        self.replaced = true;
        self.credentials = basic;
        self.quirks.basic_only = true;
        self.drop_session().await;
        Ok(true)
    }

    /// Deletes a session that is of no use, with other credentials. Its path must not get into the journal: a successor
    /// that closes the session would believe that no command arrives any more.
    async fn drop_session(&mut self) {
        let path = std::mem::take(&mut self.path);
        if !path.is_empty()
            && let Err(error) = self.ask_once(&RedfishRequest::delete(&path)).await
        {
            tracing::debug!(bmc = %self.login.address, %error, "cannot delete a session that is of no use");
        }
    }

    /// Checks a response to a read, and remembers that the credentials were accepted.
    pub(super) fn expect_success(&mut self, answer: Answer) -> Result<Answer, BmcError> {
        let kind = classify(&answer);
        match (kind, &self.credentials) {
            (ResponseKind::Success, _) if !answer.json().is_object() => {
                Err(response::unreadable(&self.address(), &answer.path, &answer))
            }
            (ResponseKind::Success, Credentials::Anonymous) => Ok(answer),
            (ResponseKind::Success, Credentials::Basic(_) | Credentials::Session(_)) => {
                let is_new = !std::mem::replace(&mut self.accepted, true);
                if is_new && self.quirks.basic_only && !self.sessions.is_empty() {
                    self.learn();
                }
                Ok(answer)
            }
            // The token was valid when the session was opened.
            (ResponseKind::Unauthorized, Credentials::Session(_)) if self.accepted => Err(self.session_ended()),
            (ResponseKind::Unauthorized, Credentials::Session(_)) => {
                let why = "it does not accept the token of the session that it opened; set driver_info/redfish_auth_type \
                           to basic";
                // It may have ended the session at once.
                Err(BmcError::of(Verdict::Doubtful, self.address(), why.to_owned()))
            }
            (kind, _) => Err(self.error(kind)),
        }
    }
}

/// Returns whether a response demands authentication.
fn is_closed(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403)
}
