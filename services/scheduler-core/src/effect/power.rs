//! Acts on the power-service.

use domain::{
    failure::{Cause, Failure},
    id::{NodeId, RackId},
    plan::Progress,
    power::{BootDevice, PowerTarget},
    service::Service,
};
use mesh::Claim;
use proto::power::v1::{
    EnsurePowerRequest, GetBootOrderRequest, GetPowerRequest, power_service_client::PowerServiceClient,
};
use service_kit::{clock, status};
use tonic::{Code, Status};

use super::version;
use crate::{Error, app_state::AppState, registry::Record};

/// Instructs the power-service to reach a power target. The result appears in the node's power record.
pub async fn ensure(shared: &AppState, record: &Record, claim: Claim, target: PowerTarget) -> Result<(), Error> {
    let line = shared.leaf_clients.to_owner(record.rack, Service::Power, record.node)?;
    let request = EnsurePowerRequest {
        node: record.node.to_string(),
        version: Some(version(record, claim).into()),
        target: Some(target.into()),
    };
    PowerServiceClient::new(line).ensure_power(request).await.map(drop).map_err(|status| refused(&status))
}

/// Requests the BMC's identity.
pub async fn ask(shared: &AppState, record: &Record) -> Result<Progress, Error> {
    let line = shared.leaf_clients.to_owner(record.rack, Service::Power, record.node)?;
    let request = GetPowerRequest { node: record.node.to_string() };
    match PowerServiceClient::new(line).get_power(request).await {
        Ok(_) => Ok(Progress::Done(clock::now())),
        Err(status) => judge(&status),
    }
}

/// Boot device override of a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootOrder {
    /// Boot device. `None` if there is no override or it is unknown.
    pub device: Option<BootDevice>,
    /// Boot mode. `None` if the BMC does not report it.
    pub is_persistent: Option<bool>,
}

/// Reads the boot device override. The inner error is the BMC's.
pub async fn boot_order(shared: &AppState, rack: RackId, node: NodeId) -> Result<Result<BootOrder, Failure>, Error> {
    let line = shared.leaf_clients.to_owner(rack, Service::Power, node)?;
    let request = GetBootOrderRequest { node: node.to_string() };
    match PowerServiceClient::new(line).get_boot_order(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            Ok(Ok(BootOrder { device: answer.device().try_into().ok(), is_persistent: answer.persistent }))
        }
        Err(status) => match cause(&status) {
            Some(cause) => Ok(Err(Failure { cause, text: status.message().to_owned(), at: clock::now() })),
            None => Err(refused(&status)),
        },
    }
}

/// Returns the failure of the BMC, if the error is the BMC's.
fn cause(status: &Status) -> Option<Cause> {
    let reason = status::reason(status).unwrap_or_default();
    Cause::ALL.iter().copied().find(|cause| cause.word() == reason)
}

fn judge(status: &Status) -> Result<Progress, Error> {
    match (cause(status), status.code()) {
        (Some(cause), Code::FailedPrecondition) => {
            let text = status.message().to_owned();
            Ok(Progress::Failed(Failure { cause, text, at: clock::now() }))
        }
        // A silent or busy BMC may recover before the deadline.
        (Some(_), _) => Ok(Progress::Underway),
        (None, _) => Err(refused(status)),
    }
}

fn refused(status: &Status) -> Error {
    Error::Leaf(format!("the power-service: {}", status.message()))
}
