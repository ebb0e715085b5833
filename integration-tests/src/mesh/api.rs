//! The mesh's API, as the command line calls it: typed, over mutual TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use domain::service::Service;
use proto::api::v1::allocation_service_client::AllocationServiceClient;
use proto::api::v1::bulk_service_client::BulkServiceClient;
use proto::api::v1::event_service_client::EventServiceClient;
use proto::api::v1::image_service_client::ImageServiceClient;
use proto::api::v1::node_service_client::NodeServiceClient;
use proto::api::v1::operation_service_client::OperationServiceClient;
use proto::api::v1::rack_service_client::RackServiceClient;
use proto::api::v1::{
    CreateImageRequest, CreateNodeRequest, GetNodeRequest, GetNodeTimelineRequest, ImagePurpose, Node, NodeObserved,
    ProvisionNodeRequest, ProvisionVerb, Rack, UpdateRackRequest,
};
use proto::convert::time::wire_duration;
use serde::Deserialize;
use service_kit::client::{MeshChannel, mesh_channel};
use service_kit::tls::{Files, Tls, install_provider};
use tokio::time::{Instant, sleep};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::bmc::USER;
use crate::machine::Machine;

/// Maximum duration of one call.
const CALL: Duration = Duration::from_secs(10);
/// Interval between two reads of a node.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// `client.toml`, as `ironmesh up` writes it.
#[derive(Debug, Deserialize)]
struct Client {
    endpoint: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Failure of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// State that the node is in.
    pub state: String,
    /// Reason, for programs.
    pub cause: String,
    /// Description.
    pub text: String,
    /// Next step for the operator.
    pub next_step: String,
}

/// The API's clients, and the calls that every test makes.
#[derive(Clone, Debug)]
pub struct Api {
    /// Nodes.
    pub nodes: NodeServiceClient<MeshChannel>,
    /// Images.
    pub images: ImageServiceClient<MeshChannel>,
    /// Racks.
    pub racks: RackServiceClient<MeshChannel>,
    /// Operations.
    pub operations: OperationServiceClient<MeshChannel>,
    /// Allocations.
    pub allocations: AllocationServiceClient<MeshChannel>,
    /// Bulks.
    pub bulks: BulkServiceClient<MeshChannel>,
    /// Events.
    pub events: EventServiceClient<MeshChannel>,
}

impl Api {
    /// Connects to all schedulers of `client.toml`, or only to `endpoint` if it is given.
    pub(crate) fn open(file: &Path, endpoint: Option<&str>) -> Result<Self> {
        Self::channel(file, endpoint).map(Self::over)
    }

    /// The same, for the clients of other services of the API.
    pub(crate) fn channel(file: &Path, endpoint: Option<&str>) -> Result<MeshChannel> {
        install_provider();
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let client: Client = toml::from_str(&text)?;
        let tls = Tls::load(Files { ca: client.ca, certificate: client.certificate, key: client.key })?;
        Ok(mesh_channel(&tls, endpoint.unwrap_or(&client.endpoint), Service::Scheduler, "", Some(CALL))?)
    }

    /// The API of the scheduler-service that this connection leads to.
    #[must_use]
    pub fn over(line: MeshChannel) -> Self {
        Self {
            nodes: NodeServiceClient::new(line.clone()),
            images: ImageServiceClient::new(line.clone()),
            racks: RackServiceClient::new(line.clone()),
            operations: OperationServiceClient::new(line.clone()),
            allocations: AllocationServiceClient::new(line.clone()),
            bulks: BulkServiceClient::new(line.clone()),
            events: EventServiceClient::new(line),
        }
    }

