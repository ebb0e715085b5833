//! Redfish over HTTPS: the same seam, one connection a session.
//!
//! [`say`] and [`read`] decide what is sent and what an answer means, [`mod@line`] carries it, [`trust`] knows whose
//! certificates count. Left out: settings resources beside the system (`@Redfish.Settings`), action infos, and TLS below
//! 1.2 or without forward secrecy, which rustls has not: such a BMC is spoken to over IPMI.

mod firmware;
mod line;
mod read;
mod say;
#[cfg(test)]
mod tests;
mod trust;

use std::{collections::BTreeMap, time::Duration};

use domain::{
    net::BmcAddr,
    power::{Boot, Power},
    secret::Secret,
};
use hyper::Request;
use keyspace::value::{self, BiosSetting};
use mesh::Permit;
use tokio::time::Instant;

use self::{
    line::{Answer, Line, Place, Trouble},
    read::{System, Verdict, verdict},
    say::{Message, Proof, Way},
};
use crate::{
    bmc::{Bmc, BmcError, BootOrder, Command, Firmware, Reply},
    metrics,
};

/// What all sessions share. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Redfish {
    host: trust::Host,
    settle: Duration,
}

/// Where a service is and how one logs in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) address: BmcAddr,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) redfish: value::Redfish,
}

/// An open session, or what stands for one where the service has none.
pub(crate) struct RedfishSession {
    line: Line,
    address: BmcAddr,
    /// A number of ours: the service has a path for it, or nothing.
    id: u32,
    path: String,
    proof: Proof,
    system: String,
    /// Where its registries are.
    registries: String,
    /// As it was read last.
    read: Option<System>,
    /// Whether a command is out that was not answered.
    owes: bool,
}

impl Redfish {
    /// Makes them. `settle` is D: what was not taken by a BMC within it never is.
    pub(crate) fn new(settle: Duration) -> Self {
        Self { host: trust::Host::default(), settle }
    }

    /// Logs in. Changes nothing at the BMC but its sessions.
    pub(crate) async fn open(&self, login: &Login) -> Result<RedfishSession, BmcError> {
        let refused = |why: String| BmcError::Refused { address: login.address.to_string(), why };
        let tls = match login.redfish.transport {
            value::Transport::Https => Some(self.host.tls(&login.redfish.trust).await.map_err(refused)?),
            value::Transport::Http => None,
        };
        let id = getrandom::u32().map_err(|error| refused(format!("no randomness: {error}")))?.max(1);
        let mut session = RedfishSession {
            line: Line::new(Place { address: login.address.clone(), tls, unacknowledged: self.settle }),
            address: login.address.clone(),
            id,
            path: String::new(),
            proof: Proof::Nobody,
            system: String::new(),
            registries: String::new(),
            read: None,
            owes: false,
        };
        let root = session.log_in(login).await?;
        // A root that does not link them has them where the schema has (DSP0268, `MessageRegistryFileCollection`).
        let base = if login.redfish.root.is_empty() { say::ROOT } else { &login.redfish.root };
        session.registries = read::link(&root, "/Registries").unwrap_or_else(|| format!("{base}/Registries"));
        match session.find(&root, &login.redfish.system).await {
            Ok(system) => session.system = system,
            Err(error) => {
                session.close().await;
                return Err(error);
            }
        }
        Ok(session)
    }
}

impl RedfishSession {
    /// Shows who we are; the service's root.
    async fn log_in(&mut self, login: &Login) -> Result<serde_json::Value, BmcError> {
        let root = if login.redfish.root.is_empty() { say::ROOT } else { &login.redfish.root };
        let wrong = || BmcError::Password(self.address.to_string());
        let basic = Proof::basic(&login.user, &login.password).ok_or_else(wrong)?;
        let password = std::str::from_utf8(login.password.expose()).map_err(|_| wrong())?;
        // A root is everybody's to read (DSP0266 §13.2); some keep theirs to themselves.
        let mut said = self.ask(&Message::get(&format!("{root}/"))).await?;
        if said.status == 401 {
            self.proof = basic.clone();
            said = self.ask(&Message::get(&format!("{root}/"))).await?;
        }
        let Answer { body: said, .. } = self.good(said)?;
        self.proof = basic;
        let Way::Session(path) = say::way(login.redfish.login, root, &said) else { return Ok(said) };
        let message = Message::login(&path, &login.user, password);
        let request = message.request(&self.address, &Proof::Nobody).map_err(|why| self.refused(why))?;
        let answer = self.line.ask(request, || true).await.map_err(|trouble| self.trouble(&trouble))?;
        match (verdict(&answer), login.redfish.login) {
            // It names sessions that it does not have.
            (Verdict::Missing, value::Login::Auto) => return Ok(said),
            (Verdict::Refused(_), value::Login::Auto) if matches!(answer.status, 405 | 501) => return Ok(said),
            (Verdict::Done, _) => {}
            (other, _) => return Err(other.error(&self.address.to_string())),
        }
        let token = answer.token.map(Proof::Session);
        self.proof = token.ok_or_else(|| self.refused("it opened a session without a token".to_owned()))?;
        let own = answer.body.get("@odata.id").and_then(serde_json::Value::as_str);
        self.path = answer.location.as_deref().or(own).and_then(read::path).unwrap_or_default();
        Ok(said)
    }

