//! Reads the resources of a Redfish service.

use std::collections::{BTreeMap, BTreeSet};

use keyspace::value::BiosSetting;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    RedfishSession,
    connection::{Answer, TransportError},
    error::RedfishError,
    firmware,
    http_policy::{Exchange, Next},
    request::{self, RedfishRequest},
    response::{self, ResponseKind, System, classify},
};
use crate::{bmc::BmcError, metrics};

/// Maximum number of pages of a collection.
const MAX_PAGES: usize = 64;
/// Maximum number of members of a collection.
const MAX_MEMBERS: usize = 4096;

impl RedfishSession {
    /// Returns the path of the system to control.
    pub(super) async fn find_system(&mut self, root: &Value) -> Result<String, BmcError> {
        let named = self.login.redfish.system.clone();
        if let Some(path) = response::path(&named) {
            return Ok(path);
        }
        let systems = response::link(root, "/Systems");
        let systems = systems.ok_or_else(|| self.refused("its service root has no link to systems"))?;
        let systems = self.members(&systems).await?;
        response::choose_system(&systems, &named).map_err(|why| self.unusable(&why))
    }

    /// Sends a request that changes nothing but sessions, and follows what [`super::http_policy`] decides.
    pub(super) async fn ask(&mut self, message: &RedfishRequest) -> Result<Answer, BmcError> {
        let mut message = message.clone();
        // A session that has ended needs no deletion, and a new one would remain.
        let may_renew = message.method == "GET" && self.may_replace_session();
        let mut exchange = Exchange::new(self.connection.origin(), Vec::new(), may_renew);
        loop {
            let answer = self.ask_once(&message).await?;
            match exchange.next(message.call(), answer.head()) {
                Next::FollowTo(path) => message.path = path,
                Next::NewSession if self.replace_session().await? => {}
                Next::Failed(why) => return Err(self.unusable(&why)),
                Next::Final | Next::RetryWith(_) | Next::NewSession => {
                    return Ok(Answer { path: message.path, ..answer });
                }
            }
        }
    }

    /// Sends a request once, or twice if a kept-alive connection turns out to be closed.
    pub(super) async fn ask_once(&mut self, message: &RedfishRequest) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        let mut was_kept = self.connection.is_open();
        let answer = loop {
            match self.connection.ask(self.request(message)?, || true).await {
                Err(TransportError::Unsent(_) | TransportError::Unanswered(_)) if was_kept => was_kept = false,
                answer => break answer,
            }
        };
        metrics::command(begun);
        answer.map_err(|error| self.transport_error(&error))
    }

    async fn get(&mut self, path: &str) -> Result<Answer, BmcError> {
        let answer = self.ask(&RedfishRequest::get(path)).await?;
        if classify(&answer) == ResponseKind::NotFound {
            return Err(self.refused(format!("it has no resource {path}; check driver_info/redfish_system_id")));
        }
        self.expect_success(answer)
    }

    /// Reads an optional resource. Returns `None` if it is missing or refused.
    pub(super) async fn get_optional(&mut self, path: &str) -> Result<Option<Value>, BmcError> {
        let answer = self.ask(&RedfishRequest::get(path)).await?;
        Ok((classify(&answer) == ResponseKind::Success && answer.json().is_object()).then(|| answer.json().clone()))
    }

    /// Returns the paths of a collection's members, from all of its pages, each once.
    async fn members(&mut self, collection: &str) -> Result<Vec<String>, BmcError> {
        let (mut members, mut pages) = (Vec::new(), BTreeSet::new());
        let mut next = Some(collection.to_owned());
        // A page that links to an earlier one is the last one.
        while let Some(page) = next.filter(|page| !pages.contains(page)) {
            let answer = self.get(&page).await?;
            pages.insert(page);
            for member in response::members(answer.json()) {
                if !members.contains(&member) {
                    members.push(member);
                }
            }
            if pages.len() >= MAX_PAGES || members.len() > MAX_MEMBERS {
                return Err(self.unusable(&RedfishError::Pages(collection.to_owned())));
            }
            next = response::next_page(answer.json());
        }
        Ok(members)
    }

    /// Reads the system. If the service redirected to it, it is read there from now on.
    pub(super) async fn system(&mut self) -> Result<&System, BmcError> {
        let path = self.system.clone();
        let answer = self.get(&path).await?;
        self.system.clone_from(&answer.path);
        Ok(self.read.insert(System::of(&answer.path.clone(), answer)))
    }

    /// Reads what decides how commands are sent: the settings resource, and the reset types. Each once.
    pub(super) async fn read_capabilities(&mut self) -> Result<(), BmcError> {
        let Some(system) = self.read.clone() else { return Ok(()) };
        if self.settings.is_none() {
            self.settings = Some(match request::settings_path(&system).filter(|path| *path != system.path) {
                Some(path) => {
                    let answer = self.ask(&RedfishRequest::get(&path)).await?;
                    let is_readable = classify(&answer) == ResponseKind::Success && answer.json().is_object();
                    is_readable.then(|| System::of(&answer.path.clone(), answer))
                }
                None => None,
            });
        }
        if self.reset_types.is_none() {
            let inline = request::reset_types(&system);
            let linked = request::action_info(&system).filter(|_| inline.is_none());
            self.reset_types = Some(match linked {
                Some(path) => self.get_optional(&path).await?.and_then(|info| request::listed_types(&info)),
                None => inline,
            });
        }
        Ok(())
    }

    /// Reads the BIOS settings, with what the attribute registry says about them if there is one.
    pub(super) async fn bios_settings(
        &mut self,
        path: &str,
    ) -> Result<Option<BTreeMap<String, BiosSetting>>, BmcError> {
        let Some(bios) = self.get_optional(path).await? else { return Ok(None) };
        let mut settings = firmware::settings(&bios);
        if settings.is_empty() {
            return Ok(Some(settings));
        }
        let registries = match self.members(&self.registries.clone()).await {
            Err(BmcError::Refused { .. } | BmcError::Doubtful(_) | BmcError::Busy { .. }) => Vec::new(),
            members => members?,
        };
        for path in firmware::registries(&bios, registries) {
            let Some(endpoint) = self.get_optional(&path).await?.and_then(|file| firmware::location(&file)) else {
                continue;
            };
            let registry = self.get_optional(&endpoint).await?.unwrap_or_default();
            if firmware::apply_registry(&mut settings, &bios, &registry) {
                break;
            }
        }
        Ok(Some(settings))
    }

    /// Deletes a session. Returns whether it is confirmed to be closed.
    pub(super) async fn delete(&mut self, path: &str) -> Result<bool, BmcError> {
        let answer = self.ask(&RedfishRequest::delete(path)).await?;
        Ok(matches!(classify(&answer), ResponseKind::Success | ResponseKind::NotFound))
    }
}
