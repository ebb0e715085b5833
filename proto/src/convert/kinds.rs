//! Enums of the public API: verbs, phases, services, encodings and purposes.

use domain::{
    image::{Encoding, Purpose},
    provision::{Phase, Verb},
    service::Service,
};

use super::Invalid;
use crate::api::v1::{ImageEncoding, ImagePurpose, OperationPhase, ProvisionVerb, ServiceKind};

macro_rules! alike {
    ($field:literal, $domain:ident, $wire:ident: $($variant:ident => $name:ident),* $(,)?) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value {
                    $($domain::$variant => Self::$name,)*
                }
            }
        }

        impl TryFrom<$wire> for $domain {
            type Error = Invalid;
            fn try_from(value: $wire) -> Result<Self, Invalid> {
                match value {
                    $wire::Unspecified => Err(Invalid::Missing($field)),
                    $($wire::$name => Ok(Self::$variant),)*
                }
            }
        }
    };
}

alike! { "verb", Verb, ProvisionVerb:
    Manage => Manage, Provide => Provide, Deploy => Deploy, Rebuild => Rebuild, Undeploy => Undeploy, Clean => Clean,
    Inspect => Inspect, Abort => Abort, Adopt => Adopt, Rescue => Rescue, Unrescue => Unrescue, Service => Service,
    Unhold => Unhold,
}

alike! { "phase", Phase, OperationPhase:
    Verify => Verify, Inspect => Inspect, Deploy => Deploy, Delete => Undeploy, Clean => Clean,
    ManualClean => ManualClean, Adopt => Adopt, Rescue => Rescue, Unrescue => Unrescue, Service => Service,
}

alike! { "service", Service, ServiceKind:
    Power => Power, Pxe => Pxe, Storage => Storage, Inventory => Inventory, Scheduler => Scheduler,
}

alike! { "encoding", Encoding, ImageEncoding: Plain => Plain, Gzip => Gzip, Zstd => Zstd, Qcow2 => Qcow2 }

alike! { "purpose", Purpose, ImagePurpose: Disk => Disk, Kernel => Kernel, Ramdisk => Ramdisk }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back_as_it_was_written() {
        for verb in Verb::ALL {
            assert_eq!(Verb::try_from(ProvisionVerb::from(*verb)), Ok(*verb));
        }
        for service in Service::ALL {
            assert_eq!(Service::try_from(ServiceKind::from(service)), Ok(service));
        }
    }

    #[test]
    fn an_unspecified_value_is_refused_with_the_name_of_its_field() {
        assert_eq!(Verb::try_from(ProvisionVerb::Unspecified), Err(Invalid::Missing("verb")));
        assert_eq!(Service::try_from(ServiceKind::Unspecified), Err(Invalid::Missing("service")));
        assert_eq!(Encoding::try_from(ImageEncoding::Unspecified), Err(Invalid::Missing("encoding")));
    }
}
