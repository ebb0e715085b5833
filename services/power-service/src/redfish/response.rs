//! Interprets the responses of a Redfish service. Pure.
//!
//! Parsing is lenient: services omit required properties and add unknown ones. Sources: DSP0266 1.20 (protocol),
//! DSP2046 (`ComputerSystem`), and the responses of `sushy-emulator`.

use std::time::Duration;

use domain::power::{Persistence, Power};
use serde_json::Value;

use super::{
    boot_source::{CONTINUOUS, ONCE, TARGETS},
    connection::Answer,
    decode::Body,
    error::RedfishError,
    http_policy::Etags,
    messages::{clean, error_text, message_ids},
};
use crate::{
    bmc::{BmcError, BootOrder},
    retry::Verdict,
};

/// Maximum length of a location in an error, in characters.
const MAX_LOCATION_CHARS: usize = 300;
/// Final error about preconditions.
pub(super) const REJECTS_TAGS: &str =
    "it rejects the change with and without an entity tag, or another client changes the resource at the same time";
/// Maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// How long an unclear power state is read again before it is used, or reported as an error.
pub(super) const IN_BETWEEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages of the base registry, and of vendors, that say that a request may succeed later (DSP0268, `Base`; HPE
/// `iLO.…UnableToModifyDuringSystemPOST`; iDRAC `SYS429` and `RAC0508` while it starts).
const TEMPORARY_FAILURES: &[&str] = &[
    "ServiceTemporarilyUnavailable",
    "ServiceShuttingDown",
    "ServiceInUnknownState",
    "ResourceInUse",
    "ResourceInStandby",
    "ResourceExhaustion",
    "ResourceNotReady",
    "ServerBusy",
    "InvalidOperationForSystemState",
    "UnableToModifyDuringSystemPOST",
    "SYS429",
    "RAC0508",
];
/// Messages that say that a property of a request was not taken, even in a response with status 200 (DSP0266 §7.7.3).
const NOT_TAKEN: &[&str] = &[
    "PropertyNotWritable",
    "PropertyUnknown",
    "PropertyValueNotInList",
    "PropertyValueTypeError",
    "PropertyValueFormatError",
    "PropertyValueConflict",
    "PropertyNotUpdated",
    "OperationSupportedInFutureStateURI",
];
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
    /// The service failed. It may be busy, or unable to do this, and may have done it.
    ServerError(String),
    /// A gateway did not receive an answer: the result is unknown.
    GatewayError,
    /// The service has no free session.
    NoSessionSlot,
    /// The service refused the request, with its message.
    Refused(String),
}

/// Classifies a response.
pub(super) fn classify(answer: &Answer) -> ResponseKind {
    let body = answer.json();
    let has_message = |id: &str| message_ids(body).any(|known| known.contains(id));
    match answer.status {
        200..=299 => ResponseKind::Success,
        _ if has_message("SessionLimitExceeded") => ResponseKind::NoSessionSlot,
        // HPE iLO reports it with status 400.
        _ if has_message("UnauthorizedLoginAttempt") => ResponseKind::Unauthorized,
        401 => ResponseKind::Unauthorized,
        // "Partial results may have been returned" (DSP0268, `Base`).
        400..=599 if has_message("OperationTimeout") => ResponseKind::ServerError(error_text(answer)),
        400..=599 if says_later(answer) => ResponseKind::Busy(error_text(answer)),
        404 | 410 => ResponseKind::NotFound,
        412 | 428 => ResponseKind::PreconditionFailed,
        502 | 504 => ResponseKind::GatewayError,
        503 => ResponseKind::Busy(error_text(answer)),
        status if Verdict::of_http(status) == Verdict::Later => {
            if status < 500 {
                ResponseKind::Busy(error_text(answer))
            } else {
                ResponseKind::ServerError(error_text(answer))
            }
        }
        300..=399 => ResponseKind::Refused(redirected(answer)),
        _ => ResponseKind::Refused(error_text(answer)),
    }
}

/// Returns whether a message of the service itself says that the request may succeed later. A status alone may be that of a
/// gateway, which may have passed the request on.
pub(super) fn says_later(answer: &Answer) -> bool {
    message_ids(answer.json()).any(|known| TEMPORARY_FAILURES.iter().any(|id| known.contains(id)))
}

