//! Commands for sessions and the channel, which the responder handles itself (IPMI 2.0 §22.13 to §22.20).

use super::handshake::{Slot, Stage};
use super::{Call, Closing, Identity};
use crate::app::number;
use crate::cipher::Suite;
use crate::message::{Command, Completion, netfn};
use crate::rakp::Privilege;

/// Channel of all sessions: IPv4 LAN.
const CHANNEL: u8 = 1;

/// Completion code, data, and the session to close after the response is sent.
pub(super) type Served = (Completion, Vec<u8>, Option<u32>);

/// Handles commands outside a session.
pub(super) fn public(identity: &Identity, command: &Command) -> (Completion, Vec<u8>) {
    match (command.netfn, command.command) {
        (netfn::APP, number::GET_CHANNEL_AUTHENTICATION) => (Completion::OK, authentication(identity)),
        (netfn::APP, number::GET_CHANNEL_SUITES) => (Completion::OK, suites(identity, &command.data)),
        (netfn::APP, number::GET_SYSTEM_GUID) => (Completion::OK, identity.guid.to_vec()),
        _ => (Completion::NO_PRIVILEGE, Vec::new()),
    }
}

/// *Get Channel Authentication Capabilities* (§22.13): IPMI 2.0 only, and users have names.
fn authentication(identity: &Identity) -> Vec<u8> {
    const EXTENDED: u8 = 0x80;
    const NAMED_USERS: u8 = 0x04;
    const KEY_SET: u8 = 0x20;
    const IPMI_2: u8 = 0x02;
    let key = identity.bmc_key.as_ref().map_or(0, |_| KEY_SET);
    vec![CHANNEL, EXTENDED, NAMED_USERS | key, IPMI_2, 0, 0, 0, 0]
}

/// *Get Channel Cipher Suites* (§22.15): sixteen octets of records at a time.
fn suites(identity: &Identity, data: &[u8]) -> Vec<u8> {
    const STANDARD: u8 = 0xc0;
    let record = |suite: &Suite| {
        let [authentication, integrity, confidentiality] = suite.algorithms();
        [STANDARD, suite.number(), authentication, 0x40 | integrity, 0x80 | confidentiality]
    };
    let records: Vec<u8> = identity.suites.iter().flat_map(record).collect();
    let from = data.get(2).map_or(0, |index| usize::from(index & 0x3f).saturating_mul(16));
    std::iter::once(CHANNEL).chain(records.into_iter().skip(from).take(16)).collect()
}

/// Handles a command for sessions. Returns `None` for any other command.
pub(super) fn serve<T>(identity: &Identity, slots: &mut [Slot<T>], call: &Call) -> Option<Served> {
    let command = &call.command;
    if command.netfn != netfn::APP {
        return None;
    }
    match command.command {
        number::SET_SESSION_PRIVILEGE => Some(set_privilege(slots, call)),
        number::CLOSE_SESSION => Some(close(identity, slots, call)),
        number::GET_SESSION_INFO => Some(session_info(identity, slots, call)),
        number::GET_CHANNEL_AUTHENTICATION | number::GET_CHANNEL_SUITES | number::GET_SYSTEM_GUID => {
            let (completion, data) = public(identity, command);
            Some((completion, data, None))
        }
        _ => None,
    }
}

const fn refusal(completion: Completion) -> Served {
    (completion, Vec::new(), None)
}

/// *Set Session Privilege Level* (§22.18): 0 returns the current one; the error for more than the session's limit is 0x81.
fn set_privilege<T>(slots: &mut [Slot<T>], call: &Call) -> Served {
    const EXCEEDS_LIMIT: Completion = Completion(0x81);
    let Some(asked) = call.command.data.first() else {
        return refusal(Completion::BAD_LENGTH);
    };
    let active = slots.iter_mut().find(|slot| slot.id == call.session).map(|slot| &mut slot.stage);
    let Some(Stage::Active(active)) = active else {
        return refusal(Completion::NO_PRIVILEGE);
    };
    if *asked & 0x0f != 0 {
        match Privilege::of(*asked & 0x0f) {
            Some(privilege) if privilege <= active.limit => active.privilege = privilege,
            Some(_) => return refusal(EXCEEDS_LIMIT),
            None => return refusal(Completion::BAD_FIELD),
        }
    }
    (Completion::OK, vec![active.privilege.number()], None)
}

/// *Close Session* (§22.19): the own session, or any session for an administrator. Closing by handle (id 0) is not supported,
/// as in `ipmi_sim`.
fn close<T>(identity: &Identity, slots: &[Slot<T>], call: &Call) -> Served {
    let Some(id) = call.command.data.first_chunk().copied().map(u32::from_le_bytes) else {
        return refusal(Completion::BAD_LENGTH);
    };
    let may_close_any = identity.closing == Closing::Any && call.privilege >= Privilege::Administrator;
    if id != call.session && !may_close_any {
        return refusal(Completion::NO_PRIVILEGE);
    }
    match slots.iter().find(|slot| slot.id == id) {
        Some(_) => (Completion::OK, Vec::new(), Some(id)),
        None => refusal(Completion::NO_SUCH_SESSION),
    }
}

/// *Get Session Info* (§22.20, Table 22-25): of the own session (0), by index, by handle (0xfe) or id (0xff).
fn session_info<T>(identity: &Identity, slots: &[Slot<T>], call: &Call) -> Served {
    let active: Vec<(&Slot<T>, Privilege)> = slots
        .iter()
        .filter_map(|slot| match &slot.stage {
            Stage::Active(active) => Some((slot, active.privilege)),
            Stage::Opened | Stage::Proving { .. } => None,
        })
        .collect();
    let position = match *call.command.data {
        [0] | [] => active.iter().position(|(slot, _)| slot.id == call.session),
        [0xff, a, b, c, d] => active.iter().position(|(slot, _)| slot.id == u32::from_le_bytes([a, b, c, d])),
        [0xfe, handle] => usize::from(handle).checked_sub(1),
        [index, ..] => usize::from(index).checked_sub(1),
    };
    let short = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    let counts = [short(identity.slots), short(active.len())];
    let found = position.and_then(|position| Some((short(position).saturating_add(1), active.get(position)?)));
    let data = match found {
        // Handle, counts, user 1, privilege, IPMI 2.0 on the channel. The console's address is not known here.
        Some((handle, (_, privilege))) => {
            let head = [handle, counts[0], counts[1], 1, privilege.number(), 0x10 | CHANNEL];
            [&head[..], &[0; 12]].concat()
        }
        None => [&[0][..], &counts].concat(),
    };
    (Completion::OK, data, None)
}
