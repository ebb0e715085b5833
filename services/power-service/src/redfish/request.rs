//! Builds the requests to a Redfish service. Pure.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    net::BmcAddr,
    power::{Boot, BootMode, Persistence},
    secret::Secret,
};
use hyper::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_MATCH},
};
use keyspace::value::Login;
use serde_json::{Value, json};

use super::{
    boot_source::{CONTINUOUS, ONCE, TARGETS},
    connection::AUTH_TOKEN,
    error::RedfishError,
    response::{ResponseKind, System, link},
};
use crate::bmc::Command;

/// Default path of the service root (DSP0266 §6.3).
pub(super) const ROOT: &str = "/redfish/v1";
/// OData protocol version (DSP0266 §6.4).
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// How a request is authenticated.
#[derive(Debug, Clone)]
pub(super) enum Credentials {
    /// Not authenticated.
    Anonymous,
    /// Basic authentication.
    Basic(HeaderValue),
    /// A session token.
    Session(HeaderValue),
}

impl Credentials {
    /// Creates credentials for basic authentication (RFC 7617 §2).
    pub(super) fn basic(user: &str, password: &Secret) -> Option<Self> {
        let user_pass = [user.as_bytes(), b":", password.expose()].concat();
        let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(user_pass))).ok()?;
        value.set_sensitive(true);
        Some(Self::Basic(value))
    }
}

/// How to log in at a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoginMethod {
    /// Open a session at this path.
    Session(String),
    /// Basic authentication with every request.
    Basic,
}

/// Selects the requested login method, as far as the service root offers it. Sessions are preferred: a successor can
/// close them and thus knows that no further command arrives through them (OWNERSHIP.md).
pub(super) fn login_method(login: Login, root: &str, resource: &Value) -> LoginMethod {
    let service = || link(resource, "/SessionService").map(|path| format!("{}/Sessions", path.trim_end_matches('/')));
    let sessions = link(resource, "/Links/Sessions").or_else(service);
    match (login, sessions) {
        (Login::Basic, _) | (Login::Auto, None) => LoginMethod::Basic,
        (Login::Auto | Login::Session, Some(path)) => LoginMethod::Session(path),
        (Login::Session, None) => LoginMethod::Session(format!("{root}/SessionService/Sessions")),
    }
}

/// A request without its address and credentials.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RedfishRequest {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Value,
    /// Entity tag of the resource that the change is based on, if it has one.
    pub(super) if_match: Option<String>,
}

/// Omits the body: that of a login contains the password.
impl fmt::Debug for RedfishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl RedfishRequest {
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

    /// Builds the request that executes a command at the system.
    ///
    /// # Errors
    /// [`RedfishError`] if the system does not support the command.
    pub(super) fn command(command: Command, system: &System) -> Result<Self, RedfishError> {
        match command {
            Command::On => reset(system, &["On", "ForceOn"]),
            Command::Off => reset(system, &["ForceOff"]),
            Command::SoftOff => reset(system, &["GracefulShutdown"]),
            Command::Interrupt => reset(system, &["Nmi"]),
            Command::Boot(order, _) => boot(system, order),
        }
    }

    /// Returns the request without the field that may have caused this rejection, or `None` if there is none.
    ///
    /// Some services reject entity tags that they issued themselves, or a boot mode that is already set.
    pub(super) fn without_rejected_field(&self, verdict: &ResponseKind, system: &System) -> Option<Self> {
        const MODE: &str = "/Boot/BootSourceOverrideMode";
        let mode = self.body.pointer(MODE).filter(|mode| system.body.pointer(MODE) == Some(mode));
        match verdict {
            ResponseKind::PreconditionFailed if self.if_match.is_some() => {
                Some(Self { if_match: None, ..self.clone() })
            }
            ResponseKind::Refused(_) if mode.is_some() => {
                let mut reduced = self.clone();
                reduced.body.get_mut("Boot")?.as_object_mut()?.remove("BootSourceOverrideMode");
                Some(reduced)
            }
            ResponseKind::PreconditionFailed
            | ResponseKind::Refused(_)
            | ResponseKind::Success
            | ResponseKind::Unauthorized
            | ResponseKind::NotFound
            | ResponseKind::Busy(_)
            | ResponseKind::GatewayError
            | ResponseKind::NoSessionSlot => None,
        }
    }

