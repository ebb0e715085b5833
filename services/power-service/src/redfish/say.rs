//! What is sent to a Redfish service. Pure.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    net::BmcAddr,
    power::{Boot, BootDevice, BootMode, Persistence},
    secret::Secret,
};
use hyper::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_MATCH},
};
use keyspace::value::Login;
use serde_json::{Value, json};

use super::{
    line::TOKEN,
    read::{System, Verdict, link},
};
use crate::bmc::Command;

/// The root of a service that does not have it elsewhere (DSP0266 §6.3).
pub(super) const ROOT: &str = "/redfish/v1";
/// The version of the protocol's notation (DSP0266 §6.4).
const ODATA: HeaderName = HeaderName::from_static("odata-version");

/// By what a request says whose it is.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// It does not.
    Nobody,
    /// By user and password.
    Basic(HeaderValue),
    /// By a session.
    Session(HeaderValue),
}

impl Proof {
    /// By user and password (RFC 7617 §2).
    pub(super) fn basic(user: &str, password: &Secret) -> Option<Self> {
        let words = [user.as_bytes(), b":", password.expose()].concat();
        let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(words))).ok()?;
        value.set_sensitive(true);
        Some(Self::Basic(value))
    }
}

/// How one says to this service who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// By a session that is opened here.
    Session(String),
    /// By password with every request.
    Basic,
}

/// The way that was asked for, as far as the service's root says that it has it. A session is better wherever there is
/// one: it can be closed, and so a successor knows that nothing more comes through it (DESIGN §5).
pub(super) fn way(login: Login, root: &str, said: &Value) -> Way {
    let service = || link(said, "/SessionService").map(|path| format!("{}/Sessions", path.trim_end_matches('/')));
    let sessions = link(said, "/Links/Sessions").or_else(service);
    match (login, sessions) {
        (Login::Basic, _) | (Login::Auto, None) => Way::Basic,
        (Login::Auto | Login::Session, Some(path)) => Way::Session(path),
        (Login::Session, None) => Way::Session(format!("{root}/SessionService/Sessions")),
    }
}

/// A request, apart from where it goes and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Value,
    /// The version of what is changed that it was decided upon, where that says one.
    pub(super) if_match: Option<String>,
}

/// Without its body: a login has a password in it.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Message {
    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), body: Value::Null, if_match: None }
    }

    pub(super) fn delete(path: &str) -> Self {
        Self { method: "DELETE", ..Self::get(path) }
    }

    pub(super) fn login(path: &str, user: &str, password: &str) -> Self {
        let body = json!({"UserName": user, "Password": password});
        Self { method: "POST", body, ..Self::get(path) }
    }

    /// What carries a command out at a system as it was read.
    ///
    /// # Errors
    /// In words: this system can not be told so.
    pub(super) fn command(command: Command, system: &System) -> Result<Self, String> {
        match command {
            Command::On => reset(system, &["On", "ForceOn"]),
            Command::Off => reset(system, &["ForceOff"]),
            Command::SoftOff => reset(system, &["GracefulShutdown"]),
            Command::Interrupt => reset(system, &["Nmi"]),
            Command::Boot(order, _) => boot(system, order),
        }
    }

    /// The same with less of what some services refuse, where this verdict may be about that; it was not carried out.
    ///
    /// Versions are refused that a service gave itself; and a boot mode, although it is the one that is set.
    pub(super) fn plainer(&self, verdict: &Verdict, system: &System) -> Option<Self> {
        const MODE: &str = "/Boot/BootSourceOverrideMode";
        let mode = self.body.pointer(MODE).filter(|mode| system.body.pointer(MODE) == Some(mode));
        match verdict {
            Verdict::Stale if self.if_match.is_some() => Some(Self { if_match: None, ..self.clone() }),
            Verdict::Refused(_) if mode.is_some() => {
                let mut plainer = self.clone();
                plainer.body.get_mut("Boot")?.as_object_mut()?.remove("BootSourceOverrideMode");
                Some(plainer)
            }
            Verdict::Stale
            | Verdict::Refused(_)
            | Verdict::Done
            | Verdict::Unknown
            | Verdict::Missing
            | Verdict::Busy(_)
            | Verdict::Lost
            | Verdict::NoSlot => None,
        }
    }

    /// The whole request.
    pub(super) fn request(&self, to: &BmcAddr, proof: &Proof) -> Result<Request<String>, String> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(HOST, to.to_string())
            .header(ACCEPT, "application/json")
            .header(ODATA, "4.0");
        request = match proof {
            Proof::Nobody => request,
            Proof::Basic(words) => request.header(AUTHORIZATION, words),
            Proof::Session(token) => request.header(TOKEN, token),
        };
        if let Some(version) = &self.if_match {
            request = request.header(IF_MATCH, version);
        }
        let body = if self.body.is_null() {
            String::new()
        } else {
            request = request.header(CONTENT_TYPE, "application/json");
            self.body.to_string()
        };
        request.body(body).map_err(|error| format!("{} {:?} is no request: {error}", self.method, self.path))
    }
}

