//! A private CA: the one place that decides what a certificate of ours contains.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::{Identity, dns_name};

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
    /// The CA's own files cannot be used.
    #[error("the CA's certificate or private key is invalid; both must be PEM, the key PKCS #8")]
    Invalid(#[source] rcgen::Error),
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

/// A private CA with its key.
pub struct CertificateAuthority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Creates a CA. A client that trusts two CAs of the same name tries the wrong one, so the name should be unique.
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
        let certificate = params.self_signed(&key).map_err(AuthorityError::Create)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Reads a CA from its certificate and its private key (PEM).
    ///
    /// # Errors
    /// [`AuthorityError::Invalid`]
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(AuthorityError::Invalid)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(AuthorityError::Invalid)?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
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

    /// Issues a certificate.
    ///
    /// # Errors
    /// [`AuthorityError::Name`] if the bearer's name is not possible in a certificate, or [`AuthorityError::Create`].
    pub fn issue(&self, bearer: Bearer<'_>) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Create)?;
        let certificate = params(bearer)?.signed_by(&key, &self.issuer).map_err(AuthorityError::Create)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
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
