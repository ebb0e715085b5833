//! Services that are so slow that a permit is over before they took one of the ways to send a command.

use super::{
    boot::{DISK, is_continuous, order, patches, tagged, takes},
    odd_bmc::{Odd, OddBmc, RESET, complains, status},
    *,
};

/// How long a permit lasts: A of OWNERSHIP.md.
const PERMIT: Duration = Duration::from_secs(1);

/// The end of a command that needed several permits.
struct Ended {
    reply: Result<Reply, BmcError>,
    permits: usize,
    /// Number of permits after which it was certain that the command was not carried out.
    certain: usize,
    /// The requests.
    told: Vec<String>,
}

/// Executes a command in one session, with a new permit whenever it is to be asked again there.
async fn execute(bmc: &OddBmc, driver: &Redfish, login: &Login, command: Command) -> Ended {
    let mut session = driver.open(login).await.unwrap();
    bmc.take_calls("");
    let mut certain = 0;
    for permits in 1..=20 {
        session.power().await.unwrap();
        session.prepare().await.unwrap();
        let begun = bmc.state.lock().clock;
        let reply = session.execute(command, || bmc.state.lock().clock - begun < PERMIT).await;
        let (Ok(Reply::NotNow(failure)) | Err(failure)) = &reply else {
            session.close().await;
            return Ended { reply, permits, certain, told: bmc.take_calls("P") };
        };
        assert_eq!(failure.verdict(), Verdict::Later, "{failure}");
        certain += usize::from(reply.is_ok());
    }
    panic!("it does not end: {:#?}", bmc.take_calls("P"))
}

#[tokio::test]
async fn a_command_whose_permit_is_over_after_a_rejection_continues_with_the_next_permit() {
    let once = order(BootDevice::Disk, Persistence::Once, BootMode::Uefi);
    let bios = order(BootDevice::Disk, Persistence::Persistent, BootMode::Bios);
    let persistent = Command::Boot(DISK, 0);
    // The last value is the maximum number of requests, as at a fast service.
    let table: &[(&str, Command, Odd, usize)] = &[
        ("compared without quotes", once, |s, c| tagged(s, c, "\"1\"", &["1"], 412), 4),
        ("a weak tag never matches, RFC 9110 §13.1.1", once, |s, c| tagged(s, c, "W/\"1\"", &[""], 412), 3),
        ("gofish #171: 428 without If-Match", once, |s, c| tagged(s, c, "", &["*"], 428), 2),
        (
            "Ironic, restore_boot_device: Continuous refused",
            persistent,
            |_, call| {
                is_continuous(call)
                    .then(|| complains(400, "PropertyValueNotInList", &["Continuous", "BootSourceOverrideEnabled"]))
            },
            5,
        ),
        ("Continuous fails with 500", persistent, |_, call| is_continuous(call).then(|| status(500)), 7),
        (
            "community.general #3509: mode not writable",
            bios,
            |_, call| {
                let sends = patches(call) && call.boot("Mode").is_some();
                sends.then(|| complains(400, "PropertyNotWritable", &["BootSourceOverrideMode"]))
            },
            3,
        ),
        ("On refused", Command::On, |_, c| takes(c, &["ForceOn"]), 2),
        ("ForceOff refused", Command::Off, |_, c| takes(c, &["GracefulShutdown"]), 2),
    ];
    for (source, command, odd, most) in table {
        for millis in [600, 1000, 3000] {
            let bmc = OddBmc::new(*odd).with(|state| state.delay = Duration::from_millis(millis));
            let Ended { reply, permits, certain, told } =
                bmc.run(async |driver, login| execute(&bmc, driver, login, *command).await).await;
            assert_eq!(reply, Ok(Reply::Done), "{source}, {millis} ms: {told:#?}");
            assert!(told.len() <= *most, "{source}, {millis} ms: {told:#?}");
            if Duration::from_millis(millis) >= PERMIT {
                assert_eq!(permits, told.len(), "{source}, {millis} ms: one request for each permit: {told:#?}");
                let right = if source.contains("500") { 0 } else { permits - 1 };
                assert_eq!(certain, right, "{source}, {millis} ms");
            }
        }
    }
}

#[tokio::test]
async fn a_command_that_is_refused_in_every_way_ends_at_a_slow_service_too() {
    let table: &[(&str, Command, Odd)] = &[
        ("boot order", Command::Boot(DISK, 0), |_, call| {
            patches(call).then(|| complains(400, "PropertyNotWritable", &["Boot"]))
        }),
        ("power on", Command::On, |_, call| takes(call, &[])),
        ("power off", Command::Off, |_, call| takes(call, &[])),
    ];
    for (source, command, odd) in table {
        let bmc = OddBmc::new(*odd).with(|state| state.delay = PERMIT);
        let Ended { reply, mut told, .. } =
            bmc.run(async |driver, login| execute(&bmc, driver, login, *command).await).await;
        assert!(matches!(reply, Ok(Reply::Refused(_))), "{source}: {reply:?}");
        let all = told.len();
        told.sort();
        told.dedup();
        assert!(all > 1 && told.len() == all, "{source}: none is repeated: {told:#?}");
        assert!(told.iter().all(|call| call.starts_with("PATCH") || call.contains(RESET)), "{source}: {told:#?}");
    }
}