/// Classifies the response to a change. Some services answer with 200 to a change that they did not make, and say so in a
/// message.
pub(super) fn classify_change(answer: &Answer) -> ResponseKind {
    let is_not_taken = message_ids(answer.json()).any(|known| NOT_TAKEN.iter().any(|id| known.contains(id)));
    let kind = classify(answer);
    if kind == ResponseKind::Success && is_not_taken { ResponseKind::Refused(error_text(answer)) } else { kind }
}

impl ResponseKind {
    /// Converts a response other than the expected success to an error.
    pub(super) fn error(self, address: &str) -> BmcError {
        let address = address.to_owned();
        match self {
            Self::Unauthorized => BmcError::Password(address),
            Self::NoSessionSlot => BmcError::NoSlot(address),
            Self::Busy(why) | Self::ServerError(why) => BmcError::Busy { address, why },
            // Another client may be the reason, or each form of the entity tag is rejected.
            Self::PreconditionFailed => BmcError::of(Verdict::Doubtful, address, REJECTS_TAGS.to_owned()),
            Self::GatewayError => BmcError::Silent(address),
            Self::NotFound => BmcError::Refused { address, why: "it does not have the resource".to_owned() },
            Self::Refused(why) => BmcError::Refused { address, why },
            Self::Success => BmcError::of(Verdict::Doubtful, address, "its response is malformed".to_owned()),
        }
    }
}

/// Returns why the response to a read has no resource.
pub(super) fn unreadable(address: &str, path: &str, answer: &Answer) -> BmcError {
    let address = address.to_owned();
    match &answer.body {
        // A BMC that is starting answers so for a while.
        Body::Empty => BmcError::Busy { address, why: format!("its response for {path} is empty") },
        Body::Cut => BmcError::Busy { address, why: format!("its response for {path} ends too early") },
        Body::Json(_) | Body::NotJson => {
            let kind = clean(&answer.content_type, 64);
            let why =
                format!("its response for {path} is no JSON object ({kind:?}); check driver_info/redfish_address");
            // Some show a page while they start.
            BmcError::of(Verdict::Doubtful, address, why)
        }
    }
}

fn redirected(answer: &Answer) -> String {
    let to = clean(answer.location.as_deref().unwrap_or_default(), MAX_LOCATION_CHARS);
    format!("it redirects to {to:?}, which is not followed; set driver_info/redfish_address to the new address")
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

/// Returns the path of the next page of a collection (DSP0266 §7.4.2). Old services omit the property's name.
pub(super) fn next_page(collection: &Value) -> Option<String> {
    let named = ["Members@odata.nextLink", "@odata.nextLink"].iter().find_map(|name| collection.get(*name));
    // DSP0266 defines a string; some services have a link.
    named.and_then(|next| next.as_str().and_then(path).or_else(|| link(next, "")))
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

/// What a power state means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PowerReading {
    /// The power is on or off.
    Is(Power),
    /// The power is changing, or the service does not know it: it is to be read again.
    Unclear(RedfishError),
    /// It did not become clear in time. The error says whether it may later.
    Unusable(RedfishError),
}

/// A computer system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// Path of the resource.
    pub(super) path: String,
    /// Entity tags, if the service sends any.
    pub(super) etags: Etags,
    /// The resource.
    pub(super) body: Value,
}

impl System {
    /// Creates it from the response to a request for `path`.
    pub(super) fn of(path: &str, answer: Answer) -> Self {
        let body = match answer.body {
            Body::Json(body) => body,
            Body::Empty | Body::Cut | Body::NotJson => Value::Null,
        };
        let own = body.get("@odata.etag").and_then(Value::as_str).map(str::to_owned);
        let is_tag = |tag: &String| !tag.trim().is_empty();
        let etags = Etags { header: answer.etag.filter(is_tag), body: own.filter(is_tag) };
        Self { path: path.to_owned(), etags, body }
    }

