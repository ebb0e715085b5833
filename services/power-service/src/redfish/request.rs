//! Builds the requests to a Redfish service. Pure.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{net::BmcAddr, secret::Secret};
use hyper::{
    Request,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_MATCH},
};
use keyspace::value::Login;
use serde_json::{Value, json};

use super::{
    connection::AUTH_TOKEN,
    error::RedfishError,
    http_policy::{Call, Etags},
    messages::clean,
    response::{System, link},
};
use crate::bmc::Command;

/// Default path of the service root (DSP0266 §6.3).
pub(super) const ROOT: &str = "/redfish/v1";
/// OData protocol version (DSP0266 §6.4).
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// Maximum number of reset types in an error; DSP0268 has 12.
const MAX_LISTED_TYPES: usize = 16;
/// Maximum length of a reset type in an error, in characters.
const MAX_TYPE_CHARS: usize = 32;

/// JSON pointer of the reset action of a system.
const RESET: &str = "/Actions/#ComputerSystem.Reset";

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
    let named = link(resource, "/Links/Sessions").or_else(service);
    match (login, named) {
        (Login::Basic, _) | (Login::Auto, None) => LoginMethod::Basic,
        (Login::Auto | Login::Session, Some(path)) => LoginMethod::Session(path),
        (Login::Session, None) => LoginMethod::Session(sessions(root)),
    }
}

/// Returns the path of the session collection according to the schema (DSP0266 §13.3.4.2).
pub(super) fn sessions(root: &str) -> String {
    format!("{root}/SessionService/Sessions")
}

/// A request without its address and credentials.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RedfishRequest {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Value,
    /// Entity tag of the resource that the change is based on, if it has one.
    pub(super) if_match: Option<String>,
    /// Entity tags of that resource, from which [`Self::if_match`] is made; `None` for a request without a precondition.
    pub(super) etags: Option<Etags>,
}

/// Omits the body: that of a login contains the password.
impl fmt::Debug for RedfishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl RedfishRequest {
    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), body: Value::Null, if_match: None, etags: None }
    }

    pub(super) fn delete(path: &str) -> Self {
        Self { method: "DELETE", ..Self::get(path) }
    }

    pub(super) fn login(path: &str, user: &str, password: &str) -> Self {
        let body = json!({"UserName": user, "Password": password});
        Self { method: "POST", body, ..Self::get(path) }
    }

    /// A change of a resource, based on its entity tags.
    pub(super) fn patch(resource: &System, body: Value) -> Self {
        Self { method: "PATCH", body, etags: Some(resource.etags.clone()), ..Self::get(&resource.path) }
    }

    /// The requests that reset the system, the preferred one first. The later ones are for services that refuse the first
    /// one without having listed what they accept. `reset_types` are the listed types, if there is a list.
    ///
    /// `PushPowerButton` is not used: it toggles, so a push whose outcome is unknown could be undone by the next one
    /// (OWNERSHIP.md: commands are absolute).
    ///
    /// # Errors
    /// [`RedfishError`] if the system does not support any of the types.
    pub(super) fn resets(
        command: Command,
        system: &System,
        reset_types: Option<&[String]>,
    ) -> Result<Vec<Self>, RedfishError> {
        let kinds: &[&str] = match command {
            Command::On => &["On", "ForceOn"],
            Command::Off => &["ForceOff", "GracefulShutdown"],
            Command::SoftOff => &["GracefulShutdown"],
            Command::Interrupt => &["Nmi"],
            Command::Boot(..) | Command::ResetBmc(_) | Command::Raw { .. } => &[],
        };
        let is_listed = |kind: &&str| reset_types.is_none_or(|listed| listed.iter().any(|known| known == kind));
        let supported: Vec<&str> = kinds.iter().copied().filter(is_listed).collect();
        if supported.is_empty() {
            let listed = reset_types.unwrap_or_default().iter().take(MAX_LISTED_TYPES);
            let listed: Vec<String> = listed.map(|kind| clean(kind, MAX_TYPE_CHARS)).collect();
            return Err(RedfishError::ResetType { wanted: kinds.join(" or "), listed: listed.join(", ") });
        }
        let own = system.body.pointer(RESET);
        let named = own.and_then(|action| super::response::path(action.get("target")?.as_str()?));
        let path =
            named.unwrap_or_else(|| format!("{}/Actions/ComputerSystem.Reset", system.path.trim_end_matches('/')));
        let reset = |kind: &str| Self { method: "POST", body: json!({"ResetType": kind}), ..Self::get(&path) };
        Ok(supported.into_iter().map(reset).collect())
    }

    /// Returns what the HTTP policy needs to know of it.
    pub(super) fn call(&self) -> Call<'_> {
        Call { method: self.method, path: &self.path }
    }

    /// Builds the HTTP request.
    pub(super) fn request(&self, to: &BmcAddr, credentials: &Credentials) -> Result<Request<String>, RedfishError> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(HOST, to.to_string())
            .header(ACCEPT, "application/json")
            // Some services compress unless they are told not to (sushy: `do-not-offer-compression-encoding`).
            .header(ACCEPT_ENCODING, "identity")
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

/// Returns the reset types that the system lists inline. An empty list counts as none.
pub(super) fn reset_types(system: &System) -> Option<Vec<String>> {
    strings(system.body.pointer(&format!("{RESET}/ResetType@Redfish.AllowableValues"))?)
}

