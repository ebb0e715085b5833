use service_kit::tls::{Bearer as MeshBearer, CertificateAuthority, Files, Validity};

use super::*;
use crate::{
    client::{ClientError, HostClient, JoinClient},
    issue::{Attempts, Wanted, ensure_all},
    keys,
    ledger::{Issuer, Subject},
};

#[test]
fn a_host_may_not_have_certificates_for_what_it_does_not_run() {
    let request = |purpose: Option<Purpose>| CertificateRequest {
        purpose: purpose.map(|purpose| purpose.to_wire()),
        csr: Vec::new(),
    };
    let power = |rack: &str| Purpose::Service(domain::service::Service::Power, rack.to_owned());
    let services = [domain::service::Service::Power].into();
    let racks = vec![keyspace::value::HostRack { rack: "r7".to_owned(), services, slot: 0 }];
    let roles = Roles { racks, store: false, scheduler: false };
    for (case, asked, code) in [
        ("its own", vec![Purpose::Host, power("r7")], None),
        ("another rack's", vec![power("r8")], Some(tonic::Code::PermissionDenied)),
        (
            "a scheduler's",
            vec![Purpose::Service(domain::service::Service::Scheduler, String::new())],
            Some(tonic::Code::PermissionDenied),
        ),
        ("the store's", vec![Purpose::EtcdMember], Some(tonic::Code::PermissionDenied)),
        ("twice", vec![Purpose::Host, Purpose::Host], Some(tonic::Code::InvalidArgument)),
    ] {
        let asked = Asked::of(asked.into_iter().map(|purpose| request(Some(purpose))).collect());
        let outcome = asked.and_then(|asked| asked.check(&roles)).err().map(|status| status.code());
        assert_eq!(outcome, code, "{case}");
    }
    assert!(Asked::of(vec![request(None)]).is_err());
}

#[test]
fn callers_without_a_certificate_may_join_and_only_hosts_may_renew() {
    let host = Identity::Host { name: "h2".to_owned() };
    let service = Identity::Service { service: domain::service::Service::Power, rack: "r7".to_owned() };
    for (call, caller, is_allowed) in [
        ("GetJoinToken", None, true),
        ("Join", None, true),
        ("RenewCertificates", None, false),
        ("RenewCertificates", Some(&host), true),
        ("RenewCertificates", Some(&service), false),
        ("RenewCertificates", Some(&Identity::admin("ann")), false),
        ("WatchHostFiles", None, false),
        ("WatchHostFiles", Some(&host), true),
        ("WatchHostFiles", Some(&service), false),
    ] {
        let path = format!("/ironmesh.authority.v1.AuthorityService/{call}");
        let rule = Rule::find(RULES, &path).unwrap();
        assert_eq!((rule.allows)(caller, ""), is_allowed, "{call} by {caller:?}");
    }
    assert_eq!(RULES.len(), 4);
}

/// Makes the CAs and the certificate of an authority.
fn prepare(data: &std::path::Path) -> Files {
    let folder = data.join("certs");
    std::fs::create_dir(&folder).unwrap();
    let subject = Subject::Identity(Identity::Authority.uri(&Realm::default()));
    let wanted = Wanted { name: "authority".to_owned(), issuer: Issuer::Mesh, subject };
    ensure_all(&folder, &[wanted], &mut Attempts::default()).unwrap();
    crate::sealing::prepare_all(data, &[]).unwrap();
    Issuer::Mesh.files(&folder, "authority")
}

#[tokio::test]
async fn a_host_tells_its_secret_to_the_authority_of_its_token_only() {
    let [ours, theirs] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let files = prepare(ours.path());
    prepare(theirs.path());
    let etcd = keyspace::testing::MemoryEtcd::new();
    let store = etcd.client().store();
    let secret = [7; 32];
    let id = Uuid::from_u128(1);
    let record = JoinToken {
        digest: hex::encode(Sha256::digest(secret)),
        rack: None,
        services: BTreeSet::new(),
        store: false,
        scheduler: true,
        uses: 1,
        used: Vec::new(),
        created: keyspace::value::Mark { by: "ann".to_owned(), at: service_kit::clock::now() },
        expires: domain::time::Timestamp::from_millis(service_kit::clock::now().millis() + 3_600_000),
    };
    let change = Change::new().put(&key::join_token(id), &record, Expect::Absent).unwrap();
    store.commit(change).await.unwrap();
    let host = Host::default();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let authority =
        Authority { data: ours.path().to_owned(), realm: Realm::default(), store, own_etcd: Some(Vec::new()) };
    let tls = Tls::load(files.clone()).unwrap();
    let (serving, stopping) = (tls.clone(), host.clone());
    host.spawn(async move { serve(authority, address, serving, stopping).await.unwrap() });

    let digest = |data: &std::path::Path| -> [u8; 32] {
        let pem = std::fs::read(data.join("certs/ca.pem")).unwrap();
        service_kit::join_token::ca_digest(&pem).unwrap()
    };
    let token = |secret, ca| service_kit::join_token::JoinToken::new(id, secret, ca, "default".to_owned());
    let good = token(secret, digest(ours.path()));
    let mut client = JoinClient::new(&address.to_string(), good).unwrap();
    // It may not listen yet.
    let allowed = loop {
        match client.describe().await {
            Ok(allowed) => break allowed,
            Err(ClientError::Unreachable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(allowed.roles.scheduler && allowed.datacenter == "default");
    for (case, token, is_unreachable) in [
        ("of another CA", token(secret, digest(theirs.path())), true),
        ("with another secret", token([8; 32], digest(ours.path())), false),
    ] {
        let mut client = JoinClient::new(&address.to_string(), token).unwrap();
        let error = client.describe().await.unwrap_err();
        assert_eq!(matches!(error, ClientError::Unreachable { .. }), is_unreachable, "{case}: {error}");
    }
    // A certificate of a service of the same CA is no authority's, though the CA is right.
    let ca = CertificateAuthority::from_pem(
        &std::fs::read_to_string(ours.path().join("certs/ca.pem")).unwrap(),
        &std::fs::read_to_string(ours.path().join("certs/ca.key")).unwrap(),
    )
    .unwrap();
    let requested = keys::renew(Purpose::Host).unwrap();
    let bearer = Identity::Host { name: "h2".to_owned() };
    let validity = Validity::starting(service_kit::clock::now(), 1);
    let signed = ca.sign(&requested.csr, MeshBearer::Mesh(&bearer), validity).unwrap();
    let path = |name: &str| ours.path().join("certs").join(name);
    std::fs::write(path("host.pem"), signed).unwrap();
    std::fs::write(path("host.key"), &requested.key).unwrap();
    let of_host = Tls::load(Issuer::Mesh.files(&ours.path().join("certs"), "host")).unwrap();
    let error = HostClient::new(&address.to_string(), &of_host).unwrap().renew(&[]).await.unwrap_err();
    assert!(error.to_string().contains("\"h2\" is not registered"), "{error}");
    host.stop();
}
