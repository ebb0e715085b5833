//! Repeats of reads and commands, as the policy of all BMCs decides.

use futures::future::join_all;
use tokio::time::sleep;

use super::{
    odd_bmc::{Call, Odd, OddBmc, RESET, ROOT, Raw, State, complains, shows, status},
    *,
};
use crate::retry::{Next, Retries};

/// Reads the power, and repeats that as the policy decides.
pub(super) async fn power(driver: &Redfish, login: &Login) -> Result<Power, BmcError> {
    let (mut retries, begun) = (Retries::new(Duration::from_secs(8)), Instant::now());
    let mut session: Option<RedfishSession> = None;
    loop {
        let read = match &mut session {
            Some(session) => session.power().await,
            None => match driver.open(login).await {
                Ok(opened) => {
                    session = Some(opened);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        let Err(error) = read else { return read };
        match retries.next(begun.elapsed(), error.verdict()) {
            Next::Ask(after) => sleep(after).await,
            Next::Login(after) => {
                session = None;
                sleep(after).await;
            }
            Next::Fail | Next::GiveUp => return Err(error.believed()),
        }
    }
}

/// Executes a command in a session of its own, and repeats it there as the policy decides, after the power was read.
pub(super) async fn execute(driver: &Redfish, login: &Login, command: Command) -> Result<Reply, BmcError> {
    let mut bmc = driver.open(login).await.unwrap();
    let (mut retries, begun) = (Retries::new(Duration::from_secs(8)), Instant::now());
    let reply = loop {
        bmc.power().await.unwrap();
        bmc.prepare().await.unwrap();
        let reply = bmc.execute(command, || true).await;
        let (Ok(Reply::NotNow(failure)) | Err(failure)) = &reply else { break reply };
        match retries.next(begun.elapsed(), failure.verdict()) {
            Next::Ask(after) => sleep(after).await,
            Next::Login(_) | Next::Fail | Next::GiveUp => break reply,
        }
    };
    bmc.close().await;
    reply
}

#[tokio::test]
async fn a_command_that_is_not_carried_out_twice_is_repeated_in_the_same_way_and_nothing_is_learned() {
    fn twice(state: &mut State, call: &Call, answer: fn() -> Raw) -> Option<Raw> {
        if !call.is("PATCH", SYSTEM) && !call.is("POST", RESET) {
            return None;
        }
        state.count += 1;
        (state.count <= 2).then(answer)
    }
    let table: &[(&str, Odd)] = &[
        ("RFC 9110 §15.6.1: 500", |s, c| twice(s, c, || status(500))),
        ("500 with a message", |s, c| twice(s, c, || complains(500, "InternalError", &[]))),
        ("DSP0268, Base: OperationTimeout", |s, c| twice(s, c, || complains(400, "OperationTimeout", &[]))),
        ("RFC 9110 §15.6.4: 503", |s, c| twice(s, c, || status(503))),
        ("RFC 9110 §15.5.10: 409", |s, c| twice(s, c, || status(409))),
        ("RFC 6585 §4: 429", |s, c| twice(s, c, || status(429))),
        ("RFC 4918 §11.3: 423", |s, c| twice(s, c, || status(423))),
        ("RFC 4918 §11.5: 507", |s, c| twice(s, c, || status(507))),
        ("HPE iLO: UnableToModifyDuringSystemPOST", |s, c| {
            twice(s, c, || complains(400, "UnableToModifyDuringSystemPOST", &[]))
        }),
        ("DSP0268, Base: 400 ServiceTemporarilyUnavailable", |s, c| {
            twice(s, c, || complains(400, "ServiceTemporarilyUnavailable", &["5"]))
        }),
    ];
    let disk = Boot { device: BootDevice::Disk, persistence: Persistence::Persistent, mode: BootMode::Uefi };
    let commands = [Command::On, Command::Boot(disk, 0)];
    let rows = table.iter().flat_map(|row| commands.map(|command| (row, command)));
    join_all(rows.map(async |((source, odd), command)| {
        let bmc = OddBmc::new(*odd);
        let reply = bmc.run(async |driver, login| execute(driver, login, command).await).await;
        assert_eq!(reply, Ok(Reply::Done), "{source}, {command:?}");
        let told: Vec<String> = bmc.take_calls("P").into_iter().skip(1).collect();
        assert!(told.len() == 3 && told.iter().all(|one| *one == told[0]), "{source}: {told:#?}");
    }))
    .await;
}

#[tokio::test]
async fn an_interrupt_that_was_not_carried_out_is_told_apart_from_one_that_may_have_been() {
    fn resets(call: &Call, answer: fn() -> Raw) -> Option<Raw> {
        call.is("POST", RESET).then(answer)
    }
    // The last value is whether the journal says that the command was not carried out; `None` is a refusal for good.
    let table: &[(&str, Odd, Option<bool>)] = &[
        ("401, RFC 9110 §15.5.2: it has not been applied", |_, c| resets(c, || status(401)), Some(true)),
        (
            "503 with a message of the base registry",
            |_, c| resets(c, || complains(503, "ServiceTemporarilyUnavailable", &["5"])),
            Some(true),
        ),
        ("409 with a message", |_, c| resets(c, || complains(409, "ResourceInUse", &[])), Some(true)),
        ("400 with a message", |_, c| resets(c, || complains(400, "ResourceInStandby", &[])), Some(true)),
        ("503, maybe of a gateway", |_, c| resets(c, || status(503)), Some(false)),
        ("503 with a general message", |_, c| resets(c, || complains(503, "GeneralError", &[])), Some(false)),
        ("408", |_, c| resets(c, || status(408)), Some(false)),
        ("409", |_, c| resets(c, || status(409)), Some(false)),
        ("412", |_, c| resets(c, || status(412)), Some(false)),
        ("429", |_, c| resets(c, || status(429)), Some(false)),
        ("500", |_, c| resets(c, || status(500)), Some(false)),
        ("502", |_, c| resets(c, || status(502)), Some(false)),
        ("504", |_, c| resets(c, || status(504)), Some(false)),
        ("520", |_, c| resets(c, || status(520)), Some(false)),
        ("403", |_, c| resets(c, || status(403)), None),
        ("404", |_, c| resets(c, || status(404)), None),
        ("501", |_, c| resets(c, || status(501)), None),
    ];
    for (source, odd, right) in table {
        let bmc = OddBmc::new(*odd);
        let reply = bmc
            .run(async |driver, login| tell(&mut read(driver.open(login).await).await, Command::Interrupt, true).await)
            .await;
        let is_not_now = match &reply {
            Ok(Reply::NotNow(_)) => Some(true),
            Err(_) => Some(false),
            Ok(Reply::Refused(_)) => None,
            Ok(Reply::Done) => panic!("{source}: done"),
        };
        assert_eq!(is_not_now, *right, "{source}: {reply:?}");
    }
}

#[tokio::test]
async fn a_read_that_fails_twice_is_repeated_by_the_policy_of_all_bmcs() {
    fn twice(state: &mut State, call: &Call, answer: fn() -> Raw) -> Option<Raw> {
        if !call.is("GET", SYSTEM) || !state.is_known(call) {
            return None;
        }
        state.count += 1;
        (state.count <= 2).then(answer)
    }
    fn start(state: &mut State, call: &Call, answer: fn() -> Raw) -> Option<Raw> {
        if call.path != ROOT {
            return None;
        }
        state.count += 1;
        (state.count <= 2).then(answer)
    }
    // The last value is the number of sessions that are opened.
    let table: &[(&str, Odd, u32)] = &[
        ("RFC 9110 §15.6.1: 500", |s, c| twice(s, c, || status(500)), 1),
        ("500 with a message", |s, c| twice(s, c, || complains(500, "InternalError", &[])), 1),
        ("RFC 9110 §15.6.4: 503", |s, c| twice(s, c, || status(503)), 1),
        ("RFC 6585 §4: 429", |s, c| twice(s, c, || status(429)), 1),
        ("RFC 4918 §11.5: 507", |s, c| twice(s, c, || status(507)), 1),
        ("a power state of null", |s, c| twice(s, c, || shows(200, &json!({"PowerState": null}))), 1),
        ("no power state", |s, c| twice(s, c, || shows(200, &json!({"Model": "X1"}))), 1),
        ("a power state that is not in the schema", |s, c| twice(s, c, || shows(200, &json!({"PowerState": "?"}))), 1),
        ("an empty answer", |s, c| twice(s, c, || status(200)), 1),
        ("half an answer", |s, c| twice(s, c, || Raw { body: b"{\"Pow".to_vec(), ..status(200) }), 1),
        ("a page", |s, c| twice(s, c, || Raw { body: b"<html>".to_vec(), ..status(200) }), 1),
        ("RFC 9110 §15.6.5: 504", |s, c| twice(s, c, || status(504)), 3),
        ("a root that fails", |s, c| start(s, c, || status(500)), 1),
        ("a root that is a page", |s, c| start(s, c, || Raw { body: b"<html>".to_vec(), ..status(200) }), 1),
        (
            "a service that has no systems yet",
            |s, c| {
                if c.path != "/redfish/v1/Systems" {
                    return None;
                }
                s.count += 1;
                (s.count <= 2).then(|| shows(200, &json!({"Members": []})))
            },
            3,
        ),
    ];
    join_all(table.iter().map(async |(source, odd, sessions)| {
        let bmc = OddBmc::new(*odd);
        assert_eq!(bmc.run(power).await, Ok(Power::Off), "{source}");
        assert_eq!(bmc.state.lock().opened, *sessions, "{source}");
    }))
    .await;
}
