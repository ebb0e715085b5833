//! Boot device and NMI: the client waits while the BMC is read or commanded.
//!
//! As with power, the intended state gets a generation, and the node's power-service reaches it with claim, journal and
//! permit. The request waits for the result.

use std::{sync::Arc, time::Duration};

use domain::{
    driver::{self, Driver, Interface},
    failure::{Cause, Failure},
    generation::Generation,
    plan::Progress,
    power::{Boot, BootDevice, BootMode, Persistence, PowerTarget},
};
use keyspace::{key, view::News};
use serde_json::json;
use tokio::time::timeout;
use wire_ironic::{
    call,
    error::{Class, Error, text},
};

use super::{ApiRequest, RestApi, fault::fault, response::ApiResponse, validate};
use scheduler_core::{
    effect::{self, power::BootOrder},
    node_view::NodeView,
    registry::settled,
};

/// Time that a request waits for a BMC command. Longer than the power-service tries.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(45);

impl RestApi {
    pub(super) fn supported_boot_devices(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let devices: Vec<String> = devices(&node).iter().map(ToString::to_string).collect();
        Ok(ApiResponse::ok(json!({"supported_boot_devices": devices})))
    }

    pub(super) async fn get_boot_device(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let order = match management(&node) {
            // A fake node always boots from the network.
            "fake" => BootOrder { device: Some(BootDevice::Pxe), is_persistent: Some(false) },
            // A manually managed node is configured to boot from the network, and from disk if no boot file is offered.
            "noop" => BootOrder { device: Some(BootDevice::Pxe), is_persistent: Some(true) },
            _ => {
                check_free(&node)?;
                validate::interface(&node, Interface::Management)?;
                let asked = effect::power::boot_order(&self.app, node.rack, node.node).await;
                asked.map_err(|error| fault(ident, &error))?.map_err(|failure| failed(&node, &failure))?
            }
        };
        let device = order.device.map(|device| device.to_string());
        Ok(ApiResponse::ok(json!({"boot_device": device, "persistent": order.is_persistent})))
    }

    pub(super) async fn set_boot_device(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let (named, persistent) = call::boot_device(&request.arguments()?)?;
        let node = self.node(request, ident)?;
        let is_there = !matches!(management(&node), "fake" | "noop");
        if is_there {
            check_free(&node)?;
            validate::interface(&node, Interface::Management)?;
        }
        let device = devices(&node).iter().copied().find(|device| device.to_string() == named);
        let device = device.ok_or_else(|| Class::Invalid.error(format!("Invalid boot device {named} specified.")))?;
        if !is_there {
            return Ok(ApiResponse::no_content());
        }
        let persistence = if persistent { Persistence::Persistent } else { Persistence::Once };
        self.instruct(request, ident, &node, |mode| PowerTarget::BootOrder { boot: Boot { device, persistence, mode } })
            .await
    }

    /// Sends an NMI, once.
    pub(super) async fn inject_nmi(
        &self,
        request: &ApiRequest,
        ident: &str,
        below: &[&str],
    ) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        if matches!(management(&node), "fake" | "noop") {
            return self.unsupported(request, ident, below);
        }
        check_free(&node)?;
        validate::interface(&node, Interface::Management)?;
        self.instruct(request, ident, &node, |_| PowerTarget::Interrupted { by: None }).await
    }

    /// Stores an instruction for the node's BMC and waits until the power-service has carried it out.
    async fn instruct(
        &self,
        request: &ApiRequest,
        ident: &str,
        node: &NodeView,
        target: impl FnOnce(BootMode) -> PowerTarget,
    ) -> Result<ApiResponse, Error> {
        let registry = &self.app.registry;
        let record = registry.record(node.rack, node.node).ok_or_else(|| text::not_found("Node", ident))?;
        self.check_since(request, ident, node, &record)?;
        let target = target(record.intent.value.boot_mode);
        let generation = self.accept(request, ident, node, &record, target.into()).await?;
        let Ok(ended) = timeout(COMMAND_TIMEOUT, self.wait_for_result(node, generation)).await else {
            return Err(text::busy(&format!(
                "The BMC of node {} did not carry out the command within {} s, but still may; read the node again",
                node.node,
                COMMAND_TIMEOUT.as_secs()
            )));
        };
        match ended {
            Progress::Failed(failure) => Err(failed(node, &failure)),
            Progress::Done(_) => Ok(ApiResponse::no_content()),
            // A later instruction replaced it.
            Progress::Unknown | Progress::Underway => Err(text::locked(&node.node.to_string(), "another request")),
        }
    }

    /// Waits for the result of an instruction. `Unknown` if a later one replaced it. Cancel-safe.
    async fn wait_for_result(&self, node: &NodeView, generation: Generation) -> Progress {
        let view = self.app.registry.view();
        let (power, life) = (key::power(node.rack, node.node), key::life(node.rack, node.node));
        let mut news = view.subscribe();
        loop {
            let seen = view.get(&power).map(|read| read.value);
            let ended = settled(seen.as_ref(), generation);
            let is_last = view.get(&life).is_some_and(|life| life.value.generation <= generation);
            if ended != Progress::Unknown || !is_last {
                return ended;
            }
            loop {
                match news.next().await {
                    Some(News::Path(path)) if *path != *power.path() && *path != *life.path() => {}
                    Some(News::Path(_) | News::Everything) => break,
                    None => return Progress::Unknown,
                }
            }
        }
    }
}

/// Management interface of a node.
fn management(node: &NodeView) -> &str {
    node.interface(Interface::Management).unwrap_or_default()
}

fn devices(node: &NodeView) -> &'static [BootDevice] {
    driver::boot_devices(management(node))
}

/// Rejects the request while an operation runs on the node.
fn check_free(node: &Arc<NodeView>) -> Result<(), Error> {
    match node.conductor.as_deref().filter(|_| node.is_locked()) {
        Some(holder) => Err(text::locked(&node.node.to_string(), holder)),
        None => Ok(()),
    }
}

/// Error for a BMC that refused or did not respond, in the driver's words.
fn failed(node: &NodeView, failure: &Failure) -> Error {
    let why = format!("{}; {}", failure.text, failure.cause.next_step());
    match (node.intent.driver, failure.cause) {
        (Driver::Redfish, Cause::BmcSilent) => text::redfish_silent(&node.node.to_string(), &why),
        (Driver::Redfish, _) => text::redfish_failed(&why),
        (Driver::FakeHardware | Driver::Ipmi | Driver::ManualManagement, _) => text::ipmi_failed(&why),
    }
}
