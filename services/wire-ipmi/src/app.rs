//! Commands for the BMC itself and its sessions (IPMI 2.0 §20 and §22).

use crate::Malformed;
use crate::message::{Command, Completion, netfn};
use crate::rakp::Privilege;
use crate::read::Reader;

/// Command numbers of the App family (IPMI 2.0 Appendix G).
pub(crate) mod number {
    pub(crate) const GET_DEVICE_ID: u8 = 0x01;
    pub(crate) const COLD_RESET: u8 = 0x02;
    pub(crate) const WARM_RESET: u8 = 0x03;
    pub(crate) const GET_SYSTEM_GUID: u8 = 0x37;
    pub(crate) const GET_CHANNEL_AUTHENTICATION: u8 = 0x38;
    pub(crate) const SET_SESSION_PRIVILEGE: u8 = 0x3b;
    pub(crate) const CLOSE_SESSION: u8 = 0x3c;
    pub(crate) const GET_SESSION_INFO: u8 = 0x3d;
    pub(crate) const GET_CHANNEL_SUITES: u8 = 0x54;
}

/// *Get Device ID* (§20.1). Read-only.
#[must_use]
pub fn get_device_id() -> Command {
    Command::new(netfn::APP, number::GET_DEVICE_ID, [])
}

/// Restart of the BMC. **Not** absolute: send it with [`Retry::once`](crate::Retry::once). The BMC may restart before it
/// answers, and sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// *Cold Reset* (§20.2): with its initial settings.
    Cold,
    /// *Warm Reset* (§20.3): with its present settings.
    Warm,
}

impl Reset {
    /// Returns the command.
    #[must_use]
    pub fn command(self) -> Command {
        let number = match self {
            Self::Cold => number::COLD_RESET,
            Self::Warm => number::WARM_RESET,
        };
        Command::new(netfn::APP, number, [])
    }
}

/// *Get System GUID* (§22.14). Read-only.
#[must_use]
pub fn get_system_guid() -> Command {
    Command::new(netfn::APP, number::GET_SYSTEM_GUID, [])
}

/// *Get Session Info* of the own session (§22.20). Read-only.
#[must_use]
pub fn get_session_info() -> Command {
    Command::new(netfn::APP, number::GET_SESSION_INFO, [0])
}

/// *Close Session* of any session by the BMC's id of it (§22.19). An administrator may close sessions of other users.
///
/// Check the response with [`closes`].
#[must_use]
pub fn close_session(bmc_session: u32) -> Command {
    Command::new(netfn::APP, number::CLOSE_SESSION, bmc_session.to_le_bytes())
}

/// Returns whether a response to [`close_session`] confirms that the session does not exist any more.
#[must_use]
pub fn closes(completion: Completion) -> bool {
    completion == Completion::OK || completion == Completion::NO_SUCH_SESSION
}

/// *Set Session Privilege Level* (§22.18).
pub(crate) fn set_session_privilege(privilege: Privilege) -> Command {
    Command::new(netfn::APP, number::SET_SESSION_PRIVILEGE, [privilege.number()])
}

/// Identification of a BMC (§20.1, Table 20-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceId {
    /// Device ID.
    pub device: u8,
    /// Firmware revision, major (7 bits) and minor (two decimal digits).
    pub firmware: [u8; 2],
    /// IPMI version, major and minor, such as 2 and 0.
    pub ipmi: [u8; 2],
    /// IANA enterprise number of the manufacturer, 20 bits.
    pub manufacturer: u32,
    /// Product number of the manufacturer.
    pub product: u16,
}

impl DeviceId {
    /// Decodes a response to [`get_device_id`]. Additional octets are ignored.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the response is too short.
    pub fn decode(data: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(data);
        let [device, _revision, major, minor, version, _support] = fields.array()?;
        let [low, middle, high] = fields.array()?;
        Ok(Self {
            device,
            firmware: [major & 0x7f, (minor >> 4) * 10 + (minor & 0x0f).min(9)],
            ipmi: [version & 0x0f, version >> 4],
            manufacturer: u32::from_le_bytes([low, middle, high & 0x0f, 0]),
            product: fields.short()?,
        })
    }
}

/// Decodes a response to [`get_system_guid`].
///
/// # Errors
/// [`Malformed::Truncated`] if there are fewer than 16 octets.
pub fn system_guid(data: &[u8]) -> Result<[u8; 16], Malformed> {
    Reader::new(data).array()
}

/// Session slots of a BMC (§22.20, Table 22-25).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// Handle of the requesting session, which is not its id.
    pub handle: u8,
    /// Number of slots.
    pub possible: u8,
    /// Number of open sessions.
    pub active: u8,
}

impl Sessions {
    /// Decodes a response to [`get_session_info`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if there are fewer than three octets.
    pub fn decode(data: &[u8]) -> Result<Self, Malformed> {
        let [handle, possible, active] = Reader::new(data).array()?;
        Ok(Self { handle, possible: possible & 0x3f, active: active & 0x3f })
    }
}
