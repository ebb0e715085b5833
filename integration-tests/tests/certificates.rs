//! Certificates of a running rack are revoked and renewed. Needs root, etcd, etcdctl, and `ironmesh` built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use domain::service::Service;
use integration_tests::{
    fleet::Fleet,
    mesh::{Api, Options, program},
};
use service_kit::{
    client::mesh_channel,
    tls::{CertificateFacts, Files, Serial, Tls, server_name},
};
use tokio::{
    net::TcpStream,
    process::Command,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Maximum duration of one step.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The data directory of a rack, and the command line on its host.
struct Rack {
    data: PathBuf,
}

impl Rack {
    async fn ironmesh(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(program()?);
        command.args(words).stdin(Stdio::null()).kill_on_drop(true);
        Ok(timeout(WAIT_TIMEOUT, command.output()).await.context("the command line does not end")??)
    }

    /// Runs `ironmesh certificate`. An error has what it said.
    async fn certificate(&self, words: &[&str]) -> Result<String> {
        let data = self.data.display().to_string();
        let words: Vec<_> = ["certificate"].iter().chain(words).copied().chain(["--data", data.as_str()]).collect();
        let output = self.ironmesh(&words).await?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Lists the racks as an operator. An error has what the command line said.
    async fn list_as(&self, context: &str) -> Result<()> {
        let context = self.data.join(context).display().to_string();
        let output = self.ironmesh(&["--context", &context, "rack", "list"]).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn files(&self, ca: &str, name: &str) -> Files {
        let path = |name: String| self.data.join("certs").join(name);
        Files { ca: path(ca.to_owned()), certificate: path(format!("{name}.pem")), key: path(format!("{name}.key")) }
    }

    fn serial(&self, name: &str) -> Result<Serial> {
        let file = self.files("ca.pem", name).certificate;
        Ok(CertificateFacts::of_pem(&fs::read(&file)?).with_context(|| file.display().to_string())?.serial)
    }

    fn folder(&self, service: Service) -> PathBuf {
        self.data.join(format!("{service}-1"))
    }

    fn address(&self, service: Service) -> Result<String> {
        Ok(fs::read_to_string(self.folder(service).join("grpc.address"))?.trim().to_owned())
    }

    /// Instance of a service, another one after it was restarted or fenced.
    fn instance(&self, service: Service) -> Result<String> {
        Ok(fs::read_to_string(self.folder(service).join("lock"))?)
    }

    /// Serial number of the certificate that a service shows.
    async fn shown_serial(&self, tls: &Tls, service: Service) -> Result<Serial> {
        let stream = TcpStream::connect(self.address(service)?).await?;
        let name = server_name(service, "").context("no name")?;
        let stream = TlsConnector::from(tls.client()).connect(name, stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
        Ok(CertificateFacts::of_der(certificate).context("no certificate of X.509")?.serial)
    }

    /// Reads a key of etcd with these files.
    async fn etcdctl(&self, files: &Files) -> Result<()> {
        let pid = fs::read_to_string(self.data.join("etcd.pid"))?;
        let command = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()))?;
        let endpoint = command.split('\0').find_map(|word| word.strip_prefix("--advertise-client-urls="));
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", endpoint.context("no endpoint")?));
        command.arg("--cacert").arg(&files.ca).arg("--cert").arg(&files.certificate).arg("--key").arg(&files.key);
        command.args(["--command-timeout=3s", "get", "/ironmesh/v1/dc/incarnation"]).kill_on_drop(true);
        let output = timeout(WAIT_TIMEOUT, command.output()).await??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Waits until a check succeeds.
async fn until(what: &str, check: impl AsyncFn() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    while let Err(error) = check().await {
        if begun.elapsed() > WAIT_TIMEOUT {
            return Err(error.context(format!("{what}: not within {WAIT_TIMEOUT:?}")));
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Runs `work` while another operator calls the API again and again, and fails if one of these calls does.
async fn while_calling<T>(api: &Api, work: impl Future<Output = Result<T>>) -> Result<T> {
    let calling = async {
        loop {
            api.clone().rack().await.context("a call of another operator")?;
            sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        outcome = work => outcome,
        failed = calling => failed,
    }
}

/// An operator is revoked: open connections end, and new ones are refused.
async fn revoke_operator(rack: &Rack) -> Result<()> {
    for name in ["ann", "bob"] {
        rack.certificate(&[name, "--role", "reader"]).await?;
        rack.list_as(&format!("operator-{name}-reader.toml")).await?;
    }
    let ann = Tls::load(rack.files("ca.pem", "operator-ann-reader"))?;
    let channel = mesh_channel(&ann, &rack.address(Service::Scheduler)?, Service::Scheduler, "", None)?;
    let mut stream = HealthClient::new(channel).watch(HealthCheckRequest::default()).await?.into_inner();
    stream.message().await?.context("no health")?;
    rack.certificate(&["revoke", "ann", "--reason", "privilege-withdrawn"]).await?;
    let ended = async { while let Ok(Some(_)) = stream.message().await {} };
    timeout(WAIT_TIMEOUT, ended).await.context("the connection of the revoked operator goes on")?;
    until("ann is refused", async || match rack.list_as("operator-ann-reader.toml").await {
        Ok(()) => bail!("ann still lists racks"),
        Err(error) if error.to_string().contains("CertificateRevoked") => Ok(()),
        Err(error) => Err(error),
    })
    .await?;
    rack.list_as("operator-bob-reader.toml").await?;
    for (words, reason) in [(["renew", "ann"], "was revoked"), (["revoke", "admin"], "--force")] {
        match rack.certificate(&words).await {
            Ok(_) => bail!("{words:?} is not refused"),
            Err(error) => ensure!(error.to_string().contains(reason), "{error:#}"),
        }
    }
    Ok(())
}

/// All certificates of services and of etcd are renewed: new connections use them, and nothing is restarted.
async fn renew_services(rack: &Rack) -> Result<()> {
    let instances = || Service::ALL.into_iter().map(|service| rack.instance(service)).collect::<Result<Vec<_>>>();
    let (bob, before) = (Tls::load(rack.files("ca.pem", "operator-bob-reader"))?, instances()?);
    let file = |service: Service| format!("default-{service}");
    for name in Service::ALL.iter().map(|service| service.name()).chain(["etcd-member", "etcd-root"]) {
        rack.certificate(&["renew", name]).await?;
    }
    for service in Service::ALL {
        let new = rack.serial(&file(service))?;
        until("the new certificate is shown", async || {
            let shown = rack.shown_serial(&bob, service).await?;
            ensure!(shown == new, "{service} shows {shown} instead of {new}");
            let log = fs::read_to_string(rack.folder(service).join("log"))?;
            ensure!(log.contains("etcd accepts the new certificates"), "{service} uses its old certificate for etcd");
            Ok(())
        })
        .await?;
    }
    ensure!(instances()? == before, "a service was restarted or fenced");
    Ok(())
}

/// A stolen certificate of a service is revoked: etcd refuses it, and the service goes on with another one.
async fn revoke_service(rack: &Rack) -> Result<()> {
    let stolen = rack.files("etcd-ca.pem", "stolen-etcd");
    let own = rack.files("etcd-ca.pem", "default-power-service-etcd");
    fs::copy(&own.certificate, &stolen.certificate)?;
    fs::copy(&own.key, &stolen.key)?;
    rack.etcdctl(&stolen).await?;
    let before = rack.serial("default-power-service")?;
    rack.certificate(&["revoke", "power-service", "--reason", "key-compromise"]).await?;
    until("etcd refuses the stolen certificate and takes the new one", async || {
        ensure!(rack.etcdctl(&stolen).await.is_err(), "the stolen certificate is accepted");
        rack.etcdctl(&own).await
    })
    .await?;
    let new = rack.serial("default-power-service")?;
    ensure!(new != before);
    let listed = rack.certificate(&["list", "-o", "json"]).await?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let state = |serial: &Serial| {
        let one = listed.as_array()?.iter().find(|one| one["serial"] == serial.to_string())?;
        one["state"].as_str().map(str::to_owned)
    };
    ensure!(state(&before).as_deref() == Some("revoked") && state(&new).as_deref() == Some("valid"), "{listed}");
    let said = |words: &str| fs::read_to_string(rack.data.join("up.log")).is_ok_and(|log| log.contains(words));
    until("connections with the stolen certificate are closed", async || {
        ensure!(said("restarting etcd"), "etcd was not restarted");
        rack.etcdctl(&own).await
    })
    .await
}

async fn check(mut api: Api, fleet: &Fleet, data: &Path) -> Result<()> {
    let rack = Rack { data: data.to_owned() };
    while_calling(&api, Box::pin(revoke_operator(&rack))).await?;
    while_calling(&api, Box::pin(renew_services(&rack))).await?;
    Box::pin(revoke_service(&rack)).await?;
    // The scheduler calls the power-service, and both write to etcd.
    let machine = fleet.machines().first().context("no machine")?;
    until("a node is enrolled", async || {
        let created = api.clone().nodes.create_node(machine.enrolment()).await;
        created
            .map(drop)
            .or_else(|status| if status.code() == tonic::Code::AlreadyExists { Ok(()) } else { Err(status.into()) })
    })
    .await?;
    api.bring(&machine.name, "manage", "", "manageable", WAIT_TIMEOUT).await?;
    Ok(())
}

#[test]
fn certificates_of_a_running_rack_are_revoked_and_renewed() {
    let fleet = Fleet::up("certs", 1, &Options::default()).unwrap();
    fleet.run(async |api, fleet| check(api, fleet, &fleet.data()).await).unwrap();
}
