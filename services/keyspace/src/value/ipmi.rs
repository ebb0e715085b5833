//! How an IPMI BMC is accessed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Sealed;

/// Settings of an IPMI BMC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ipmi {
    /// The privilege that a session requests.
    #[serde(skip_serializing_if = "IpmiPrivilege::is_default")]
    pub privilege: IpmiPrivilege,
    /// The only cipher suite that is used. `None` for 17, or 3 with a BMC that does not have 17.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suite: Option<CipherSuite>,
    /// The key K_G (IPMI 2.0 §13.31), sealed. `None` if the BMC has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Sealed>,
    /// Whether a boot device is forgotten if no boot follows within 60 seconds (IPMI 2.0 Table 28-14, parameter 3).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keeps_boot_timeout: bool,
}

impl Ipmi {
    /// Whether all settings have their defaults.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A privilege level, in Ironic's words (IPMI 2.0 §6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IpmiPrivilege {
    /// May request a callback.
    Callback,
    /// May read.
    User,
    /// May also change power and boot device.
    Operator,
    /// May also close sessions of other users.
    #[default]
    Administrator,
}

impl IpmiPrivilege {
    /// Every level, the highest first.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::Operator, Self::User, Self::Callback];

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The level in Ironic's words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Callback => "CALLBACK",
            Self::User => "USER",
            Self::Operator => "OPERATOR",
            Self::Administrator => "ADMINISTRATOR",
        }
    }
}

impl fmt::Display for IpmiPrivilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Error for an unknown privilege level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown privilege level")]
pub struct UnknownPrivilege;

impl FromStr for IpmiPrivilege {
    type Err = UnknownPrivilege;

    fn from_str(word: &str) -> Result<Self, UnknownPrivilege> {
        Self::ALL.into_iter().find(|level| level.word() == word).ok_or(UnknownPrivilege)
    }
}

/// A cipher suite with authentication, integrity and confidentiality (IPMI 2.0 Table 22-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CipherSuite {
    /// SHA-1 and AES-128.
    #[serde(rename = "3")]
    Three,
    /// SHA-256 and AES-128.
    #[serde(rename = "17")]
    Seventeen,
}

impl CipherSuite {
    /// The suite with this number. `None` for a suite that is not supported.
    #[must_use]
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            3 => Some(Self::Three),
            17 => Some(Self::Seventeen),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_readable_and_have_defaults() {
        assert_eq!(serde_json::to_string(&Ipmi::default()).unwrap(), "{}");
        let all = Ipmi {
            privilege: IpmiPrivilege::Operator,
            cipher_suite: Some(CipherSuite::Seventeen),
            key: None,
            keeps_boot_timeout: true,
        };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"{"privilege":"OPERATOR","cipher_suite":"17","keeps_boot_timeout":true}"#);
        assert_eq!(serde_json::from_str::<Ipmi>(&text).unwrap(), all);
        for level in IpmiPrivilege::ALL {
            assert_eq!(level.word().parse(), Ok(level));
        }
        assert_eq!("administrator".parse::<IpmiPrivilege>(), Err(UnknownPrivilege));
    }
}
