use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use domain::{
    generation::Generation,
    hardware::{Disk, Hardware},
    id::NodeId,
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use proto::agent::v1::{
    Encoding, HelloResponse, ReportResponse, Wipe, Write,
    agent_service_server::{AgentService, AgentServiceServer},
    work_response::{Instruction, Rest},
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::watch};
use tonic::{Code, Request, Response, service::Routes};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::{config::BootToken, machine::lay_out};

const NODE: &str = "00000000-0000-0000-0000-00000000002a";
const LONG: Duration = Duration::from_secs(30);

/// What a stand-in for the inventory-service was told, by all its replicas.
#[derive(Debug, Default)]
struct Told {
    hellos: Vec<Vec<u8>>,
    hardware: Option<proto::common::v1::Hardware>,
    words: Vec<String>,
    certificates: Vec<Vec<u8>>,
    streams: usize,
}

/// A stand-in for the inventory-service.
#[derive(Clone)]
struct Inventory {
    told: Arc<watch::Sender<Told>>,
    instruction: Instruction,
    /// Statuses for the hellos, in turn; then they are answered.
    refusals: Arc<Mutex<Vec<Status>>>,
    /// Outcomes after which the stream is cut instead of answered.
    deaf: Arc<AtomicUsize>,
}

impl Inventory {
    fn new(instruction: Instruction) -> Self {
        let told = Arc::new(watch::Sender::new(Told::default()));
        Self { told, instruction, refusals: Arc::default(), deaf: Arc::default() }
    }

    async fn until(&self, what: impl Fn(&Told) -> bool) {
        let mut told = self.told.subscribe();
        let waited = timeout(LONG, told.wait_for(|told| what(told))).await;
        assert!(waited.is_ok(), "waited in vain; told {:?}", self.told.borrow().words);
    }

    fn words(&self) -> Vec<String> {
        self.told.borrow().words.clone()
    }
}

#[tonic::async_trait]
impl AgentService for Inventory {
    type WorkStream = ReceiverStream<Result<WorkResponse, Status>>;

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let refusal = self.refusals.lock().unwrap().pop();
        self.told.send_modify(|told| told.hellos.push(request.into_inner().boot_token));
        refusal.map_or_else(|| Ok(Response::new(HelloResponse {})), Err)
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        self.told.send_modify(|told| told.hardware = request.into_inner().hardware);
        Ok(Response::new(ReportResponse {}))
    }

    async fn work(&self, request: Request<Streaming<WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        let mut news = request.into_inner();
        // As a service would that looks for the node's owner first.
        let first = news.message().await?.unwrap();
        assert_eq!((first.node.as_str(), first.generation), (NODE, 3));
        self.told.send_modify(|told| told.streams += 1);
        let (answers, stream) = mpsc::channel(4);
        let answer = |instruction| Ok(WorkResponse { instruction: Some(instruction) });
        answers.send(answer(self.instruction.clone())).await.unwrap();
        let inventory = self.clone();
        Host::default().spawn(async move {
            while let Ok(Some(said)) = news.message().await {
                let (word, is_over) = word(said.news.unwrap());
                inventory.told.send_modify(|told| told.words.push(word));
                if !is_over {
                    continue;
                }
                if inventory.deaf.load(Ordering::Relaxed) > 0 {
                    inventory.deaf.fetch_sub(1, Ordering::Relaxed);
                    return;
                }
                drop(answers.send(answer(Instruction::Rest(Rest {}))).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn word(news: work_request::News) -> (String, bool) {
    match news {
        work_request::News::Heartbeat(_) => ("beat".to_owned(), false),
        work_request::News::Entry(entry) => (format!("{} {}", entry.mark, entry.subject), false),
        work_request::News::Finished(_) => ("finished".to_owned(), true),
        work_request::News::Failed(failure) => (format!("{}: {}", failure.cause, failure.text), true),
    }
}

/// Takes any certificate whose key the caller has, as the agents' door does, and remembers it.
#[derive(Debug)]
struct AnyKey(Arc<watch::Sender<Told>>);

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.send_modify(|told| told.certificates.push(certificate.to_vec()));
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &known)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &known)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A CA and replicas of a service with its certificates.
struct Rack {
    ca: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Rack {
    fn new() -> Self {
        service_kit::tls::install_provider();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = parameters.self_signed(&key).unwrap().pem();
        Self { ca, issuer: rcgen::Issuer::new(parameters, key) }
    }

    async fn serve(&self, inventory: &Inventory, name: String) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let mut config = rustls::ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(AnyKey(Arc::clone(&inventory.told))))
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let routes = Routes::new(AgentServiceServer::new(inventory.clone()));
        Host::default().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = TowerToHyperService::new(routes.clone());
                Host::default().spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        endpoint
    }

    fn boot(&self, endpoints: &[&str]) -> BootFile {
        BootFile {
            node: NODE.parse::<NodeId>().unwrap(),
            generation: Generation::from_number(3),
            boot_token: BootToken::new([9; 32]),
            ca: self.ca.clone(),
            rack: "r1".to_owned(),
            inventory: endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
        }
    }
}

fn name() -> String {
    service_kit::tls::dns_name(Service::Inventory, "r1")
}

fn machine(folder: &tempfile::TempDir) -> Machine {
    let disk = Disk { name: "vda".to_owned(), size_bytes: 32 << 20, ..Disk::default() };
    lay_out(folder.path(), &Hardware { disks: vec![disk], serial: "S1".to_owned(), ..Hardware::default() }).unwrap()
}

/// An image server, and the instruction to write its image.
async fn image(packed: Vec<u8>) -> Write {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&packed)));
    Host::default().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", packed.len());
            stream.write_all(&[head.as_bytes(), &packed].concat()).await.unwrap();
            // Until the other side has read it all and hangs up.
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
        }
    });
    Write {
        image_name: "small".to_owned(),
        digest,
        urls: vec![url],
        encoding: Encoding::Plain.into(),
        config_drive: HashMap::from([("openstack/latest/meta_data.json".to_owned(), b"{}".to_vec())]),
        ..Write::default()
    }
}