    /// Registers a file as an image under its digest, `sha256:…`.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn register(&mut self, name: &str, purpose: &str, url: &str, digest: &str) -> Result<(), Status> {
        let image = CreateImageRequest {
            name: name.to_owned(),
            url: url.to_owned(),
            digest: digest.to_owned(),
            purpose: self::purpose(purpose),
            ..Default::default()
        };
        self.images.create_image(image).await.map(drop)
    }

    /// Sets what the rack's machines boot.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn boots_from(&mut self, kernel: &str, ramdisk: &str) -> Result<(), Status> {
        let (kernel, ramdisk) = (Some(kernel.to_owned()), Some(ramdisk.to_owned()));
        self.racks.update_rack(UpdateRackRequest { kernel, ramdisk, ..Default::default() }).await.map(drop)
    }

    /// The rack.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn rack(&mut self) -> Result<Rack> {
        let answer = self.racks.get_rack(proto::api::v1::GetRackRequest { rack: String::new() }).await?;
        answer.into_inner().rack.context("an answer without a rack")
    }

    /// Enrolls a machine under its own name.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn enrol(&mut self, machine: &Machine) -> Result<(), Status> {
        self.nodes.create_node(enrolment(machine)).await.map(drop)
    }

    /// A node's present state. If a scheduler ends during the call, another one is called.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn node(&mut self, node: &str) -> Result<Node> {
        let begun = Instant::now();
        loop {
            match self.nodes.get_node(GetNodeRequest { node: node.to_owned() }).await {
                Ok(answer) => return answer.into_inner().node.context("an answer without a node"),
                // The second text is tonic's for a connection that was reset.
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) && begun.elapsed() < CALL => {
                    sleep(POLL_INTERVAL).await;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// Requests a transition of a node; `image` is for `deploy`.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn ask(&mut self, node: &str, verb: &str, image: &str) -> Result<(), Status> {
        let (node, image) = (node.to_owned(), image.to_owned());
        let request = ProvisionNodeRequest { node, verb: self::verb(verb), image, ..Default::default() };
        self.nodes.provision_node(request).await.map(drop)
    }

    /// Waits until a node is in a state.
    ///
    /// # Errors
    /// The node stopped in another state, or did not reach the state within `timeout`; the error has the last observed state.
    pub async fn reach(&mut self, name: &str, state: &str, timeout: Duration) -> Result<Node> {
        let begun = Instant::now();
        loop {
            let node = self.node(name).await?;
            let observed = node.observed.clone().unwrap_or_default();
            if observed.state == state {
                return Ok(node);
            }
            let rests = observed.operation.is_none() && observed.last_failure.is_some();
            if rests || begun.elapsed() > timeout {
                bail!("{name} is {:?} and not {state:?} after {:?}: {observed:#?}", observed.state, begun.elapsed());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until `find` returns something for a node; `what` describes it in errors.
    ///
    /// # Errors
    /// Nothing was found within `timeout`; the error has the last observed state.
    pub async fn sees(
        &mut self,
        name: &str,
        what: &str,
        timeout: Duration,
        is_so: impl Fn(&NodeObserved) -> bool + Send,
    ) -> Result<NodeObserved> {
        let begun = Instant::now();
        loop {
            let observed = self.node(name).await?.observed.unwrap_or_default();
            if is_so(&observed) {
                return Ok(observed);
            }
            if begun.elapsed() > timeout {
                bail!("{what} was not seen of {name} within {timeout:?}: {observed:#?}");
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until a node's operation fails. Returns the state that it is in, and why.
    ///
    /// # Errors
    /// It does not fail, or not within `timeout`.
    pub async fn fails(&mut self, name: &str, timeout: Duration) -> Result<Failed> {
        let begun = Instant::now();
        loop {
            let observed = self.node(name).await?.observed.unwrap_or_default();
            if let (Some(failure), true) = (&observed.last_failure, observed.operation.is_none()) {
                let (cause, text) = (failure.cause.clone(), failure.text.clone());
                return Ok(Failed { state: observed.state, cause, text, next_step: observed.next_step });
            }
            if begun.elapsed() > timeout {
                bail!("{name} did not fail within {timeout:?}: {observed:#?}");
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Requests a transition, and waits for the state that it leads to. A request that etcd or another process was in the way
    /// of is repeated under the same id, as a client does, so that it is carried out once.
    ///
    /// # Errors
    /// Errors of the API, and of [`Api::reach`].
    pub async fn bring(&mut self, node: &str, verb: &str, image: &str, to: &str, timeout: Duration) -> Result<Node> {
        let (begun, id) = (Instant::now(), AsciiMetadataValue::try_from(Uuid::new_v4().to_string())?);
        let message = ProvisionNodeRequest {
            node: node.to_owned(),
            verb: self::verb(verb),
            image: image.to_owned(),
            ..Default::default()
        };
        loop {
            let mut request = Request::new(message.clone());
            request.metadata_mut().insert("ironmesh-request-id", id.clone());
            match self.nodes.provision_node(request).await {
                Ok(_) => break,
                Err(status) if is_transient(status.code()) && begun.elapsed() < CALL => sleep(POLL_INTERVAL).await,
                Err(status) => return Err(status.into()),
            }
        }
        self.reach(node, to, timeout).await
    }

    /// All events of a node's remembered boots, each with its subject.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn marks(&mut self, node: &str) -> Result<Vec<(String, String)>> {
        let request = GetNodeTimelineRequest { node: node.to_owned() };
        let timeline = self.nodes.get_node_timeline(request).await?.into_inner();
        Ok(timeline.boots.into_iter().flat_map(|boot| boot.entries).map(|entry| (entry.mark, entry.subject)).collect())
    }
}

/// Whether a repeated call may succeed: a scheduler ended, etcd did not answer, or another process wrote first.
const fn is_transient(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Aborted)
}

/// The request that enrolls a machine under its own name; its system is awaited for 20 s.
pub fn enrolment(machine: &Machine) -> CreateNodeRequest {
    CreateNodeRequest {
        name: machine.name.clone(),
        bmc_address: machine.bmc_address.to_string(),
        bmc_user: USER.to_owned(),
        bmc_password: machine.password(),
        boot_mode: proto::common::v1::BootMode::Bios.into(),
        macs: vec![machine.mac.to_string()],
        sign_of_life_timeout: Some(wire_duration(Duration::from_secs(20))),
        ..Default::default()
    }
}

/// The value of a verb, such as `deploy`, in a message; if there is no such verb, zero, which the API refuses.
#[must_use]
pub fn verb(word: &str) -> i32 {
    ProvisionVerb::from_str_name(&format!("PROVISION_VERB_{}", word.to_uppercase())).map_or(0, i32::from)
}

/// The value of an image's purpose, such as `disk`, in a message; if there is no such purpose, zero.
#[must_use]
pub fn purpose(word: &str) -> i32 {
    ImagePurpose::from_str_name(&format!("IMAGE_PURPOSE_{}", word.to_uppercase())).map_or(0, i32::from)
}
