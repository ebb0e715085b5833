//! Generates the wire types; `protoc` must be on the path (Debian: protobuf-compiler).

use std::{env, path::PathBuf};

const FILES: &[&str] = &[
    "ironmesh/common/v1/node.proto",
    "ironmesh/power/v1/power_service.proto",
    "ironmesh/pxe/v1/pxe_service.proto",
    "ironmesh/storage/v1/storage_service.proto",
    "ironmesh/inventory/v1/inventory_service.proto",
    "ironmesh/agent/v1/agent_service.proto",
    "ironmesh/api/v1/node_selector.proto",
    "ironmesh/api/v1/service_kind.proto",
    "ironmesh/api/v1/provision_verb.proto",
    "ironmesh/api/v1/operation.proto",
    "ironmesh/api/v1/node.proto",
    "ironmesh/api/v1/node_service.proto",
    "ironmesh/api/v1/allocation_service.proto",
    "ironmesh/api/v1/bulk_service.proto",
    "ironmesh/api/v1/image_service.proto",
    "ironmesh/api/v1/rack_service.proto",
    "ironmesh/api/v1/event_service.proto",
    "ironmesh/api/v1/operation_service.proto",
    "ironmesh/api/v1/lock_service.proto",
    "ironmesh/api/v1/webhook_service.proto",
    "ironmesh/api/v1/caller_service.proto",
    "ironmesh/api/v1/host_service.proto",
    "ironmesh/api/v1/status_service.proto",
    "ironmesh/authority/v1/authority_service.proto",
    "ironmesh/scheduler/v1/scheduler_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("descriptors.bin");
    tonic_prost_build::configure().file_descriptor_set_path(descriptors).compile_protos(FILES, &["."])?;
    Ok(())
}