/// 4 MiB with an MBR.
fn content() -> Vec<u8> {
    let mut content: Vec<u8> = (0..4_usize << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    content[446..510].fill(0);
    content[446 + 4] = 0x83;
    content[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 8, 0, 0]);
    content[510..512].copy_from_slice(&[0x55, 0xaa]);
    content
}

async fn power_off(host: Host) {
    host.drain(LONG).await.unwrap();
}

fn power_on(boot: BootFile, machine: Machine) -> Host {
    let host = Host::default();
    let inner = host.clone();
    host.spawn(async move { run(boot, machine, inner).await.unwrap() });
    host
}

#[tokio::test]
async fn a_machine_is_deployed_and_the_outcome_survives_lost_connections() {
    let rack = Rack::new();
    let inventory = Inventory::new(Instruction::Write(image(content()).await));
    inventory.deaf.store(2, Ordering::Relaxed);
    let endpoint = rack.serve(&inventory, name()).await;
    let folder = tempfile::tempdir().unwrap();
    let machine = machine(&folder);
    let host = power_on(rack.boot(&["127.0.0.1:1", &endpoint]), machine.clone());
    inventory.until(|told| told.words.iter().filter(|word| *word == "finished").count() == 3).await;
    let beats = inventory.words().len();
    inventory.until(|told| told.words.len() > beats + 1).await;
    power_off(host).await;
    let words: Vec<_> = inventory.words().into_iter().filter(|word| word != "beat").collect();
    assert_eq!(words, ["IMAGE_WRITTEN small to vda", "CONFIG_DRIVE_WRITTEN vda", "finished", "finished", "finished"]);
    let disk = std::fs::read(machine.disks.join("vda")).unwrap();
    assert!(disk[512..4 << 20] == content()[512..]);
    let told = inventory.told.borrow();
    assert_eq!(told.hardware.as_ref().unwrap().serial, "S1");
    assert!(told.hellos.iter().all(|token| *token == [9; 32]) && told.streams == 3);
    assert!(told.certificates.len() >= 3 && told.certificates.windows(2).all(|pair| pair[0] == pair[1]), "one key");
}

#[tokio::test]
async fn a_failure_is_told_with_its_cause() {
    let rack = Rack::new();
    let write = Write { digest: format!("sha256:{}", "ab".repeat(32)), ..image(content()).await };
    let inventory = Inventory::new(Instruction::Write(write));
    let endpoint = rack.serve(&inventory, name()).await;
    let folder = tempfile::tempdir().unwrap();
    let host = power_on(rack.boot(&[&endpoint]), machine(&folder));
    inventory.until(|told| told.words.iter().any(|word| word.starts_with("IMAGE_DIGEST: the image has digest"))).await;
    power_off(host).await;
}

