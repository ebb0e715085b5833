use std::os::unix::fs::PermissionsExt as _;

use domain::{service::Service, time::Timestamp};
use service_kit::tls::{CertificateFacts, Validity, check_files};

use super::{
    issue::{Found, Revoked, Why, find, reason_to_issue},
    *,
};
use crate::certs::prepare;

/// A data directory as `ironmesh up` makes it.
fn data_directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), "r1").unwrap();
    fs::write(folder.path().join("client.toml"), "endpoint = \"h:1\"\nca = \"certs/ca.pem\"\n").unwrap();
    folder
}

fn certs(data: &Path) -> PathBuf {
    data.join("certs")
}

fn revoke(data: &Path, which: &str, force: bool) -> Result<Vec<String>> {
    let data = DataDirectory { data: data.to_owned() };
    let reason = RevocationReason::KeyCompromise;
    let command = Revoke { which: which.to_owned(), reason, force, data };
    let chosen = record_revocation(&certs(&command.data.data), &command)?;
    Ok(chosen.into_iter().map(|entry| entry.name).collect())
}

fn renew(data: &Path, name: Option<&str>) -> Result<()> {
    let (data, lifetime) = (DataDirectory { data: data.to_owned() }, Lifetime { days: 30 });
    super::renew(&Renew { name: name.map(str::to_owned), lifetime, data })
}

fn facts(data: &Path, name: &str) -> CertificateFacts {
    CertificateFacts::of_pem(&fs::read(certs(data).join(format!("{name}.pem"))).unwrap()).unwrap()
}

#[test]
fn a_user_is_given_a_certificate_of_a_role_once() {
    let folder = tempfile::tempdir().unwrap();
    let refused = create(folder.path(), "ann", Role::Reader, 90).unwrap_err().to_string();
    assert!(refused.contains("spiffe://ironmesh/dc/default/operator/ann/reader"), "{refused}");
    let folder = data_directory();
    let context = create(folder.path(), "ann", Role::Reader, 7).unwrap();
    let text = fs::read_to_string(context).unwrap();
    assert!(text.contains("h:1") && text.contains("certs/operator-ann-reader.key"), "{text}");
    let files = Issuer::Mesh.files(&certs(folder.path()), "operator-ann-reader");
    let facts = check_files(&files).unwrap();
    assert_eq!(facts.validity.left(clock::now()).as_secs() / 86_400, 6);
    assert_eq!(fs::metadata(files.key).unwrap().permissions().mode() & 0o777, 0o600);
    for wrong in ["ann", "", "a/b", "operator", "a@b"] {
        assert!(create(folder.path(), wrong, Role::Reader, 90).is_err(), "{wrong}");
    }
}

#[test]
fn it_is_decided_whether_a_certificate_is_made() {
    let day = |day: i64| Timestamp::from_millis(1_800_000_000_000 + day * 86_400_000);
    let operator = Subject::Identity(Identity::admin("ann").uri());
    let service = Subject::Identity(Identity::Service { service: Service::Power, rack: String::new() }.uri());
    let found = |subject: &Subject| {
        let Subject::Identity(uri) = subject else { panic!("{subject}") };
        Found::Certificate(CertificateFacts {
            serial: "01".parse().unwrap(),
            validity: Validity { not_before: day(0), not_after: day(90) },
            identity: Identity::from_uri(uri),
            common_name: None,
            hosts: Vec::new(),
        })
    };
    let damaged = || Found::Damaged("it is empty".to_owned());
    // For whom, what there is, what is revoked of it, the day, and why one is made.
    for (subject, there, revoked, now, why) in [
        (&service, found(&service), Revoked::Nothing, 1, None),
        (&service, found(&service), Revoked::Nothing, 59, None),
        (&service, found(&service), Revoked::Nothing, 60, Some(Why::Due)),
        (&service, found(&service), Revoked::Nothing, 91, Some(Why::Expired)),
        (&service, found(&service), Revoked::Latest, 1, Some(Why::Revoked)),
        (&service, found(&service), Revoked::Found, 1, Some(Why::Revoked)),
        (&service, found(&operator), Revoked::Nothing, 1, Some(Why::OtherSubject)),
        (&service, Found::Missing, Revoked::Nothing, 1, Some(Why::Missing)),
        (&service, Found::Missing, Revoked::Latest, 1, Some(Why::Missing)),
        (&service, damaged(), Revoked::Nothing, 1, Some(Why::Damaged("it is empty".to_owned()))),
        (&operator, found(&operator), Revoked::Nothing, 1, None),
        (&operator, found(&operator), Revoked::Nothing, 60, Some(Why::Due)),
        (&operator, Found::Missing, Revoked::Nothing, 1, Some(Why::Missing)),
        // A revoked operator comes back in no way.
        (&operator, found(&operator), Revoked::Latest, 1, None),
        (&operator, found(&operator), Revoked::Latest, 91, None),
        (&operator, Found::Missing, Revoked::Latest, 1, None),
        (&operator, damaged(), Revoked::Latest, 1, None),
    ] {
        assert_eq!(reason_to_issue(subject, &there, revoked, day(now)), why, "{subject} {there:?} {revoked:?} {now}");
    }
}

