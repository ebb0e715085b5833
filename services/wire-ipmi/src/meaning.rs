//! What a BMC's codes say about asking again (IPMI 2.0 Tables 5-2 and 13-15). Pure.

use crate::app::number as app;
use crate::chassis::number as chassis;
use crate::message::{Command, Completion, netfn};
use crate::rakp::Status;

/// What the code of an answer says about the request, and about sending it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It was carried out.
    Done,
    /// It was not carried out now. The same request may succeed later.
    NotNow,
    /// It was carried out, or was not. The same request may succeed later.
    Unclear,
    /// The user may not do it. Some BMCs answer this for a moment after a login, too.
    NoPrivilege,
    /// The user or the password is wrong.
    WrongCredentials,
    /// The code has no meaning in the specification: a manufacturer's code, or a reserved one.
    Undefined,
    /// The same request is never carried out.
    Never,
}

impl Command {
    /// Returns the meaning of a completion code in the answer to this command.
    ///
    /// The codes 0x80 to 0xBE depend on the command: *Set System Boot Options* (§28.12), *Get System Boot Options*
    /// (§28.13), *Set Session Privilege Level* (§22.18). The others are those of Table 5-2.
    #[must_use]
    pub const fn meaning(&self, completion: Completion) -> Meaning {
        meaning(self.netfn, self.command, completion.0)
    }
}

const fn meaning(family: u8, number: u8, code: u8) -> Meaning {
    match (family, number, code) {
        // Parameter 0 is not in the state "set complete": another console has not ended its change, or is gone without
        // having ended it. Then only a change that is ended clears it.
        (netfn::CHASSIS, chassis::SET_BOOT_OPTIONS, 0x81) => Meaning::NotNow,
        // The parameter is not supported, or is read-only.
        (netfn::CHASSIS, chassis::SET_BOOT_OPTIONS, 0x80 | 0x82) => Meaning::Never,
        (netfn::CHASSIS, chassis::GET_BOOT_OPTIONS, 0x80) => Meaning::Never,
        // The level is not available to the user, exceeds the limit of user or channel, or cannot be disabled.
        (netfn::APP, app::SET_SESSION_PRIVILEGE, 0x80..=0x82) => Meaning::NoPrivilege,
        (_, _, code) => generic(code),
    }
}

/// Table 5-2.
const fn generic(code: u8) -> Meaning {
    match code {
        0x00 => Meaning::Done,
        // Node busy; out of space; reservation canceled, which none of our requests has; request truncated on its way;
        // in update mode; in update mode; initializing; destination unavailable; not in this state.
        0xc0 | 0xc4 | 0xc5 | 0xc6 | 0xd0 | 0xd1 | 0xd2 | 0xd3 | 0xd5 => Meaning::NotNow,
        // Timeout; response not available; a repeated request; unspecified.
        0xc3 | 0xce | 0xcf | 0xff => Meaning::Unclear,
        0xd4 => Meaning::NoPrivilege,
        // Unknown command, unknown for the LUN; invalid length; too long; out of range; cannot return as many octets; not
        // present; invalid value; illegal for the sensor; disabled.
        0xc1 | 0xc2 | 0xc7..=0xcd | 0xd6 => Meaning::Never,
        // Of the manufacturer, of the command, reserved.
        _ => Meaning::Undefined,
    }
}

impl Status {
    /// Returns the meaning of a status of the handshake (Table 13-15).
    #[must_use]
    pub const fn meaning(self) -> Meaning {
        match self.0 {
            0x00 => Meaning::Done,
            // No free session; none at the role.
            0x01 | 0x0b => Meaning::NotNow,
            // The BMC does not know the session, or has ended it: it has restarted, or a datagram was late.
            0x02 | 0x08 => Meaning::Unclear,
            // Invalid or unauthorized role.
            0x09 | 0x0a => Meaning::NoPrivilege,
            // Length of the name; name; integrity check value, which is computed from the password.
            0x0c | 0x0d | 0x0f => Meaning::WrongCredentials,
            // Payload type; algorithms; GUID; suite; parameter.
            0x03..=0x07 | 0x0e | 0x10..=0x12 => Meaning::Never,
            _ => Meaning::Undefined,
        }
    }
}

