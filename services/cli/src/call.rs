//! Clients of the API's services: over one channel with a deadline for calls, and one without for streams.

use std::time::Duration;

use anyhow::anyhow;
use domain::service::Service;
use proto::api::v1::{
    allocation_service_client::AllocationServiceClient, bulk_service_client::BulkServiceClient,
    event_service_client::EventServiceClient, image_service_client::ImageServiceClient,
    lock_service_client::LockServiceClient, node_service_client::NodeServiceClient,
    operation_service_client::OperationServiceClient, rack_service_client::RackServiceClient,
    webhook_service_client::WebhookServiceClient,
};
use service_kit::{
    client::{MeshChannel, mesh_channel},
    tls::Tls,
};

use crate::{context::Context, error::Error};

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
    answers: MeshChannel,
    streams: MeshChannel,
}

impl Api {
    pub(crate) fn new(context: &Context) -> Result<Self, Error> {
        let tls = Tls::load(context.files()).map_err(|error| anyhow!(error))?;
        let line = |deadline| {
            mesh_channel(&tls, &context.endpoint, Service::Scheduler, NO_RACK, deadline).map_err(|error| anyhow!(error))
        };
        Ok(Self { endpoint: context.endpoint.clone(), answers: line(Some(CALL_TIMEOUT))?, streams: line(None)? })
    }

    pub(crate) fn nodes(&self) -> NodeServiceClient<MeshChannel> {
        NodeServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn node_streams(&self) -> NodeServiceClient<MeshChannel> {
        NodeServiceClient::new(self.streams.clone())
    }

    pub(crate) fn allocations(&self) -> AllocationServiceClient<MeshChannel> {
        AllocationServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn bulks(&self) -> BulkServiceClient<MeshChannel> {
        BulkServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn images(&self) -> ImageServiceClient<MeshChannel> {
        ImageServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn racks(&self) -> RackServiceClient<MeshChannel> {
        RackServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn operations(&self) -> OperationServiceClient<MeshChannel> {
        OperationServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn locks(&self) -> LockServiceClient<MeshChannel> {
        LockServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn webhooks(&self) -> WebhookServiceClient<MeshChannel> {
        WebhookServiceClient::new(self.answers.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(crate) fn event_streams(&self) -> EventServiceClient<MeshChannel> {
        EventServiceClient::new(self.streams.clone())
    }
}
