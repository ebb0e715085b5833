//! Sends commands to a Redfish service, in the way that it takes them.

use domain::power::{Boot, Persistence};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    RedfishSession,
    boot::{self, BootAttempt},
    boot_source::ONCE,
    connection::{Answer, TransportError},
    http_policy::{Exchange, Next},
    messages,
    rejections::Rejections,
    request::{Credentials, RedfishRequest},
    response::{ResponseKind, System, classify_change, says_later},
};
use crate::{
    bmc::{BmcError, Command, Reply},
    metrics,
};

/// How often in a session a failure of the service is not taken for a rejection of the way in which the boot order is set.
const MAX_BOOT_FAILURES: u32 = 2;

impl RedfishSession {
    /// Executes a command while `may_send` allows it; it is asked before each request. If the time is over after a rejection,
    /// the same command in the same session continues with what was not rejected yet.
    pub(super) async fn execute(&mut self, command: Command, may_send: impl Fn() -> bool) -> Result<Reply, BmcError> {
        self.rejections.begin(command);
        let reply = self.execute_in_all_ways(command, &may_send).await;
        if reply != Err(BmcError::NotPermitted) || self.rejections.is_empty() {
            self.rejections = Rejections::default();
            return reply;
        }
        let why = "it rejected the first ways to send the command, and the time to send the others was over".to_owned();
        let failure = BmcError::Busy { address: self.address(), why };
        if self.rejections.has_failed { Err(failure) } else { Ok(Reply::NotNow(failure)) }
    }

    async fn execute_in_all_ways(&mut self, command: Command, may_send: &impl Fn() -> bool) -> Result<Reply, BmcError> {
        let system = self.read.clone().ok_or_else(|| self.refused("its system was not read before the command"))?;
        if matches!(command, Command::ResetBmc(_) | Command::Raw { .. }) {
            return Ok(Reply::Refused(format!("a {} needs IPMI", command.description())));
        }
        if let Command::Boot(order, _) = command {
            return self.set_boot(&system, order, may_send).await;
        }
        if command == Command::On
            && let Some(order) = self.order_to_repeat(&system)
        {
            let why = match self.set_boot(&system, order, may_send).await? {
                Reply::Done => None,
                Reply::Refused(why) => Some(why),
                Reply::NotNow(BmcError::Doubtful(why)) => Some(why.to_string()),
                later @ Reply::NotNow(_) => return Ok(later),
            };
            if let Some(why) = why {
                tracing::warn!(bmc = %self.login.address, why, "cannot set the persistent boot order again before a boot");
            }
        }
        let reply = self.reset(command, &system, may_send).await?;
        if reply == Reply::Done {
            self.has_switched_off = matches!(command, Command::Off | Command::SoftOff);
        }
        Ok(reply)
    }

    /// Returns the boot order to set before this boot, because the service does not keep it. An override for this boot has
    /// precedence.
    fn order_to_repeat(&self, system: &System) -> Option<Boot> {
        let enabled = system.body.pointer("/Boot/BootSourceOverrideEnabled").and_then(Value::as_str);
        self.quirks.repeat_once.filter(|_| !self.has_set_boot && enabled != Some(ONCE))
    }

    async fn reset(
        &mut self,
        command: Command,
        system: &System,
        may_send: &impl Fn() -> bool,
    ) -> Result<Reply, BmcError> {
        let listed = self.reset_types.clone().unwrap_or_else(|| super::request::reset_types(system));
        let mut requests = match RedfishRequest::resets(command, system, listed.as_deref()) {
            Ok(requests) => requests.into_iter().skip(self.rejections.resets),
            Err(error) => return Ok(Reply::Refused(error.to_string())),
        };
        while let Some(request) = requests.next() {
            let path = request.path.clone();
            let answer = self.exchange(request, may_send).await?;
            let kind = classify_change(&answer);
            if !matches!(kind, ResponseKind::Refused(_)) || !is_about_type(&answer) || requests.len() == 0 {
                let first = self.rejections.reset.take().filter(|_| matches!(kind, ResponseKind::Refused(_)));
                let kind = first.unwrap_or(kind);
                let is_status_only = matches!(kind, ResponseKind::Busy(_)) && !says_later(&answer);
                let is_proven = !is_status_only && kind != ResponseKind::PreconditionFailed;
                return match self.reply(kind, &path)? {
                    // All other commands may be repeated even if they were carried out.
                    Reply::NotNow(failure) if command.is_sent_once() && !is_proven => {
                        self.has_pending_command = true;
                        Err(failure)
                    }
                    reply @ (Reply::Done | Reply::Refused(_) | Reply::NotNow(_)) => Ok(reply),
                };
            }
            self.rejections.resets += 1;
            self.rejections.reset.get_or_insert(kind);
        }
        Ok(Reply::Refused("its system does not support the command".to_owned()))
    }

