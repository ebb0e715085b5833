//! Clients of the API's services: over one channel with a deadline for calls, and one without for streams.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use domain::service::Service;
use proto::api::v1::{
    allocation_service_client::AllocationServiceClient, bulk_service_client::BulkServiceClient,
    caller_service_client::CallerServiceClient, event_service_client::EventServiceClient,
    host_service_client::HostServiceClient, image_service_client::ImageServiceClient,
    lock_service_client::LockServiceClient, node_service_client::NodeServiceClient,
    operation_service_client::OperationServiceClient, rack_service_client::RackServiceClient,
    status_service_client::StatusServiceClient, webhook_service_client::WebhookServiceClient,
};
use service_kit::{
    client::{InvalidEndpoint, MeshChannel, anonymous_channel, mesh_channel},
    tls::{ServerTrust, Tls},
};

use crate::{
    context::{Context, Credentials},
    error::Error,
    login::{channel::ApiChannel, session::Session},
};

/// Deadline of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The rack that a scheduler-service's certificate names: it serves all of them.
const NO_RACK: &str = "";
/// Maximum size of an answer, in bytes: a page of 1,000 nodes with their hardware has about 4 KiB each.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The public API.
pub(crate) struct Api {
    /// The endpoint that it calls.
    pub(crate) endpoint: String,
    answers: ApiChannel,
    streams: ApiChannel,
    session: Option<Arc<Session>>,
}

impl Api {
    pub(crate) fn new(context: &Context) -> Result<Self, Error> {
        let endpoint = &context.endpoint;
        let (answers, streams) = match context.credentials() {
            Ok(Credentials::Certificate(files)) => {
                let tls = Tls::load(files).map_err(|error| anyhow!(error))?;
                let open = |deadline| mesh_channel(&tls, endpoint, Service::Scheduler, NO_RACK, deadline);
                (open(Some(CALL_TIMEOUT)), open(None))
            }
            Ok(Credentials::Login { ca, .. }) => {
                let trust = ServerTrust::load(&ca).map_err(|error| anyhow!(error))?;
                let open = |deadline| anonymous_channel(&trust, endpoint, Service::Scheduler, NO_RACK, deadline);
                (open(Some(CALL_TIMEOUT)), open(None))
            }
            Err(unclear) => return Err(anyhow!(unclear).context(context.path.display().to_string()).into()),
        };
        let session = context.login().map(|(login, file)| Arc::new(Session::new(login.clone(), file)));
        let authenticated = |channel: Result<MeshChannel, _>| {
            channel
                .map(|channel| ApiChannel::new(channel, session.clone()))
                .map_err(|error: InvalidEndpoint| anyhow!(error))
        };
        let (answers, streams) = (authenticated(answers)?, authenticated(streams)?);
        Ok(Self { endpoint: endpoint.clone(), answers, streams, session })
    }

    /// Waits until no renewal of the login is under way.
    pub(crate) async fn settle(&self) {
        if let Some(session) = &self.session {
            session.settle().await;
        }
    }

    pub(crate) fn nodes(&self) -> NodeServiceClient<ApiChannel> {
        NodeServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn node_streams(&self) -> NodeServiceClient<ApiChannel> {
        NodeServiceClient::new(self.streams.clone())
    }

    pub(crate) fn allocations(&self) -> AllocationServiceClient<ApiChannel> {
        AllocationServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn bulks(&self) -> BulkServiceClient<ApiChannel> {
        BulkServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn callers(&self) -> CallerServiceClient<ApiChannel> {
        CallerServiceClient::new(self.answers.clone())
    }

    pub(crate) fn images(&self) -> ImageServiceClient<ApiChannel> {
        ImageServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn racks(&self) -> RackServiceClient<ApiChannel> {
        RackServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn hosts(&self) -> HostServiceClient<ApiChannel> {
        HostServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn status(&self) -> StatusServiceClient<ApiChannel> {
        StatusServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn operations(&self) -> OperationServiceClient<ApiChannel> {
        OperationServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn locks(&self) -> LockServiceClient<ApiChannel> {
        LockServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn webhooks(&self) -> WebhookServiceClient<ApiChannel> {
        WebhookServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn event_streams(&self) -> EventServiceClient<ApiChannel> {
        EventServiceClient::new(self.streams.clone())
    }
}
