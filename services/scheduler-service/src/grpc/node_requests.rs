//! Decodes requests about nodes.

use domain::{
    net::{BmcAddr, MacAddr},
    raw_command::RawCommand,
    secret::Secret,
};
use proto::{
    api::v1::{CreateNodeRequest, SendNodeRawCommandRequest, Step, UpdateNodeRequest},
    common::v1 as wire,
    convert::{
        Invalid,
        mask::Mask,
        text,
        time::{WireDuration, whole_seconds},
    },
};
use scheduler_core::registry::{NewNode, NodeChange};

/// The longest name; it becomes a host name (RFC 1123 §2.1).
const MAX_NAME_CHARS: usize = 63;

/// Decodes a step of clean or service.
pub(super) fn step(named: Step) -> domain::step::Step {
    domain::step::Step { interface: named.interface, step: named.step, args: serde_json::Map::new() }
}

/// Decodes a raw command.
pub(super) fn raw_command(request: SendNodeRawCommandRequest) -> Result<RawCommand, Invalid> {
    let raw = RawCommand::new(request.netfn, request.command, Secret::new(request.data));
    raw.map_err(|why| Invalid::wrong("command", why))
}

/// Decodes a new node.
pub(super) fn new_node(request: CreateNodeRequest) -> Result<NewNode, Invalid> {
    let boot_mode = request.boot_mode().try_into().unwrap_or_default();
    Ok(NewNode {
        name: name(&request.name)?,
        bmc: text::<BmcAddr>("bmc_address", &request.bmc_address)?,
        user: request.bmc_user,
        password: Secret::new(request.bmc_password.into_bytes()),
        boot_mode,
        macs: macs("macs", &request.macs)?,
        wait_for_life_seconds: sign_of_life(request.sign_of_life_timeout)?.filter(|seconds| *seconds > 0),
        boot_files_by_tftp: request.boot_files_by_tftp,
    })
}

/// The fields of [`UpdateNodeRequest`] that a mask may name.
const FIELDS: &[&str] = &[
    "name",
    "bmc_address",
    "bmc_user",
    "bmc_password",
    "boot_mode",
    "add_macs",
    "remove_macs",
    "sign_of_life_timeout",
    "boot_files_by_tftp",
    "maintenance",
    "maintenance_reason",
    RACK,
];
/// The field that moves a node to another rack.
const RACK: &str = "rack";

/// What a request changes.
#[derive(Debug)]
pub(super) enum Update {
    /// The rack that the machine was moved to, by its name or id.
    Rack(String),
    /// Everything else.
    Fields(Box<NodeChange>),
}

/// Decodes a change. `is_in_maintenance` is what the node is now: a reason may be changed by itself.
pub(super) fn update(request: UpdateNodeRequest, is_in_maintenance: bool) -> Result<Update, Invalid> {
    let mask = Mask::read(request.update_mask.as_ref(), FIELDS)?;
    if mask.changes(RACK, request.rack.is_some()) {
        let rest = UpdateNodeRequest {
            rack: None,
            node: String::new(),
            etag: String::new(),
            update_mask: None,
            ..request.clone()
        };
        if !mask.names_only(RACK).unwrap_or_else(|| rest == UpdateNodeRequest::default()) {
            let why = "must be the only thing that a request changes: move the node first";
            return Err(Invalid::wrong(RACK, why));
        }
        return Ok(Update::Rack(request.rack.unwrap_or_default()));
    }
    let mode = request.boot_mode();
    let boot_mode = mask.changes("boot_mode", mode != wire::BootMode::Unspecified);
    let name_text = mask.value("name", request.name);
    let bmc_address = mask.value("bmc_address", request.bmc_address);
    let password = mask.value("bmc_password", request.bmc_password);
    let listed = |field: &'static str, all: Vec<String>| {
        if mask.changes(field, !all.is_empty()) { macs(field, &all) } else { Ok(Vec::new()) }
    };
    let maintenance = mask.value("maintenance", request.maintenance);
    let reason = mask.value("maintenance_reason", request.maintenance_reason);
    Ok(Update::Fields(Box::new(NodeChange {
        boot_mode: boot_mode.then(|| mode.try_into().unwrap_or_default()),
        name: name_text.as_deref().map(name).transpose()?,
        bmc: bmc_address.map(|address| text("bmc_address", &address)).transpose()?,
        user: mask.value("bmc_user", request.bmc_user),
        password: password.map(|password| Secret::new(password.into_bytes())),
        add_macs: listed("add_macs", request.add_macs)?,
        remove_macs: listed("remove_macs", request.remove_macs)?,
        wait_for_life_seconds: sign_of_life(mask.value("sign_of_life_timeout", request.sign_of_life_timeout))?,
        boot_files_by_tftp: mask.value("boot_files_by_tftp", request.boot_files_by_tftp),
        maintenance: match (maintenance, reason) {
            (None, None) => None,
            (is_on, reason) => Some((is_on.unwrap_or(is_in_maintenance), reason.unwrap_or_default())),
        },
    })))
}