    async fn set_boot(
        &mut self,
        system: &System,
        order: Boot,
        may_send: &impl Fn() -> bool,
    ) -> Result<Reply, BmcError> {
        let settings = self.settings.clone().flatten();
        let mut attempts = match boot::attempts(system, settings.as_ref(), order, self.quirks.boot) {
            Ok(attempts) => attempts,
            Err(error) => return Ok(Reply::Refused(error.to_string())),
        };
        if attempts.is_empty() {
            self.has_set_boot = true;
            return Ok(Reply::Done);
        }
        let Some(mut attempt) = self.rejections.take_next(&mut attempts) else { return self.reject_boot(&system.path) };
        loop {
            let answer = self.exchange(attempt.request.clone(), may_send).await?;
            let path = &attempt.request.path;
            let kind = classify_change(&answer);
            let is_rejected =
                matches!(kind, ResponseKind::Refused(_) | ResponseKind::NotFound | ResponseKind::ServerError(_));
            if !is_rejected {
                if kind == ResponseKind::Success {
                    self.learn_boot(order, &attempt);
                }
                return self.reply(kind, path);
            }
            // It is asked again before it is taken for a rejection: a detour would be remembered.
            if matches!(kind, ResponseKind::ServerError(_)) && self.boot_failures < MAX_BOOT_FAILURES {
                self.boot_failures += 1;
                return self.reply(kind, path);
            }
            tracing::debug!(bmc = %self.login.address, body = %attempt.request.body, ?kind, "boot override rejected");
            self.rejections.reject_boot(&attempt, kind);
            match boot::next_after(&mut attempts, &attempt, &messages::complaint(&answer)) {
                Some(next) => attempt = next,
                None => return self.reject_boot(path),
            }
            self.rejections.continue_with(&attempt);
        }
    }

    /// The reply to a boot order that is rejected in every way.
    fn reject_boot(&mut self, path: &str) -> Result<Reply, BmcError> {
        let rejection = self.rejections.boot.clone();
        self.reply(rejection.unwrap_or(ResponseKind::NotFound), path)
    }

    /// Remembers how the service took a boot order.
    fn learn_boot(&mut self, order: Boot, attempt: &BootAttempt) {
        self.has_set_boot = true;
        if attempt.leaves_mode {
            let mode = order.mode;
            tracing::warn!(bmc = %self.login.address, %mode, "the BMC does not let the boot mode be set; it is unchanged");
        }
        let before = self.quirks.clone();
        let mut dialect = attempt.dialect;
        if order.persistence == Persistence::Persistent {
            self.quirks.repeat_once = dialect.once.then_some(order);
        } else {
            dialect.once = self.quirks.boot.is_some_and(|known| known.once);
        }
        if self.rejections.boot.is_some() {
            self.quirks.boot = Some(dialect);
        }
        if self.quirks != before {
            self.learn();
        }
    }

    /// Sends a change and its repetitions, and remembers which form of the entity tag was accepted.
    async fn exchange(
        &mut self,
        mut message: RedfishRequest,
        may_send: &impl Fn() -> bool,
    ) -> Result<Answer, BmcError> {
        let mut forms = message.etags.as_ref().map(|tags| tags.forms(self.quirks.etag)).unwrap_or_default();
        self.rejections.retain_etags(&mut forms);
        message.if_match = forms.first().and_then(|(_, value)| value.clone());
        let others = forms.iter().skip(1).map(|(form, _)| *form).collect();
        let mut exchange = Exchange::new(self.connection.origin(), others, false);
        let mut sent = forms.first().map(|(form, _)| *form);
        loop {
            let answer = self.send_once(&message, may_send).await?;
            match exchange.next(message.call(), answer.head()) {
                Next::FollowTo(path) => message.path = path,
                Next::RetryWith(next) => {
                    message.if_match =
                        forms.iter().find(|(form, _)| *form == next).and_then(|(_, value)| value.clone());
                    self.rejections.etags.extend(sent.replace(next));
                }
                Next::Failed(why) => return Err(self.unusable(&why)),
                Next::Final | Next::NewSession => {
                    let was_rejected = !std::mem::take(&mut self.rejections.etags).is_empty();
                    if was_rejected && classify_change(&answer) == ResponseKind::Success {
                        self.quirks.etag = sent;
                        self.learn();
                    }
                    return Ok(answer);
                }
            }
        }
    }