    /// Builds the HTTP request.
    pub(super) fn request(&self, to: &BmcAddr, credentials: &Credentials) -> Result<Request<String>, RedfishError> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(HOST, to.to_string())
            .header(ACCEPT, "application/json")
            .header(ODATA_VERSION, "4.0");
        request = match credentials {
            Credentials::Anonymous => request,
            Credentials::Basic(value) => request.header(AUTHORIZATION, value),
            Credentials::Session(token) => request.header(AUTH_TOKEN, token),
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
        let invalid = |why: String| RedfishError::Request { method: self.method, path: self.path.clone(), why };
        request.body(body).map_err(|error| invalid(error.to_string()))
    }
}

/// Builds a `ComputerSystem.Reset` with the first of these reset types that the system supports.
fn reset(system: &System, reset_types: &[&str]) -> Result<RedfishRequest, RedfishError> {
    const ACTION: &str = "/Actions/#ComputerSystem.Reset";
    let reset_type = reset_types.iter().find(|kind| system.allows(&format!("{ACTION}/ResetType"), kind));
    let reset_type = reset_type.ok_or_else(|| RedfishError::ResetType(reset_types.join(" or ")))?;
    let named = system.body.pointer(ACTION).and_then(|action| super::response::path(action.get("target")?.as_str()?));
    let path = named.unwrap_or_else(|| format!("{}/Actions/ComputerSystem.Reset", system.path.trim_end_matches('/')));
    Ok(RedfishRequest { method: "POST", path, body: json!({"ResetType": reset_type}), if_match: None })
}

/// Builds the request that sets the boot order. The mode is included only if the system has that property.
fn boot(system: &System, order: Boot) -> Result<RedfishRequest, RedfishError> {
    let (device, persistence) = (order.device, order.persistence);
    let target = TARGETS.iter().find_map(|(word, known)| (*known == device).then_some(*word));
    let target = target.ok_or(RedfishError::BootDevice(device))?;
    let enabled = match persistence {
        Persistence::Once => ONCE,
        Persistence::Persistent => CONTINUOUS,
    };
    let mode = match order.mode {
        BootMode::Uefi => "UEFI",
        BootMode::Bios => "Legacy",
    };
    let mut properties = vec![("BootSourceOverrideTarget", target), ("BootSourceOverrideEnabled", enabled)];
    if system.body.pointer("/Boot/BootSourceOverrideMode").is_some_and(Value::is_string) {
        properties.push(("BootSourceOverrideMode", mode));
    }
    let refused = properties.iter().find(|(name, value)| !system.allows(&format!("/Boot/{name}"), value));
    if let Some((property, value)) = refused {
        return Err(RedfishError::BootProperty { property, value });
    }
    let order: serde_json::Map<String, Value> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let if_match = system.etag.clone();
    Ok(RedfishRequest { method: "PATCH", path: system.path.clone(), body: json!({"Boot": order}), if_match })
}

#[cfg(test)]
mod tests {
    use domain::power::BootDevice;

    use super::*;
    use crate::redfish::connection::Answer;

    const BOOT: Boot = Boot { device: BootDevice::Disk, persistence: Persistence::Persistent, mode: BootMode::Bios };

    fn system(body: Value) -> System {
        System::of("/s/1", Answer { status: 200, body, ..Answer::default() })
    }

