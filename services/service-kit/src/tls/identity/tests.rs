use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::*;

fn service(service: Service, rack: &str) -> Identity {
    Identity::Service { service, rack: rack.to_owned() }
}

fn operator(name: &str, role: Role) -> Identity {
    Identity::Operator { name: name.to_owned(), role }
}

fn host(name: &str) -> Identity {
    Identity::Host { name: name.to_owned() }
}

#[test]
fn an_identity_reads_back_from_its_uri() {
    let services = Service::ALL.map(|kind| service(kind, ""));
    let operators = Role::ALL.map(|role| operator("ann.b-c_1", role));
    let others = [service(Service::Power, "r1"), host("h1"), Identity::Authority];
    let fra = Realm::new("example.org", "fra1").unwrap();
    let cases = services.into_iter().chain(operators).chain(others);
    for (identity, realm) in cases.flat_map(|identity| [(identity.clone(), Realm::default()), (identity, fra.clone())])
    {
        assert_eq!(Identity::from_uri(&identity.uri(&realm), &realm), Some(identity));
    }
}

#[test]
fn a_uri_is_an_identity_only_if_every_segment_is_right() {
    for (uri, identity) in [
        ("spiffe://ironmesh/dc/default/rack/r1/service/pxe-service", Some(service(Service::Pxe, "r1"))),
        ("spiffe://ironmesh/dc/default/rack/default/service/pxe-service", Some(service(Service::Pxe, ""))),
        ("spiffe://ironmesh/dc/default/operator/ann/admin", Some(operator("ann", Role::Admin))),
        ("spiffe://ironmesh/dc/default/host/h1", Some(host("h1"))),
        ("spiffe://ironmesh/dc/default/authority", Some(Identity::Authority)),
        // Hosts and the authority.
        ("spiffe://ironmesh/dc/default/host/", None),
        ("spiffe://ironmesh/dc/default/host", None),
        ("spiffe://ironmesh/dc/default/host/H1", None),
        ("spiffe://ironmesh/dc/default/host/h1.example", None),
        ("spiffe://ironmesh/dc/default/host/authority", None),
        ("spiffe://ironmesh/dc/default/host/host", None),
        ("spiffe://ironmesh/dc/default/host/h1/", None),
        ("spiffe://ironmesh/dc/default/host/h1/service/power-service", None),
        ("spiffe://ironmesh/dc/default/authority/", None),
        ("spiffe://ironmesh/dc/default/authority/h1", None),
        ("spiffe://ironmesh/dc/other/authority", None),
        ("spiffe://elsewhere/dc/default/authority", None),
        ("spiffe://ironmesh/authority", None),
        // A name as a name of another kind.
        ("spiffe://ironmesh/dc/default/rack/operator/service/pxe-service", None),
        ("spiffe://ironmesh/dc/default/rack/service/service/pxe-service", None),
        ("spiffe://ironmesh/dc/default/rack/rack/service/pxe-service", None),
        ("spiffe://ironmesh/dc/default/rack/dc/service/pxe-service", None),
        ("spiffe://ironmesh/dc/default/operator/operator/admin", None),
        ("spiffe://ironmesh/dc/default/operator/service/admin", None),
        ("spiffe://ironmesh/dc/default/operator/default/admin", None),
        ("spiffe://ironmesh/dc/default/operator/Operator/admin", None),
        ("spiffe://ironmesh/dc/default/operator/pxe-service", None),
        // The form of earlier releases.
        ("spiffe://ironmesh/operator/ann", None),
        ("spiffe://ironmesh/operator/ann/reader", None),
        ("spiffe://ironmesh/r1/pxe-service", None),
        ("spiffe://ironmesh/operator/pxe-service", None),
        // Case (SPIFFE-ID §2.1: the trust domain is in lower case, paths are compared by byte).
        ("SPIFFE://ironmesh/dc/default/operator/ann/admin", None),
        ("spiffe://Ironmesh/dc/default/operator/ann/admin", None),
        ("spiffe://ironmesh/DC/default/operator/ann/admin", None),
        ("spiffe://ironmesh/dc/default/operator/ann/Admin", None),
        ("spiffe://ironmesh/dc/default/rack/R1/service/pxe-service", None),
        ("spiffe://ironmesh/dc/default/rack/r1/service/Pxe-service", None),
        // Percent-encoding.
        ("spiffe://ironmesh/dc/default/operator/a%6En/admin", None),
        ("spiffe://ironmesh/dc/default/operator/ann%2Fadmin", None),
        ("spiffe://ironmesh/dc/default/operator%2Fann/admin", None),
        ("spiffe://ironmesh/dc/default/rack/r%31/service/pxe-service", None),
        // Further, missing and empty segments.
        ("spiffe://ironmesh/dc/default/operator/ann/admin/", None),
        ("spiffe://ironmesh/dc/default/operator/ann/reader/admin", None),
        ("spiffe://ironmesh/dc/default/operator/ann/", None),
        ("spiffe://ironmesh/dc/default/operator/ann", None),
        ("spiffe://ironmesh/dc/default/operator//admin", None),
        ("spiffe://ironmesh/dc/default//operator/ann/admin", None),
        ("spiffe://ironmesh/dc/default/rack//service/pxe-service", None),
        ("spiffe://ironmesh/dc/default/rack/r1/service/pxe-service/operator/ann/admin", None),
        ("spiffe://ironmesh/dc/default/rack/r1/operator/ann/admin", None),
        ("spiffe://ironmesh/", None),
        ("", None),
        // Relative segments.
        ("spiffe://ironmesh/dc/default/rack/../operator/ann/admin", None),
        ("spiffe://ironmesh/dc/default/operator/../admin", None),
        ("spiffe://ironmesh/dc/default/operator/./admin", None),
        // Authority, query, fragment, white space.
        ("spiffe://elsewhere/dc/default/operator/ann/admin", None),
        ("spiffe://ann@ironmesh/dc/default/operator/ann/admin", None),
        ("spiffe://ironmesh:443/dc/default/operator/ann/admin", None),
        ("spiffe://ironmesh.evil/dc/default/operator/ann/admin", None),
        ("https://ironmesh/dc/default/operator/ann/admin", None),
        ("spiffe://ironmesh/dc/default/operator/ann/admin?role=reader", None),
        ("spiffe://ironmesh/dc/default/operator/ann/admin#x", None),
        (" spiffe://ironmesh/dc/default/operator/ann/admin", None),
        ("spiffe://ironmesh/dc/default/operator/ann /admin", None),
        // Another datacenter, unknown roles and services, a scheduler of one rack.
        ("spiffe://ironmesh/dc/other/operator/ann/admin", None),
        ("spiffe://ironmesh/dc/default/operator/ann/king", None),
        ("spiffe://ironmesh/dc/default/rack/r1/service/cook", None),
        ("spiffe://ironmesh/dc/default/rack/r1/service/scheduler-service", None),
    ] {
        assert_eq!(Identity::from_uri(uri, &Realm::default()), identity, "{uri}");
    }
}

