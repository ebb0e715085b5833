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
        (
            Bearer::Mesh(&Identity::Host { name: "h1".to_owned() }),
            true,
            vec!["spiffe://ironmesh/dc/default/host/h1", "h1.host.ironmesh.internal"],
        ),
        (
            Bearer::Mesh(&Identity::Authority),
            true,
            vec!["spiffe://ironmesh/dc/default/authority", "authority.ironmesh.internal"],
        ),
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
    assert_eq!(Identity::in_certificate(&pem.contents), None);
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
        let listed: Vec<_> = list.iter_revoked_certificates().map(|entry| Serial::new(entry.raw_serial())).collect();
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
