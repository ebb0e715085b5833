//! The inventory-service as a process of its own; `ironmesh inventory-service` is the same.

fn main() -> std::process::ExitCode {
    service_kit::run("inventory-service", inventory_service::run)
}
