//! The scheduler-service as a process of its own; `ironmesh scheduler-service` is the same.

fn main() -> std::process::ExitCode {
    service_kit::run("scheduler-service", scheduler_service::run)
}
