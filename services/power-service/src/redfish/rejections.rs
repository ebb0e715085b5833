//! Remembers in which ways a service rejected a command, until it took one of them. Pure.
//!
//! All ways are tried within one permit if the service is fast. If a slow one uses the permit up, the next permit continues
//! with the ways that are left; otherwise the same first ones would be rejected again and again.

use serde_json::Value;

use super::{boot::BootAttempt, http_policy::EtagForm, response::ResponseKind};
use crate::bmc::Command;

/// A boot attempt without its entity tags, which change: path and body.
type BootWay = (String, Value);

/// The rejected ways to send a command.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    command: Option<Command>,
    /// Forms of the entity tag, of the request that was not taken yet.
    pub(super) etags: Vec<EtagForm>,
    /// Number of reset types.
    pub(super) resets: usize,
    /// The first rejection of a reset type.
    pub(super) reset: Option<ResponseKind>,
    boots: Vec<BootWay>,
    next_boot: Option<BootWay>,
    /// The rejection of the boot order that says most.
    pub(super) boot: Option<ResponseKind>,
    /// Whether a failure was taken for a rejection: the command may have been carried out.
    pub(super) has_failed: bool,
}

impl Rejections {
    /// Starts or continues with a command. Forgets the rejections of another one.
    pub(super) fn begin(&mut self, command: Command) {
        if self.command != Some(command) {
            *self = Self { command: Some(command), ..Self::default() };
        }
    }

    /// Returns whether nothing was rejected.
    pub(super) fn is_empty(&self) -> bool {
        self.etags.is_empty() && self.resets == 0 && self.boots.is_empty()
    }

    /// Leaves the forms of the entity tag that were not rejected, or all if there is no other.
    pub(super) fn retain_etags<T>(&self, forms: &mut Vec<(EtagForm, T)>) {
        let is_left = |(form, _): &(EtagForm, T)| !self.etags.contains(form);
        if forms.iter().any(is_left) {
            forms.retain(is_left);
        }
    }

    /// Records that a boot attempt was rejected.
    pub(super) fn reject_boot(&mut self, attempt: &BootAttempt, kind: ResponseKind) {
        self.boots.push(way(attempt));
        self.has_failed |= matches!(kind, ResponseKind::ServerError(_));
        // A refusal says more than a failure; the first one is about the regular way.
        if matches!(self.boot, None | Some(ResponseKind::ServerError(_))) {
            self.boot = Some(kind);
        }
    }

    /// Records which boot attempt is the next one.
    pub(super) fn continue_with(&mut self, attempt: &BootAttempt) {
        self.next_boot = Some(way(attempt));
    }

    /// Removes the rejected attempts, and takes the next one.
    pub(super) fn take_next(&self, attempts: &mut Vec<BootAttempt>) -> Option<BootAttempt> {
        attempts.retain(|attempt| !self.boots.contains(&way(attempt)));
        let is_next = |attempt: &BootAttempt| self.next_boot.as_ref() == Some(&way(attempt));
        let next = attempts.iter().position(is_next).unwrap_or(0);
        (!attempts.is_empty()).then(|| attempts.remove(next))
    }
}

fn way(attempt: &BootAttempt) -> BootWay {
    (attempt.request.path.clone(), attempt.request.body.clone())
}
