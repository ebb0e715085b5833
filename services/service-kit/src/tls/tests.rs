//! Certificates in real handshakes.

use std::{fs, path::Path, sync::Arc, time::Duration};

use domain::{service::Service, time::Timestamp};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::service::Routes;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use super::*;
use crate::{
    client::mesh_channel,
    listener::{BodyBudget, HttpLimits, ListenerKind},
    serve::{self, GrpcListener},
    status::chain,
};

/// Upper bound of every wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A CA and what it has issued.
struct Site {
    ca: CertificateAuthority,
    folder: TempDir,
}

fn power() -> Identity {
    Identity::Service { service: Service::Power, rack: "r1".to_owned() }
}

fn days(from: i64, until: i64) -> Validity {
    let day = |day: i64| Timestamp::from_millis(clock::now().millis() + day * 86_400_000);
    Validity { not_before: day(from), not_after: day(until) }
}

impl Site {
    fn new() -> Self {
        install_provider();
        Self { ca: CertificateAuthority::create("CA of a test").unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    /// Issues or replaces a certificate.
    fn issue(&self, name: &str, bearer: &Identity, validity: Validity) -> Files {
        let path = |name: String| self.folder.path().join(name);
        let files = Files {
            ca: path("ca.pem".to_owned()),
            certificate: path(format!("{name}.pem")),
            key: path(format!("{name}.key")),
        };
        let issued = self.ca.issue_for(Bearer::Mesh(bearer), validity).unwrap();
        fs::write(&files.ca, self.ca.certificate()).unwrap();
        fs::write(&files.certificate, issued.certificate).unwrap();
        fs::write(&files.key, issued.key).unwrap();
        files
    }

    fn tls(&self, name: &str, bearer: &Identity, validity: Validity) -> Tls {
        Tls::load(self.issue(name, bearer, validity)).unwrap()
    }
}

fn serial(tls: &Tls) -> Serial {
    CertificateFacts::of_pem(&tls.pem()[1]).unwrap().serial
}

/// The serial numbers that each side of a handshake saw of the other.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    of_client: Serial,
    of_server: Serial,
}

/// Shakes hands. An error is the server's, or the client's if that refused the server.
async fn handshake(client: &Tls, server: &Tls) -> Result<Seen, io::Error> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = server_name(Service::Power, "r1").unwrap();
    let connecting = TlsConnector::from(client.client()).connect(name, near);
    let (connected, accepted) = tokio::join!(connecting, TlsAcceptor::from(server.server()).accept(far));
    let leaf = |certificates: Option<&[CertificateDer<'static>]>| facts::serial_of(&certificates.unwrap()[0]).unwrap();
    match (connected, accepted) {
        (Ok(connected), Ok(accepted)) => Ok(Seen {
            of_client: leaf(accepted.get_ref().1.peer_certificates()),
            of_server: leaf(connected.get_ref().1.peer_certificates()),
        }),
        // The client of TLS 1.3 has ended its handshake by then.
        (Ok(_), Err(error)) | (Err(error), _) => Err(error),
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_is_refused_by_both_sides_with_words() {
    let site = Site::new();
    let ann = Identity::admin("ann");
    let good_server = || site.tls("server", &power(), days(-1, 80));
    let good_client = || site.tls("client", &ann, days(-1, 80));
    let foreign = Site::new();
    // Client, server, what is revoked, and the words of the error and of the advice; `None` if the handshake succeeds.
    for (case, client, server, revoked, words) in [
        ("good", good_client(), good_server(), None, None),
        ("expired client", site.tls("c", &ann, days(-90, -1)), good_server(), None, Some(("expired", "renew it"))),
        ("client too early", site.tls("d", &ann, days(1, 90)), good_server(), None, Some(("not valid yet", "clocks"))),
        ("expired server", good_client(), site.tls("s", &power(), days(-90, -1)), None, Some(("expired", "renew it"))),
        ("revoked client", good_client(), good_server(), Some("client"), Some(("Revoked", "was revoked"))),
        ("revoked server", good_client(), good_server(), Some("server"), Some(("Revoked", "was revoked"))),
        ("another one is revoked", good_client(), good_server(), Some("other"), None),
        (
            "client of another CA",
            foreign.tls("c", &ann, days(-1, 80)),
            good_server(),
            None,
            Some(("invalid peer certificate", "")),
        ),
    ] {
        match revoked {
            Some("client") => server.revocations().add([serial(&client)]),
            Some("server") => client.revocations().add([serial(&server)]),
            Some(_) => server.revocations().add(["0badcafe".parse().unwrap()]),
            None => 0,
        };
        match (handshake(&client, &server).await, words) {
            (Ok(_), None) => {}
            (Err(error), Some((words, next))) => {
                assert!(error.to_string().contains(words), "{case}: {error}");
                assert!(advice(&error).unwrap_or_default().contains(next), "{case}: {error}");
            }
            (outcome, _) => panic!("{case}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_past_a_revocation() {
    let site = Site::new();
    let (client, server) =
        (site.tls("c", &Identity::admin("ann"), days(-1, 80)), site.tls("s", &power(), days(-1, 80)));
    // A client that resumes sessions if the server lets it, which ours does not.
    let mut resuming = (*client.client()).clone();
    resuming.resumption = Resumption::in_memory_sessions(8);
    let resuming = Arc::new(resuming);
    let connect = async || {
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = server_name(Service::Power, "r1").unwrap();
        let connecting = TlsConnector::from(Arc::clone(&resuming)).connect(name, near);
        let (connected, accepted) = tokio::join!(connecting, TlsAcceptor::from(server.server()).accept(far));
        let mut connected = connected?;
        // Reads the tickets of TLS 1.3, if there are any.
        drop(accepted?);
        let _ = tokio::io::AsyncReadExt::read_u8(&mut connected).await;
        io::Result::Ok(connected.get_ref().1.handshake_kind())
    };
    for _ in 0..3 {
        assert_eq!(connect().await.unwrap(), Some(rustls::HandshakeKind::Full));
    }
    server.revocations().add([serial(&client)]);
    connect().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn each_handshake_uses_the_newest_files_of_both_sides() {
    let site = Site::new();
    let (ann, host) = (Identity::admin("ann"), Host::default());
    let (client, server) = (site.tls("c", &ann, days(-1, 80)), site.tls("s", &power(), days(-1, 80)));
    let old = Seen { of_client: serial(&client), of_server: serial(&server) };
    assert_eq!(handshake(&client, &server).await.unwrap(), old);
    let (mut client_changes, mut server_changes) = (client.changes(), server.changes());
    host.spawn(client.clone().follow(host.clone()));
    host.spawn(server.clone().follow(host.clone()));
    site.issue("c", &ann, days(0, 90));
    site.issue("s", &power(), days(0, 90));
    client_changes.changed().await.unwrap();
    server_changes.changed().await.unwrap();
    let new = handshake(&client, &server).await.unwrap();
    assert_eq!(new, Seen { of_client: serial(&client), of_server: serial(&server) });
    assert!(new.of_client != old.of_client && new.of_server != old.of_server);
    // Half of a pair of files: the previous ones stay in use.
    let key = fs::read(site.folder.path().join("s.key")).unwrap();
    site.issue("s", &power(), days(0, 90));
    fs::write(site.folder.path().join("s.key"), key).unwrap();
    tokio::time::sleep(RELOAD_INTERVAL * 3).await;
    assert_eq!(handshake(&client, &server).await.unwrap(), new);
    host.stop();
}

#[tokio::test]
async fn a_connection_ends_when_the_certificate_expires() {
    let site = Site::new();
    let soon = Validity { not_after: clock::now().plus(Duration::from_secs(2)), ..days(-1, 1) };
    let files = site.issue("c", &Identity::admin("ann"), soon);
    let der = CertificateDer::from_pem_slice(&fs::read(files.certificate).unwrap()).unwrap().to_vec();
    let end = timeout(PATIENCE, Revocations::default().ended(der)).await.unwrap();
    assert_eq!(end, CertificateEnd::Expired);
}

/// Serves the health service to all with a certificate of the CA. Returns its address.
async fn serve_health(host: &Host, tls: &Tls) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (_, health) = tonic_health::server::health_reporter();
    let (limits, config) = (HttpLimits::default(), tls.clone());
    let listener = GrpcListener {
        name: "test",
        purpose: ListenerKind::Grpc,
        tls: Arc::new(move || config.server()),
        revocations: Some(tls.revocations().clone()),
        realm: tls.realm(),
        tokens: None,
        routes: Routes::new(health),
        rules: [].into(),
        rack: "r1".into(),
        budget: BodyBudget::new(&limits),
        limits,
    };
    host.spawn(serve::accept(host.clone(), socket, listener));
    address
}

/// Calls once.
async fn call(tls: &Tls, address: &str) -> Result<(), String> {
    let channel = mesh_channel(tls, address, Service::Power, "r1", Some(PATIENCE)).unwrap();
    let outcome = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    outcome.map(drop).map_err(|status| chain(&status))
}

/// Opens a stream that does not end by itself.
async fn watch(tls: &Tls, address: &str) -> tonic::Streaming<HealthCheckResponse> {
    let channel = mesh_channel(tls, address, Service::Power, "r1", None).unwrap();
    let mut stream = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream
}

async fn end(mut stream: tonic::Streaming<HealthCheckResponse>) {
    let ended = async { while let Ok(Some(_)) = stream.message().await {} };
    timeout(PATIENCE, ended).await.expect("the stream goes on");
}

#[tokio::test]
async fn open_connections_of_a_revoked_certificate_end_and_those_of_others_go_on() {
    let (site, host) = (Site::new(), Host::default());
    let server = site.tls("s", &power(), days(-1, 80));
    let [ann, bob] = ["ann", "bob"].map(|name| site.tls(name, &Identity::admin(name), days(-1, 80)));
    let address = serve_health(&host, &server).await;
    let (of_ann, mut of_bob) = (watch(&ann, &address).await, watch(&bob, &address).await);
    assert_eq!(server.revocations().add([serial(&ann), serial(&ann)]), 1);
    end(of_ann).await;
    let refused = call(&ann, &address).await.unwrap_err();
    assert!(refused.contains("CertificateRevoked"), "{refused}");
    call(&bob, &address).await.unwrap();
    let is_open = timeout(Duration::from_millis(200), of_bob.message()).await.is_err();
    assert!(is_open);
    host.stop();
}

#[tokio::test]
async fn a_client_leaves_a_server_whose_certificate_is_revoked() {
    let (site, host) = (Site::new(), Host::default());
    let server = site.tls("s", &power(), days(-1, 80));
    let ann = site.tls("ann", &Identity::admin("ann"), days(-1, 80));
    let address = serve_health(&host, &server).await;
    let stream = watch(&ann, &address).await;
    ann.revocations().add([serial(&server)]);
    end(stream).await;
    let refused = call(&ann, &address).await.unwrap_err();
    assert!(refused.contains("Revoked"), "{refused}");
    host.stop();
}

#[test]
fn damaged_files_are_named_with_what_to_do() {
    let site = Site::new();
    let files = site.issue("power", &power(), days(-1, 80));
    let other = site.issue("other", &power(), days(-1, 80));
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let (certificate, key, other_key) = (read(&files.certificate), read(&files.key), read(&other.key));
    // The file, its content, and the words of the error.
    for (path, content, words) in [
        (&files.ca, "", "ca.pem is not a valid PEM file: it is empty"),
        (&files.ca, "\n \n", "it is empty"),
        (&files.certificate, "", "power.pem is not a valid PEM file: it is empty"),
        (&files.certificate, &certificate[..certificate.len() / 2], "power.pem is not a valid PEM file: it is cut off"),
        (&files.certificate, &key, "power.pem is not a valid PEM file: it contains no certificate; restore it"),
        (&files.key, "", "power.key is not a valid PEM file: it is empty"),
        (&files.key, &key[..60], "power.key is not a valid PEM file: it is cut off"),
        (&files.key, &certificate, "power.key is not a valid PEM file"),
        (&files.key, &other_key, "do not match: the certificate is for another key"),
    ] {
        let before = read(path);
        fs::write(path, content).unwrap();
        let error = Tls::load(files.clone()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(check_files(&files).is_err());
        fs::write(path, before).unwrap();
    }
    assert_eq!(check_files(&files).unwrap().identity, Some(power()));
}
