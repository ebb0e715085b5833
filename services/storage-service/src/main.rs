//! The storage-service as a process of its own; `ironmesh storage-service` is the same.

fn main() -> std::process::ExitCode {
    service_kit::run("storage-service", storage_service::run)
}