fn sign_of_life(timeout: Option<WireDuration>) -> Result<Option<u32>, Invalid> {
    timeout.map(|timeout| whole_seconds("sign_of_life_timeout", timeout)).transpose()
}

fn macs(field: &'static str, all: &[String]) -> Result<Vec<MacAddr>, Invalid> {
    let macs = all.iter().map(|mac| text::<MacAddr>(field, mac));
    macs.map(|mac| {
        let mac = mac?;
        if mac.is_unicast() { Ok(mac) } else { Err(Invalid::wrong(field, format!("{mac} is not the MAC of one NIC"))) }
    })
    .collect()
}

fn name(text: &str) -> Result<String, Invalid> {
    let fits = !text.is_empty()
        && text.len() <= MAX_NAME_CHARS
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    let is_id = text.parse::<domain::id::NodeId>().is_ok();
    if fits && !is_id {
        return Ok(text.to_owned());
    }
    let why = format!(
        "{text:?} must have 1 to {MAX_NAME_CHARS} letters, digits, '-', '.', '_', '~', and not look like an id"
    );
    Err(Invalid::wrong("name", why))
}

#[cfg(test)]
mod tests {
    use domain::power::BootMode;
    use proto::convert::mask::FieldMask;

    use super::*;

    fn masked(paths: &[&str], request: UpdateNodeRequest) -> Result<Update, Invalid> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        update(UpdateNodeRequest { update_mask: Some(FieldMask { paths }), ..request }, true)
    }

    fn fields(update: Result<Update, Invalid>) -> NodeChange {
        match update {
            Ok(Update::Fields(change)) => *change,
            other => panic!("{other:?}"),
        }
    }

    fn request() -> UpdateNodeRequest {
        UpdateNodeRequest {
            node: "n1".to_owned(),
            name: Some("n2".to_owned()),
            bmc_user: Some("me".to_owned()),
            add_macs: vec!["52:54:00:00:00:01".to_owned()],
            ..Default::default()
        }
    }

    #[test]
    fn without_a_mask_the_fields_that_are_set_change() {
        let change = fields(update(request(), false));
        assert_eq!(
            (change.name.as_deref(), change.user.as_deref(), change.add_macs.len()),
            (Some("n2"), Some("me"), 1)
        );
        assert!(change.bmc.is_none() && change.password.is_none() && change.boot_mode.is_none());
        assert!(change.maintenance.is_none() && change.boot_files_by_tftp.is_none());
    }

    #[test]
    fn with_a_mask_only_the_named_fields_change_and_those_that_are_not_set_are_cleared() {
        let change =
            fields(masked(&["bmc_user", "boot_files_by_tftp", "sign_of_life_timeout", "boot_mode"], request()));
        assert_eq!((change.user.as_deref(), change.boot_files_by_tftp), (Some("me"), Some(false)));
        assert_eq!((change.wait_for_life_seconds, change.boot_mode), (Some(0), Some(BootMode::default())));
        assert!(change.name.is_none() && change.add_macs.is_empty() && change.maintenance.is_none());
    }

    #[test]
    fn what_cannot_be_empty_is_not_cleared() {
        for (field, request) in [("name", UpdateNodeRequest::default()), ("bmc_address", UpdateNodeRequest::default())]
        {
            let error = masked(&[field], request).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn a_reason_for_maintenance_is_changed_by_itself() {
        let reason = UpdateNodeRequest { maintenance_reason: Some("fans".to_owned()), ..Default::default() };
        assert_eq!(fields(update(reason.clone(), true)).maintenance, Some((true, "fans".to_owned())));
        assert_eq!(fields(masked(&["maintenance"], reason)).maintenance, Some((false, String::new())));
    }

    #[test]
    fn a_rack_is_the_only_change_of_its_request() {
        let moved = UpdateNodeRequest { rack: Some("r2".to_owned()), etag: "\"5\"".to_owned(), ..Default::default() };
        assert!(matches!(update(moved.clone(), false), Ok(Update::Rack(rack)) if rack == "r2"));
        let more = UpdateNodeRequest { rack: Some("r2".to_owned()), ..request() };
        assert!(update(more.clone(), false).is_err());
        // The mask says what the request changes.
        assert!(matches!(masked(&["rack"], more.clone()), Ok(Update::Rack(_))));
        assert!(matches!(masked(&["name"], more.clone()), Ok(Update::Fields(_))));
        assert!(masked(&["rack", "name"], more).is_err());
    }

    #[test]
    fn an_unknown_path_is_refused_with_its_name() {
        for path in ["node", "etag", "update_mask", "bmc.address"] {
            let error = masked(&[path], request()).unwrap_err().to_string();
            assert!(error.starts_with("update_mask: ") && error.contains(path), "{error}");
        }
    }
}
