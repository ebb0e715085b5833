//! What a certificate says of itself.

use domain::time::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use super::{Identity, Realm, Serial, Validity};

/// What a certificate says of itself. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its serial number.
    pub serial: Serial,
    /// From when until when it is valid.
    pub validity: Validity,
    /// The identity in its only URI.
    pub identity: Option<Identity>,
    /// The realm of the identity; the default without one.
    pub realm: Realm,
    /// Its common name, which etcd takes for the name of a user.
    pub common_name: Option<String>,
    /// Its DNS names and IP addresses.
    pub hosts: Vec<String>,
}

impl CertificateFacts {
    /// Reads the first certificate of a PEM file.
    #[must_use]
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        Self::of_der(&CertificateDer::from_pem_slice(pem).ok()?)
    }

    /// Reads a certificate (DER).
    #[must_use]
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let time = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000));
        let validity = certificate.validity();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let (realm, identity) = Identity::in_certificate(der).unzip();
        Some(Self {
            serial: Serial::new(certificate.raw_serial()),
            validity: Validity {
                not_before: time(validity.not_before.timestamp()),
                not_after: time(validity.not_after.timestamp()),
            },
            identity,
            realm: realm.unwrap_or_default(),
            common_name: common_name.map(str::to_owned),
            hosts: names.iter().filter_map(host).collect(),
        })
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    match <[u8; 4]>::try_from(*bytes) {
        Ok(bytes) => Some(std::net::Ipv4Addr::from(bytes).to_string()),
        Err(_) => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
    }
}

/// Returns the serial number of a certificate (DER).
pub(super) fn serial_of(der: &[u8]) -> Option<Serial> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Serial::new(certificate.raw_serial()))
}
