//! A private CA: the one place that decides what a certificate of ours contains.

use std::{collections::BTreeSet, net::IpAddr};

use domain::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    prelude::{FromDer as _, X509Certificate},
    revocation_list::CertificateRevocationList,
    time::ASN1Time,
};

use super::{
    Identity, Realm, RevocationReason, Serial, Validity, authority_dns_name, dns_name, host_dns_name,
    public_key::PublicKey, validity,
};
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
    /// A certification request cannot be used.
    #[error("invalid certification request: {0}")]
    Request(#[from] super::CsrError),
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
    realm: Realm,
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
        Ok(Self { certificate, realm: Realm::default(), issuer: Issuer::new(params, key), validity })
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
        Ok(Self { certificate: certificate.to_owned(), realm: Realm::default(), issuer, validity })
    }

    /// Returns the CA of a realm: it issues identities of that realm only.
    #[must_use]
    pub fn in_realm(self, realm: Realm) -> Self {
        Self { realm, ..self }
    }

    /// Returns the realm of the identities that it issues.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.realm
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
        Ok(Issued { certificate: self.certify(&key, bearer, validity)?, key: key.serialize_pem() })
    }

    /// Signs a certificate (PEM) for a key that its bearer keeps. Of the certification request (RFC 2986, DER) only the
    /// public key is used, and the signature by which the sender proves that it has the private key. Names and usages
    /// follow from the bearer, the dates are as with [`Self::issue_for`].
    ///
    /// # Errors
    /// [`AuthorityError::Request`] if the request or its key cannot be used; those of [`Self::issue_for`].
    pub fn sign(&self, csr: &[u8], bearer: Bearer<'_>, validity: Validity) -> Result<String, AuthorityError> {
        self.certify(PublicKey::of_csr(csr)?.key(), bearer, validity)
    }

    fn certify(
        &self,
        key: &impl PublicKeyData,
        bearer: Bearer<'_>,
        validity: Validity,
    ) -> Result<String, AuthorityError> {
        let mut params = params(&self.realm, bearer)?;
        // The verifier finds the right CA by it if the CA was replaced by one of the same name (RFC 5280 §4.2.1.1).
        params.use_authority_key_identifier_extension = true;
        date(&mut params, Validity { not_after: validity.not_after.min(self.validity.not_after), ..validity })?;
        Ok(params.signed_by(key, &self.issuer).map_err(AuthorityError::Create)?.pem())
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

fn params(realm: &Realm, bearer: Bearer<'_>) -> Result<CertificateParams, AuthorityError> {
    let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
    let mut params = CertificateParams::default();
    // Without a common name, which would be the name of a user for etcd.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Ironmesh");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.subject_alt_names, params.extended_key_usages) = match bearer {
        Bearer::Mesh(identity @ Identity::Service { service, rack }) => {
            (vec![uri(identity, realm)?, host(&dns_name(*service, rack))?], vec![server, client])
        }
        Bearer::Mesh(identity @ Identity::Host { name }) => {
            (vec![uri(identity, realm)?, host(&host_dns_name(name))?], vec![server, client])
        }
        Bearer::Mesh(identity @ Identity::Authority) => {
            (vec![uri(identity, realm)?, host(&authority_dns_name())?], vec![server, client])
        }
        Bearer::Mesh(identity @ Identity::Operator { .. }) => (vec![uri(identity, realm)?], vec![client]),
        Bearer::EtcdUser(user) => {
            params.distinguished_name.push(DnType::CommonName, user);
            (Vec::new(), vec![client])
        }
        Bearer::Host(names) => (names.iter().map(|name| host(name)).collect::<Result<_, _>>()?, vec![server, client]),
    };
    Ok(params)
}

fn uri(identity: &Identity, realm: &Realm) -> Result<SanType, AuthorityError> {
    let name = identity.uri(realm);
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
mod tests;