    /// The path of the system that is meant.
    async fn find(&mut self, root: &serde_json::Value, named: &str) -> Result<String, BmcError> {
        if let Some(path) = read::path(named) {
            return Ok(path);
        }
        let systems = read::link(root, "/Systems");
        let systems = systems.ok_or_else(|| self.refused("its root names no systems".to_owned()))?;
        let systems = self.get(&systems).await?;
        read::choose(&read::members(&systems.body), named).map_err(|why| self.refused(why))
    }

    fn refused(&self, why: String) -> BmcError {
        BmcError::Refused { address: self.address.to_string(), why }
    }

    fn trouble(&self, trouble: &Trouble) -> BmcError {
        tracing::debug!(bmc = %self.address, %trouble, "a Redfish service is of no use");
        match trouble {
            Trouble::Unsent(_) | Trouble::Unanswered(_) => BmcError::Silent(self.address.to_string()),
            Trouble::Distrusted(why) => {
                self.refused(format!("TLS with it fails, see driver_info/redfish_verify_ca: {why}"))
            }
            Trouble::Forbidden => BmcError::NotPermitted,
        }
    }

    fn request(&self, message: &Message) -> Result<Request<String>, BmcError> {
        message.request(&self.address, &self.proof).map_err(|why| self.refused(why))
    }

    /// Asks what changes nothing, or nothing but a session; a second time where a connection that was kept turns out to
    /// be none.
    async fn ask(&mut self, message: &Message) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        let mut was_kept = self.line.is_kept();
        let answer = loop {
            match self.line.ask(self.request(message)?, || true).await {
                Err(Trouble::Unsent(_) | Trouble::Unanswered(_)) if was_kept => was_kept = false,
                answer => break answer,
            }
        };
        metrics::command(begun);
        answer.map_err(|trouble| self.trouble(&trouble))
    }

    fn good(&self, answer: Answer) -> Result<Answer, BmcError> {
        let verdict = verdict(&answer);
        match (verdict, &self.proof) {
            (Verdict::Done, _) if answer.body.is_object() => Ok(answer),
            // It was right when it logged us in.
            (Verdict::Unknown, Proof::Session(_)) => {
                let why = "it has ended our session".to_owned();
                Err(BmcError::Busy { address: self.address.to_string(), why })
            }
            (verdict, _) => Err(verdict.error(&self.address.to_string())),
        }
    }

    async fn get(&mut self, path: &str) -> Result<Answer, BmcError> {
        let answer = self.ask(&Message::get(path)).await?;
        if verdict(&answer) == Verdict::Missing {
            return Err(self.refused(format!("it has no {path}, see driver_info/redfish_system_id")));
        }
        self.good(answer)
    }

    async fn system(&mut self) -> Result<&System, BmcError> {
        let path = self.system.clone();
        let answer = self.get(&path).await?;
        Ok(self.read.insert(System::of(&path, answer)))
    }

    /// A resource that may be missing or refused; none: it is.
    async fn told(&mut self, path: &str) -> Result<Option<serde_json::Value>, BmcError> {
        let answer = self.ask(&Message::get(path)).await?;
        Ok((verdict(&answer) == Verdict::Done && answer.body.is_object()).then_some(answer.body))
    }

    /// The firmware's settings, with what a registry says of them where there is one.
    async fn settings(&mut self, path: &str) -> Result<Option<BTreeMap<String, BiosSetting>>, BmcError> {
        let Some(bios) = self.told(path).await? else { return Ok(None) };
        let mut settings = firmware::settings(&bios);
        if settings.is_empty() {
            return Ok(Some(settings));
        }
        let collection = self.told(&self.registries.clone()).await?.unwrap_or_default();
        for path in firmware::registries(&bios, &collection) {
            let Some(place) = self.told(&path).await?.and_then(|file| firmware::location(&file)) else { continue };
            let registry = self.told(&place).await?.unwrap_or_default();
            if firmware::explain(&mut settings, &bios, &registry) {
                break;
            }
        }
        Ok(Some(settings))
    }

    /// Whether a session is confirmed to be no more.
    async fn delete(&mut self, path: &str) -> Result<bool, BmcError> {
        let answer = self.ask(&Message::delete(path)).await?;
        Ok(matches!(verdict(&answer), Verdict::Done | Verdict::Missing))
    }

    /// Sends what changes something, as long as it may leave. What was refused is sent once more with less in it.
    async fn send(
        &mut self,
        mut message: Message,
        system: &System,
        may_leave: impl Fn() -> bool,
    ) -> Result<Reply, BmcError> {
        let verdict = loop {
            let verdict = verdict(&self.send_once(&message, &may_leave).await?);
            match message.plainer(&verdict, system) {
                Some(plainer) => message = plainer,
                None => break verdict,
            }
        };
        match verdict {
            Verdict::Done => Ok(Reply::Done),
            Verdict::Refused(why) => Ok(Reply::Refused(why)),
            Verdict::Missing => Ok(Reply::Refused(format!("it knows no {}", message.path))),
            Verdict::Lost => {
                self.owes = true;
                Err(BmcError::Unknown(self.address.to_string()))
            }
            verdict @ (Verdict::Unknown | Verdict::Stale | Verdict::Busy(_) | Verdict::NoSlot) => {
                Err(verdict.error(&self.address.to_string()))
            }
        }
    }

    async fn send_once(&mut self, message: &Message, may_leave: &impl Fn() -> bool) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        let answer = self.line.ask(self.request(message)?, may_leave).await;
        metrics::command(begun);
        answer.map_err(|trouble| match trouble {
            Trouble::Unanswered(_) => {
                self.owes = true;
                BmcError::Unknown(self.address.to_string())
            }
            Trouble::Unsent(_) | Trouble::Distrusted(_) | Trouble::Forbidden => self.trouble(&trouble),
        })
    }
}

