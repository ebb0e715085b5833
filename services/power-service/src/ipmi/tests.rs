//! Tests the driver with a simulated BMC on loopback.

use std::net::Ipv4Addr;

use domain::power::{BootDevice, BootMode, Persistence};
use keyspace::value::{CipherSuite, IpmiPrivilege};
use tokio::net::UdpSocket;
use wire_ipmi::{
    Privilege, Suite,
    chassis::boot::Weight,
    responder::{Closing, Identity, Output as BmcOutput, Responder, User, machine::Machine},
};

use super::*;
use crate::retry::{Next, Retries};

mod sent_once;

const KEY: &[u8] = b"kg";
const DISK: Boot = Boot { device: BootDevice::Disk, persistence: Persistence::Once, mode: BootMode::Uefi };

/// A parameter of the boot options, and what a BMC always answers to its change; `None` if it does not answer.
type OddParameter = (u8, Option<u8>);

/// A BMC with the users `admin` and `oper`, whose key is `key`. The next commands have these completion codes.
async fn bmc(host: &Host, key: Option<&[u8]>, script: Vec<(wire_ipmi::Command, u8)>) -> BmcAddr {
    odd_bmc(host, key, script, Vec::new()).await
}

/// What a simulated BMC does with a command.
enum Reaction {
    /// It carries it out and answers.
    Regular,
    /// It answers this code.
    Code(u8),
    /// It does not answer.
    Nothing,
    /// It ends all sessions and does not answer.
    Restart,
}

async fn odd_bmc(
    host: &Host,
    key: Option<&[u8]>,
    script: Vec<(wire_ipmi::Command, u8)>,
    parameters: Vec<OddParameter>,
) -> BmcAddr {
    let change = boot_options::to_choice(DISK).unwrap().command();
    let odd = move |command: &wire_ipmi::Command| {
        let changes = (command.netfn, command.command) == (change.netfn, change.command);
        let named = parameters.iter().find(|(parameter, _)| command.data.first() == Some(parameter));
        match named.filter(|_| changes) {
            None => Reaction::Regular,
            Some((_, code)) => code.map_or(Reaction::Nothing, Reaction::Code),
        }
    };
    reacting_bmc(host, key, script, odd).await
}

async fn reacting_bmc(
    host: &Host,
    key: Option<&[u8]>,
    script: Vec<(wire_ipmi::Command, u8)>,
    react: impl Fn(&wire_ipmi::Command) -> Reaction + Send + 'static,
) -> BmcAddr {
    let user = |name: &[u8], privilege| User {
        name: name.to_vec(),
        password: wire_ipmi::Secret::new(b"labpass").unwrap(),
        privilege,
    };
    let identity = Identity {
        guid: [7; 16],
        users: vec![user(b"admin", Privilege::Administrator), user(b"oper", Privilege::Operator)],
        bmc_key: key.and_then(wire_ipmi::Secret::new),
        suites: vec![Suite::Three],
        slots: 32,
        closing: Closing::Any,
    };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap().to_string().parse().unwrap();
    let (mut responder, mut machine): (Responder<SocketAddr, Instant>, _) =
        (Responder::new(identity, [3; 32]), Machine::default());
    for (command, code) in script {
        responder.script(&command, [Completion(code)]);
    }
    host.spawn(async move {
        let mut buffer = [0; MAX_DATAGRAM_BYTES];
        while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
            let _malformed = responder.receive(Instant::now(), from, buffer.get(..size).unwrap_or_default());
            while let Some(output) = responder.poll() {
                match output {
                    BmcOutput::Send { to, bytes } => drop(socket.send_to(&bytes, to).await),
                    BmcOutput::Command(call) => match react(&call.command) {
                        Reaction::Code(code) => responder.respond(call.id, Completion(code), &[]),
                        Reaction::Nothing => {}
                        Reaction::Restart => responder.reboot(),
                        Reaction::Regular => {
                            let answer = machine.answer(&call);
                            responder.respond(call.id, answer.completion, &answer.data);
                        }
                    },
                    BmcOutput::Served { .. } => {}
                }
            }
        }
    });
    address
}

fn login(address: BmcAddr, user: &str) -> Login {
    let password = Secret::new(b"labpass".to_vec());
    Login { address, user: user.to_owned(), password, key: None, ipmi: value::Ipmi::default() }
}

async fn open(host: &Host, login: &Login) -> Result<IpmiSession, BmcError> {
    let ipmi = Ipmi::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), host.clone()).await.unwrap();
    ipmi.open(login, &config::Power::default()).await
}

