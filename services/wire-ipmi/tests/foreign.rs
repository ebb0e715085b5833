//! Tests with foreign implementations: ipmitool, FreeIPMI and OpenIPMI's `ipmi_sim`.
//!
//! `scripts/test` installs these tools; a test without its tool fails.
#![expect(clippy::disallowed_types, reason = "a test over std's sockets has no other clock")]
#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]
#![expect(clippy::unwrap_used, reason = "what surrounds the tests may fail them too")]

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wire_ipmi::chassis::boot::{Choice, Device, Firmware, Persistence};
use wire_ipmi::chassis::{self, Control, Power};
use wire_ipmi::responder::machine::Machine;
use wire_ipmi::responder::{self, Call, Closing, Identity, Responder, User};
use wire_ipmi::{
    Command, Completion, Config, Effect, MAX_DATAGRAM, Output, Privilege, Reason, Retry, Secret, Session, Suite,
    Suites, Ticket, app,
};

/// Responder with a simulated machine, on its own port.
struct Bmc {
    address: SocketAddr,
    machine: Arc<Mutex<Machine>>,
    log: Arc<Mutex<Vec<Call>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bmc {
    fn listen() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut bmc = Self {
            address: socket.local_addr().unwrap(),
            machine: Arc::default(),
            log: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (machine, log, stop) = (bmc.machine.clone(), bmc.log.clone(), bmc.stop.clone());
        bmc.thread = Some(std::thread::spawn(move || serve(&socket, &machine, &log, &stop)));
        bmc
    }

    fn machine(&self) -> Machine {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UdpSocket, machine: &Mutex<Machine>, log: &Mutex<Vec<Call>>, stop: &AtomicBool) {
    let user =
        |name: &[u8], privilege| User { name: name.to_vec(), password: Secret::new(b"labpass").unwrap(), privilege };
    let identity = Identity {
        guid: [0x42; 16],
        users: vec![user(b"admin", Privilege::Administrator), user(b"oper", Privilege::Operator)],
        bmc_key: None,
        suites: vec![Suite::Three, Suite::Seventeen],
        slots: 8,
        closing: Closing::Any,
    };
    let mut responder = Responder::new(identity, [5; 32]);
    let mut buffer = [0; MAX_DATAGRAM];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        responder.receive(Instant::now(), from, &buffer[..length]).unwrap();
        while let Some(output) = responder.poll() {
            match output {
                responder::Output::Send { to, bytes } => drop(socket.send_to(&bytes, to).unwrap()),
                responder::Output::Command(call) => {
                    let answer = machine.lock().unwrap().answer(&call);
                    responder.respond(call.id, answer.completion, &answer.data);
                    log.lock().unwrap().push(call);
                }
                responder::Output::Served { call, .. } => log.lock().unwrap().push(call),
            }
        }
    }
}

/// Returns whether the tool succeeded, and its output.
fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Process::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn ipmitool(bmc: &Bmc, suite: &str, command: &str) -> String {
    let port = bmc.address.port().to_string();
    let login = ["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-U", "admin", "-P", "labpass", "-C", suite];
    let (content, text) = run("ipmitool", &login.into_iter().chain(command.split(' ')).collect::<Vec<_>>());
    assert!(content, "ipmitool {command}: {text}");
    text
}

#[test]
fn ipmitool_works_with_the_responder_with_either_suite() {
    for suite in ["3", "17"] {
        let bmc = Bmc::listen();
        assert!(ipmitool(&bmc, suite, "mc info").contains("IPMI Version              : 2.0"));
        assert!(ipmitool(&bmc, suite, "power status").contains("Chassis Power is off"));
        ipmitool(&bmc, suite, "power on");
        assert_eq!(bmc.machine().power(), Power::On);
        assert!(ipmitool(&bmc, suite, "chassis status").contains("System Power         : on"));
        ipmitool(&bmc, suite, "chassis bootdev pxe options=efiboot");
        let pxe = Choice { device: Device::Network, persistence: Persistence::Once, firmware: Firmware::Uefi };
        assert_eq!(bmc.machine().boot(), Some(pxe));
        assert!(ipmitool(&bmc, suite, "chassis bootparam get 5").contains("Force PXE"));
        assert!(ipmitool(&bmc, suite, "session info active").contains("active sessions               : 1"));
        ipmitool(&bmc, suite, "power reset");
        ipmitool(&bmc, suite, "power off");
        assert_eq!(bmc.machine().power(), Power::Off);
        // Every invocation closed its session, and sent no command outside one.
        let log = bmc.log.lock().unwrap();
        assert!(log.iter().all(|call| call.session != 0));
        assert_eq!(log.iter().filter(|call| (call.command.netfn, call.command.command) == (6, 0x3c)).count(), 9);
    }
}

#[test]
fn ipmitool_without_a_suite_finds_one_and_a_wrong_password_is_refused() {
    let bmc = Bmc::listen();
    let port = bmc.address.port().to_string();
    let login = ["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-U", "oper", "-L", "operator", "-R", "1", "-P"];
    let with = |password| run("ipmitool", &[&login[..], &[password, "power", "on"]].concat());
    let (content, text) = with("labpass");
    assert!(content, "{text}");
    assert_eq!(bmc.machine().power(), Power::On);
    assert!(!with("nope").0);
}

#[test]
fn freeipmi_works_with_the_responder_with_either_suite() {
    for suite in ["3", "17"] {
        let bmc = Bmc::listen();
        let host = bmc.address.to_string();
        let power = |workaround: &[&str], order| {
            let login = ["-D", "LAN_2_0", "-I", suite, "-h", &host, "-u", "admin", "-p", "labpass", order];
            let (_, text) = run("ipmipower", &[workaround, &login].concat());
            text
        };
        assert!(power(&["-W", "opensesspriv"], "--stat").ends_with(": off\n"));
        assert!(power(&[], "--on").ends_with(": ok\n"));
        assert_eq!(bmc.machine().power(), Power::On);
        assert!(power(&[], "--stat").ends_with(": on\n"));
    }
}

/// OpenIPMI's simulator, whose chassis state is in three files.
struct Sim {
    address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Sim {
    fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("state")).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let shown = folder.display();
        let auths = ["callback", "user", "operator", "admin"]
            .map(|level| format!("allowed_auths_{level} none md2 md5 straight\n"))
            .concat();
        let lan = format!(
            "name \"sim\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {}\npriv_limit admin\n{auths}\
             guid 4c4c454400014c418042525400000001\nendlan\nchassis_control \"{shown}/chassis\"\n\
             user 1 false \"\" \"\" user 10 none md2 md5 straight\n\
             user 2 true \"admin\" \"labpass\" admin 10 none md2 md5 straight\n",
            address.port()
        );
        fs::write(folder.join("lan.conf"), lan).unwrap();
        fs::write(
            folder.join("bmc.emu"),
            "mc_setbmc 0x20\nmc_add 0x20 0x20 no-device-sdrs 0x01 2 10 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n",
        )
        .unwrap();
        let chassis = format!(
            "#!/bin/sh\ncd '{shown}'\necho \"$@\" >>calls\nverb=$1\nshift\ncase $verb in\n\
             get) for what; do echo \"$what:$(cat $what)\"; done ;;\n\
             set) while [ $# -gt 1 ]; do echo \"$2\" >$1; shift 2; done ;;\nesac\n"
        );
        fs::write(folder.join("chassis"), chassis).unwrap();
        fs::set_permissions(folder.join("chassis"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("power"), "0\n").unwrap();
        fs::write(folder.join("boot"), "none\n").unwrap();
        fs::write(folder.join("calls"), "").unwrap();
        let child = Process::new("ipmi_sim")
            .args(["-c", "lan.conf", "-f", "bmc.emu", "-s", "state", "-n"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { address, folder, child }
    }

    fn kept(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Session over a socket that copies each datagram a number of times, in both directions.
struct Console {
    socket: UdpSocket,
    session: Session<Instant>,
    copies: usize,
    next: u64,
}

impl Console {
    fn new(to: SocketAddr, id: u32, change: impl FnOnce(&mut Config), copies: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(to).unwrap();
        let mut config = Config::new(id, b"admin", b"labpass").unwrap();
        change(&mut config);
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&id.to_le_bytes());
        Self { socket, session: Session::new(config, seed, Instant::now()), copies, next: 0 }
    }

    /// Returns the next output of the session, except for datagrams.
    fn next(&mut self) -> Output {
        let mut buffer = [0; MAX_DATAGRAM];
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            while let Some(output) = self.session.poll() {
                let Output::Send { bytes, .. } = output else {
                    return output;
                };
                for _ in 0..self.copies {
                    // Refused while ipmi_sim starts.
                    let _sent = self.socket.send(&bytes);
                }
            }
            let now = Instant::now();
            assert!(now < end, "nothing for half a minute: {:?}", self.session);
            let wait = self.session.deadline().map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    for _ in 0..self.copies {
                        let _dropped = self.session.receive(Instant::now(), &buffer[..length]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(_) => {}
            }
            self.session.expire(Instant::now());
        }
    }

    fn request(&mut self, command: Command, effect: Effect) -> (Completion, Vec<u8>) {
        self.next += 1;
        let retry = Retry { timeout: Duration::from_secs(1), tries: 4 };
        self.session.request(Instant::now(), Ticket(self.next), command, effect, retry).unwrap();
        match self.next() {
            Output::Answer { ticket, completion, data } if ticket == Ticket(self.next) => (completion, data),
            other => panic!("{other:?}"),
        }
    }

    fn close(&mut self) -> Output {
        self.session.close(Instant::now());
        self.next()
    }
}

#[test]
fn a_session_controls_ipmi_sim_with_suite_3_after_it_refused_17() {
    let sim = Sim::start("drives");
    let mut console = Console::new(sim.address, 11, |_| {}, 1);
    let Output::Opened { bmc_session, suite: Suite::Three, .. } = console.next() else { panic!("not opened") };
    assert_eq!(console.session.bmc_session(), Some(bmc_session));
    let power = |console: &mut Console| {
        let (completion, data) = console.request(chassis::get_status(), Effect::Reads);
        assert!(completion.is_ok());
        chassis::Status::decode(&data).unwrap().power
    };
    assert_eq!(power(&mut console), Power::Off);
    assert!(console.request(Control::On.command(), Effect::Mutates).0.is_ok());
    assert_eq!(power(&mut console), Power::On);
    assert_eq!(sim.kept("power"), "1\n");
    let pxe = Choice { device: Device::Network, persistence: Persistence::Once, firmware: Firmware::Uefi };
    for step in pxe.steps() {
        let (completion, _) = console.request(step.command.clone(), Effect::Mutates);
        assert!(step.passes(completion), "{step:?} {completion:?}");
    }
    assert_eq!(sim.kept("boot"), "pxe\n");
    let (_, data) = console.request(chassis::boot::get(), Effect::Reads);
    assert_eq!(chassis::boot::choice(&data).unwrap().0.device, Device::Network);
    let (_, data) = console.request(app::get_device_id(), Effect::Reads);
    assert_eq!(app::DeviceId::decode(&data).unwrap().ipmi, [2, 0]);
    let (_, data) = console.request(app::get_session_info(), Effect::Reads);
    assert!(app::Sessions::decode(&data).unwrap().active > 0);
    assert_eq!(console.close(), Output::Closed);
}

#[test]
fn a_session_can_close_another_one_of_ipmi_sim() {
    let sim = Sim::start("closes");
    let set_timeout = |config: &mut Config| config.response_timeout = Duration::from_millis(200);
    let mut old = Console::new(sim.address, 21, set_timeout, 1);
    let Output::Opened { bmc_session, .. } = old.next() else { panic!("not opened") };
    let mut new = Console::new(sim.address, 22, set_timeout, 1);
    assert!(matches!(new.next(), Output::Opened { .. }));
    assert_eq!(new.request(app::close_session(bmc_session), Effect::Reads).0, Completion::OK);
    assert_eq!(new.request(app::close_session(bmc_session), Effect::Reads).0, Completion::NO_SUCH_SESSION);

    let retry = Retry { timeout: Duration::from_millis(200), tries: 2 };
    old.session.request(Instant::now(), Ticket(1), Control::On.command(), Effect::Mutates, retry).unwrap();
    assert_eq!(old.next(), Output::Lost { ticket: Ticket(1) });
    assert_eq!(old.next(), Output::Failed(Reason::Silent));
    assert_eq!(sim.kept("power"), "0\n");
    assert!(!sim.kept("calls").contains("set"));
}

#[test]
fn a_login_to_ipmi_sim_succeeds_although_every_datagram_is_doubled() {
    let sim = Sim::start("twice");
    let mut console =
        Console::new(sim.address, 31, |config: &mut Config| config.suites = Suites::Only(Suite::Three), 2);
    let output = console.next();
    assert!(matches!(output, Output::Opened { .. }), "{output:?}");
    assert!(console.request(Control::On.command(), Effect::Mutates).0.is_ok());
    let (_, data) = console.request(chassis::get_status(), Effect::Reads);
    assert_eq!(chassis::Status::decode(&data).unwrap().power, Power::On);
}

#[test]
fn a_login_to_ipmi_sim_with_a_wrong_password_or_user_fails() {
    let sim = Sim::start("refuses");
    for (name, password, reason) in
        [(b"admin", b"nope", Reason::WrongPassword), (b"nobod", b"nope", Reason::UnknownUser)]
    {
        let login = |config: &mut Config| *config = Config::new(41, name, password).unwrap();
        assert_eq!(Console::new(sim.address, 41, login, 1).next(), Output::Failed(reason));
    }
}
