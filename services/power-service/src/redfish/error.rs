//! Errors of the Redfish driver on our side: what a system does not support, and what cannot be used.

use domain::power::BootDevice;

use crate::retry::Verdict;

/// Why a Redfish service cannot be used for a purpose. The texts continue a sentence about the BMC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RedfishError {
    /// None of the reset types is supported.
    #[error("its system does not support a reset of type {wanted}; it lists only these types: {listed}")]
    ResetType {
        /// The types of which one is needed.
        wanted: String,
        /// The types that the system lists.
        listed: String,
    },
    /// Redfish has no name for the boot device.
    #[error("Redfish has no boot device {0}")]
    BootDevice(BootDevice),
    /// A boot property does not allow the value.
    #[error("its system does not support {property} = {value}")]
    BootProperty {
        /// Name of the property.
        property: &'static str,
        /// The value that is not allowed.
        value: &'static str,
    },
    /// The request is not valid HTTP.
    #[error("{method} {path:?} is not a valid request: {why}")]
    Request {
        /// The method.
        method: &'static str,
        /// The path.
        path: String,
        /// The reason.
        why: String,
    },
    /// The service has no systems.
    #[error("it has no systems")]
    NoSystems,
    /// The service has several systems and none was selected.
    #[error("it has several systems; set driver_info/redfish_system_id to one of {0}")]
    SeveralSystems(String),
    /// The service does not have the selected system.
    #[error("it has no system {id:?}; set driver_info/redfish_system_id to one of {names}")]
    UnknownSystem {
        /// The selected id.
        id: String,
        /// The ids that the service has.
        names: String,
    },
    /// The power state is missing.
    #[error("it does not report PowerState")]
    NoPowerState,
    /// The power state is between on and off.
    #[error("it reports PowerState {0:?}, which is neither On nor Off")]
    PowerChanges(String),
    /// The power state is not one of the schema.
    #[error("it reports an unknown PowerState {0:?}")]
    UnknownPowerState(String),
    /// The service redirects to another address. Credentials must not go there.
    #[error(
        "it redirects to {0:?}, which is not followed because it is not at this address; set driver_info/redfish_address \
         to the new address"
    )]
    RedirectedAway(String),
    /// The service redirects a request other than a read in a way that does not keep its method.
    #[error("it redirects a {method} to {to:?} with status {status}, which is followed for reads only")]
    RedirectedChange {
        /// The method.
        method: &'static str,
        /// The status.
        status: u16,
        /// The location.
        to: String,
    },
    /// The service redirects too often.
    #[error("it redirects in a loop, last to {0:?}")]
    RedirectLoop(String),
    /// A collection has too many pages, or pages in a loop.
    #[error("its collection {0} has too many pages")]
    Pages(String),
    /// The named file cannot be used. The text is the same whatever the reason, so that clients do not learn which files
    /// exist.
    #[error(
        "driver_info/redfish_verify_ca = {0:?} names no usable PEM file; put one of at most 1 MiB and of this name in the \
         folder power.ca_folder of the power-service's host, or give the certificates as PEM text"
    )]
    CaFile(String),
    /// The certificates in the record cannot be used.
    #[error("the certificates in driver_info/redfish_verify_ca cannot be used: {0}")]
    CaText(String),
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
}

impl RedfishError {
    /// Returns whether the service may answer differently later.
    pub(super) const fn verdict(&self) -> Verdict {
        match self {
            // A service that starts has no systems yet, and does not know their power.
            Self::NoSystems | Self::NoPowerState | Self::PowerChanges(_) => Verdict::Later,
            Self::UnknownPowerState(_) => Verdict::Doubtful,
            Self::ResetType { .. }
            | Self::BootDevice(_)
            | Self::BootProperty { .. }
            | Self::Request { .. }
            | Self::SeveralSystems(_)
            | Self::UnknownSystem { .. }
            | Self::RedirectedAway(_)
            | Self::RedirectedChange { .. }
            | Self::RedirectLoop(_)
            | Self::Pages(_)
            | Self::CaFile(_)
            | Self::CaText(_)
            | Self::Tls(_) => Verdict::Final,
        }
    }
}
