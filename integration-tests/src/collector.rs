//! A collector of traces (OTLP over gRPC) that keeps what it receives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use service_kit::Host;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// One span, and the service that sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The service, such as `power-service`.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Sent {
    /// A text attribute; empty if there is none.
    #[must_use]
    pub fn attribute(&self, name: &str) -> String {
        text(&self.span.attributes, name)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|one| one.key == name).and_then(|one| one.value.as_ref()?.value.as_ref());
    if let Some(any_value::Value::StringValue(text)) = value { text.clone() } else { String::new() }
}

/// The collector. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    kept: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    /// Collects at this address until the host stops.
    ///
    /// # Errors
    /// The address is in use.
    pub async fn listen(address: SocketAddr, host: &Host) -> Result<Self> {
        let collector = Self::default();
        let listener = TcpListener::bind(address).await.with_context(|| format!("a collector at {address}"))?;
        let (stop, service) = (host.clone(), TraceServiceServer::new(collector.clone()));
        host.spawn(async move {
            let serving = Server::builder().add_service(service);
            let ended =
                serving.serve_with_incoming_shutdown(TcpIncoming::from(listener), async move { stop.stopping().await });
            if let Err(error) = ended.await {
                eprintln!("the collector ended: {error}");
            }
        });
        Ok(collector)
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All received messages, as they were on the wire.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        self.requests().iter().flat_map(ExportTraceServiceRequest::encode_to_vec).collect()
    }

    /// All received spans.
    #[must_use]
    pub fn spans(&self) -> Vec<Sent> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources
            .flat_map(|of| {
                let attributes = of.resource.unwrap_or_default().attributes;
                let service = text(&attributes, "service.name");
                let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.map(move |span| Sent { service: service.clone(), span }).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Waits until `find` returns something for the received spans.
    ///
    /// # Errors
    /// It does not within `timeout`; the error lists the spans.
    pub async fn until<T>(
        &self,
        what: &str,
        timeout: Duration,
        look: impl Fn(&[Sent]) -> Option<T> + Send,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if let Some(found) = look(&spans) {
                return Ok(found);
            }
            if begun.elapsed() > timeout {
                let one = |sent: &Sent| {
                    let trace: String = sent.span.trace_id.iter().map(|octet| format!("{octet:02x}")).collect();
                    format!("{} {} {} {}", sent.service, trace, sent.span.name, sent.attribute("path"))
                };
                let seen = spans.iter().map(one).collect::<Vec<_>>().join("\n  ");
                anyhow::bail!("waited {timeout:?} in vain for {what} among:\n  {seen}");
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
