//! Process lifecycle: arguments, configuration, telemetry, work, graceful shutdown, exit code.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use tonic::service::Routes;

use crate::{
    Host,
    bearer_token::TokenVerifier,
    config::{self, Common, Config},
    health::{Health, Serving},
    listener::{self, BodyBudget, Listener, ListenerKind},
    serve::{self, BindError, GrpcListener, OwnCertificates, Rule},
    status,
    telemetry::{self, Telemetry},
    tls::{self, Tls},
};

/// How long tasks may take to end after shutdown was requested.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How often a process that was started with `--with-parent` checks that its parent is alive.
const PARENT_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Command-line arguments of every service.
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and exit; the exit code is 0 if it is valid.
    #[arg(long)]
    pub check: bool,
    /// Print the effective configuration and exit.
    #[arg(long)]
    pub print_config: bool,
    /// Stop gracefully when the parent process ends.
    #[arg(long)]
    pub with_parent: bool,
}

/// What a service needs to run.
#[derive(Debug, Clone)]
pub struct Kit {
    /// Name of the service.
    pub name: &'static str,
    /// Spawns tasks and signals shutdown.
    pub host: Host,
    /// TLS configuration.
    pub tls: Tls,
    /// The `[service]` table of the configuration.
    pub common: Common,
    /// Memory for the bodies of requests to all listeners.
    pub budget: BodyBudget,
    /// The certificates whose end the page for health checks reports.
    certificates: OwnCertificates,
}

/// Runs a service with the arguments of the process.
pub fn run<C, F, E>(name: &'static str, service: impl FnOnce(C, Kit) -> F) -> ExitCode
where
    C: Config,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: StdError + Send + 'static,
{
    run_with(name, &Arguments::parse(), service)
}

/// Runs a service with the given arguments.
pub fn run_with<C, F, E>(name: &'static str, arguments: &Arguments, service: impl FnOnce(C, Kit) -> F) -> ExitCode
where
    C: Config,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: StdError + Send + 'static,
{
    let config: C = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return exit_with_error(&error),
    };
    if arguments.print_config {
        return print_and_exit(&config::print(&config));
    }
    if arguments.check {
        return print_and_exit(&format!("{}: the configuration is valid\n", arguments.config.display()));
    }
    listener::raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit_with_error(&error),
    };
    runtime.block_on(run_async(name, config, arguments.with_parent, service))
}

