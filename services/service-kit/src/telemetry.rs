//! Logs, traces and metrics. Fields carry the facts; traces cross gRPC as W3C Trace Context.

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
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Telemetry that can not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter can not be read.
    #[error("service.log: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter can not be made.
    #[error("service.otlp: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Something has set metrics up before.
    #[error("metrics are set up twice: {0}")]
    Metrics(String),
}

/// What keeps telemetry going; dropped last.
#[derive(Debug)]
pub struct Telemetry {
    tracer: Option<SdkTracerProvider>,
    /// Renders the metrics as Prometheus reads them.
    pub metrics: PrometheusHandle,
}

/// That somebody is there, and who: a replica that has nothing to do shows no other metric.
const BUILD: &str = "ironmesh_build_info";

/// Sets up logs on standard error, traces to `otlp` where it is not empty, and metrics.
///
/// # Errors
/// Says which setting is wrong.
pub fn set_up(service: &'static str, log: &str, otlp: &str) -> Result<Telemetry, Error> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_filter(EnvFilter::try_new(log)?);
    // Spans always have a context, so that a trace that began elsewhere goes on; they are exported where asked.
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
    tracing_subscriber::registry().with(lines).with(spans).init();
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|error| Error::Metrics(error.to_string()))?;
    metrics::describe_gauge!(BUILD, "1, with the service and its version");
    metrics::gauge!(BUILD, "service" => service, "version" => env!("CARGO_PKG_VERSION")).set(1);
    Ok(Telemetry { tracer: Some(provider), metrics })
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take()
            && let Err(error) = tracer.shutdown()
        {
            tracing::debug!(%error, "the last traces did not leave");
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

/// Makes the span a child of the trace that the caller's headers name.
pub fn adopt(span: &Span, headers: &http::HeaderMap) {
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
    if let Err(error) = span.set_parent(parent) {
        tracing::trace!(%error, "a span without a parent");
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

/// Writes the present trace into a call's metadata.
pub fn hand_on(metadata: &mut tonic::metadata::MetadataMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Metadata(metadata)));
}

/// The header that names a trace (W3C Trace Context §3.2).
const TRACEPARENT: &str = "traceparent";

/// The present trace, to be kept with work that is done later, perhaps by another process; empty: there is none.
#[must_use]
pub fn present() -> String {
    let mut headers = HashMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut headers));
    headers.remove(TRACEPARENT).unwrap_or_default()
}

/// Makes the span a child of a trace that was kept.
pub fn go_on(span: &Span, kept: &str) {
    let headers = HashMap::from([(TRACEPARENT.to_owned(), kept.to_owned())]);
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
    if let Err(error) = span.set_parent(parent) {
        tracing::trace!(%error, "a span without a parent");
    }
}
