//! Converts the settings of a BMC's record to those of a session. Pure.

use std::time::Duration;

use keyspace::value::{CipherSuite, IpmiPrivilege};
use wire_ipmi::{Config, InvalidLogin, MAX_SECRET, Privilege, Secret, Suite, Suites};

use super::Login;

/// Why the settings of a BMC cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidSettings {
    /// User or password cannot be used.
    #[error(transparent)]
    Login(#[from] InvalidLogin),
    /// The key is too long.
    #[error("driver_info/ipmi_hex_kg_key has more than {MAX_SECRET} octets")]
    LongKey,
}

/// Returns the configuration of a session. `console` is its id, `timeout` that of an answer.
///
/// # Errors
/// [`InvalidSettings`] if user name, password or key is too long.
pub(super) fn config(console: u32, login: &Login, timeout: Duration) -> Result<Config, InvalidSettings> {
    let mut config = Config::new(console, login.user.as_bytes(), login.password.expose())?;
    config.response_timeout = timeout;
    config.privilege = match login.ipmi.privilege {
        IpmiPrivilege::Callback => Privilege::Callback,
        IpmiPrivilege::User => Privilege::User,
        IpmiPrivilege::Operator => Privilege::Operator,
        IpmiPrivilege::Administrator => Privilege::Administrator,
    };
    config.suites = match login.ipmi.cipher_suite {
        None => Suites::Best,
        Some(CipherSuite::Three) => Suites::Only(Suite::Three),
        Some(CipherSuite::Seventeen) => Suites::Only(Suite::Seventeen),
    };
    let key = login.key.as_ref().map(|key| Secret::new(key.expose()).ok_or(InvalidSettings::LongKey));
    config.bmc_key = key.transpose()?;
    Ok(config)
}

/// Why a BMC that refuses the cipher suites cannot be used.
pub(super) fn no_suite(pinned: Option<CipherSuite>) -> String {
    match pinned {
        None => "it refuses the cipher suites 17 and 3; enable one of them at the BMC".to_owned(),
        Some(CipherSuite::Three) => {
            "it refuses cipher suite 3; set driver_info/ipmi_cipher_suite to 17, or enable suite 3 at the BMC"
                .to_owned()
        }
        Some(CipherSuite::Seventeen) => {
            "it refuses cipher suite 17; set driver_info/ipmi_cipher_suite to 3, or remove it".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use keyspace::value::Ipmi;

    use super::*;

    fn login(ipmi: Ipmi, key: Option<&[u8]>) -> Login {
        Login {
            address: "10.0.0.1:623".parse().unwrap(),
            user: "admin".to_owned(),
            password: domain::secret::Secret::new(b"pass".to_vec()),
            key: key.map(|key| domain::secret::Secret::new(key.to_vec())),
            ipmi,
        }
    }

    #[test]
    fn each_setting_of_the_record_is_one_of_the_session() {
        let of = |ipmi: Ipmi, key| config(1, &login(ipmi, key), Duration::from_secs(2));
        let default = of(Ipmi::default(), None).unwrap();
        assert_eq!((default.privilege, default.suites), (Privilege::Administrator, Suites::Best));
        assert!(default.bmc_key.is_none() && default.response_timeout == Duration::from_secs(2));
        for (privilege, wanted) in [
            (IpmiPrivilege::Callback, Privilege::Callback),
            (IpmiPrivilege::User, Privilege::User),
            (IpmiPrivilege::Operator, Privilege::Operator),
        ] {
            assert_eq!(of(Ipmi { privilege, ..Ipmi::default() }, None).unwrap().privilege, wanted);
        }
        for (suite, wanted) in [(CipherSuite::Three, Suite::Three), (CipherSuite::Seventeen, Suite::Seventeen)] {
            let pinned = Ipmi { cipher_suite: Some(suite), ..Ipmi::default() };
            assert_eq!(of(pinned, None).unwrap().suites, Suites::Only(wanted));
        }
        assert!(of(Ipmi::default(), Some(&[1; 20])).unwrap().bmc_key.is_some());
        assert_eq!(of(Ipmi::default(), Some(&[1; 21])).unwrap_err(), InvalidSettings::LongKey);
    }
}