impl Bmc for RedfishSession {
    fn session(&self) -> u32 {
        self.id
    }

    fn path(&self) -> &str {
        &self.path
    }

    async fn power(&mut self) -> Result<Power, BmcError> {
        let power = self.system().await?.power();
        power.map_err(|why| self.refused(why))
    }

    async fn describe(&mut self) -> Result<String, BmcError> {
        Ok(self.system().await?.words())
    }

    async fn boot_order(&mut self) -> Result<BootOrder, BmcError> {
        Ok(self.system().await?.boot_order())
    }

    /// A resource that can not be read is one that says nothing: what else is known is kept.
    async fn firmware(&mut self) -> Result<Option<Firmware>, BmcError> {
        let system = self.system().await?.clone();
        let secure_boot = match read::link(&system.body, "/SecureBoot") {
            Some(path) => self.told(&path).await?.and_then(|body| firmware::secure_boot(&body)),
            None => None,
        };
        let settings = match read::link(&system.body, "/Bios") {
            Some(path) => self.settings(&path).await?,
            None => None,
        };
        Ok(Some(Firmware { boot_mode: firmware::boot_mode(&system), secure_boot, settings }))
    }

    /// Connects: what does it itself after each answer would lose the permit's time by it.
    async fn prepare(&mut self) -> Result<(), BmcError> {
        self.line.ready().await.map_err(|trouble| self.trouble(&trouble))
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        let system = self.read.clone().ok_or_else(|| self.refused("its system was never read".to_owned()))?;
        let id = self.id;
        match Message::command(command, &system) {
            Ok(message) => self.send(message, &system, || permit.allows(id)).await,
            Err(why) => Ok(Reply::Refused(why)),
        }
    }

    fn boot_steps(&self, _: Boot) -> usize {
        1
    }

    async fn close_other(&mut self, _: u32, path: &str) -> Result<bool, BmcError> {
        if path.is_empty() {
            return Ok(false);
        }
        // A service that forgot its sessions may give a path anew: whose it was, is no more.
        if path == self.path {
            return Ok(true);
        }
        self.delete(path).await
    }

    async fn close(mut self) -> bool {
        if self.path.is_empty() {
            // Nothing is kept open at the service; only a command without an answer may still be under way.
            return matches!(self.proof, Proof::Basic(_)) && !self.owes;
        }
        let path = self.path.clone();
        self.delete(&path).await.unwrap_or(false)
    }
}
