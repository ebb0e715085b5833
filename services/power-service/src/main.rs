//! The power-service as a process of its own; `ironmesh power-service` is the same.

fn main() -> std::process::ExitCode {
    service_kit::run("power-service", power_service::run)
}