    #[test]
    fn a_reset_goes_where_the_system_says_and_is_of_a_type_that_it_takes() {
        let action = json!({"target": "/s/1/Reset", "ResetType@Redfish.AllowableValues": ["ForceOn", "ForceOff"]});
        let picky = system(json!({"Actions": {"#ComputerSystem.Reset": action}}));
        let on = RedfishRequest::command(Command::On, &picky).unwrap();
        assert_eq!((on.path.as_str(), on.body), ("/s/1/Reset", json!({"ResetType": "ForceOn"})));
        let refused = RedfishRequest::command(Command::SoftOff, &picky);
        assert_eq!(refused, Err(RedfishError::ResetType("GracefulShutdown".to_owned())));
        let off = RedfishRequest::command(Command::SoftOff, &system(json!({}))).unwrap();
        assert_eq!(off.path, "/s/1/Actions/ComputerSystem.Reset");
        assert_eq!(off.body, json!({"ResetType": "GracefulShutdown"}));
    }

    #[test]
    fn a_boot_order_says_the_mode_where_the_system_does_and_names_the_version_that_was_read() {
        let boot = |body| RedfishRequest::command(Command::Boot(BOOT, 0), &system(body));
        let plain = boot(json!({})).unwrap();
        let order = json!({"BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous"});
        assert_eq!((plain.method, plain.body, plain.if_match), ("PATCH", json!({"Boot": &order}), None));
        let moded = boot(json!({"@odata.etag": "W/\"1\"", "Boot": {"BootSourceOverrideMode": "UEFI"}})).unwrap();
        assert_eq!(moded.body["Boot"]["BootSourceOverrideMode"], "Legacy");
        assert_eq!(moded.if_match.as_deref(), Some("W/\"1\""));
        let says_uefi = system(json!({"Boot": {"BootSourceOverrideMode": "UEFI"}}));
        assert_eq!(moded.without_rejected_field(&ResponseKind::PreconditionFailed, &says_uefi).unwrap().if_match, None);
        let refused = ResponseKind::Refused(String::new());
        assert_eq!(moded.without_rejected_field(&refused, &says_uefi), None, "another mode is wanted");
        let says_legacy = system(json!({"Boot": {"BootSourceOverrideMode": "Legacy"}}));
        assert_eq!(moded.without_rejected_field(&refused, &says_legacy).unwrap().body, json!({"Boot": order}));
        let takes = json!({"Boot": {"BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe"]}});
        let refused = RedfishError::BootProperty { property: "BootSourceOverrideTarget", value: "Hdd" };
        assert_eq!(boot(takes), Err(refused));
    }

    #[test]
    fn a_session_is_taken_wherever_the_service_names_them() {
        let none = json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}});
        let named = json!({"Links": {"Sessions": {"@odata.id": "/s"}}});
        let service = json!({"SessionService": {"@odata.id": "/svc/"}});
        let session = |path: &str| LoginMethod::Session(path.to_owned());
        assert_eq!(login_method(Login::Auto, ROOT, &none), LoginMethod::Basic);
        assert_eq!(login_method(Login::Auto, ROOT, &named), session("/s"));
        assert_eq!(login_method(Login::Auto, ROOT, &service), session("/svc/Sessions"));
        assert_eq!(login_method(Login::Basic, ROOT, &named), LoginMethod::Basic);
        assert_eq!(login_method(Login::Session, ROOT, &none), session("/redfish/v1/SessionService/Sessions"));
    }

    #[test]
    fn what_shows_who_we_are_is_not_printed() {
        let credentials = Credentials::basic("admin", &Secret::new(b"pw".to_vec())).unwrap();
        let request = RedfishRequest::get("/s").request(&"bmc:443".parse().unwrap(), &credentials).unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Basic YWRtaW46cHc=");
        assert!(!format!("{credentials:?} {request:?}").contains("YWRtaW46cHc"));
        let login = RedfishRequest::login("/s", "admin", "pw");
        assert_eq!(format!("{login:?}"), "POST /s");
    }
}