#[tokio::test]
async fn an_island_is_waited_out_and_the_owner_is_followed() {
    let rack = Rack::new();
    let inventory = Inventory::new(Instruction::Wipe(Wipe::default()));
    let endpoint = rack.serve(&inventory, name()).await;
    let other = Inventory::new(Instruction::Wipe(Wipe::default()));
    let refuse = |code, reason, facts: &[(&str, &str)]| {
        let facts: HashMap<_, _> = facts.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned())).collect();
        let details = ErrorDetails::with_error_info(reason, service_kit::status::DOMAIN, facts);
        Status::with_error_details(code, "not now", details)
    };
    let not_owner = refuse(Code::Aborted, "NOT_OWNER", &[("endpoint", &endpoint)]);
    let island = refuse(Code::Unavailable, "ISLAND", &[]);
    *other.refusals.lock().unwrap() = vec![not_owner, island.clone(), island];
    let first = rack.serve(&other, name()).await;
    let folder = tempfile::tempdir().unwrap();
    let host = power_on(rack.boot(&[&first]), machine(&folder));
    inventory.until(|told| told.words.iter().any(|word| word == "finished")).await;
    power_off(host).await;
    assert_eq!(other.told.borrow().hellos.len(), 3);
    assert!(inventory.words().contains(&"WIPED vda".to_owned()));
}

#[tokio::test]
async fn a_machine_that_is_refused_stops_and_says_why() {
    let rack = Rack::new();
    let inventory = Inventory::new(Instruction::Wipe(Wipe::default()));
    let details = ErrorDetails::with_error_info("TWO_MACHINES", service_kit::status::DOMAIN, HashMap::new());
    let words = "two machines asked as this node";
    inventory.refusals.lock().unwrap().push(Status::with_error_details(Code::PermissionDenied, words, details));
    let endpoint = rack.serve(&inventory, name()).await;
    let folder = tempfile::tempdir().unwrap();
    let ended = run(rack.boot(&[&endpoint]), machine(&folder), Host::default()).await.unwrap_err();
    assert_eq!(ended.to_string(), "refused by the inventory-service (TWO_MACHINES): two machines asked as this node");
}

#[tokio::test]
async fn another_services_certificate_and_another_ca_get_no_token() {
    let rack = Rack::new();
    let inventory = Inventory::new(Instruction::Wipe(Wipe::default()));
    let wrong_name = rack.serve(&inventory, service_kit::tls::dns_name(Service::Power, "r1")).await;
    let wrong_ca = Rack::new().serve(&inventory, name()).await;
    let right = Inventory::new(Instruction::Wipe(Wipe::default()));
    let last = rack.serve(&right, name()).await;
    let folder = tempfile::tempdir().unwrap();
    let host = power_on(rack.boot(&[&wrong_name, &wrong_ca, &last]), machine(&folder));
    right.until(|told| told.words.iter().any(|word| word == "finished")).await;
    power_off(host).await;
    assert!(inventory.told.borrow().hellos.is_empty());
}

#[tokio::test]
async fn a_power_cut_in_the_middle_of_a_write_leaves_a_disk_that_boots_nothing() {
    let rack = Rack::new();
    // A server that stops in the middle and keeps the connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    let (sent, mut stuck) = watch::channel(false);
    Host::default().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4194304\r\n\r\n".to_vec();
        stream.write_all(&[head, content()[..3 << 20].to_vec()].concat()).await.unwrap();
        sent.send(true).unwrap();
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    });
    let write = Write { urls: vec![url], ..image(content()).await };
    let inventory = Inventory::new(Instruction::Write(write));
    let endpoint = rack.serve(&inventory, name()).await;
    let folder = tempfile::tempdir().unwrap();
    let machine = machine(&folder);
    let host = power_on(rack.boot(&[&endpoint]), machine.clone());
    timeout(LONG, stuck.wait_for(|stuck| *stuck)).await.unwrap().unwrap();
    power_off(host).await;
    let disk = std::fs::read(machine.disks.join("vda")).unwrap();
    assert!(disk[..512].iter().all(|octet| *octet == 0));
}