    async fn send_once(&mut self, message: &RedfishRequest, may_send: &impl Fn() -> bool) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        let answer = self.connection.ask(self.request(message)?, may_send).await;
        metrics::command(begun);
        answer.map_err(|error| match error {
            TransportError::Unanswered(_) => {
                self.has_pending_command = true;
                BmcError::Unknown(self.address())
            }
            TransportError::Unsent(_)
            | TransportError::NotAllowed(_)
            | TransportError::TlsFailed(_)
            | TransportError::NotPermitted => self.transport_error(&error),
        })
    }

    /// Converts the final response to a command.
    fn reply(&mut self, kind: ResponseKind, path: &str) -> Result<Reply, BmcError> {
        match kind {
            ResponseKind::Success => Ok(Reply::Done),
            ResponseKind::Refused(why) => Ok(Reply::Refused(self.redacted(why))),
            ResponseKind::NotFound => Ok(Reply::Refused(format!("it has no resource {path}"))),
            ResponseKind::GatewayError => {
                self.has_pending_command = true;
                Err(BmcError::Unknown(self.address()))
            }
            ResponseKind::Unauthorized if matches!(self.credentials, Credentials::Session(_)) => {
                Ok(Reply::NotNow(self.session_ended()))
            }
            kind @ (ResponseKind::Unauthorized
            | ResponseKind::PreconditionFailed
            | ResponseKind::Busy(_)
            | ResponseKind::NoSessionSlot) => {
                // The next try needs the present entity tag.
                self.settings = None;
                Ok(Reply::NotNow(self.error(kind)))
            }
            kind @ ResponseKind::ServerError(_) => {
                self.has_pending_command = true;
                Err(self.error(kind))
            }
        }
    }
}

/// Returns whether a service rejects the type of a reset, and not the reset. Without a reason only the statuses that may be
/// about a value count: 403 is about the user, 405 about the method.
fn is_about_type(answer: &Answer) -> bool {
    let complaint = messages::complaint(answer);
    let names = ["ResetType", "ActionParameter", "NotInList", "NotSupported"];
    let is_unexplained = answer.status == 400 && complaint.trim().is_empty();
    answer.status == 501 || is_unexplained || names.iter().any(|name| complaint.contains(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::redfish::decode::Body;

    #[test]
    fn another_type_is_tried_only_if_the_type_may_be_the_reason() {
        let said = |status: u16, id: &str| {
            let body = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": format!("Base.1.8.{id}")}]}});
            Answer { status, body: Body::Json(body), ..Answer::default() }
        };
        let silent = |status: u16| Answer { status, ..Answer::default() };
        for (answer, right, source) in [
            (silent(400), true, "RFC 9110 §15.5.1: a client error without a reason"),
            (silent(501), true, "RFC 9110 §15.6.2: not implemented"),
            (silent(403), false, "RFC 9110 §15.5.4: the user may not"),
            (silent(405), false, "RFC 9110 §15.5.6: no POST at all"),
            (silent(415), false, "RFC 9110 §15.5.16: the form of the body"),
            (said(400, "ActionParameterNotSupported"), true, "DSP0268, Base"),
            (said(400, "ActionParameterValueNotInList"), true, "DSP0268, Base"),
            (said(403, "ActionNotSupported"), true, "DSP0268, Base"),
            (said(501, "GeneralError"), true, "RFC 9110 §15.6.2: not implemented"),
            (said(400, "GeneralError"), false, "DSP0268, Base: another reason"),
            (said(403, "InsufficientPrivilege"), false, "DSP0268, Base"),
        ] {
            assert_eq!(is_about_type(&answer), right, "{source}: {answer:?}");
        }
    }
}
