//! What a machine boots from, and what interrupts it: its BMC is asked, and told, while the client waits.
//!
//! It is told as its power is: what is wanted of the node is so from a generation on, and its power-service brings it there
//! with claim, journal and permit. Who asks waits for the end of it.

use std::{sync::Arc, time::Duration};

use domain::{
    driver::{self, Driver, Interface},
    failure::{Cause, Failure},
    generation::Generation,
    plan::Progress,
    power::{Boot, BootDevice, BootMode, Persistence, PowerTarget},
};
use keyspace::{key, view::News};
use serde_json::{Value, json};
use tokio::time::timeout;
use wire_ironic::{
    call,
    error::{Class, Error, text},
};

use super::{ApiRequest, RestApi, node_subresources::driver, response::ApiResponse, validate, verb::word};
use scheduler_core::{document::interface_field, fault::fault, node_cache::NodeView};
use scheduler_core::{
    effect::{self, power::BootOrder},
    registry::{Record, power_target, settled},
};

/// How long a client waits for a BMC to be told. Longer than its power-service tries.
const PATIENCE: Duration = Duration::from_secs(45);

impl RestApi {
    pub(super) fn supported_boot_devices(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let devices: Vec<String> = devices(&node).iter().map(ToString::to_string).collect();
        Ok(ApiResponse::ok(json!({"supported_boot_devices": devices})))
    }

    pub(super) async fn get_boot_device(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let order = match management(&node) {
            // A machine that is not there boots from the network, whatever it was told.
            "fake" => BootOrder { device: Some(BootDevice::Pxe), is_persistent: Some(false) },
            // One that a person has set up does so for good, and goes on to its disk where nobody has anything for it.
            "noop" => BootOrder { device: Some(BootDevice::Pxe), is_persistent: Some(true) },
            _ => {
                check_free(&node)?;
                validate::management(&node.whole, driver(&node))?;
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
            validate::management(&node.whole, driver(&node))?;
        }
        let device = devices(&node).iter().copied().find(|device| device.to_string() == named);
        let device = device.ok_or_else(|| Class::Invalid.says(format!("Invalid boot device {named} specified.")))?;
        if !is_there {
            return Ok(ApiResponse::no_content());
        }
        let persistence = if persistent { Persistence::Persistent } else { Persistence::Once };
        self.instruct(request, ident, &node, |mode| PowerTarget::BootOrder { boot: Boot { device, persistence, mode } })
            .await
    }

    /// Interrupts what runs, once.
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
        validate::management(&node.whole, driver(&node))?;
        self.instruct(request, ident, &node, |_| PowerTarget::Interrupted).await
    }

    /// Wants something of a node's BMC, by its firmware interface, and waits until it is told.
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
        if record.life.value.state.is_busy() || is_told(&record) {
            return Err(text::locked(&node.node.to_string(), word(&node.whole, "conductor")));
        }
        let accepted = registry.accept_power(&record, target(record.intent.value.boot_mode)).await;
        let generation = accepted.map_err(|error| fault(ident, &error))?;
        let Ok(ended) = timeout(PATIENCE, self.ends(node, generation)).await else {
            return Err(text::busy(&format!(
                "The BMC of node {} was not told within {} s, and may be yet; look at the node again",
                node.node,
                PATIENCE.as_secs()
            )));
        };
        match ended {
            Progress::Failed(failure) => Err(failed(node, &failure)),
            Progress::Done(_) => Ok(ApiResponse::no_content()),
            // A later instruction has taken its place.
            Progress::Unknown | Progress::Underway => Err(text::locked(&node.node.to_string(), "another request")),
        }
    }

    /// How an instruction ended; unknown: another one came after it. Safe to drop at any await.
    async fn ends(&self, node: &NodeView, generation: Generation) -> Progress {
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

/// What a node's management is done by.
fn management(node: &NodeView) -> &str {
    let field = interface_field(Interface::Management);
    node.whole.get(&field).and_then(Value::as_str).unwrap_or_default()
}

fn devices(node: &NodeView) -> &'static [BootDevice] {
    driver::boot_devices(management(node))
}

/// Refused while somebody is at work on the node.
fn check_free(node: &Arc<NodeView>) -> Result<(), Error> {
    match node.whole.get("reservation").and_then(Value::as_str) {
        Some(holder) => Err(text::locked(&node.node.to_string(), holder)),
        None => Ok(()),
    }
}

/// Whether its power is being brought somewhere.
fn is_told(record: &Record) -> bool {
    let ended = power_target(record, record.life.value.generation);
    record.intent.value.power.is_some() && ended == Progress::Unknown
}

/// A BMC that did not do it, or did not answer, as each driver says it.
fn failed(node: &NodeView, failure: &Failure) -> Error {
    let why = format!("{}; {}", failure.text, failure.cause.next_step());
    match (driver(node), failure.cause) {
        (Driver::Redfish, Cause::BmcSilent) => text::redfish_silent(&node.node.to_string(), &why),
        (Driver::Redfish, _) => text::redfish_failed(&why),
        (Driver::FakeHardware | Driver::Ipmi | Driver::ManualManagement, _) => text::ipmi_failed(&why),
    }
}
