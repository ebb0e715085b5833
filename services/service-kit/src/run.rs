//! The life of a process: arguments, configuration, telemetry, work, a stop in order, an exit code.

use std::{
    error::Error as StdError,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use tonic::service::Routes;

use crate::{
    Host,
    config::{self, Common, Config},
    health::{Health, Serving},
    serve::{self, CannotBind, Door, Rule},
    status,
    telemetry::{self, Telemetry},
    tls::{self, Tls},
};

/// How long work in flight may take to end after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// How often a process that stops with its parent looks whether that is there.
const LOOK_FOR_PARENT: Duration = Duration::from_millis(500);

/// What every service's command line has.
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Checks the configuration and exits: 0 where it is right.
    #[arg(long)]
    pub check: bool,
    /// Prints the configuration as it takes effect, and exits.
    #[arg(long)]
    pub print_config: bool,
    /// Stops in order when the process that started it has ended, however that ended.
    #[arg(long)]
    pub with_parent: bool,
}

/// What a service is given to work with.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The service's name.
    pub name: &'static str,
    /// Spawns, and says when to stop.
    pub host: Host,
    /// Certificates.
    pub tls: Tls,
    /// The `[service]` table.
    pub common: Common,
}

/// Runs a service by the arguments of the process.
pub fn run<C, F, E>(name: &'static str, service: impl FnOnce(C, Kit) -> F) -> ExitCode
where
    C: Config,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: StdError + Send + 'static,
{
    run_with(name, &Arguments::parse(), service)
}

/// Runs a service by these arguments.
pub fn run_with<C, F, E>(name: &'static str, arguments: &Arguments, service: impl FnOnce(C, Kit) -> F) -> ExitCode
where
    C: Config,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: StdError + Send + 'static,
{
    let config: C = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if arguments.print_config {
        return show(&config::print(&config));
    }
    if arguments.check {
        return show(&format!("{}: the configuration is right\n", arguments.config.display()));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error),
    };
    runtime.block_on(live(name, config, arguments.with_parent, service))
}

async fn live<C, F, E>(name: &'static str, config: C, with_parent: bool, service: impl FnOnce(C, Kit) -> F) -> ExitCode
where
    C: Config,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: StdError + Send + 'static,
{
    let common = config.common().clone();
    let telemetry = match telemetry::set_up(name, &common.log, &common.otlp) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(&error),
    };
    let kit = match Kit::new(name, common) {
        Ok(kit) => kit,
        Err(error) => return refuse(&error),
    };
    kit.host.spawn(stop_on_signal(kit.host.clone()));
    kit.host.spawn(kit.tls.clone().follow(kit.host.clone()));
    if with_parent {
        kit.host.spawn(stop_with_parent(kit.host.clone()));
    }
    if let Err(error) = kit.spawn_monitor(&telemetry).await {
        return refuse(&error);
    }
    let host = kit.host.clone();
    let outcome = service(config, kit).await;
    let code = match outcome {
        // It was asked to stop before it had begun: it did.
        Err(error) if host.is_stopping() && !host.is_broken() => {
            tracing::info!(error = %status::chain(&error), "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
        Ok(()) if host.is_broken() => ExitCode::from(3),
        Ok(()) => ExitCode::SUCCESS,
    };
    if let Err(unfinished) = host.drain(GRACE).await {
        tracing::warn!(%unfinished, "stopping all the same");
    }
    drop(telemetry);
    code
}

impl Kit {
    /// Makes a kit without a command line: for tests, and for a rack in one process.
    ///
    /// # Errors
    /// The certificates can not be used.
    pub fn new(name: &'static str, common: Common) -> Result<Self, tls::Error> {
        let files =
            tls::Files { ca: common.ca.clone(), certificate: common.certificate.clone(), key: common.key.clone() };
        Ok(Self { name, host: Host::default(), tls: Tls::load(files)?, common })
    }

    async fn spawn_monitor(&self, telemetry: &Telemetry) -> Result<(), CannotBind> {
        let listener = serve::bind("service.monitor", self.common.monitor).await?;
        note_address(&self.common.data, "monitor", listener.local_addr().ok());
        self.host.spawn(serve::monitor(self.host.clone(), listener, telemetry.metrics.clone()));
        Ok(())
    }

    /// Binds the gRPC listener; its endpoint is what others are told to call.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(&self) -> Result<Bound, CannotBind> {
        let listener = serve::bind("service.listen", self.common.listen).await?;
        let address = listener.local_addr().unwrap_or(self.common.listen);
        note_address(&self.common.data, "grpc", Some(address));
        let endpoint =
            if self.common.advertise.is_empty() { address.to_string() } else { self.common.advertise.clone() };
        Ok(Bound { listener, endpoint })
    }

    /// Serves gRPC with health and reflection until the host stops.
    pub async fn serve(
        &self,
        bound: Bound,
        routes: Routes,
        rules: &'static [Rule],
        descriptors: &'static [u8],
    ) -> Health {
        let (reporter, health_server) = tonic_health::server::health_reporter();
        let health = Health::new(reporter);
        health.serving(Serving::Yes).await;
        let mut routes = routes.add_service(health_server);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Most clients in the field still ask by the protocol's first name.
        match (reflection().build_v1(), reflection().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "no reflection: the descriptors can not be read");
            }
        }
        let tls = self.tls.clone();
        let door = Door {
            name: self.name,
            tls: std::sync::Arc::new(move || tls.server()),
            routes: routes.prepare(),
            rules: rules.into(),
            rack: self.common.rack.as_str().into(),
        };
        self.host.spawn_vital("grpc", serve::accept(self.host.clone(), bound.listener, door));
        health
    }
}

/// A listener and what others are told to call.
#[derive(Debug)]
pub struct Bound {
    /// The listener.
    pub listener: tokio::net::TcpListener,
    /// `host:port`.
    pub endpoint: String,
}

/// Writes an address that was chosen at start where people and scripts find it: `<data>/<what>.address`.
pub fn note_address(data: &Path, what: &str, address: Option<SocketAddr>) {
    let Some(address) = address else { return };
    let file = data.join(format!("{what}.address"));
    if let Err(error) = std::fs::create_dir_all(data).and_then(|()| std::fs::write(&file, format!("{address}\n"))) {
        tracing::warn!(file = %file.display(), %error, "cannot note an address");
    }
}

async fn stop_on_signal(host: Host) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals can not be received");
        return;
    };
    tokio::select! {
        () = host.stopping() => return,
        _ = terminate.recv() => tracing::info!("asked to stop"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    host.stop();
}

async fn stop_with_parent(host: Host) {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(LOOK_FOR_PARENT) => {}
        }
    }
    tracing::warn!("the process that started this one has ended: stopping");
    host.stop();
}

#[expect(clippy::print_stderr, reason = "a process that can not begin has nothing else to speak with")]
fn refuse(error: &dyn StdError) -> ExitCode {
    eprintln!("{}", status::chain(error));
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn show(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}