#[tokio::test]
async fn a_read_that_is_answered_later_is_repeated_in_its_session() {
    let host = Host::default();
    let codes = [0xc0, 0xc3, 0xd2, 0xff, 0xd5, 0xd4];
    let script = codes.map(|code| (chassis::get_status(), code)).to_vec();
    let address = bmc(&host, None, script).await;
    let mut session = open(&host, &login(address, "admin")).await.unwrap();
    let mut retries = Retries::new(Duration::from_secs(60));
    for code in codes {
        let error = session.power().await.unwrap_err();
        assert!(error.to_string().contains(&format!("{code:#04x}")), "{error}");
        assert!(matches!(retries.next(Duration::ZERO, error.verdict()), Next::Ask(_)), "{error}");
    }
    assert_eq!(session.power().await, Ok(Power::Off));
}

#[tokio::test]
async fn an_answer_that_is_an_error_is_no_device_id_and_no_boot_device() {
    let host = Host::default();
    let script = vec![(app::get_device_id(), 0xc0), (boot::get(), 0xd2), (boot::get(), 0x80)];
    let address = bmc(&host, None, script).await;
    let mut session = open(&host, &login(address, "admin")).await.unwrap();
    assert_eq!(session.describe().await.unwrap_err().verdict(), Verdict::Later);
    assert_eq!(session.boot_order().await.unwrap_err().verdict(), Verdict::Later);
    assert_eq!(session.boot_order().await.unwrap_err().verdict(), Verdict::Final);
    assert!(session.describe().await.is_ok() && session.boot_order().await.is_ok());
}

