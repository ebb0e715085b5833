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
    CreateImageRequest, CreateNodeRequest, GetNodeRequest, GetNodeTimelineRequest, Node, NodeObserved,
    ProvisionNodeRequest, Rack, UpdateRackRequest,
};
use serde::Deserialize;
use service_kit::client::{MeshChannel, mesh_channel};
use service_kit::tls::{Files, Tls, install_provider};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::bmc::USER;
use crate::machine::Machine;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);
/// Between two looks at a node.
const LOOK: Duration = Duration::from_millis(50);

/// `client.toml` as `ironmesh up` writes it.
#[derive(Debug, Deserialize)]
struct Client {
    endpoint: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// How an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Where the node rests.
    pub state: String,
    /// The word for programs.
    pub cause: String,
    /// In words.
    pub text: String,
    /// What is to be done.
    pub next_step: String,
}

/// The API's clients, and the few calls that every test makes.
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
    /// Opens all replicas' API by `client.toml`, or, where it is named, that of one `endpoint` alone.
    pub(super) fn open(file: &Path, endpoint: Option<&str>) -> Result<Self> {
        install_provider();
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let client: Client = toml::from_str(&text)?;
        let tls = Tls::load(Files { ca: client.ca, certificate: client.certificate, key: client.key })?;
        Ok(Self::over(mesh_channel(&tls, endpoint.unwrap_or(&client.endpoint), Service::Scheduler, "", Some(CALL))?))
    }

    /// The API of the scheduler-service that this line leads to.
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
    /// The API's.
    pub async fn register(&mut self, name: &str, purpose: &str, url: &str, digest: &str) -> Result<(), Status> {
        let image = CreateImageRequest {
            name: name.to_owned(),
            url: url.to_owned(),
            digest: digest.to_owned(),
            purpose: purpose.to_owned(),
            ..Default::default()
        };
        self.images.create_image(image).await.map(drop)
    }

    /// Says what the rack's machines boot.
    ///
    /// # Errors
    /// The API's.
    pub async fn boots_from(&mut self, kernel: &str, ramdisk: &str) -> Result<(), Status> {
        let (kernel, ramdisk) = (Some(kernel.to_owned()), Some(ramdisk.to_owned()));
        self.racks.update_rack(UpdateRackRequest { kernel, ramdisk, ..Default::default() }).await.map(drop)
    }

    /// The rack.
    ///
    /// # Errors
    /// The API's.
    pub async fn rack(&mut self) -> Result<Rack> {
        let answer = self.racks.get_rack(proto::api::v1::GetRackRequest { rack: String::new() }).await?;
        answer.into_inner().rack.context("an answer without a rack")
    }

    /// Enrols a machine under its own name.
    ///
    /// # Errors
    /// The API's.
    pub async fn enrol(&mut self, machine: &Machine) -> Result<(), Status> {
        self.nodes.create_node(enrolment(machine)).await.map(drop)
    }

    /// A node as it is now. A replica that ends under the call is left for another one.
    ///
    /// # Errors
    /// The API's.
    pub async fn node(&mut self, node: &str) -> Result<Node> {
        let begun = Instant::now();
        loop {
            match self.nodes.get_node(GetNodeRequest { node: node.to_owned() }).await {
                Ok(answer) => return answer.into_inner().node.context("an answer without a node"),
                // The second is tonic's word for a connection that is reset.
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) && begun.elapsed() < CALL => {
                    sleep(LOOK).await;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// Asks for a move of a node's life; `image` for `deploy`.
    ///
    /// # Errors
    /// The API's.
    pub async fn ask(&mut self, node: &str, verb: &str, image: &str) -> Result<(), Status> {
        let (node, verb, image) = (node.to_owned(), verb.to_owned(), image.to_owned());
        let request = ProvisionNodeRequest { node, verb, image, ..Default::default() };
        self.nodes.provision_node(request).await.map(drop)
    }

    /// Waits for a node to be in a state.
    ///
    /// # Errors
    /// It came to rest in another, or is elsewhere when `patience` is over: then what was seen last.
    pub async fn reach(&mut self, name: &str, state: &str, patience: Duration) -> Result<Node> {
        let begun = Instant::now();
        loop {
            let node = self.node(name).await?;
            let observed = node.observed.clone().unwrap_or_default();
            if observed.state == state {
                return Ok(node);
            }
            let rests = observed.operation.is_empty() && observed.last_failure.is_some();
            if rests || begun.elapsed() > patience {
                bail!("{name} is {:?} and not {state:?} after {:?}: {observed:#?}", observed.state, begun.elapsed());
            }
            sleep(LOOK).await;
        }
    }

    /// Waits for something to be seen of a node; `what` names it.
    ///
    /// # Errors
    /// It was not seen before `patience` is over: then what was.
    pub async fn sees(
        &mut self,
        name: &str,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&NodeObserved) -> bool + Send,
    ) -> Result<NodeObserved> {
        let begun = Instant::now();
        loop {
            let observed = self.node(name).await?.observed.unwrap_or_default();
            if is_so(&observed) {
                return Ok(observed);
            }
            if begun.elapsed() > patience {
                bail!("{what} was not seen of {name} within {patience:?}: {observed:#?}");
            }
            sleep(LOOK).await;
        }
    }

    /// Waits for a node's operation to fail: the state that it rests in, and why.
    ///
    /// # Errors
    /// It did not fail, or not before `patience` is over.
    pub async fn fails(&mut self, name: &str, patience: Duration) -> Result<Failed> {
        let begun = Instant::now();
        loop {
            let observed = self.node(name).await?.observed.unwrap_or_default();
            if let (Some(failure), true) = (&observed.last_failure, observed.operation.is_empty()) {
                let (cause, text) = (failure.cause.clone(), failure.text.clone());
                return Ok(Failed { state: observed.state, cause, text, next_step: observed.next_step });
            }
            if begun.elapsed() > patience {
                bail!("{name} did not fail within {patience:?}: {observed:#?}");
            }
            sleep(LOOK).await;
        }
    }

    /// Asks for a move, and waits for where it leads.
    ///
    /// # Errors
    /// Those of [`Api::ask`] and [`Api::reach`].
    pub async fn bring(&mut self, node: &str, verb: &str, image: &str, to: &str, patience: Duration) -> Result<Node> {
        self.ask(node, verb, image).await?;
        self.reach(node, to, patience).await
    }

    /// The marks of all boots that are remembered of a node, each with its subject.
    ///
    /// # Errors
    /// The API's.
    pub async fn marks(&mut self, node: &str) -> Result<Vec<(String, String)>> {
        let request = GetNodeTimelineRequest { node: node.to_owned() };
        let timeline = self.nodes.get_node_timeline(request).await?.into_inner();
        Ok(timeline.boots.into_iter().flat_map(|boot| boot.entries).map(|entry| (entry.mark, entry.subject)).collect())
    }
}

/// What enrols a machine under its own name; its system is waited for 20 s.
pub fn enrolment(machine: &Machine) -> CreateNodeRequest {
    CreateNodeRequest {
        name: machine.name.clone(),
        bmc_address: machine.bmc_address.to_string(),
        bmc_user: USER.to_owned(),
        bmc_password: machine.password(),
        boot_mode: proto::common::v1::BootMode::Bios.into(),
        macs: vec![machine.mac.to_string()],
        wait_for_life_seconds: 20,
        ..Default::default()
    }
}
