//! Logs, traces and metrics. Traces cross gRPC as W3C Trace Context.

use std::collections::HashMap;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::{
    KeyValue, global,
    propagation::{Extractor, Injector},
    trace::TracerProvider as _,
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `service.log` is not a valid filter.
    #[error("service.log is not a valid filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The trace exporter cannot be created.
    #[error("cannot export traces to service.otlp")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A metrics recorder is already installed.
    #[error("cannot install the metrics recorder: {0}")]
    Metrics(String),
}

/// Keeps telemetry running. Drop it last.
#[derive(Debug)]
pub struct Telemetry {
    tracer: Option<SdkTracerProvider>,
    /// Renders the metrics in the Prometheus text format.
    pub metrics: PrometheusHandle,
}

/// Shows the service and its version, even if a replica has no other metric.
const BUILD_INFO: &str = "ironmesh_build_info";

/// Sets up logs on standard error, and nothing else: for a program that is no service.
///
/// # Errors
/// [`Error::Filter`] if the filter is invalid.
pub fn set_up_logs(log: &str) -> Result<(), Error> {
    tracing_subscriber::registry().with(lines(log)?).init();
    Ok(())
}

/// Lines on standard error.
fn lines<S>(log: &str) -> Result<impl Layer<S> + use<S>, Error>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    Ok(lines.with_filter(EnvFilter::try_new(log)?))
}

/// Sets up logs on standard error, traces to `otlp` unless it is empty, and metrics.
///
/// # Errors
/// [`Error`] if a setting is invalid.
pub fn set_up(service: &'static str, log: &str, otlp: &str) -> Result<Telemetry, Error> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    // Spans always have a context, so that a trace from another process continues; they are exported only if
    // configured.
    let mut provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_attribute(KeyValue::new("service.name", service)).build());
    if !otlp.is_empty() {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(otlp).build()?;
        provider = provider.with_batch_exporter(exporter);
    }
    let provider = provider.build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service))
        .with_filter(EnvFilter::try_new("info,h2=off,hyper=off,tonic=off,tower=off,etcd_client=off")?);
    tracing_subscriber::registry().with(lines(log)?).with(spans).init();
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|error| Error::Metrics(error.to_string()))?;
    crate::listener::describe();
    crate::bearer_token::describe();
    metrics::describe_gauge!(BUILD_INFO, "Always 1; the labels are the service and its version");
    metrics::gauge!(BUILD_INFO, "service" => service, "version" => env!("CARGO_PKG_VERSION")).set(1);
    Ok(Telemetry { tracer: Some(provider), metrics })
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take()
            && let Err(error) = tracer.shutdown()
        {
            tracing::debug!(%error, "cannot export the last traces");
        }
    }
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Makes the span a child of the trace in the caller's headers.
pub fn set_remote_parent(span: &Span, headers: &http::HeaderMap) {
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
    if let Err(error) = span.set_parent(parent) {
        tracing::trace!(%error, "cannot set the parent of a span");
    }
}

struct Metadata<'a>(&'a mut tonic::metadata::MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (
            tonic::metadata::MetadataKey::from_bytes(key.as_bytes()),
            value.parse::<tonic::metadata::MetadataValue<_>>(),
        ) {
            self.0.insert(key, value);
        }
    }
}

/// Writes the current trace to the metadata of a call.
pub fn inject_trace(metadata: &mut tonic::metadata::MetadataMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Metadata(metadata)));
}

/// The header that carries a trace (W3C Trace Context §3.2).
const TRACEPARENT: &str = "traceparent";

/// Returns the current trace as a `traceparent` header, to be stored with work that is done later, possibly by another
/// process. Empty if there is none.
#[must_use]
pub fn current_traceparent() -> String {
    let mut headers = HashMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut headers));
    headers.remove(TRACEPARENT).unwrap_or_default()
}

/// Makes the span a child of a stored `traceparent`.
pub fn continue_trace(span: &Span, traceparent: &str) {
    let headers = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
    if let Err(error) = span.set_parent(parent) {
        tracing::trace!(%error, "cannot set the parent of a span");
    }
}