#[tokio::test]
async fn a_privilege_that_the_user_does_not_have_is_not_told_as_a_wrong_password() {
    let host = Host::default();
    let address = bmc(&host, None, Vec::new()).await;
    let refused = open(&host, &login(address.clone(), "oper")).await.map(drop).unwrap_err();
    assert_eq!((refused.cause(), refused.verdict()), (domain::failure::Cause::BmcPrivilege, Verdict::Final));
    let text = refused.to_string();
    assert!(text.contains("\"oper\"") && text.contains("ADMINISTRATOR") && text.contains("ipmi_priv_level"), "{text}");
    // The record asks for what the user has.
    let mut modest = login(address, "oper");
    modest.ipmi.privilege = IpmiPrivilege::Operator;
    assert_eq!(open(&host, &modest).await.unwrap().power().await, Ok(Power::Off));
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_key_are_told_apart_and_tried_once() {
    let host = Host::default();
    let address = bmc(&host, Some(KEY), Vec::new()).await;
    let keyed = Login { key: Some(Secret::new(KEY.to_vec())), ..login(address.clone(), "admin") };
    assert!(open(&host, &keyed).await.is_ok());
    for (login, wanted) in [
        (Login { password: Secret::new(b"other".to_vec()), ..keyed.clone() }, BmcError::Password(address.to_string())),
        (Login { user: "ghost".to_owned(), ..keyed.clone() }, BmcError::Password(address.to_string())),
        (Login { key: None, ..keyed.clone() }, BmcError::WrongKey(address.to_string())),
        (Login { key: Some(Secret::new(b"other".to_vec())), ..keyed }, BmcError::WrongKey(address.to_string())),
    ] {
        let refused = open(&host, &login).await.map(drop).unwrap_err();
        assert_eq!(refused, wanted);
        assert_eq!(refused.verdict(), Verdict::WrongCredentials);
    }
}

#[tokio::test]
async fn a_cipher_suite_of_the_record_is_the_only_one() {
    let host = Host::default();
    let address = bmc(&host, None, Vec::new()).await;
    let with = |suite| {
        let mut login = login(address.clone(), "admin");
        login.ipmi.cipher_suite = suite;
        login
    };
    for suite in [None, Some(CipherSuite::Three)] {
        assert!(open(&host, &with(suite)).await.is_ok(), "{suite:?}");
    }
    let refused = open(&host, &with(Some(CipherSuite::Seventeen))).await.map(drop).unwrap_err();
    let text = refused.to_string();
    assert!(refused.verdict() == Verdict::Final && text.contains("set driver_info/ipmi_cipher_suite to 3"), "{text}");
}

#[tokio::test]
async fn a_command_is_repeated_or_not_by_the_code_of_its_answer() {
    let host = Host::default();
    let address = bmc(&host, None, Vec::new()).await;
    let session = open(&host, &login(address, "admin")).await.unwrap();
    let choice = boot_options::to_choice(DISK).unwrap().command();
    let (power, on) = (chassis::Control::On.command(), Command::On);
    let step = Command::Boot(DISK, 0);
    // IPMI 2.0 Table 5-2 and §28.12: done, later, maybe done, or never.
    for (wire, command, code, weight, wanted) in [
        (&power, on, 0x00, Weight::Required, "done"),
        (&power, on, 0xc0, Weight::Required, "later"),
        (&power, on, 0xd5, Weight::Required, "later"),
        (&power, on, 0xd2, Weight::Required, "later"),
        (&power, on, 0xd4, Weight::Required, "later"),
        (&power, on, 0xc3, Weight::Required, "maybe"),
        (&power, on, 0xff, Weight::Required, "maybe"),
        (&power, on, 0x0f, Weight::Required, "maybe"),
        (&power, on, 0xcc, Weight::Required, "never"),
        (&power, on, 0xc1, Weight::Required, "never"),
        (&choice, step, 0x81, Weight::Required, "later"),
        (&choice, step, 0x80, Weight::Required, "never"),
        (&choice, step, 0x81, Weight::Optional, "done"),
        (&choice, step, 0xcc, Weight::Optional, "done"),
        (&choice, step, 0x80, Weight::Optional, "done"),
        (&choice, step, 0xff, Weight::Optional, "done"),
        (&choice, step, 0xc0, Weight::Optional, "later"),
        (&choice, step, 0xc3, Weight::Optional, "maybe"),
    ] {
        let completion = Completion(code);
        let told = match session.reply(command, wire.meaning(completion), completion, weight) {
            Ok(Reply::Done) => "done",
            Ok(Reply::NotNow(error)) => {
                assert!(error.verdict().may_pass(), "{code:#04x}: {error}");
                "later"
            }
            Ok(Reply::Refused(_)) => "never",
            Err(error) => {
                assert!(error.verdict().may_pass(), "{code:#04x}: {error}");
                "maybe"
            }
        };
        assert_eq!(told, wanted, "{code:#04x} to {command:?}, {weight:?}");
    }
}

/// Sets a boot order, repeating each step as its reply demands. Returns how often a step was repeated.
async fn set_boot(session: &mut IpmiSession, order: Boot) -> u32 {
    let (mut retries, mut repeated, mut number) = (Retries::new(Duration::from_secs(20)), 0, 0);
    while number < session.boot_steps(order) {
        match session.execute(Command::Boot(order, number), &|_| true).await {
            Ok(Reply::Done) => number += 1,
            Ok(Reply::NotNow(failure)) | Err(failure) => {
                assert!(matches!(retries.next(Duration::ZERO, failure.verdict()), Next::Ask(_)), "{failure}");
                repeated += 1;
            }
            Ok(Reply::Refused(why)) => panic!("step {number} is refused: {why}"),
        }
    }
    repeated
}

#[tokio::test]
async fn a_boot_order_is_set_whatever_a_bmc_answers_to_its_optional_steps() {
    let all = |code| vec![(0, code), (3, code), (4, code)];
    // IPMI 2.0 §28.12 and Tables 5-2 and 28-14. The last value is the number of repeats.
    let table: Vec<(Vec<OddParameter>, u32, &str)> = vec![
        (Vec::new(), 0, "a regular BMC"),
        (vec![(0, Some(0x81))], 0, "a console is gone in the middle of its change"),
        (vec![(0, Some(0x80))], 0, "parameter 0 is optional"),
        (vec![(3, Some(0x80))], 0, "no timeout to disable"),
        (vec![(0, Some(0xc0))], 2, "always busy for parameter 0"),
        (vec![(3, Some(0xc0))], 2, "always busy for parameter 3"),
        (vec![(4, Some(0xd5))], 2, "never in the right state for parameter 4"),
        (vec![(4, Some(0xc3))], 2, "always a timeout for parameter 4"),
        (all(Some(0xc0)), 2, "always busy for all of them"),
        (vec![(4, None)], 2, "no answer about parameter 4"),
        (all(None), 2, "no answer about any of them"),
    ];
    for (parameters, repeats, source) in table {
        let host = Host::default();
        let address = odd_bmc(&host, None, Vec::new(), parameters).await;
        let mut session = open(&host, &login(address, "admin")).await.unwrap();
        // Short, because the commands without an answer are waited for.
        session.retry = Retry { timeout: Duration::from_millis(200), tries: 2 };
        assert_eq!(set_boot(&mut session, DISK).await, repeats, "{source}");
        let set = BootOrder { device: Some(DISK.device), persistence: Some(DISK.persistence) };
        assert_eq!(session.boot_order().await, Ok(set), "{source}");
    }
}

#[tokio::test]
async fn an_optional_step_that_is_not_permitted_is_not_taken_for_done() {
    let host = Host::default();
    let address = bmc(&host, None, Vec::new()).await;
    let mut session = open(&host, &login(address, "admin")).await.unwrap();
    for _ in 0..5 {
        assert_eq!(session.execute(Command::Boot(DISK, 0), &|_| false).await, Err(BmcError::NotPermitted));
    }
}

#[tokio::test]
async fn a_host_name_that_cannot_be_resolved_may_be_resolved_later() {
    let host = Host::default();
    let unknown = login("no-such-host.invalid:623".parse().unwrap(), "admin");
    let error = open(&host, &unknown).await.map(drop).unwrap_err();
    assert_eq!(error.verdict(), Verdict::Later, "{error}");
}
