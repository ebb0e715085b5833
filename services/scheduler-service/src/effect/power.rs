//! Acts of the power-service.

use domain::{
    failure::{Cause, Failure},
    plan::Progress,
    power::PowerTarget,
    service::Service,
};
use mesh::Claim;
use proto::power::v1::{EnsurePowerRequest, GetPowerRequest, power_service_client::PowerServiceClient};
use service_kit::{clock, status};
use tonic::{Code, Status};

use super::order;
use crate::{Error, grpc::Shared, registry::Record};

/// Brings power to a target; the outcome is the node's power record.
pub(crate) async fn ensure(shared: &Shared, record: &Record, claim: Claim, target: PowerTarget) -> Result<(), Error> {
    let line = shared.lines.to_owner(record.rack, Service::Power, record.node)?;
    let request = EnsurePowerRequest {
        node: record.node.to_string(),
        order: Some(order(record, claim).into()),
        target: Some(target.into()),
    };
    PowerServiceClient::new(line).ensure_power(request).await.map(drop).map_err(|status| refused(&status))
}

/// Asks the BMC who it is.
pub(crate) async fn ask(shared: &Shared, record: &Record) -> Result<Progress, Error> {
    let line = shared.lines.to_owner(record.rack, Service::Power, record.node)?;
    let request = GetPowerRequest { node: record.node.to_string() };
    match PowerServiceClient::new(line).get_power(request).await {
        Ok(_) => Ok(Progress::Done(clock::now())),
        Err(status) => judge(&status),
    }
}

fn judge(status: &Status) -> Result<Progress, Error> {
    let reason = status::reason(status).unwrap_or_default();
    let cause = Cause::ALL.iter().copied().find(|cause| cause.word() == reason);
    match (cause, status.code()) {
        (Some(cause), Code::FailedPrecondition) => {
            let text = status.message().to_owned();
            Ok(Progress::Failed(Failure { cause, text, at: clock::now() }))
        }
        // Silent, or no slot: it may pass until the deadline.
        (Some(_), _) => Ok(Progress::Underway),
        (None, _) => Err(refused(status)),
    }
}

fn refused(status: &Status) -> Error {
    Error::Leaf(format!("the power-service: {}", status.message()))
}
