//! Interprets the responses of a Redfish service. Pure.
//!
//! Parsing is lenient: services omit required properties and add unknown ones. Sources: DSP0266 1.20 (protocol),
//! DSP2046 (`ComputerSystem`), and the responses of `sushy-emulator`.

use domain::power::{Persistence, Power};
use serde_json::Value;

use super::{
    boot_source::{CONTINUOUS, ONCE, TARGETS},
    connection::Answer,
    error::RedfishError,
};
use crate::{
    bmc::{BmcError, BootOrder},
    retry::Verdict,
};

/// Maximum length of a service's error message that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 300;
/// Maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Maximum number of system names listed in an error.
const MAX_LISTED_SYSTEMS: usize = 8;

/// Meaning of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// Success.
    Success,
    /// The credentials were refused.
    Unauthorized,
    /// The resource does not exist.
    NotFound,
    /// The resource changed since it was read (RFC 9110 §15.5.13), or the service requires `If-Match`.
    PreconditionFailed,
    /// The service is busy.
    Busy(String),
    /// A gateway did not receive an answer: the result is unknown.
    GatewayError,
    /// The service has no free session.
    NoSessionSlot,
    /// The service refused the request, with its message.
    Refused(String),
}

/// Classifies a response.
pub(super) fn classify(answer: &Answer) -> ResponseKind {
    let has_message = |id: &str| message_ids(&answer.body).any(|known| known.contains(id));
    match answer.status {
        200..=299 => ResponseKind::Success,
        _ if has_message("SessionLimitExceeded") => ResponseKind::NoSessionSlot,
        // HPE iLO reports it with status 400.
        _ if has_message("UnauthorizedLoginAttempt") => ResponseKind::Unauthorized,
        401 => ResponseKind::Unauthorized,
        404 | 410 => ResponseKind::NotFound,
        412 | 428 => ResponseKind::PreconditionFailed,
        502 | 504 => ResponseKind::GatewayError,
        status if Verdict::of_http(status) == Verdict::Later => ResponseKind::Busy(error_text(answer)),
        300..=399 => ResponseKind::Refused(redirected(answer)),
        _ => ResponseKind::Refused(error_text(answer)),
    }
}

impl ResponseKind {
    /// Converts a response other than the expected success to an error.
    pub(super) fn error(self, address: &str) -> BmcError {
        let address = address.to_owned();
        match self {
            Self::Unauthorized => BmcError::Password(address),
            Self::NoSessionSlot => BmcError::NoSlot(address),
            Self::Busy(why) => BmcError::Busy { address, why },
            Self::PreconditionFailed => {
                BmcError::Busy { address, why: "the resource was changed concurrently".to_owned() }
            }
            Self::GatewayError => BmcError::Silent(address),
            Self::NotFound => BmcError::Refused { address, why: "it does not have the resource".to_owned() },
            Self::Refused(why) => BmcError::Refused { address, why },
            Self::Success => BmcError::of(Verdict::Doubtful, address, "its response is malformed".to_owned()),
        }
    }
}

fn redirected(answer: &Answer) -> String {
    let to = answer.location.as_deref().unwrap_or_default();
    let to: String = to.chars().filter(|sign| !sign.is_control()).take(MAX_MESSAGE_CHARS).collect();
    format!("it redirects to {to:?}, which is not followed; set driver_info/redfish_address to the new address")
}

fn messages(body: &Value) -> impl Iterator<Item = &Value> {
    let extended = body.pointer("/error/@Message.ExtendedInfo").and_then(Value::as_array);
    extended.map(Vec::as_slice).unwrap_or_default().iter()
}

fn message_ids(body: &Value) -> impl Iterator<Item = &str> {
    let code = body.pointer("/error/code").and_then(Value::as_str);
    messages(body).filter_map(|message| message.get("MessageId")?.as_str()).chain(code)
}

/// Returns the error message of a service (DSP0266 §8.6).
fn error_text(answer: &Answer) -> String {
    let texts = messages(&answer.body).filter_map(|message| message.get("Message")?.as_str());
    let texts: Vec<&str> = texts.chain(answer.body.pointer("/error/message").and_then(Value::as_str)).collect();
    let longest = texts.into_iter().filter(|text| !text.is_empty()).max_by_key(|text| text.len()).unwrap_or_default();
    let kept: String = longest.chars().filter(|sign| !sign.is_control()).take(MAX_MESSAGE_CHARS).collect();
    if kept.is_empty() { format!("status {}", answer.status) } else { format!("{kept} (status {})", answer.status) }
}

/// Returns the path that a link of a resource refers to.
pub(super) fn link(resource: &Value, pointer: &str) -> Option<String> {
    path(resource.pointer(pointer)?.get("@odata.id")?.as_str()?)
}