async fn run_async<C, F, E>(
    name: &'static str,
    config: C,
    with_parent: bool,
    service: impl FnOnce(C, Kit) -> F,
) -> ExitCode
where
    C: Config,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: StdError + Send + 'static,
{
    let common = config.common().clone();
    let telemetry = match telemetry::set_up(name, &common.log, &common.otlp) {
        Ok(telemetry) => telemetry,
        Err(error) => return exit_with_error(&error),
    };
    let kit = match Kit::new(name, common) {
        Ok(kit) => kit,
        Err(error) => return exit_with_error(&error),
    };
    kit.host.spawn(stop_on_signal(kit.host.clone()));
    kit.follow_certificate(kit.tls.clone());
    if with_parent {
        kit.host.spawn(stop_with_parent(kit.host.clone()));
    }
    if let Err(error) = kit.spawn_monitor(&telemetry).await {
        return exit_with_error(&error);
    }
    let host = kit.host.clone();
    let outcome = service(config, kit).await;
    let code = match outcome {
        // Shutdown was requested before the service had started: not an error.
        Err(error) if host.is_stopping() && !host.is_broken() => {
            tracing::info!(error = %status::chain(&error), "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => exit_with_error(&error),
        Ok(()) if host.is_broken() => ExitCode::from(3),
        Ok(()) => ExitCode::SUCCESS,
    };
    if let Err(unfinished) = host.drain(SHUTDOWN_GRACE).await {
        tracing::warn!(%unfinished, "not all tasks ended, exiting");
    }
    drop(telemetry);
    code
}

impl Kit {
    /// Creates a kit without a command line, for tests and for several services in one process.
    ///
    /// # Errors
    /// [`tls::Error`] if the certificates cannot be used.
    pub fn new(name: &'static str, common: Common) -> Result<Self, tls::Error> {
        let budget = BodyBudget::new(&common.http);
        let tls = Tls::load(common.tls_files())?;
        Ok(Self { name, host: Host::default(), tls, common, budget, certificates: OwnCertificates::default() })
    }

    /// Reloads a certificate of this process when its files change, and reports when it ends.
    pub fn follow_certificate(&self, tls: Tls) {
        self.certificates.add(tls.clone());
        self.host.spawn(tls.follow(self.host.clone()));
    }

    /// Creates a listener for plain HTTP with the configured limits.
    #[must_use]
    pub fn listener(&self, purpose: ListenerKind) -> Listener {
        Listener::new(purpose, &self.common.http, self.budget.clone())
    }

    async fn spawn_monitor(&self, telemetry: &Telemetry) -> Result<(), BindError> {
        let listener = serve::bind("service.monitor", self.common.monitor).await?;
        write_address_file(&self.common.data, "monitor", listener.local_addr().ok());
        let limits = self.listener(ListenerKind::Monitor);
        let (metrics, certificates) = (telemetry.metrics.clone(), self.certificates.clone());
        self.host.spawn(serve::monitor(self.host.clone(), listener, limits, metrics, certificates));
        Ok(())
    }

    /// Binds the gRPC listener.
    ///
    /// # Errors
    /// [`BindError`] if the address is in use or not local.
    pub async fn bind(&self) -> Result<Bound, BindError> {
        let listener = serve::bind("service.listen", self.common.listen).await?;
        let address = listener.local_addr().unwrap_or(self.common.listen);
        write_address_file(&self.common.data, "grpc", Some(address));
        let endpoint =
            if self.common.advertise.is_empty() { address.to_string() } else { self.common.advertise.clone() };
        Ok(Bound { listener, endpoint, tokens: None })
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
        // Many clients still use version v1alpha of the reflection protocol.
        match (reflection().build_v1(), reflection().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "reflection is disabled, the descriptors cannot be read");
            }
        }
        let (tls, revocations) = (self.tls.clone(), Some(self.tls.revocations().clone()));
        let realm = tls.realm();
        let listener = GrpcListener {
            name: self.name,
            purpose: ListenerKind::Grpc,
            revocations,
            realm,
            tls: if bound.tokens.is_some() {
                Arc::new(move || tls.server_for_tokens())
            } else {
                Arc::new(move || tls.server())
            },
            tokens: bound.tokens,
            routes: routes.prepare(),
            rules: rules.into(),
            rack: self.common.rack.as_str().into(),
            limits: self.common.http.clone(),
            budget: self.budget.clone(),
        };
        self.host.spawn_essential("grpc", serve::accept(self.host.clone(), bound.listener, listener));
        health
    }
}

/// A bound gRPC listener.
pub struct Bound {
    /// The listener.
    pub listener: tokio::net::TcpListener,
    /// The address that other services call, as `host:port`.
    pub endpoint: String,
    /// Verifies the tokens of operators without a certificate; `None` if each caller must have one.
    pub tokens: Option<TokenVerifier>,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Writes an address that was chosen at start to `<data>/<what>.address`, for operators and scripts.
pub fn write_address_file(data: &Path, what: &str, address: Option<SocketAddr>) {
    let Some(address) = address else { return };
    let file = data.join(format!("{what}.address"));
    if let Err(error) = std::fs::create_dir_all(data).and_then(|()| std::fs::write(&file, format!("{address}\n"))) {
        tracing::warn!(file = %file.display(), %error, "cannot write address file");
    }
}

async fn stop_on_signal(host: Host) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot install signal handlers");
        return;
    };
    tokio::select! {
        () = host.stopping() => return,
        _ = terminate.recv() => tracing::info!("received SIGTERM, stopping"),
        _ = interrupt.recv() => tracing::info!("received SIGINT, stopping"),
    }
    host.stop();
}

async fn stop_with_parent(host: Host) {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(PARENT_CHECK_INTERVAL) => {}
        }
    }
    tracing::warn!("parent process ended, stopping");
    host.stop();
}

#[expect(clippy::print_stderr, reason = "logging may not be set up when a process fails to start")]
fn exit_with_error(error: &dyn StdError) -> ExitCode {
    eprintln!("{}", status::chain(error));
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "the user requested this output")]
fn print_and_exit(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}
