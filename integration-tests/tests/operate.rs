//! An operator's day: services started one by one from shipped files, misconfigured, stopped, and given new
//! certificates. Needs etcd, and `ironmesh` built.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use integration_tests::authority::Authority;
use integration_tests::collector::{Collector, Sent};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT};
use integration_tests::machine::Spec;
use integration_tests::mesh::{Api, Options, program};
use integration_tests::site::{Running, START, Site};
use proto::api::v1::{CreateNodeRequest, CreateRackRequest, WatchEventsRequest, WatchEventsResponse};
use proto::common::v1::BootMode;
use proto::power::v1::{GetPowerRequest, power_service_client::PowerServiceClient};
use service_kit::Host;
use service_kit::client::mesh_channel;
use service_kit::health::CHANGES;
use service_kit::tls::{self, Files, Identity, Tls};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;

/// Maximum time for a service to stop.
const STOP: Duration = Duration::from_secs(5);

/// Starts a scheduler-service and creates the rack with the empty name, which the others need.
async fn found(site: &Site, operator: &Tls) -> Result<Running> {
    let mut scheduler = site.run(Service::Scheduler).await?;
    let mut api = site.api(&mut scheduler, operator).await?;
    api.racks.create_rack(CreateRackRequest::default()).await?;
    Ok(scheduler)
}

async fn page(running: &mut Running, path: &str) -> Result<String> {
    let url = format!("http://{}{path}", running.address("monitor").await?);
    let answer = reqwest::Client::builder().no_proxy().build()?.get(&url).send().await?.error_for_status()?;
    Ok(answer.text().await?)
}

#[tokio::test]
async fn each_service_starts_as_it_is_shipped_is_healthy_and_stops_when_asked() -> Result<()> {
    let site = Site::lit().await?;
    let operator = site.operator()?;
    let mut all = vec![found(&site, &operator).await?];
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
        all.push(site.run(service).await?);
    }
    for running in &mut all {
        assert_eq!(page(running, "/healthz").await?, "ok\n");
        let metrics = page(running, "/metrics").await?;
        assert!(metrics.contains("# TYPE "), "{metrics}");
    }
    // Leaves first: a stopping service hands over without the others' help.
    for running in all.iter_mut().rev() {
        running.stop()?;
        let ended = running.ended(STOP).await?;
        assert_eq!(ended.code(), Some(0), "{}", running.log()?);
    }
    Ok(())
}

