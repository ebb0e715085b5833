//! Owners are killed and stopped with real firmware: QEMU machines with our BMCs, whose logs the checker reads, and
//! with `ipmi_sim`, judged by the outcome. A seed draws the point of the deployment. The requirements are those of tests/qemu.rs.

use anyhow::Result;
use domain::service::Service;
use integration_tests::fault::{Fault, Outcome, World as _, deploy_through, number, tell};
use integration_tests::firmware::{FirmwareLab, IMAGE, Machines, WAIT_TIMEOUT, built, unpacked};
use integration_tests::mesh::Options;
use integration_tests::rack::machine::{Behind, Firmware};
use integration_tests::record::Recorder;

/// Seeds of the two cases that run for every change, with the most significant points: a power-on that was carried out
/// and not answered, and an agent that has just called.
const SEED: u64 = 13;

/// Two replicas of everything, and a scheduler that retries a boot before the test's timeout. The longest silence is
/// from the kernel to the agent: 5 s on an idle host, ten times that on a busy one.
fn pairs() -> Options {
    let limits = ["scheduler.boot=60s", "scheduler.agent=60s", "scheduler.boots=5"];
    Options { replicas: 2, schedulers: 2, set: limits.map(str::to_owned).into(), ..Options::default() }
}

fn survives(machines: Machines, service: Service, fault: Fault, seed: u64) -> Result<Outcome> {
    // Each service and fault has its own sequence.
    let name = service.name().bytes().chain([fault as u8]);
    let drawn = name.fold(seed, |seed, octet| seed.wrapping_mul(31).wrapping_add(octet.into()));
    let lab = FirmwareLab::up(&tag(&machines, service, fault, seed), machines, pairs())?;
    let image = built("os.raw.gz")?;
    let content = unpacked(&image)?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        lab.make_available(&mut api, &image).await?;
        deploy_through(&mut api, lab, &recorder, (service, fault, drawn), (IMAGE, &content), WAIT_TIMEOUT).await
    })
}

/// Tag of a rack; unique among cases that run at the same time.
fn tag(machines: &Machines, service: Service, fault: Fault, seed: u64) -> String {
    let behind = match machines.behind {
        Behind::IpmiSim => 's',
        Behind::Responder => 'r',
    };
    let service = service.name().chars().take(2).collect::<String>();
    let fault = match fault {
        Fault::Kill => 'k',
        Fault::Stop => 's',
    };
    format!("{behind}{}{service}{fault}{}", machines.firmware.len(), seed % 100)
}

/// One machine, of the firmware that starts sooner.
fn one(behind: Behind) -> Machines {
    Machines::small(&[Firmware::Bios], behind)
}

/// One machine of each firmware.
fn both() -> Machines {
    Machines::small(&[Firmware::Bios, Firmware::Uefi], Behind::Responder)
}

macro_rules! cases {
    ($($(#[$ignore:meta])? $name:ident: $service:ident $fault:ident $machines:expr;)*) => {
        $(
            #[test]
            $(#[$ignore])?
            fn $name() {
                let seed = number("IRONMESH_SEED", SEED);
                let outcome = survives($machines, Service::$service, Fault::$fault, seed).unwrap();
                tell(format_args!("seed {seed}: {outcome}"));
            }
        )*
    };
}

cases! {
    real_firmware_becomes_active_although_a_power_service_is_killed: Power Kill one(Behind::Responder);
    real_firmware_becomes_active_although_an_inventory_service_is_stopped: Inventory Stop one(Behind::Responder);

    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_power_service_is_killed: Power Kill both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_power_service_is_stopped: Power Stop both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_pxe_service_is_killed: Pxe Kill both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_pxe_service_is_stopped: Pxe Stop both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_storage_service_is_killed: Storage Kill both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_storage_service_is_stopped: Storage Stop both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_an_inventory_service_is_killed: Inventory Kill both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_an_inventory_service_is_stopped: Inventory Stop both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_scheduler_service_is_killed: Scheduler Kill both();
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_of_both_kinds_becomes_active_although_a_scheduler_service_is_stopped: Scheduler Stop both();

    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_behind_ipmi_sim_becomes_active_although_a_power_service_is_killed: Power Kill one(Behind::IpmiSim);
    #[ignore = "takes minutes: scripts/test --all"]
    real_firmware_behind_ipmi_sim_becomes_active_although_a_power_service_is_stopped: Power Stop one(Behind::IpmiSim);
}