/// Meaning of the answer to *Set Session Privilege Level*.
pub(crate) const fn raise_meaning(completion: Completion) -> Meaning {
    meaning(netfn::APP, app::SET_SESSION_PRIVILEGE, completion.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chassis::boot::{Choice, Device, Firmware, Persistence};
    use crate::rakp::Privilege;

    #[test]
    fn every_generic_completion_code_has_a_meaning_of_table_5_2() {
        use Meaning::{Done, Never, NoPrivilege, NotNow, Unclear, Undefined};
        let table = [
            (0x00, Done, "completed normally"),
            (0xc0, NotNow, "node busy"),
            (0xc1, Never, "invalid command"),
            (0xc2, Never, "invalid for the LUN"),
            (0xc3, Unclear, "timeout while processing"),
            (0xc4, NotNow, "out of space"),
            (0xc5, NotNow, "reservation canceled"),
            (0xc6, NotNow, "request data truncated"),
            (0xc7, Never, "request data length invalid"),
            (0xc8, Never, "length limit exceeded"),
            (0xc9, Never, "parameter out of range"),
            (0xca, Never, "cannot return as many octets"),
            (0xcb, Never, "not present"),
            (0xcc, Never, "invalid data field"),
            (0xcd, Never, "illegal for the sensor or record type"),
            (0xce, Unclear, "response could not be provided"),
            (0xcf, Unclear, "duplicated request"),
            (0xd0, NotNow, "SDR repository in update mode"),
            (0xd1, NotNow, "device in firmware update mode"),
            (0xd2, NotNow, "initialization in progress"),
            (0xd3, NotNow, "destination unavailable"),
            (0xd4, NoPrivilege, "insufficient privilege"),
            (0xd5, NotNow, "not supported in present state"),
            (0xd6, Never, "sub-function disabled"),
            (0xff, Unclear, "unspecified error"),
            (0x01, Undefined, "device specific"),
            (0x7e, Undefined, "device specific"),
            (0x80, Undefined, "command specific, none for this command"),
            (0xd7, Undefined, "reserved"),
            (0xfe, Undefined, "reserved"),
        ];
        for (code, wanted, what) in table {
            assert_eq!(crate::chassis::get_status().meaning(Completion(code)), wanted, "{code:#04x}: {what}");
        }
    }

    #[test]
    fn codes_of_a_command_mean_what_its_section_says() {
        let boot = Choice { device: Device::Disk, persistence: Persistence::Once, firmware: Firmware::Uefi }.command();
        let raise = crate::app::set_session_privilege(Privilege::Administrator);
        for (command, code, wanted) in [
            (&boot, 0x80, Meaning::Never),
            (&boot, 0x81, Meaning::NotNow),
            (&boot, 0x82, Meaning::Never),
            (&crate::chassis::boot::get(), 0x80, Meaning::Never),
            (&raise, 0x80, Meaning::NoPrivilege),
            (&raise, 0x81, Meaning::NoPrivilege),
            (&raise, 0x82, Meaning::NoPrivilege),
            (&raise, 0x83, Meaning::Undefined),
            (&crate::chassis::get_status(), 0x81, Meaning::Undefined),
        ] {
            assert_eq!(command.meaning(Completion(code)), wanted, "{code:#04x} to {command:?}");
        }
    }

    #[test]
    fn every_status_of_the_handshake_has_a_meaning_of_table_13_15() {
        use Meaning::{Done, Never, NoPrivilege, NotNow, Unclear, Undefined, WrongCredentials};
        let table = [
            (0x00, Done, "no errors"),
            (0x01, NotNow, "insufficient resources to create a session"),
            (0x02, Unclear, "invalid session ID"),
            (0x03, Never, "invalid payload type"),
            (0x04, Never, "invalid authentication algorithm"),
            (0x05, Never, "invalid integrity algorithm"),
            (0x06, Never, "no matching authentication payload"),
            (0x07, Never, "no matching integrity payload"),
            (0x08, Unclear, "inactive session ID"),
            (0x09, NoPrivilege, "invalid role"),
            (0x0a, NoPrivilege, "unauthorized role or privilege level"),
            (0x0b, NotNow, "insufficient resources at the requested role"),
            (0x0c, WrongCredentials, "invalid name length"),
            (0x0d, WrongCredentials, "unauthorized name"),
            (0x0e, Never, "unauthorized GUID"),
            (0x0f, WrongCredentials, "invalid integrity check value"),
            (0x10, Never, "invalid confidentiality algorithm"),
            (0x11, Never, "no cipher suite match"),
            (0x12, Never, "illegal or unrecognized parameter"),
            (0x13, Undefined, "reserved"),
            (0xc0, Undefined, "OEM"),
        ];
        for (code, wanted, what) in table {
            assert_eq!(Status(code).meaning(), wanted, "{code:#04x}: {what}");
        }
    }
}