#[test]
fn a_revoked_service_gets_another_certificate_and_a_revoked_operator_does_not() {
    let folder = data_directory();
    let data = folder.path();
    create(data, "ann", Role::Reader, 90).unwrap();
    let before = (facts(data, "r1-power-service").serial, facts(data, "operator-ann-reader").serial);
    assert_eq!(revoke(data, "power-service", false).unwrap(), ["r1-power-service", "r1-power-service-etcd"]);
    assert_eq!(revoke(data, &before.1.to_string(), false).unwrap(), ["operator-ann-reader"]);
    prepare(data, "r1").unwrap();
    assert_ne!(facts(data, "r1-power-service").serial, before.0);
    assert_eq!(facts(data, "operator-ann-reader").serial, before.1);
    let refused = renew(data, Some("ann")).unwrap_err().to_string();
    assert!(refused.contains("was revoked") && refused.contains("operator-ann-reader.pem"), "{refused}");
    renew(data, None).unwrap();
    assert_eq!(facts(data, "operator-ann-reader").serial, before.1);
    assert!(revoke(data, "ann", false).unwrap_err().to_string().contains("revoked already"));
    let ledger = Ledger::open(&certs(data)).unwrap();
    assert!(ledger.is_revoked(&before.0) && ledger.is_revoked(&before.1));
    assert!(matches!(find(&Issuer::Mesh.files(&certs(data), "r1-power-service")), Found::Certificate(_)));
}

#[test]
fn the_last_administrator_is_revoked_by_force_only() {
    let folder = data_directory();
    let data = folder.path();
    let refused = revoke(data, "admin", false).unwrap_err().to_string();
    assert!(refused.contains("--force"), "{refused}");
    create(data, "bob", Role::Service, 90).unwrap();
    assert!(revoke(data, "operator", false).is_err(), "bob is no administrator");
    create(data, "ann", Role::Admin, 90).unwrap();
    // A renewed certificate is one administrator, not two.
    renew(data, Some("ann")).unwrap();
    assert_eq!(revoke(data, "admin", false).unwrap(), ["operator"]);
    assert!(revoke(data, "ann", false).unwrap_err().to_string().contains("--force"));
    assert_eq!(revoke(data, "ann", true).unwrap(), ["operator-ann-admin", "operator-ann-admin"]);
    // The start of a rack does not bring the administrator back.
    let before = facts(data, "operator").serial;
    prepare(data, "r1").unwrap();
    assert_eq!(facts(data, "operator").serial, before);
}

#[test]
fn certificates_of_an_earlier_release_are_listed_and_those_of_services_replaced() {
    let folder = data_directory();
    let data = folder.path();
    // An earlier release kept no record, and its certificates were valid for thousands of years.
    let ca = fs::read_to_string(certs(data).join("ca.pem")).unwrap();
    let key = fs::read_to_string(certs(data).join("ca.key")).unwrap();
    let ca = service_kit::tls::CertificateAuthority::from_pem(&ca, &key).unwrap();
    let validity = Validity {
        not_before: Timestamp::default(),
        not_after: clock::now().plus(std::time::Duration::from_secs(99_999 * 60 * 60)),
    };
    let service = Identity::Service { service: Service::Power, rack: "r1".to_owned() };
    let operator = Identity::Operator { name: "old".to_owned(), role: Role::Member };
    for (name, identity) in [("r1-power-service", &service), ("operator-old-member", &operator)] {
        let issued = ca.issue_for(service_kit::tls::Bearer::Mesh(identity), validity).unwrap();
        fs::write(certs(data).join(format!("{name}.pem")), issued.certificate).unwrap();
        fs::write(certs(data).join(format!("{name}.key")), issued.key).unwrap();
    }
    fs::remove_file(certs(data).join("issued.json")).unwrap();
    let old = facts(data, "r1-power-service").serial;
    prepare(data, "r1").unwrap();
    assert_ne!(facts(data, "r1-power-service").serial, old);
    let shown = list::table(&Ledger::open(&certs(data)).unwrap(), clock::now());
    let line = shown.lines().find(|line| line.starts_with("operator-old-member")).unwrap();
    assert!(line.contains(" operator ") && line.contains(" due "), "{shown}");
    assert!(shown.lines().all(|line| line.len() <= 100), "{shown}");
    assert_eq!(revoke(data, "old", false).unwrap(), ["operator-old-member"]);
    assert_eq!(revoke(data, &old.to_string(), false).unwrap(), ["r1-power-service"]);
}
