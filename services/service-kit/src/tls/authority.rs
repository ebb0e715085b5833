//! A private CA: the one place that decides what a certificate of ours contains.

use std::{collections::BTreeSet, net::IpAddr};

use domain::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    prelude::{FromDer as _, X509Certificate},
    revocation_list::CertificateRevocationList,
    time::ASN1Time,
};

use super::{Identity, RevocationReason, Serial, Validity, dns_name, validity};
use crate::clock;

/// A CA cannot be used, or cannot issue a certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The name of the bearer is not possible in a certificate.
    #[error("{name:?} cannot be used as a name in a certificate")]
    Name {
        /// The name.
        name: String,
        /// The cause.
        source: rcgen::Error,
    },
    /// A key or certificate cannot be created.
    #[error("cannot create a key or a certificate")]
    Create(#[source] rcgen::Error),
    /// No random numbers, or no time in the range of certificates.
    #[error("cannot create the serial number or the dates of a certificate; check the clock of this host")]
    Serial,
    /// The CA's certificate cannot be used.
    #[error("the CA's certificate is invalid: {0}; restore it from a backup")]
    Certificate(String),
    /// The CA's private key cannot be used.
    #[error("the CA's private key is invalid: {0}; restore it from a backup")]
    Key(String),
    /// The CA's private key belongs to another certificate.
    #[error("the CA's certificate is for another private key; restore the one that belongs to it")]
    OtherKey,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum Bearer<'a> {
    /// A service or an operator of the mesh. A service is a server and a client, an operator is a client only: with an
    /// operator's certificate no process can pose as a server.
    Mesh(&'a Identity),
    /// A server at these addresses and DNS names, and a client of its peers, such as a member of etcd.
    Host(&'a [&'a str]),
    /// A client of etcd, as this user: etcd takes the common name of a certificate for the name of a user.
    EtcdUser(&'a str),
}

/// A certificate and its private key, in PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A certificate that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: Serial,
    /// When it was revoked.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// A private CA with its key.
pub struct CertificateAuthority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Creates a CA that is valid for ten years. A client that trusts two CAs of the same name tries the wrong one, so the
    /// name should be unique.
    ///
    /// # Errors
    /// [`AuthorityError::Create`]
    pub fn create(name: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Create)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let validity = Validity::starting(clock::now(), validity::CA_LIFETIME_DAYS);
        date(&mut params, validity)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Create)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key), validity })
    }

    /// Reads a CA from its certificate and its private key (PEM).
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`], [`AuthorityError::Key`] or [`AuthorityError::OtherKey`], by what is wrong.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        if let Some(why) = damage(certificate.as_bytes()) {
            return Err(AuthorityError::Certificate(why.to_owned()));
        }
        if let Some(why) = damage(key.as_bytes()) {
            return Err(AuthorityError::Key(why.to_owned()));
        }
        let wrong = |why: &dyn std::fmt::Display| AuthorityError::Certificate(why.to_string());
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|why| wrong(&why))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|why| wrong(&why))?;
        let key = KeyPair::from_pem(key).map_err(|why| AuthorityError::Key(why.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::OtherKey);
        }
        let time = |time: ASN1Time| Timestamp::from_millis(time.timestamp().saturating_mul(1000));
        let validity =
            Validity { not_before: time(parsed.validity().not_before), not_after: time(parsed.validity().not_after) };
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(|why| wrong(&why))?;
        Ok(Self { certificate: certificate.to_owned(), issuer, validity })
    }

    /// Returns from when until when the CA is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Returns the CA's certificate (PEM).
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the CA's private key (PEM).
    #[must_use]
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate that is valid for [`super::LIFETIME_DAYS`] days.
    ///
    /// # Errors
    /// As [`Self::issue_for`].
    pub fn issue(&self, bearer: Bearer<'_>) -> Result<Issued, AuthorityError> {
        self.issue_for(bearer, Validity::starting(clock::now(), validity::LIFETIME_DAYS))
    }

    /// Issues a certificate. It is valid as long as asked, but not longer than the CA.
    ///
    /// # Errors
    /// [`AuthorityError::Name`] if the bearer's name is not possible in a certificate, [`AuthorityError::Serial`], or
    /// [`AuthorityError::Create`].
    pub fn issue_for(&self, bearer: Bearer<'_>, validity: Validity) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Create)?;
        let mut params = params(bearer)?;
        // The verifier finds the right CA by it if the CA was replaced by one of the same name (RFC 5280 §4.2.1.1).
        params.use_authority_key_identifier_extension = true;
        date(&mut params, Validity { not_after: validity.not_after.min(self.validity.not_after), ..validity })?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Create)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Signs a list of all certificates that are revoked (PEM), for servers that are not ours, such as etcd. It stays valid
    /// as long as the CA: etcd reads the file in every handshake, and it is replaced when it changes.
    ///
    /// # Errors
    /// [`AuthorityError::Serial`] or [`AuthorityError::Create`].
    pub fn revocation_list(&self, revoked: &[Revoked], now: Timestamp) -> Result<String, AuthorityError> {
        let entry = |revoked: &Revoked| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(revoked.serial.bytes()),
                revocation_time: time(revoked.at)?.to_datetime(),
                reason_code: code(revoked.reason),
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: time(now)?.to_datetime(),
            next_update: time(self.validity.not_after)?.to_datetime(),
            // It must grow (RFC 5280 §5.2.3).
            crl_number: SerialNumber::from(u64::try_from(now.millis()).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, AuthorityError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(AuthorityError::Create)
    }
}

/// Returns the serial numbers in a list of revoked certificates (PEM), whose signature is not verified. `None` if it is no
/// such list.
#[must_use]
pub fn listed_serials(list: &[u8]) -> Option<BTreeSet<Serial>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(list).ok()?;
    let (_, list) = CertificateRevocationList::from_der(&pem.contents).ok()?;
    Some(list.iter_revoked_certificates().map(|entry| Serial::new(entry.raw_serial())).collect())
}

/// Says how a PEM file is damaged, if it is empty or cut off.
pub(super) fn damage(pem: &[u8]) -> Option<&'static str> {
    let has = |word: &[u8]| pem.windows(word.len()).filter(|window| *window == word).count();
    if pem.trim_ascii().is_empty() {
        Some("it is empty")
    } else if has(b"-----BEGIN ") > has(b"-----END ") {
        Some("it is cut off: an END line is missing")
    } else {
        None
    }
}

const fn code(reason: RevocationReason) -> Option<rcgen::RevocationReason> {
    match reason {
        // It should be left out (RFC 5280 §5.3.1).
        RevocationReason::Unspecified => None,
        RevocationReason::KeyCompromise => Some(rcgen::RevocationReason::KeyCompromise),
        RevocationReason::AffiliationChanged => Some(rcgen::RevocationReason::AffiliationChanged),
        RevocationReason::Superseded => Some(rcgen::RevocationReason::Superseded),
        RevocationReason::CessationOfOperation => Some(rcgen::RevocationReason::CessationOfOperation),
        RevocationReason::PrivilegeWithdrawn => Some(rcgen::RevocationReason::PrivilegeWithdrawn),
    }
}

fn time(at: Timestamp) -> Result<ASN1Time, AuthorityError> {
    ASN1Time::from_timestamp(at.millis().div_euclid(1000)).map_err(|_| AuthorityError::Serial)
}

/// Gives a certificate its dates and a serial number.
fn date(params: &mut CertificateParams, validity: Validity) -> Result<(), AuthorityError> {
    params.not_before = time(validity.not_before)?.to_datetime();
    params.not_after = time(validity.not_after)?.to_datetime();
    let serial = Serial::random().ok_or(AuthorityError::Serial)?;
    params.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
    Ok(())
}

fn params(bearer: Bearer<'_>) -> Result<CertificateParams, AuthorityError> {
    let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
    let mut params = CertificateParams::default();
    // Without a common name, which would be the name of a user for etcd.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Ironmesh");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.subject_alt_names, params.extended_key_usages) = match bearer {
        Bearer::Mesh(identity @ Identity::Service { service, rack }) => {
            (vec![uri(identity)?, host(&dns_name(*service, rack))?], vec![server, client])
        }
        Bearer::Mesh(identity @ Identity::Operator { .. }) => (vec![uri(identity)?], vec![client]),
        Bearer::EtcdUser(user) => {
            params.distinguished_name.push(DnType::CommonName, user);
            (Vec::new(), vec![client])
        }
        Bearer::Host(names) => (names.iter().map(|name| host(name)).collect::<Result<_, _>>()?, vec![server, client]),
    };
    Ok(params)
}

fn uri(identity: &Identity) -> Result<SanType, AuthorityError> {
    let name = identity.uri();
    let uri = name.as_str().try_into().map_err(|source| AuthorityError::Name { name: name.clone(), source })?;
    Ok(SanType::URI(uri))
}

fn host(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let dns = name.try_into().map_err(|source| AuthorityError::Name { name: name.to_owned(), source })?;
    Ok(SanType::DnsName(dns))
}

#[cfg(test)]
mod tests {
    use domain::service::Service;
    use x509_parser::{pem::parse_x509_pem, prelude::GeneralName};

    use super::*;
    use crate::tls::Role;

    fn text(name: &GeneralName<'_>) -> String {
        if let GeneralName::URI(name) | GeneralName::DNSName(name) = name {
            return (*name).to_owned();
        }
        let GeneralName::IPAddress(bytes) = name else { panic!("{name:?}") };
        bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(".")
    }

    #[test]
    fn a_certificate_has_the_usages_and_names_of_its_bearer_and_no_common_name() {
        let ca = CertificateAuthority::create("CA of a test").unwrap();
        let service = |service, rack: &str| Identity::Service { service, rack: rack.to_owned() };
        let operator = |role| Identity::Operator { name: "ann".to_owned(), role };
        let (pxe, scheduler) = (service(Service::Pxe, "r1"), service(Service::Scheduler, ""));
        let (reader, admin) = (operator(Role::Reader), operator(Role::Admin));
        for (bearer, is_server, names) in [
            (
                Bearer::Mesh(&pxe),
                true,
                vec!["spiffe://ironmesh/dc/default/rack/r1/service/pxe-service", "pxe-service.r1.ironmesh.internal"],
            ),
            (
                Bearer::Mesh(&scheduler),
                true,
                vec![
                    "spiffe://ironmesh/dc/default/rack/default/service/scheduler-service",
                    "scheduler-service.default.ironmesh.internal",
                ],
            ),
            (Bearer::Mesh(&reader), false, vec!["spiffe://ironmesh/dc/default/operator/ann/reader"]),
            (Bearer::Mesh(&admin), false, vec!["spiffe://ironmesh/dc/default/operator/ann/admin"]),
            (Bearer::Host(&["localhost"]), true, vec!["localhost"]),
            (Bearer::Host(&["10.0.0.1", "etcd-1.example"]), true, vec!["10.0.0.1", "etcd-1.example"]),
        ] {
            let issued = ca.issue(bearer).unwrap();
            let (_, pem) = parse_x509_pem(issued.certificate.as_bytes()).unwrap();
            let certificate = pem.parse_x509().unwrap();
            let usage = certificate.extended_key_usage().unwrap().unwrap().value;
            assert_eq!((usage.server_auth, usage.client_auth), (is_server, true), "{bearer:?}");
            assert_eq!(certificate.subject().iter_common_name().count(), 0, "{bearer:?}");
            let found = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
            let found: Vec<_> = found.map(text).collect();
            assert_eq!(found, names, "{bearer:?}");
        }
    }

    #[test]
    fn a_certificate_for_etcd_has_the_user_as_its_common_name_and_no_identity() {
        let ca = CertificateAuthority::create("CA of a test").unwrap();
        let issued = ca.issue(Bearer::EtcdUser("pxe-service.r1")).unwrap();
        let (_, pem) = parse_x509_pem(issued.certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let names: Vec<_> = certificate.subject().iter_common_name().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(names, ["pxe-service.r1"]);
        assert!(certificate.subject_alternative_name().unwrap().is_none());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert_eq!(Identity::of_certificate(&pem.contents), None);
    }

    #[test]
    fn certificates_are_valid_for_90_days_or_less_and_a_ca_for_ten_years() {
        use crate::tls::CertificateFacts;
        let ca = CertificateAuthority::create("CA of a test").unwrap();
        let now = clock::now();
        let days = |pem: &str| {
            let validity = CertificateFacts::of_pem(pem.as_bytes()).unwrap().validity;
            assert!(validity.not_before < now, "it is backdated");
            (validity.left(now).as_secs() + 60) / 86_400
        };
        assert_eq!(days(ca.certificate()), 3650);
        let ann = Identity::admin("ann");
        let power = Identity::Service { service: Service::Power, rack: String::new() };
        for bearer in [Bearer::Mesh(&ann), Bearer::Mesh(&power), Bearer::Host(&["h"]), Bearer::EtcdUser("root")] {
            assert_eq!(days(&ca.issue(bearer).unwrap().certificate), 90, "{bearer:?}");
            for (asked, given) in [(1, 1), (30, 30), (90, 90), (3649, 3649), (5000, 3650)] {
                let issued = ca.issue_for(bearer, Validity::starting(now, asked)).unwrap();
                assert_eq!(days(&issued.certificate), given, "{bearer:?}, not longer than the CA");
                let (_, pem) = parse_x509_pem(issued.certificate.as_bytes()).unwrap();
                let certificate = pem.parse_x509().unwrap();
                assert!((15..=17).contains(&certificate.raw_serial().len()), "128 bits");
            }
        }
    }

    #[test]
    fn a_revocation_list_has_all_serial_numbers_with_their_reasons() {
        let ca = CertificateAuthority::create("CA of a test").unwrap();
        let now = clock::now();
        for reasons in [&[][..], &[RevocationReason::Unspecified], &RevocationReason::ALL] {
            let revoked = |(number, reason): (usize, &RevocationReason)| Revoked {
                serial: Serial::new(&[0x80, u8::try_from(number).unwrap()]),
                at: now,
                reason: *reason,
            };
            let revoked: Vec<_> = reasons.iter().enumerate().map(revoked).collect();
            let list = ca.revocation_list(&revoked, now).unwrap();
            let pem_text = list.clone().into_bytes();
            let (_, pem) = parse_x509_pem(list.as_bytes()).unwrap();
            let (_, list) = CertificateRevocationList::from_der(&pem.contents).unwrap();
            let listed: Vec<_> =
                list.iter_revoked_certificates().map(|entry| Serial::new(entry.raw_serial())).collect();
            let expected: Vec<_> = revoked.iter().map(|revoked| revoked.serial.clone()).collect();
            assert_eq!(listed, expected);
            assert_eq!(listed_serials(&pem_text), Some(expected.into_iter().collect()));
            assert_eq!(listed_serials(&pem_text[..pem_text.len() / 2]), None, "cut");
            let with_reason = list.iter_revoked_certificates().filter(|entry| entry.reason_code().is_some()).count();
            assert_eq!(with_reason, reasons.len().saturating_sub(1));
        }
    }

    #[test]
    fn a_ca_is_the_same_after_it_was_read_from_its_files() {
        let ca = CertificateAuthority::create("CA of a test").unwrap();
        let again = CertificateAuthority::from_pem(ca.certificate(), &ca.key()).unwrap();
        assert_eq!((again.certificate(), again.key()), (ca.certificate(), ca.key()));
        assert!(CertificateAuthority::from_pem("no PEM", &ca.key()).is_err());
        assert!(CertificateAuthority::from_pem(ca.certificate(), "no PEM").is_err());
        assert!(matches!(ca.issue(Bearer::Host(&["ü"])), Err(AuthorityError::Name { name, .. }) if name == "ü"));
        assert!(!format!("{ca:?} {:?}", ca.issue(Bearer::Host(&["h"])).unwrap()).contains("PRIVATE"));
    }
}