/// Returns a path on the service, from a link or a `Location` header. Of an absolute URL only the path is used: a
/// service behind another address often does not know that address.
pub(super) fn path(text: &str) -> Option<String> {
    let rest = match text.split_once("://") {
        Some((_, rest)) => rest.get(rest.find('/')?..)?,
        None => text,
    };
    let path = rest.split('#').next().unwrap_or_default();
    let fits = path.starts_with('/') && !path.starts_with("//") && path.len() <= MAX_PATH_BYTES;
    (fits && path.bytes().all(|octet| octet.is_ascii_graphic())).then(|| path.to_owned())
}

/// Returns the paths of a collection's members.
pub(super) fn members(collection: &Value) -> Vec<String> {
    let members = collection.get("Members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    members.iter().filter_map(|member| link(member, "")).collect()
}

/// Selects the system with this id, or the only one if `id` is empty.
pub(super) fn choose_system(systems: &[String], id: &str) -> Result<String, RedfishError> {
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let names = || systems.iter().take(MAX_LISTED_SYSTEMS).map(|path| name(path)).collect::<Vec<_>>().join(", ");
    match (systems, id) {
        ([], _) => Err(RedfishError::NoSystems),
        ([only], "") => Ok(only.clone()),
        (_, "") => Err(RedfishError::SeveralSystems(names())),
        (_, id) => {
            let found = systems.iter().find(|path| name(path) == id).cloned();
            found.ok_or_else(|| RedfishError::UnknownSystem { id: id.to_owned(), names: names() })
        }
    }
}

/// A computer system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// Path of the resource.
    pub(super) path: String,
    /// Entity tag, if the service sends one.
    pub(super) etag: Option<String>,
    /// The resource.
    pub(super) body: Value,
}

impl System {
    /// Creates it from the response to a request for `path`.
    pub(super) fn of(path: &str, answer: Answer) -> Self {
        let own = || answer.body.get("@odata.etag").and_then(Value::as_str).map(str::to_owned);
        let etag = answer.etag.clone().or_else(own);
        Self { path: path.to_owned(), etag: etag.filter(|etag| !etag.is_empty()), body: answer.body }
    }

    /// Returns the power state. A machine that is powering on or off counts as on.
    pub(super) fn power(&self) -> Result<Power, RedfishError> {
        match self.body.get("PowerState").and_then(Value::as_str) {
            Some("On" | "PoweringOn" | "PoweringOff" | "Paused") => Ok(Power::On),
            Some("Off") => Ok(Power::Off),
            Some(other) => Err(RedfishError::UnknownPowerState(short(other))),
            None => Err(RedfishError::NoPowerState),
        }
    }

    /// Returns the boot device override. A disabled override has no persistence, whatever its device.
    pub(super) fn boot_order(&self) -> BootOrder {
        let property = |name: &str| self.body.pointer(&format!("/Boot/{name}")).and_then(Value::as_str);
        let target = property("BootSourceOverrideTarget");
        let device = TARGETS.iter().find_map(|(word, device)| (target == Some(*word)).then_some(*device));
        let persistence = match property("BootSourceOverrideEnabled") {
            Some(ONCE) => Some(Persistence::Once),
            Some(CONTINUOUS) => Some(Persistence::Persistent),
            Some(_) | None => None,
        };
        BootOrder { device, persistence }
    }

    /// Returns a description of the machine.
    pub(super) fn description(&self) -> String {
        let properties = ["Manufacturer", "Model", "BiosVersion"].iter();
        let parts: Vec<String> = properties.filter_map(|name| self.body.get(name)?.as_str().map(short)).collect();
        if parts.is_empty() { "Redfish".to_owned() } else { format!("{} (Redfish)", parts.join(", ")) }
    }

    /// Returns whether the property may be set to `value`. Without a list of allowable values any value is allowed.
    pub(super) fn allows(&self, pointer: &str, value: &str) -> bool {
        let choice = self.body.pointer(&format!("{pointer}@Redfish.AllowableValues")).and_then(Value::as_array);
        choice.is_none_or(|choice| choice.is_empty() || choice.iter().any(|one| one == value))
    }
}

