//! The pxe-service as a process of its own; `ironmesh pxe-service` is the same.

fn main() -> std::process::ExitCode {
    service_kit::run("pxe-service", pxe_service::run)
}