/// `ComputerSystem.Reset` with the first of these words that the system takes.
fn reset(system: &System, words: &[&str]) -> Result<Message, String> {
    const ACTION: &str = "/Actions/#ComputerSystem.Reset";
    let word = words.iter().find(|word| system.allows(&format!("{ACTION}/ResetType"), word));
    let word = word.ok_or_else(|| format!("its system takes no reset of type {}", words.join(" or ")))?;
    let named = system.body.pointer(ACTION).and_then(|action| super::read::path(action.get("target")?.as_str()?));
    let path = named.unwrap_or_else(|| format!("{}/Actions/ComputerSystem.Reset", system.path.trim_end_matches('/')));
    Ok(Message { method: "POST", path, body: json!({"ResetType": word}), if_match: None })
}

/// What a system boots from, in the schema's words (DSP0268, `ComputerSystem`, `BootSourceOverrideTarget`).
pub(super) const TARGETS: &[(&str, BootDevice)] = &[
    ("Pxe", BootDevice::Pxe),
    ("Hdd", BootDevice::Disk),
    ("Cd", BootDevice::Cdrom),
    ("BiosSetup", BootDevice::Bios),
    ("UefiHttp", BootDevice::UefiHttp),
];
/// For how long it does (`BootSourceOverrideEnabled`).
pub(super) const ONCE: &str = "Once";
pub(super) const CONTINUOUS: &str = "Continuous";

