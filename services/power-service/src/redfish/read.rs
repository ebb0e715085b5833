//! What a Redfish service answers, as far as we use it. Pure.
//!
//! Read leniently: services leave out what the schema demands and add what it does not know. Source: DSP0266 1.20 (the
//! protocol), DSP2046 (the schema of `ComputerSystem`), and what `sushy-emulator` answers.

use domain::power::{Persistence, Power};
use serde_json::Value;

use super::{line::Answer, say};
use crate::bmc::{BmcError, BootOrder};

/// Characters of a service's own words that are kept.
const LONGEST_WORDS: usize = 300;
/// Characters of a path.
const LONGEST_PATH: usize = 1024;
/// Names of systems that an operator is shown to choose from.
const MOST_NAMES: usize = 8;

/// What an answer means for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes.
    Done,
    /// Not by whom we say that we are.
    Unknown,
    /// There is no such thing.
    Missing,
    /// Somebody changed it since it was read (RFC 9110 §15.5.13), or it must be said which one is meant.
    Stale,
    /// Not now.
    Busy(String),
    /// Whoever stands before the service can not say what came of it.
    Lost,
    /// No room for another session.
    NoSlot,
    /// No; its words.
    Refused(String),
}

/// Reads a verdict.
pub(super) fn verdict(answer: &Answer) -> Verdict {
    let says = |word: &str| message_ids(&answer.body).any(|id| id.contains(word));
    match answer.status {
        200..=299 => Verdict::Done,
        _ if says("SessionLimitExceeded") => Verdict::NoSlot,
        // HPE's iLO says it with status 400.
        _ if says("UnauthorizedLoginAttempt") => Verdict::Unknown,
        401 => Verdict::Unknown,
        404 | 410 => Verdict::Missing,
        412 | 428 => Verdict::Stale,
        // A machine that has just gone off may not go on yet (RFC 9110 §15.5.10: the state of the resource is in the way).
        409 | 429 | 503 => Verdict::Busy(words(answer)),
        502 | 504 => Verdict::Lost,
        300..=399 => Verdict::Refused(redirected(answer)),
        _ => Verdict::Refused(words(answer)),
    }
}

impl Verdict {
    /// The same for an answer that nothing but a yes can be made use of.
    pub(super) fn error(self, address: &str) -> BmcError {
        let address = address.to_owned();
        let refused = |why: &str| BmcError::Refused { address: address.clone(), why: why.to_owned() };
        match self {
            Self::Unknown => BmcError::Password(address),
            Self::NoSlot => BmcError::NoSlot(address),
            Self::Busy(why) => BmcError::Busy { address, why },
            Self::Stale => BmcError::Busy { address, why: "it was changed by somebody else meanwhile".to_owned() },
            Self::Lost => BmcError::Silent(address),
            Self::Missing => refused("it has no such resource"),
            Self::Refused(why) => refused(&why),
            Self::Done => refused("its answer can not be read"),
        }
    }
}

fn redirected(answer: &Answer) -> String {
    let to = answer.location.as_deref().unwrap_or_default();
    let to: String = to.chars().filter(|sign| !sign.is_control()).take(LONGEST_WORDS).collect();
    format!("it sends us to {to:?}, where we do not go by ourselves: set driver_info/redfish_address to it")
}

fn messages(body: &Value) -> impl Iterator<Item = &Value> {
    let extended = body.pointer("/error/@Message.ExtendedInfo").and_then(Value::as_array);
    extended.map(Vec::as_slice).unwrap_or_default().iter()
}

fn message_ids(body: &Value) -> impl Iterator<Item = &str> {
    let code = body.pointer("/error/code").and_then(Value::as_str);
    messages(body).filter_map(|message| message.get("MessageId")?.as_str()).chain(code)
}

/// A refusal in the service's own words (DSP0266 §8.6).
fn words(answer: &Answer) -> String {
    let said = messages(&answer.body).filter_map(|message| message.get("Message")?.as_str());
    let said: Vec<&str> = said.chain(answer.body.pointer("/error/message").and_then(Value::as_str)).collect();
    let longest = said.into_iter().filter(|text| !text.is_empty()).max_by_key(|text| text.len()).unwrap_or_default();
    let kept: String = longest.chars().filter(|sign| !sign.is_control()).take(LONGEST_WORDS).collect();
    if kept.is_empty() { format!("status {}", answer.status) } else { format!("{kept} (status {})", answer.status) }
}

/// The path that a link of a resource names.
pub(super) fn link(resource: &Value, pointer: &str) -> Option<String> {
    path(resource.pointer(pointer)?.get("@odata.id")?.as_str()?)
}

/// A path on the service that we speak to, of a link or of a `Location`. Of a whole URL only the path counts: behind an
/// address of our own choosing a service often has another opinion of its name.
pub(super) fn path(text: &str) -> Option<String> {
    let rest = match text.split_once("://") {
        Some((_, rest)) => rest.get(rest.find('/')?..)?,
        None => text,
    };
    let path = rest.split('#').next().unwrap_or_default();
    let fits = path.starts_with('/') && !path.starts_with("//") && path.len() <= LONGEST_PATH;
    (fits && path.bytes().all(|octet| octet.is_ascii_graphic())).then(|| path.to_owned())
}