fn short(text: &str) -> String {
    text.trim().chars().filter(|sign| !sign.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use domain::power::BootDevice;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, body, ..Answer::default() }
    }

    fn system(body: Value) -> System {
        System::of("/s", answer(200, body))
    }

    #[test]
    fn a_link_is_a_path_on_the_service_that_is_spoken_to() {
        assert_eq!(path("/redfish/v1/Systems/1#/Boot").as_deref(), Some("/redfish/v1/Systems/1"));
        assert_eq!(path("https://bmc.example/redfish/v1/S/1").as_deref(), Some("/redfish/v1/S/1"));
        for wrong in ["", "Systems/1", "//evil/x", "https://bmc.example", "/a b", "/a\r\nHost: evil", "/\u{e4}"] {
            assert_eq!(path(wrong), None, "{wrong:?}");
        }
        assert_eq!(path(&"/".repeat(MAX_PATH_BYTES + 1)), None);
    }

    #[test]
    fn the_only_system_needs_no_name_and_one_of_several_does() {
        let paths = |ids: &[&str]| ids.iter().map(|id| format!("/redfish/v1/Systems/{id}")).collect::<Vec<_>>();
        assert_eq!(choose_system(&paths(&["1"]), ""), Ok("/redfish/v1/Systems/1".to_owned()));
        assert_eq!(choose_system(&paths(&["1", "2"]), "2"), Ok("/redfish/v1/Systems/2".to_owned()));
        let several = choose_system(&paths(&["1", "2"]), "").unwrap_err().to_string();
        assert!(several.contains("redfish_system_id to one of 1, 2"), "{several}");
        let unknown = RedfishError::UnknownSystem { id: "3".to_owned(), names: "1".to_owned() };
        assert_eq!(choose_system(&paths(&["1"]), "3"), Err(unknown));
        assert_eq!(choose_system(&[], ""), Err(RedfishError::NoSystems));
    }

    #[test]
    fn what_goes_on_or_off_still_has_power() {
        let power = |state: &str| system(json!({"PowerState": state})).power();
        assert_eq!(power("Off"), Ok(Power::Off));
        for on in ["On", "PoweringOn", "PoweringOff", "Paused"] {
            assert_eq!(power(on), Ok(Power::On), "{on}");
        }
        assert!(power("Purple") == Err(RedfishError::UnknownPowerState("Purple".to_owned())));
        assert!(system(json!({"PowerState": null})).power().is_err());
    }

    #[test]
    fn a_boot_order_is_read_as_far_as_it_has_a_name_here() {
        let order = |target: &str, enabled: &str| {
            let boot = json!({"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled});
            let BootOrder { device, persistence } = system(json!({"Boot": boot})).boot_order();
            (device, persistence)
        };
        assert_eq!(order("Pxe", "Once"), (Some(BootDevice::Pxe), Some(Persistence::Once)));
        assert_eq!(order("UefiHttp", "Continuous"), (Some(BootDevice::UefiHttp), Some(Persistence::Persistent)));
        assert_eq!(order("Hdd", "Disabled"), (Some(BootDevice::Disk), None));
        assert_eq!(order("SDCard", "Once"), (None, Some(Persistence::Once)));
        assert_eq!(system(json!({})).boot_order(), BootOrder { device: None, persistence: None });
    }

    #[test]
    fn a_refusal_is_told_in_the_services_own_words() {
        let said = json!({"error": {"code": "Base.1.0.GeneralError", "message": "A general error.",
            "@Message.ExtendedInfo": [{"MessageId": "Base.1.0.X", "Message": "The lid of the chassis is open."}]}});
        let words = "The lid of the chassis is open. (status 400)".to_owned();
        assert_eq!(classify(&answer(400, said)), ResponseKind::Refused(words));
        assert_eq!(classify(&answer(400, json!("nothing"))), ResponseKind::Refused("status 400".to_owned()));
        assert_eq!(classify(&answer(409, Value::Null)), ResponseKind::Busy("status 409".to_owned()));
        let full = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.0.SessionLimitExceeded"}]}});
        assert_eq!(classify(&answer(503, full)), ResponseKind::NoSessionSlot);
        assert_eq!(classify(&answer(401, Value::Null)), ResponseKind::Unauthorized);
        let login = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "iLO.2.8.UnauthorizedLoginAttempt"}]}});
        assert_eq!(classify(&answer(400, login)), ResponseKind::Unauthorized);
    }

    #[test]
    fn what_makes_no_sense_is_read_as_nothing() {
        let texts = ["null", "[]", "7", "{\"Members\": {}}", "{\"Members\": [1, null, {\"@odata.id\": 3}]}"];
        let deep =
            json!({"error": {"@Message.ExtendedInfo": [[[]], 3, {"Message": {}, "MessageId": []}], "message": 1}});
        for body in texts.iter().map(|text| serde_json::from_str(text).unwrap()).chain([deep]) {
            assert!(members(&body).is_empty());
            assert_eq!(link(&body, "/Systems"), None);
            assert_eq!(classify(&answer(500, body.clone())), ResponseKind::Busy("status 500".to_owned()));
            let system = system(body);
            assert!(system.power().is_err() && system.description() == "Redfish" && system.allows("/Boot/X", "y"));
        }
    }
}
