//! Remote console for experiments: `console HOST:PORT USER PASSWORD status|on|off|cycle|reset|soft|pxe|disk|boot`.
#![expect(clippy::disallowed_types, reason = "an example over std has no other clock")]

use std::error::Error;
use std::io::{Write, stdout};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use wire_ipmi::chassis::boot::{Choice, Device, Firmware, Persistence};
use wire_ipmi::chassis::{self, Control};
use wire_ipmi::{Command, Config, Effect, Output, Retry, Session, Ticket};

/// Returns the commands for a word of the command line.
fn commands(word: &str) -> Option<Vec<(Command, Effect)>> {
    let boot = |device| Choice { device, persistence: Persistence::Once, firmware: Firmware::Uefi };
    let changes = match word {
        "status" => return Some(vec![(chassis::get_status(), Effect::Reads)]),
        "boot" => return Some(vec![(chassis::boot::get(), Effect::Reads)]),
        "on" => vec![Control::On.command()],
        "off" => vec![Control::Off.command()],
        "cycle" => vec![Control::Cycle.command()],
        "reset" => vec![Control::Reset.command()],
        "soft" => vec![Control::Soft.command()],
        "pxe" => boot(Device::Network).steps().into_iter().map(|step| step.command).collect(),
        "disk" => boot(Device::Disk).steps().into_iter().map(|step| step.command).collect(),
        _ => return None,
    };
    Some(changes.into_iter().map(|command| (command, Effect::Mutates)).collect())
}

/// Returns a seed that is good enough for experiments only.
fn seed() -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    let mut seed = [0; 32];
    for octets in seed.as_chunks_mut::<8>().0 {
        *octets = RandomState::new().hash_one(0_u8).to_le_bytes();
    }
    seed
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(stdout(), "{text}")
}

fn print_answer(word: &str, completion: wire_ipmi::Completion, data: &[u8]) -> std::io::Result<()> {
    match word {
        "status" => say(&format!("{completion:?} {:?}", chassis::Status::decode(data))),
        "boot" => say(&format!("{completion:?} {:?}", chassis::boot::choice(data))),
        _ => say(&format!("{completion:?} {data:02x?}")),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, password, word] = words.as_slice() else {
        return Err("see the top of this file".into());
    };
    let commands = commands(word).ok_or("an unknown word")?;
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(address)?;
    let config = Config::new(0x6b1c_0de5, name.as_bytes(), password.as_bytes())?;
    let mut session = Session::new(config, seed(), Instant::now());
    let mut open = commands.len();
    let retry = Retry { timeout: Duration::from_secs(1), tries: 3 };
    for (number, (command, effect)) in (0..).zip(commands) {
        session.request(Instant::now(), Ticket(number), command, effect, retry)?;
    }
    let mut buffer = [0; 1024];
    loop {
        while let Some(output) = session.poll() {
            match output {
                Output::Send { bytes, .. } => drop(socket.send(&bytes)?),
                Output::Opened { bmc_session, suite, .. } => {
                    say(&format!("session {bmc_session:#010x}, suite {}", suite.number()))?;
                }
                Output::Answer { completion, data, .. } => {
                    print_answer(word, completion, &data)?;
                    open -= 1;
                }
                Output::Lost { ticket } => return Err(format!("{ticket:?} is lost").into()),
                Output::Closed => return Ok(()),
                Output::Failed(reason) => return Err(reason.into()),
            }
            if open == 0 {
                session.close(Instant::now());
            }
        }
        let Some(deadline) = session.deadline() else {
            return Ok(());
        };
        let wait = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if let Err(malformed) = session.receive(Instant::now(), buffer.get(..length).unwrap_or_default()) {
                    say(&format!("ignored a datagram: {malformed}"))?;
                }
            }
            Err(_) => session.expire(Instant::now()),
        }
    }
}