/// A boot order, in one request. The mode is said only where the system says one.
fn boot(system: &System, order: Boot) -> Result<Message, String> {
    let (device, persistence) = (order.device, order.persistence);
    let target = TARGETS.iter().find_map(|(word, known)| (*known == device).then_some(*word));
    let target = target.ok_or_else(|| format!("Redfish has no boot device {device}"))?;
    let holds = match persistence {
        Persistence::Once => ONCE,
        Persistence::Persistent => CONTINUOUS,
    };
    let mode = match order.mode {
        BootMode::Uefi => "UEFI",
        BootMode::Bios => "Legacy",
    };
    let mut said = vec![("BootSourceOverrideTarget", target), ("BootSourceOverrideEnabled", holds)];
    if system.body.pointer("/Boot/BootSourceOverrideMode").is_some_and(Value::is_string) {
        said.push(("BootSourceOverrideMode", mode));
    }
    if let Some((name, value)) = said.iter().find(|(name, value)| !system.allows(&format!("/Boot/{name}"), value)) {
        return Err(format!("its system takes no {name} of {value}"));
    }
    let order: serde_json::Map<String, Value> =
        said.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let if_match = system.etag.clone();
    Ok(Message { method: "PATCH", path: system.path.clone(), body: json!({"Boot": order}), if_match })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redfish::line::Answer;

    const BOOT: Boot = Boot { device: BootDevice::Disk, persistence: Persistence::Persistent, mode: BootMode::Bios };

    fn system(body: Value) -> System {
        System::of("/s/1", Answer { status: 200, body, ..Answer::default() })
    }

    #[test]
    fn a_reset_goes_where_the_system_says_and_is_of_a_type_that_it_takes() {
        let action = json!({"target": "/s/1/Reset", "ResetType@Redfish.AllowableValues": ["ForceOn", "ForceOff"]});
        let picky = system(json!({"Actions": {"#ComputerSystem.Reset": action}}));
        let on = Message::command(Command::On, &picky).unwrap();
        assert_eq!((on.path.as_str(), on.body), ("/s/1/Reset", json!({"ResetType": "ForceOn"})));
        let why = Message::command(Command::SoftOff, &picky).unwrap_err();
        assert!(why.contains("GracefulShutdown"), "{why}");
        let off = Message::command(Command::SoftOff, &system(json!({}))).unwrap();
        assert_eq!(off.path, "/s/1/Actions/ComputerSystem.Reset");
        assert_eq!(off.body, json!({"ResetType": "GracefulShutdown"}));
    }

    #[test]
    fn a_boot_order_says_the_mode_where_the_system_does_and_names_the_version_that_was_read() {
        let boot = |body| Message::command(Command::Boot(BOOT, 0), &system(body));
        let plain = boot(json!({})).unwrap();
        let order = json!({"BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous"});
        assert_eq!((plain.method, plain.body, plain.if_match), ("PATCH", json!({"Boot": &order}), None));
        let moded = boot(json!({"@odata.etag": "W/\"1\"", "Boot": {"BootSourceOverrideMode": "UEFI"}})).unwrap();
        assert_eq!(moded.body["Boot"]["BootSourceOverrideMode"], "Legacy");
        assert_eq!(moded.if_match.as_deref(), Some("W/\"1\""));
        let says_uefi = system(json!({"Boot": {"BootSourceOverrideMode": "UEFI"}}));
        assert_eq!(moded.plainer(&Verdict::Stale, &says_uefi).unwrap().if_match, None);
        let refused = Verdict::Refused(String::new());
        assert_eq!(moded.plainer(&refused, &says_uefi), None, "another mode is wanted");
        let says_legacy = system(json!({"Boot": {"BootSourceOverrideMode": "Legacy"}}));
        assert_eq!(moded.plainer(&refused, &says_legacy).unwrap().body, json!({"Boot": order}));
        let takes = json!({"Boot": {"BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe"]}});
        assert!(boot(takes).unwrap_err().contains("BootSourceOverrideTarget of Hdd"));
    }

    #[test]
    fn a_session_is_taken_wherever_the_service_names_them() {
        let none = json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}});
        let named = json!({"Links": {"Sessions": {"@odata.id": "/s"}}});
        let service = json!({"SessionService": {"@odata.id": "/svc/"}});
        let session = |path: &str| Way::Session(path.to_owned());
        assert_eq!(way(Login::Auto, ROOT, &none), Way::Basic);
        assert_eq!(way(Login::Auto, ROOT, &named), session("/s"));
        assert_eq!(way(Login::Auto, ROOT, &service), session("/svc/Sessions"));
        assert_eq!(way(Login::Basic, ROOT, &named), Way::Basic);
        assert_eq!(way(Login::Session, ROOT, &none), session("/redfish/v1/SessionService/Sessions"));
    }

    #[test]
    fn what_shows_who_we_are_is_not_printed() {
        let proof = Proof::basic("admin", &Secret::new(b"pw".to_vec())).unwrap();
        let request = Message::get("/s").request(&"bmc:443".parse().unwrap(), &proof).unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Basic YWRtaW46cHc=");
        assert!(!format!("{proof:?} {request:?}").contains("YWRtaW46cHc"));
        let login = Message::login("/s", "admin", "pw");
        assert_eq!(format!("{login:?}"), "POST /s");
    }
}