    /// Interprets the power state. A state in between is read again for [`IN_BETWEEN_TIMEOUT`]; `waited` is how long that
    /// was done. `switches_off` says whether this session switched the machine off: then it is known where `PoweringOff`
    /// leads.
    pub(super) fn power(&self, waited: Duration, switches_off: bool) -> PowerReading {
        let is_late = waited >= IN_BETWEEN_TIMEOUT;
        match self.body.get("PowerState").and_then(Value::as_str) {
            Some("On") => PowerReading::Is(Power::On),
            Some("Off") => PowerReading::Is(Power::Off),
            Some("PoweringOff") if switches_off => PowerReading::Is(Power::On),
            Some("PoweringOn" | "Paused") if is_late => PowerReading::Is(Power::On),
            state => {
                let why = match state {
                    Some(state @ ("PoweringOn" | "PoweringOff" | "Paused")) => {
                        RedfishError::PowerChanges(state.to_owned())
                    }
                    Some(state) => RedfishError::UnknownPowerState(short(state)),
                    None => RedfishError::NoPowerState,
                };
                if is_late { PowerReading::Unusable(why) } else { PowerReading::Unclear(why) }
            }
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

    /// Returns whether the property may be set to `value`. Without a list of allowable values any value is allowed. Services
    /// older than the annotation list devices in `BootSourceOverrideSupported` (HPE iLO 4).
    pub(super) fn allows(&self, pointer: &str, value: &str) -> bool {
        let supported = || {
            let pointer = pointer.strip_suffix("OverrideTarget")?;
            self.body.pointer(&format!("{pointer}OverrideSupported"))
        };
        let choice = self.body.pointer(&format!("{pointer}@Redfish.AllowableValues")).or_else(supported);
        let choice = choice.and_then(Value::as_array);
        choice.is_none_or(|choice| choice.is_empty() || choice.iter().any(|one| one == value))
    }
}

fn short(text: &str) -> String {
    clean(text.trim(), 64)
}

#[cfg(test)]
mod tests {
    use domain::power::BootDevice;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, body: Body::Json(body), ..Answer::default() }
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
    fn a_power_state_between_on_and_off_is_read_again_and_never_taken_for_the_wrong_one() {
        use PowerReading::{Is, Unclear, Unusable};
        let (now, late) = (Duration::ZERO, IN_BETWEEN_TIMEOUT);
        let changes = |state: &str| RedfishError::PowerChanges(state.to_owned());
        let unknown = |state: &str| RedfishError::UnknownPowerState(state.to_owned());
        let table = [
            (json!("On"), now, false, Is(Power::On), "DSP0268, PowerState"),
            (json!("Off"), now, true, Is(Power::Off), "DSP0268, PowerState"),
            (json!("PoweringOn"), now, false, Unclear(changes("PoweringOn")), "DSP0268, PowerState"),
            (json!("PoweringOn"), late, false, Is(Power::On), "a POST of minutes"),
            (json!("PoweringOff"), now, false, Unclear(changes("PoweringOff")), "it may be a restart"),
            (
                json!("PoweringOff"),
                late,
                false,
                Unusable(changes("PoweringOff")),
                "\"on\" would end an instruction too early",
            ),
            (json!("PoweringOff"), now, true, Is(Power::On), "the sequence waits for off"),
            (json!("Paused"), now, false, Unclear(changes("Paused")), "DSP0268, PowerState"),
            (json!("Paused"), late, false, Is(Power::On), "it has power"),
            (json!(null), now, false, Unclear(RedfishError::NoPowerState), "a BMC that is starting"),
            (json!(null), late, false, Unusable(RedfishError::NoPowerState), "a BMC that is starting"),
            (json!("Unknown"), now, true, Unclear(unknown("Unknown")), "not in the schema"),
            (json!("Reset"), late, true, Unusable(unknown("Reset")), "not in the schema"),
        ];
        for (state, waited, switches_off, right, source) in table {
            assert_eq!(system(json!({"PowerState": state})).power(waited, switches_off), right, "{state}: {source}");
        }
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
        let empty = Answer { status: 400, ..Answer::default() };
        assert_eq!(classify(&empty), ResponseKind::Refused("status 400".to_owned()));
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
            assert_eq!(classify(&answer(500, body.clone())), ResponseKind::ServerError("status 500".to_owned()));
            assert_eq!(
                (next_page(&body), crate::redfish::messages::complaint(&answer(500, body.clone())).trim()),
                (None, "")
            );
            let system = system(body);
            assert!(matches!(system.power(Duration::ZERO, false), PowerReading::Unclear(_)));
            assert!(system.description() == "Redfish" && system.allows("/Boot/X", "y"));
        }
    }
}
