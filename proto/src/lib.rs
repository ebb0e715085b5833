//! The wire contract: generated types, one module per package, and their conversions to domain types.

pub mod convert;

/// The descriptors of every file, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! packages {
    ($($area:ident: $package:literal, $doc:literal;)*) => {$(
        #[doc = $doc]
        pub mod $area {
            #[doc = $doc]
            #[expect(clippy::allow_attributes, reason = "generated code carries allows of its own")]
            pub mod v1 {
                #![allow(
                    missing_docs, unreachable_pub, unused_qualifications, unnameable_types, missing_debug_implementations,
                    clippy::all, clippy::use_self, clippy::or_fun_call, clippy::wildcard_enum_match_arm,
                    clippy::allow_attributes_without_reason, clippy::large_futures,
                    reason = "generated; its manual is the .proto file"
                )]
                tonic::include_proto!($package);
            }
        }
    )*};
}

packages! {
    common: "ironmesh.common.v1", "What several services say about a node.";
    power: "ironmesh.power.v1", "The power-service's contract.";
    pxe: "ironmesh.pxe.v1", "The pxe-service's contract.";
    storage: "ironmesh.storage.v1", "The storage-service's contract.";
    inventory: "ironmesh.inventory.v1", "The inventory-service's contract.";
    agent: "ironmesh.agent.v1", "The API for ironmesh-agent.";
    scheduler: "ironmesh.scheduler.v1", "The API between schedulers.";
    authority: "ironmesh.authority.v1", "The API of a datacenter's authority.";
    api: "ironmesh.api.v1", "The public API.";
}