#[tokio::test]
async fn a_service_says_where_it_waits_for_etcd_and_gives_up_with_an_error() -> Result<()> {
    let site = Site::dark()?;
    let mut both = vec![];
    for service in [Service::Scheduler, Service::Power] {
        both.push(site.start(service, &site.configure(service, &[])?)?);
    }
    for running in &mut both {
        let said = running.says("waiting for etcd", START).await?;
        assert!(said.contains(&site.etcd.endpoint()) && said.contains("giving up in "), "{said}");
    }
    for running in &mut both {
        let ended = running.ended(Duration::from_secs(45)).await?;
        let said = running.log()?;
        let last = said.lines().last().context("it said nothing")?;
        assert!(last.contains(&format!("etcd has not answered at {}", site.etcd.endpoint())), "{said}");
        assert!(last.contains("start it, or name its members in service.etcd"), "{said}");
        assert_eq!(ended.code(), Some(2), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_waits_for_etcd_begins_when_it_comes_and_stops_when_asked() -> Result<()> {
    let mut site = Site::dark()?;
    let operator = site.operator()?;
    let mut both = vec![];
    for service in [Service::Scheduler, Service::Power] {
        let mut running = site.start(service, &site.configure(service, &[])?)?;
        running.says("waiting for etcd", START).await?;
        both.push(running);
    }
    let (Some(mut power), Some(mut scheduler)) = (both.pop(), both.pop()) else { anyhow::bail!("two were started") };
    power.stop()?;
    assert_eq!(power.ended(STOP).await?.code(), Some(0), "{}", power.log()?);
    site.etcd.begin().await?;
    for name in ["", CHANGES] {
        scheduler.is(ServingStatus::Serving, name, &operator).await?;
    }
    // Without etcd it still answers, and reports that nothing can be changed.
    site.etcd.kill()?;
    scheduler.is(ServingStatus::NotServing, CHANGES, &operator).await?;
    scheduler.is(ServingStatus::Serving, "", &operator).await?;
    site.etcd.begin().await?;
    scheduler.is(ServingStatus::Serving, CHANGES, &operator).await?;
    scheduler.stop()?;
    assert_eq!(scheduler.ended(STOP).await?.code(), Some(0), "{}", scheduler.log()?);
    Ok(())
}

/// The certificate that a service presents to a new connection.
async fn shown(endpoint: &str, caller: &Tls) -> Result<Vec<u8>> {
    let stream = TcpStream::connect(endpoint).await?;
    let name = tls::server_name(Service::Scheduler, "").context("no name")?;
    let stream = TlsConnector::from(caller.client()).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    Ok(shown.context("no certificate")?.to_vec())
}

#[tokio::test]
async fn clients_without_a_valid_certificate_or_role_are_refused_and_told_what_to_do() -> Result<()> {
    let site = Site::lit().await?;
    let ann = site.issue("ann", &Identity::admin("ann"))?;
    let mut scheduler = found(&site, &Tls::load(ann.clone())?).await?;
    let mut power = site.run(Service::Power).await?;
    let endpoint = scheduler.address("grpc").await?;
    let list = ["node", "list"];

    let served = site.ironmesh(&endpoint, &ann, &list).await?;
    assert!(served.status.success(), "{served:?}");

    // Signed by a CA that the scheduler-service does not trust, although the client trusts the scheduler-service.
    let bob = Authority::new()?.issue(&site.path("bob"), &Identity::admin("bob"))?;
    let told = told(&site.ironmesh(&endpoint, &Files { ca: ann.ca.clone(), ..bob.clone() }, &list).await?)?;
    assert!(told.contains("does not take this context's certificate"), "{told}");
    assert!(told.contains(&endpoint) && told.contains("next: ") && told.contains("--context"), "{told}");
    // The other way round: the client does not trust the scheduler-service.
    let told = self::told(&site.ironmesh(&endpoint, &Files { ca: bob.ca, ..ann.clone() }, &list).await?)?;
    assert!(told.contains("this context's CA does not vouch for what answers at") && told.contains("next: "), "{told}");

    // Trusted, without a sufficient role.
    let role = site.issue("role", &Site::identity(Service::Power))?;
    let told = self::told(&site.ironmesh(&endpoint, &role, &list).await?)?;
    assert!(told.contains("power-service of rack \"\" may not call /ironmesh.api.v1.NodeService/ListNodes"), "{told}");
    assert!(told.contains("next: use a context with the certificate of an operator"), "{told}");

    // A reader reads, and changes nothing.
    let reader = Identity::Operator { name: "eve".to_owned(), role: tls::Role::Reader };
    let reader = site.issue("eve", &reader)?;
    assert!(site.ironmesh(&endpoint, &reader, &list).await?.status.success());
    let told = self::told(&site.ironmesh(&endpoint, &reader, &["node", "delete", "n1"]).await?)?;
    assert!(told.contains("operator eve (reader) may not call /ironmesh.api.v1.NodeService/DeleteNode"), "{told}");
    assert!(told.contains("another role is needed") && told.contains("ironmesh certificate"), "{told}");

    let ask = GetPowerRequest { node: "00000000-0000-0000-0000-000000000001".to_owned() };
    let refused =
        PowerServiceClient::new(power.mesh_channel(&Tls::load(ann.clone())?).await?).get_power(ask.clone()).await;
    let refused = refused.err().context("an operator may not")?;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().starts_with("operator ann may not call /ironmesh.power.v1"), "{refused}");
    let chief = site.issue("chief", &Site::identity(Service::Scheduler))?;
    let asked = PowerServiceClient::new(power.mesh_channel(&Tls::load(chief)?).await?).get_power(ask).await;
    assert_eq!(asked.err().context("there is no such node")?.code(), Code::NotFound);

    // Without a certificate, the error of a foreign client has the reason.
    let name = tls::dns_name(Service::Scheduler, "");
    let (_, port) = endpoint.rsplit_once(':').context("no port")?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--resolve", &format!("{name}:{port}:127.0.0.1")]);
    curl.arg("--cacert").arg(&ann.ca).arg(format!("https://{name}:{port}/"));
    let told = self::told(&curl.output().await?)?;
    assert!(told.contains("certificate required"), "{told}");
    assert!(curl.arg("--cert").arg(&ann.certificate).arg("--key").arg(&ann.key).output().await?.status.success());
    // The service logs the rejected caller and the reason.
    let said = scheduler.log()?;
    assert!(said.contains("call denied") && said.contains("refused a connection"), "{said}");
    Ok(())
}

/// Output of a program that failed.
fn told(output: &Output) -> Result<String> {
    ensure!(!output.status.success(), "it ended well: {output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn enrolment(number: u8) -> CreateNodeRequest {
    CreateNodeRequest {
        name: format!("n{number}"),
        bmc_address: format!("127.0.77.{number}"),
        bmc_user: "unknown".to_owned(),
        boot_mode: BootMode::Bios.into(),
        macs: vec![format!("52:54:00:09:00:{number:02x}")],
        ..Default::default()
    }
}

/// Enrolls a node on a new connection as soon as that is possible, and sees it on a stream that was opened before.
async fn enrols(
    number: u8,
    scheduler: &mut Running,
    caller: &Tls,
    events: &mut Streaming<WatchEventsResponse>,
) -> Result<()> {
    let enrolled = async {
        loop {
            let mut api = Api::over(scheduler.mesh_channel(caller).await?);
            match api.nodes.create_node(enrolment(number)).await {
                Ok(_) => return anyhow::Ok(()),
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => {}
                // The answer to a successful request was lost with the connection.
                Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
                Err(status) => return Err(status.into()),
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(START, enrolled).await.context("no node can be enrolled")??;
    let seen = async {
        while let Some(event) = events.message().await?.and_then(|answer| answer.event) {
            if event.kind == "ENROLLED" && event.text == format!("n{number}") {
                return anyhow::Ok(());
            }
        }
        anyhow::bail!("the stream ended")
    };
    timeout(START, seen).await.context("the stream is silent")?
}

#[tokio::test]
async fn certificates_and_the_ca_are_replaced_while_it_runs_and_an_open_stream_goes_on() -> Result<()> {
    let mut site = Site::lit().await?;
    let before = Tls::load(site.issue("before", &Identity::admin("ann"))?)?;
    let mut scheduler = found(&site, &before).await?;
    let endpoint = scheduler.address("grpc").await?;
    let line = mesh_channel(&before, &endpoint, Service::Scheduler, "", None)?;
    let mut events = Api::over(line).events.watch_events(WatchEventsRequest::default()).await?.into_inner();
    enrols(1, &mut scheduler, &before, &mut events).await?;

    let first = shown(&endpoint, &before).await?;
    let renewed = site.issue(Service::Scheduler.name(), &Site::identity(Service::Scheduler))?;
    let second = CertificateDer::from_pem_file(&renewed.certificate)?;
    assert_ne!(first, second.to_vec());
    let is_shown = async {
        while shown(&endpoint, &before).await? != second.to_vec() {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(START, is_shown).await.with_context(|| format!("the old one is shown: {:?}", scheduler.log()))??;
    enrols(2, &mut scheduler, &before, &mut events).await?;

    // Another CA for all; etcd comes last, and is restarted for it.
    site.etcd.obey(Authority::new()?)?;
    site.issue(Service::Scheduler.name(), &Site::identity(Service::Scheduler))?;
    let after = Tls::load(site.issue("after", &Identity::admin("ann"))?)?;
    enrols(3, &mut scheduler, &after, &mut events).await?;
    let refused = shown(&endpoint, &before).await.err().context("the old CA is trusted still")?;
    assert!(format!("{refused:#}").contains("UnknownIssuer"), "{refused:#}");
    site.etcd.kill()?;
    site.etcd.begin().await?;
    enrols(4, &mut scheduler, &after, &mut events).await?;
    scheduler.stop()?;
    assert_eq!(scheduler.ended(STOP).await?.code(), Some(0), "{}", scheduler.log()?);
    Ok(())
}

#[test]
fn one_request_is_one_trace_from_the_scheduler_to_the_leaves() {
    let collector = SocketAddr::from((Ipv4Addr::LOCALHOST, 4317));
    let options = Options { otlp: format!("http://{collector}"), ..Options::default() };
    let lab = Lab::up("ttrace", &[Spec::default()], options).unwrap();
    lab.run(async |mut api, lab| {
        let host = Host::default();
        let collector = Collector::listen(collector, &host).await?;
        api.enrol(lab.machine("n1")?).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        let of = |spans: &[Sent], service: &str, path: &str| -> Vec<Vec<u8>> {
            let chosen = spans.iter().filter(|sent| sent.service == service && sent.attribute("path").ends_with(path));
            chosen.map(|sent| sent.span.trace_id.clone()).collect()
        };
        let deploy =
            [("power-service", "/EnsurePower"), ("storage-service", "/EnsureImage"), ("pxe-service", "/EnsureBoot")];
        let all_seen = |spans: &[Sent]| {
            // The two calls that cause work of leaves: manage, deploy.
            let asked = of(spans, "scheduler-service", "/ProvisionNode");
            let is_asked = |service, path| of(spans, service, path).into_iter().find(|trace| asked.contains(trace));
            let managed = is_asked("power-service", "/GetPower")?;
            let deployed: Vec<_> = deploy.iter().filter_map(|(service, path)| is_asked(service, path)).collect();
            let one = deployed.iter().all(|trace| Some(trace) == deployed.first() && *trace != managed);
            (deployed.len() == deploy.len() && one && asked.len() == 3).then_some(asked)
        };
        let mut asked = collector.until("one trace for each request", Duration::from_secs(15), all_seen).await?;
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), 3, "each request has its own trace");
        host.stop();
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_foreign_client_finds_the_api_by_reflection_calls_it_and_sees_health() -> Result<()> {
    let site = Site::lit().await?;
    let ann = site.issue("ann", &Identity::admin("ann"))?;
    let operator = Tls::load(ann.clone())?;
    let mut scheduler = found(&site, &operator).await?;
    let mut api = site.api(&mut scheduler, &operator).await?;
    api.nodes.create_node(enrolment(1)).await?;
    let id = api.node("n1").await?.id;

    let made = site.path("made");
    fs::create_dir(&made)?;
    let mut protoc = Command::new("protoc");
    protoc.args(["--proto_path", "/usr/share/grpc-proto"]).arg("--python_out").arg(&made);
    let files = ["reflection/v1/reflection.proto", "reflection/v1alpha/reflection.proto", "health/v1/health.proto"];
    let output = protoc.args(files.map(|file| format!("grpc/{file}"))).output().await?;
    ensure!(output.status.success(), "scripts/test installs grpc-proto: {output:?}");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/reflect.py");
    let mut client = Command::new("/usr/bin/python3");
    client.arg(script).arg(&made);
    client.args([scheduler.address("grpc").await?, tls::dns_name(Service::Scheduler, "")]);
    client.args([&ann.ca, &ann.certificate, &ann.key]);
    client.args(["ironmesh.api.v1.NodeService", "GetNode", "{\"node\": \"n1\"}"]).kill_on_drop(true);
    let output = timeout(START, client.output()).await.context("the client does not end")??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    for version in ["v1", "v1alpha"] {
        let services = seen[version]["services"].to_string();
        for one in ["Node", "Image", "Rack", "Operation", "Event"] {
            assert!(services.contains(&format!("\"ironmesh.api.v1.{one}Service\"")), "{services}");
        }
        assert!(services.contains("\"grpc.health.v1.Health\""), "{services}");
        assert_eq!(seen[version]["answer"]["node"]["id"], id, "{seen}");
    }
    assert_eq!(seen["health"], serde_json::json!({"": "SERVING", "changes": "SERVING"}));
    Ok(())
}

/// Returns the output of the binary if it exits with an error.
async fn refused(words: &[&str], last: &Path) -> Result<String> {
    let mut command = Command::new(program()?);
    command.args(words).arg(last).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(STOP, command.output()).await.context("it does not end")??;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success(), "it ended well: {said}");
    Ok(said)
}

#[tokio::test]
async fn all_errors_of_a_configuration_are_reported_together_and_nothing_is_started() -> Result<()> {
    let site = Site::dark()?;
    let tables: [(Service, &str, &[&str]); 5] = [
        (
            Service::Power,
            "[power]\ntries = 0\nsettle = \"3m\"\npol = \"1m\"",
            &["power.tries", "power.instruction", "power.pol "],
        ),
        (
            Service::Pxe,
            "[pxe]\nlease = \"1s\"\naddress = \"here\"\ntftp_port = 70000",
            &["pxe.lease", "pxe.address", "pxe.tftp_port"],
        ),
        (
            Service::Storage,
            "[storage]\nfiles_from = [\"images\"]\nhttp = 8081",
            &["storage.files_from", "storage.http"],
        ),
        (
            Service::Inventory,
            "[inventory]\nagents = \"127.0.0.1\"\nagent = 1",
            &["inventory.agents", "inventory.agent "],
        ),
        (Service::Scheduler, "[scheduler]\nboots = 0\nboot = 5", &["scheduler.boots", "scheduler.boot "]),
    ];
    for (service, table, keys) in tables {
        let file = site.path(&format!("wrong-{service}.toml"));
        let data = site.path(&format!("wrong-{service}.data"));
        let common =
            "rack = \"R 1\"\nlisten = \"here\"\netcd = [\"http://127.0.0.1:1\"]\notlp = \"collector\"\nrak = 1";
        fs::write(&file, format!("[service]\ndata = {data:?}\n{common}\n{table}\n[powr]\n"))?;
        for words in [&[service.name(), "--check", "--config"][..], &[service.name(), "--config"]] {
            let said = refused(words, &file).await?;
            let common = ["service.rack", "service.listen", "service.etcd", "service.otlp", "service.rak ", "powr "];
            for part in common.iter().chain(keys).copied().chain([file.display().to_string().as_str()]) {
                assert!(said.contains(part), "{part:?} of the {service}: {said}");
            }
            assert!(!data.exists(), "the {service} was started");
        }
        let right = site.configure(service, &[])?;
        let checked =
            Command::new(program()?).args([service.name(), "--check", "--config"]).arg(right).output().await?;
        assert!(checked.status.success() && !site.data(service).exists(), "{checked:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_data_folder_in_use_is_refused_with_its_name_and_the_other_pid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("rack");
    let log = fs::File::create(folder.path().join("log"))?;
    let mut first = Command::new(program()?);
    first
        .args(["up", "--data"])
        .arg(&data)
        .args(["--rest", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    let mut first = first.spawn()?;
    let pid = first.id().context("it ended")?;
    let said = || fs::read_to_string(folder.path().join("log"));
    let ready = async {
        while !said()?.contains("ready") {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    timeout(START * 2, ready).await.with_context(|| format!("it is not ready: {:?}", said()))??;
    let told = refused(&["up", "--data"], &data).await?;
    for part in [data.display().to_string(), format!("process {pid} ("), "ironmesh up --data".to_owned()] {
        assert!(told.contains(&part), "{part}: {told}");
    }
    // The refused process has not disturbed the running one.
    assert!(first.try_wait()?.is_none(), "{:?}", said());
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let ended = timeout(START, first.wait()).await.context("it does not stop")??;
    assert!(ended.success(), "{:?}", said());
    Ok(())
}