/// The paths of a collection's members.
pub(super) fn members(collection: &Value) -> Vec<String> {
    let members = collection.get("Members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    members.iter().filter_map(|member| link(member, "")).collect()
}

/// The one of these systems that is meant: by its id, or the only one where none is said.
pub(super) fn choose(systems: &[String], id: &str) -> Result<String, String> {
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let names = || systems.iter().take(MOST_NAMES).map(|path| name(path)).collect::<Vec<_>>().join(", ");
    match (systems, id) {
        ([], _) => Err("it has no systems".to_owned()),
        ([only], "") => Ok(only.clone()),
        (_, "") => Err(format!("it has several systems; set driver_info/redfish_system_id to one of {}", names())),
        (_, id) => {
            let found = systems.iter().find(|path| name(path) == id).cloned();
            found.ok_or_else(|| {
                format!("it has no system {id:?}, the driver_info/redfish_system_id; it has {}", names())
            })
        }
    }
}

/// A computer system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// Its path.
    pub(super) path: String,
    /// Its version, where it says one.
    pub(super) etag: Option<String>,
    /// The resource.
    pub(super) body: Value,
}

impl System {
    /// Reads it from the answer to a request for this path.
    pub(super) fn of(path: &str, answer: Answer) -> Self {
        let own = || answer.body.get("@odata.etag").and_then(Value::as_str).map(str::to_owned);
        let etag = answer.etag.clone().or_else(own);
        Self { path: path.to_owned(), etag: etag.filter(|etag| !etag.is_empty()), body: answer.body }
    }

    /// Whether it runs. What goes on still has power, and what goes off has it yet.
    pub(super) fn power(&self) -> Result<Power, String> {
        match self.body.get("PowerState").and_then(Value::as_str) {
            Some("On" | "PoweringOn" | "PoweringOff" | "Paused") => Ok(Power::On),
            Some("Off") => Ok(Power::Off),
            Some(other) => Err(format!("its PowerState {:?} is none that we know", short(other))),
            None => Err("it does not say its PowerState".to_owned()),
        }
    }

    /// What it is told to boot from. An override that is disabled holds for no boot, whatever it names.
    pub(super) fn boot_order(&self) -> BootOrder {
        let said = |name: &str| self.body.pointer(&format!("/Boot/{name}")).and_then(Value::as_str);
        let target = said("BootSourceOverrideTarget");
        let device = say::TARGETS.iter().find_map(|(word, device)| (target == Some(*word)).then_some(*device));
        let persistence = match said("BootSourceOverrideEnabled") {
            Some(say::ONCE) => Some(Persistence::Once),
            Some(say::CONTINUOUS) => Some(Persistence::Persistent),
            Some(_) | None => None,
        };
        BootOrder { device, persistence }
    }

    /// What it is, in words.
    pub(super) fn words(&self) -> String {
        let named = ["Manufacturer", "Model", "BiosVersion"].iter();
        let said: Vec<String> = named.filter_map(|name| self.body.get(name)?.as_str().map(short)).collect();
        if said.is_empty() { "Redfish".to_owned() } else { format!("{} (Redfish)", said.join(", ")) }
    }

    /// Whether a member may be set to this: one that says no choice may be set to anything.
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
        assert_eq!(path(&"/".repeat(LONGEST_PATH + 1)), None);
    }

    #[test]
    fn the_only_system_needs_no_name_and_one_of_several_does() {
        let paths = |ids: &[&str]| ids.iter().map(|id| format!("/redfish/v1/Systems/{id}")).collect::<Vec<_>>();
        assert_eq!(choose(&paths(&["1"]), "").as_deref(), Ok("/redfish/v1/Systems/1"));
        assert_eq!(choose(&paths(&["1", "2"]), "2").as_deref(), Ok("/redfish/v1/Systems/2"));
        assert!(choose(&paths(&["1", "2"]), "").unwrap_err().contains("redfish_system_id to one of 1, 2"));
        assert!(choose(&paths(&["1"]), "3").unwrap_err().contains("no system \"3\""));
        assert!(choose(&[], "").is_err());
    }

    #[test]
    fn what_goes_on_or_off_still_has_power() {
        let power = |state: &str| system(json!({"PowerState": state})).power();
        assert_eq!(power("Off"), Ok(Power::Off));
        for on in ["On", "PoweringOn", "PoweringOff", "Paused"] {
            assert_eq!(power(on), Ok(Power::On), "{on}");
        }
        assert!(power("Purple").unwrap_err().contains("Purple"));
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
        assert_eq!(verdict(&answer(400, said)), Verdict::Refused(words));
        assert_eq!(verdict(&answer(400, json!("nothing"))), Verdict::Refused("status 400".to_owned()));
        assert_eq!(verdict(&answer(409, Value::Null)), Verdict::Busy("status 409".to_owned()));
        let full = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.0.SessionLimitExceeded"}]}});
        assert_eq!(verdict(&answer(503, full)), Verdict::NoSlot);
        assert_eq!(verdict(&answer(401, Value::Null)), Verdict::Unknown);
        let login = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "iLO.2.8.UnauthorizedLoginAttempt"}]}});
        assert_eq!(verdict(&answer(400, login)), Verdict::Unknown);
    }

    #[test]
    fn what_makes_no_sense_is_read_as_nothing() {
        let texts = ["null", "[]", "7", "{\"Members\": {}}", "{\"Members\": [1, null, {\"@odata.id\": 3}]}"];
        let deep =
            json!({"error": {"@Message.ExtendedInfo": [[[]], 3, {"Message": {}, "MessageId": []}], "message": 1}});
        for body in texts.iter().map(|text| serde_json::from_str(text).unwrap()).chain([deep]) {
            assert!(members(&body).is_empty());
            assert_eq!(link(&body, "/Systems"), None);
            assert_eq!(verdict(&answer(500, body.clone())), Verdict::Refused("status 500".to_owned()));
            let system = system(body);
            assert!(system.power().is_err() && system.words() == "Redfish" && system.allows("/Boot/X", "y"));
        }
    }
}