/// Returns the path of the resource that lists the reset types (DSP0266 §9.6, `@Redfish.ActionInfo`).
pub(super) fn action_info(system: &System) -> Option<String> {
    let info = system.body.pointer(RESET)?.get("@Redfish.ActionInfo")?;
    info.as_str().and_then(super::response::path).or_else(|| link(info, ""))
}

/// Returns the reset types that an action info resource lists (DSP0268, `ActionInfo`).
pub(super) fn listed_types(action_info: &Value) -> Option<Vec<String>> {
    let parameters = action_info.get("Parameters")?.as_array()?;
    let own = parameters.iter().find(|parameter| parameter.get("Name").is_some_and(|name| name == "ResetType"))?;
    strings(own.get("AllowableValues")?)
}

/// Returns the path of a system's settings resource (DSP0266 §9.10).
pub(super) fn settings_path(system: &System) -> Option<String> {
    ["", "/Boot"].iter().find_map(|place| link(&system.body, &format!("{place}/@Redfish.Settings/SettingsObject")))
}

fn strings(list: &Value) -> Option<Vec<String>> {
    let texts: Vec<String> = list.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    (!texts.is_empty()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redfish::{connection::Answer, decode::Body};

    fn system(body: Value) -> System {
        System::of("/s/1", Answer { status: 200, body: Body::Json(body), ..Answer::default() })
    }

    #[test]
    fn a_reset_is_of_a_type_that_the_system_takes() {
        let kinds = |command, listed: Option<&[&str]>| {
            let listed: Option<Vec<String>> = listed.map(|kinds| kinds.iter().map(|kind| (*kind).to_owned()).collect());
            let resets = RedfishRequest::resets(command, &system(json!({})), listed.as_deref());
            let kind = |request: RedfishRequest| request.body["ResetType"].as_str().unwrap().to_owned();
            resets.map(|requests| requests.into_iter().map(kind).collect::<Vec<_>>().join(" "))
        };
        type Row = (Command, Option<&'static [&'static str]>, Option<&'static str>, &'static str);
        let table: &[Row] = &[
            (Command::On, None, Some("On ForceOn"), "no list: DSP0266 §9.6"),
            (Command::On, Some(&["On", "ForceOff"]), Some("On"), "Dell iDRAC 9"),
            (Command::On, Some(&["ForceOn", "ForceOff"]), Some("ForceOn"), "ForceOn only"),
            (Command::On, Some(&["PushPowerButton"]), None, "a push toggles"),
            (Command::Off, None, Some("ForceOff GracefulShutdown"), "no list: DSP0266 §9.6"),
            (Command::Off, Some(&["ForceOff", "PushPowerButton"]), Some("ForceOff"), "HPE iLO 5"),
            (Command::Off, Some(&["GracefulShutdown"]), Some("GracefulShutdown"), "no ForceOff"),
            (Command::Off, Some(&["PushPowerButton"]), None, "a push toggles"),
            (Command::SoftOff, Some(&["PushPowerButton", "ForceOff"]), None, "HPE iLO 4: neither is soft and absolute"),
            (Command::SoftOff, Some(&["ForceOff"]), None, "it would not be soft"),
            (Command::Interrupt, Some(&["Nmi"]), Some("Nmi"), "DSP0268, ResetType"),
            (Command::Interrupt, Some(&["On"]), None, "no NMI"),
        ];
        for (command, listed, right, source) in table {
            assert_eq!(kinds(*command, *listed).ok().as_deref(), *right, "{command:?} {listed:?}: {source}");
        }
        let refused = kinds(Command::On, Some(&["PushPowerButton", "Force\u{202e}Off"])).unwrap_err().to_string();
        let right = "its system does not support a reset of type On or ForceOn; it lists only these types: PushPowerButton, \
                     ForceOff";
        assert_eq!(refused, right);
    }

    #[test]
    fn a_reset_goes_where_the_system_says_and_its_types_are_read_where_the_system_lists_them() {
        let path = |body| RedfishRequest::resets(Command::On, &system(body), None).unwrap()[0].path.clone();
        assert_eq!(path(json!({"Actions": {"#ComputerSystem.Reset": {"target": "/s/1/Reset"}}})), "/s/1/Reset");
        assert_eq!(path(json!({})), "/s/1/Actions/ComputerSystem.Reset");
        let with = |action: Value| system(json!({"Actions": {"#ComputerSystem.Reset": action}}));
        let inline = with(json!({"ResetType@Redfish.AllowableValues": ["On"], "@Redfish.ActionInfo": "/i"}));
        assert_eq!((reset_types(&inline), action_info(&inline).as_deref()), (Some(vec!["On".to_owned()]), Some("/i")));
        let linked = with(json!({"ResetType@Redfish.AllowableValues": [], "@Redfish.ActionInfo": {"@odata.id": "/i"}}));
        assert_eq!((reset_types(&linked), action_info(&linked).as_deref()), (None, Some("/i")));
        let info =
            json!({"Parameters": [{"Name": "X"}, {"Name": "ResetType", "AllowableValues": ["On", 7, "ForceOff"]}]});
        assert_eq!(listed_types(&info), Some(vec!["On".to_owned(), "ForceOff".to_owned()]));
        for wrong in [json!({}), json!({"Parameters": 1}), json!({"Parameters": [{"Name": "ResetType"}]})] {
            assert_eq!(listed_types(&wrong), None, "{wrong}");
        }
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
