//! Words for the enums of the API; empty for an unspecified value and for one that this program does not know.

use domain::{
    image::Purpose,
    provision::{Phase, Verb},
    service::Service,
};
use proto::{
    api::v1::{
        AllocationState, BulkNodeProgress, BulkState, HostState, ImageEncoding, ImagePurpose, OperationPhase,
        ProvisionVerb, ServiceKind, Severity,
    },
    convert::encoding_word,
};

/// The word for a verb.
pub(crate) fn verb(verb: ProvisionVerb) -> String {
    Verb::try_from(verb).map(|verb| verb.to_string()).unwrap_or_default()
}

/// The word for what an operation does.
pub(crate) fn phase(phase: OperationPhase) -> String {
    Phase::try_from(phase).map(|phase| phase.to_string()).unwrap_or_default()
}

/// The name of a service.
pub(crate) fn service(kind: ServiceKind) -> &'static str {
    Service::try_from(kind).map(Service::name).unwrap_or_default()
}

/// The word for how an image is compressed.
pub(crate) fn encoding(encoding: ImageEncoding) -> &'static str {
    encoding.try_into().map(encoding_word).unwrap_or_default()
}

/// The word for what an image is for.
pub(crate) fn purpose(purpose: ImagePurpose) -> &'static str {
    match Purpose::try_from(purpose) {
        Ok(Purpose::Disk) => "disk",
        Ok(Purpose::Kernel) => "kernel",
        Ok(Purpose::Ramdisk) => "ramdisk",
        Err(_) => "",
    }
}

/// The word for the state of an allocation.
pub(crate) const fn allocation_state(state: AllocationState) -> &'static str {
    match state {
        AllocationState::Unspecified => "",
        AllocationState::Allocating => "allocating",
        AllocationState::Active => "active",
        AllocationState::Error => "error",
    }
}

/// The word for the state of a host.
pub(crate) const fn host_state(state: HostState) -> &'static str {
    match state {
        HostState::Unspecified => "",
        HostState::Ready => "ready",
        HostState::Degraded => "degraded",
        HostState::Down => "down",
        HostState::Draining => "draining",
        HostState::Drained => "drained",
        HostState::Removing => "removing",
    }
}

/// The word for how bad a problem is.
pub(crate) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Unspecified => "",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// The word for the state of a bulk.
pub(crate) const fn bulk_state(state: BulkState) -> &'static str {
    match state {
        BulkState::Unspecified => "",
        BulkState::Running => "running",
        BulkState::Paused => "paused",
        BulkState::Canceled => "canceled",
        BulkState::Done => "done",
    }
}

/// The word for how far a node of a bulk is.
pub(crate) const fn progress(progress: BulkNodeProgress) -> &'static str {
    match progress {
        BulkNodeProgress::Unspecified => "",
        BulkNodeProgress::Waiting => "waiting",
        BulkNodeProgress::Running => "running",
        BulkNodeProgress::Done => "done",
        BulkNodeProgress::Failed => "failed",
        BulkNodeProgress::Skipped => "skipped",
    }
}
