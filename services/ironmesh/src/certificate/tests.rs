use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use domain::{service::Service, time::Timestamp};
use service_kit::tls::{self, CertificateFacts, Realm, Validity, check_files};

use super::{
    issue::{Attempts, Found, Revoked, Why, find, reason_to_issue},
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
    let command = Revoke { which: which.to_owned(), reason, force, all: false, unlisted: false, data };
    revoke_by(&command)
}

fn revoke_by(command: &Revoke) -> Result<Vec<String>> {
    let Recorded { revoked, completed, .. } = record_revocation(&certs(&command.data.data), command)?;
    completed.map(|()| revoked.into_iter().map(|entry| entry.name).collect())
}

fn renew(data: &Path, name: Option<&str>) -> Result<()> {
    let data = DataDirectory { data: data.to_owned() };
    super::renew(&Renew { name: name.map(str::to_owned), days: Some(30), data })
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
    let operator = Subject::Identity(Identity::admin("ann").uri(&Realm::default()));
    let service =
        Subject::Identity(Identity::Service { service: Service::Power, rack: String::new() }.uri(&Realm::default()));
    let found = |subject: &Subject| {
        let Subject::Identity(uri) = subject else { panic!("{subject}") };
        Found::Certificate(CertificateFacts {
            serial: "01".parse().unwrap(),
            validity: Validity { not_before: day(0), not_after: day(90) },
            identity: Identity::from_uri(uri, &Realm::default()),
            realm: Realm::default(),
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
    // It is repeated after it was interrupted.
    let listed = || tls::listed_serials(&fs::read(certs(data).join("crl.pem")).ok()?);
    for interrupted in [None, Some(""), Some("cut")] {
        match interrupted {
            None => fs::remove_file(certs(data).join("crl.pem")).unwrap(),
            Some(content) => fs::write(certs(data).join("crl.pem"), content).unwrap(),
        }
        assert_eq!(revoke(data, "ann", false).unwrap(), ["operator-ann-reader"]);
        assert!(listed().unwrap().contains(&before.1), "{interrupted:?}");
    }
    fs::remove_file(certs(data).join("crl.pem")).unwrap();
    prepare(data, "r1").unwrap();
    assert!(listed().unwrap().contains(&before.1), "up mends it");
    let ledger = Ledger::open(&certs(data)).unwrap();
    assert!(ledger.is_revoked(Issuer::Mesh, &before.0) && ledger.is_revoked(Issuer::Mesh, &before.1));
    assert!(matches!(find(&Issuer::Mesh.files(&certs(data), "r1-power-service")), Ok(Found::Certificate(_))));
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
    let ca = tls::CertificateAuthority::from_pem(&ca, &key).unwrap();
    let validity = Validity {
        not_before: Timestamp::default(),
        not_after: clock::now().plus(Duration::from_secs(99_999 * 60 * 60)),
    };
    let service = Identity::Service { service: Service::Power, rack: "r1".to_owned() };
    let operator = Identity::Operator { name: "old".to_owned(), role: Role::Member };
    for (name, identity) in [("r1-power-service", &service), ("operator-old-member", &operator)] {
        let issued = ca.issue_for(tls::Bearer::Mesh(identity), validity).unwrap();
        fs::write(certs(data).join(format!("{name}.pem")), issued.certificate).unwrap();
        fs::write(certs(data).join(format!("{name}.key")), issued.key).unwrap();
    }
    fs::remove_file(certs(data).join("issued.json")).unwrap();
    for list in Issuer::ALL.map(Issuer::revocation_list) {
        let lost = format!("{:#}", prepare(data, "r1").unwrap_err());
        assert!(lost.contains("issued.json is missing: restore it"), "{lost}");
        fs::remove_file(certs(data).join(list)).unwrap();
    }
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

#[test]
fn a_revoked_operator_is_remembered_for_ever_and_an_old_certificate_without_files_is_not() {
    let folder = data_directory();
    let data = folder.path();
    create(data, "ann", Role::Reader, 90).unwrap();
    revoke(data, "ann", false).unwrap();
    let mut ledger = Ledger::open(&certs(data)).unwrap();
    let long_ago = Validity { not_before: Timestamp::default(), not_after: Timestamp::from_millis(1_000) };
    ledger.entries.iter_mut().for_each(|entry| entry.validity = long_ago);
    fs::remove_file(certs(data).join("operator-ann-reader.pem")).unwrap();
    fs::remove_file(certs(data).join("r1-power-service.pem")).unwrap();
    ledger.save().unwrap();
    for (name, is_kept) in [
        ("operator-ann-reader", true),
        ("r1-power-service", false),
        ("r1-pxe-service", true),
        ("operator", true),
        ("etcd-root", true),
        ("etcd-member", true),
    ] {
        assert_eq!(ledger.latest(name).is_some(), is_kept, "{name}");
    }
}

#[test]
fn a_ca_that_a_crash_left_without_its_certificate_is_made_again_at_the_first_start_only() {
    for name in ["ca", "etcd-ca"] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(certs(folder.path())).unwrap();
        fs::write(certs(folder.path()).join(format!("{name}.key")), "a key").unwrap();
        prepare(folder.path(), "r1").unwrap();
        fs::remove_file(certs(folder.path()).join(format!("{name}.pem"))).unwrap();
        let refused = prepare(folder.path(), "r1").unwrap_err().to_string();
        assert!(refused.contains("one of them is missing"), "{refused}");
    }
}

#[test]
fn a_certificate_that_could_not_be_issued_is_tried_again_after_a_minute() {
    let second = |second: i64| Timestamp::from_millis(1_800_000_000_000 + second * 1000);
    let mut attempts = Attempts::default();
    attempts.note("a", second(0), Some("disk full".to_owned()));
    for (name, now, may_try) in
        [("a", 0, false), ("a", 5, false), ("a", 59, false), ("a", 60, true), ("a", -5, true), ("b", 5, true)]
    {
        assert_eq!(attempts.may_try(name, second(now)), may_try, "{name} {now}");
    }
    assert_eq!(attempts.failure().unwrap(), "certificate a: disk full");
    attempts.note("a", second(60), None);
    assert!(attempts.may_try("a", second(61)) && attempts.failure().is_none());
}

#[test]
fn expired_operators_are_not_renewed_unasked_and_a_lifetime_is_kept() {
    let day = |day: i64| Timestamp::from_millis(1_800_000_000_000 + day * 86_400_000);
    let operator = Subject::Identity(Identity::admin("ann").uri(&Realm::default()));
    let user = Subject::EtcdUser("root".to_owned());
    for (subject, days, now, is_renewed) in [
        (&operator, 90, 1, false),
        (&operator, 90, 61, true),
        (&operator, 90, 91, false),
        (&operator, 7, 5, true),
        (&user, 90, 61, true),
        (&user, 90, 91, true),
    ] {
        let validity = Validity { not_before: day(0), not_after: day(days) };
        let (serial, name, subject) = ("01".parse().unwrap(), "a".to_owned(), subject.clone());
        let entry = Entry { serial, name, issuer: Issuer::Mesh, subject, validity, revoked: None };
        assert_eq!(is_renewed_unasked(&entry, day(now)), is_renewed, "{entry:?} {now}");
        assert_eq!(i64::from(days_of(validity)), days);
    }
}

#[test]
fn what_cannot_be_written_is_not_recorded_and_what_cannot_be_read_is_not_made_again() {
    let folder = data_directory();
    let data = folder.path();
    let (key, before) = (certs(data).join("r1-power-service.key"), facts(data, "r1-power-service").serial);
    let recorded = || Ledger::open(&certs(data)).unwrap().entries.len();
    let count = recorded();
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    for _ in 0..3 {
        renew(data, Some("r1-power-service")).unwrap_err();
        let refused = format!("{:#}", prepare(data, "r1").unwrap_err());
        assert!(refused.contains("cannot read") && refused.contains("r1-power-service.key"), "{refused}");
    }
    assert_eq!((recorded(), facts(data, "r1-power-service").serial), (count, before));
    fs::remove_dir(&key).unwrap();
    prepare(data, "r1").unwrap();
    assert_eq!(recorded(), count + 1);
}

#[test]
fn a_certificate_that_is_not_in_the_list_is_revoked_by_its_serial_number() {
    let folder = data_directory();
    let data = folder.path();
    let command = |which: &str, unlisted| {
        let (which, reason) = (which.to_owned(), RevocationReason::KeyCompromise);
        let data = DataDirectory { data: data.to_owned() };
        Revoke { which, reason, force: false, all: false, unlisted, data }
    };
    let listed = facts(data, "r1-power-service").serial.to_string();
    // Operators whose names are serial numbers, too.
    create(data, "deadbeef", Role::Reader, 90).unwrap();
    // What an operator writes, whether as unlisted, and how many are revoked, one for each CA, or what the refusal says.
    for (which, unlisted, outcome) in [
        ("00c0ffee00c0ffee", false, Err("--unlisted")),
        ("C0:FF:EE:00:C0:FF:EE", true, Ok(2)),
        ("c0ffee00c0ffee", true, Ok(2)),
        ("c0ffee00c0ffee", false, Ok(2)),
        ("c0ffee00", false, Ok(2)),
        ("c0ffee00", true, Ok(2)),
        ("c0ffee00c0ff", true, Ok(2)),
        ("0badcafe", true, Ok(2)),
        ("deadbeef", true, Ok(2)),
        // A copy of a listed number, which the other CA has signed.
        (listed.as_str(), true, Ok(1)),
        ("power-service", true, Err("serial")),
        ("", true, Err("serial")),
    ] {
        let revoked = revoke_by(&command(which, unlisted));
        match outcome {
            Ok(number) => {
                let revoked = revoked.unwrap();
                assert!(
                    revoked.len() == number && revoked.iter().all(|name| name.starts_with("unlisted-")),
                    "{revoked:?}"
                );
            }
            Err(words) => {
                let text = format!("{:#}", revoked.unwrap_err());
                assert!(text.contains(words), "{which}: {text}");
            }
        }
    }
    for list in Issuer::ALL.map(Issuer::revocation_list) {
        let serials = tls::listed_serials(&fs::read(certs(data).join(list)).unwrap()).unwrap();
        for serial in ["c0ffee00c0ffee", "c0ffee00c0ff", "c0ffee00", "0badcafe", "deadbeef"] {
            assert!(serials.contains(&serial.parse().unwrap()), "{list} {serial}");
        }
    }
    // They stay revoked for as long as the CAs could be used, and nothing is issued for them.
    prepare(data, "r1").unwrap();
    renew(data, None).unwrap();
    let ledger = Ledger::open(&certs(data)).unwrap();
    let unlisted: Vec<_> = ledger.entries.iter().filter(|entry| entry.subject == Subject::Unlisted).collect();
    assert_eq!(unlisted.len(), 11);
    // What is in the list is neither revoked nor renewed with it.
    let own = listed.parse().unwrap();
    assert!(!ledger.is_revoked(Issuer::Mesh, &own) && ledger.is_revoked(Issuer::Etcd, &own));
    assert_eq!(facts(data, "r1-power-service").serial, own);
    assert!(ledger.latest("operator-deadbeef-reader").is_some_and(|entry| entry.revoked.is_none()));
    assert!(unlisted.iter().all(|entry| entry.validity.left(clock::now()).as_secs() / 86_400 > 3000));
    assert!(!certs(data).join("unlisted-c0ffee00c0ffee.pem").exists());
    assert!(list::table(&ledger, clock::now()).contains("unlisted-c0ffee00c0ffee"));
}

#[test]
fn a_name_of_several_is_revoked_only_if_all_of_them_are_meant() {
    let folder = data_directory();
    let data = folder.path();
    create(data, "ann", Role::Reader, 90).unwrap();
    create(data, "ann", Role::Service, 90).unwrap();
    create(data, "bob", Role::Reader, 90).unwrap();
    // A renewed certificate of the same bearer is not another one.
    renew(data, Some("bob")).unwrap();
    let serial = facts(data, "operator-ann-service").serial.to_string();
    let text = revoke(data, "ann", false).unwrap_err().to_string();
    for words in ["--all", serial.as_str(), "operator/ann/reader", "operator/ann/service"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let ledger = Ledger::open(&certs(data)).unwrap();
    assert!(ledger.entries.iter().all(|entry| entry.revoked.is_none()), "nothing was revoked");
    drop(ledger);
    assert_eq!(revoke(data, "bob", false).unwrap(), ["operator-bob-reader", "operator-bob-reader"]);
    assert_eq!(revoke(data, "power-service", false).unwrap(), ["r1-power-service", "r1-power-service-etcd"]);
    assert_eq!(revoke(data, &serial, false).unwrap(), ["operator-ann-service"]);
    // What is left of the name is one.
    assert_eq!(revoke(data, "ann", false).unwrap(), ["operator-ann-reader"]);
    create(data, "eve", Role::Reader, 90).unwrap();
    create(data, "eve", Role::Member, 90).unwrap();
    let (which, reason) = ("eve".to_owned(), RevocationReason::Unspecified);
    let command = Revoke {
        which,
        reason,
        force: false,
        all: true,
        unlisted: false,
        data: DataDirectory { data: data.to_owned() },
    };
    assert_eq!(revoke_by(&command).unwrap().len(), 2);
}

#[test]
fn a_ca_that_is_about_to_end_is_warned_of_with_what_to_do() {
    let day = 24 * 60 * 60;
    // Days that are left of the CA, and whether it is warned of.
    for (left, is_warned_of) in [(3650, false), (31, false), (30, false), (29, true), (1, true), (0, true)] {
        // A minute more: time passes.
        let left = Duration::from_secs(left * day + 60);
        assert_eq!(issue::is_ending(left), is_warned_of, "{left:?}");
    }
    let folder = data_directory();
    let folder = certs(folder.path());
    let ledger = Ledger::open(&folder).unwrap();
    let authorities = Authorities::load_or_create(&ledger, &folder).unwrap();
    assert!(authorities.warnings(&folder, clock::now()).is_empty());
    let later = clock::now().plus(Duration::from_secs(3650 * day));
    let warnings = authorities.warnings(&folder, later);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, ca) in warnings.iter().zip(["ca.pem", "etcd-ca.pem"]) {
        assert!(warning.contains(ca) && warning.contains("stop ironmesh up, move"), "{warning}");
    }
}