/// A certificate with this common name and these names.
fn certificate(common_name: &str, names: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn a_certificate_has_the_identity_of_its_only_uri_and_of_nothing_else() {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
    let (pxe, ann) = (service(Service::Pxe, "r1"), operator("ann", Role::Admin));
    for (case, common_name, names, identity) in [
        ("one URI", "", vec![uri(&pxe.uri(&Realm::default()))], Some(pxe.clone())),
        ("with a DNS name", "", vec![dns("pxe-service.r1"), uri(&pxe.uri(&Realm::default()))], Some(pxe.clone())),
        ("another common name", "ann", vec![uri(&pxe.uri(&Realm::default()))], Some(pxe.clone())),
        (
            "a URI as the common name",
            &ann.uri(&Realm::default()),
            vec![uri(&pxe.uri(&Realm::default()))],
            Some(pxe.clone()),
        ),
        ("only the common name", &ann.uri(&Realm::default()), vec![dns("ann")], None),
        ("no names", &ann.uri(&Realm::default()), vec![], None),
        ("a URI as a DNS name", "", vec![dns(&ann.uri(&Realm::default()))], None),
        ("a URI as an e-mail address", "", vec![mail(&ann.uri(&Realm::default()))], None),
        ("two identities", "", vec![uri(&pxe.uri(&Realm::default())), uri(&ann.uri(&Realm::default()))], None),
        ("the same one twice", "", vec![uri(&ann.uri(&Realm::default())), uri(&ann.uri(&Realm::default()))], None),
        ("a foreign URI before", "", vec![uri("https://example.org/"), uri(&ann.uri(&Realm::default()))], None),
        ("a foreign URI after", "", vec![uri(&ann.uri(&Realm::default())), uri("spiffe://elsewhere/x")], None),
        ("a foreign URI alone", "", vec![uri("spiffe://elsewhere/x")], None),
    ] {
        assert_eq!(Identity::of_certificate(&certificate(common_name, names), &Realm::default()), identity, "{case}");
    }
    assert_eq!(Identity::of_certificate(b"no certificate", &Realm::default()), None);
}

#[test]
fn words_of_the_uri_are_no_names() {
    for word in ["operator", "dc", "rack", "service", "host", "authority", "default"] {
        assert!(!is_operator_name(word) && !is_operator_name(&word.to_uppercase()), "{word}");
        assert!(!is_rack_name(word), "{word}");
    }
    for name in ["ann", "a.b-c_D9", "operators", "reader", &"x".repeat(64)] {
        assert!(is_operator_name(name), "{name}");
    }
    for wrong in ["", ".", "..", "a/b", "a b", "ann@example.org", "änn", "a%20", "a\n", &"x".repeat(65)] {
        assert!(!is_operator_name(wrong), "{wrong}");
    }
    assert!(is_rack_name("") && is_rack_name("r1") && is_rack_name("operators"));
}
