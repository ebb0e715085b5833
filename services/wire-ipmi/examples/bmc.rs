//! Simulated BMC for experiments: `bmc PORT` listens on 127.0.0.1 for user `admin`, password `labpass`.
#![expect(clippy::disallowed_types, reason = "an example over std has no other clock")]

use std::error::Error;
use std::io::{Write, stdout};
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use wire_ipmi::chassis::{Control, Power};
use wire_ipmi::responder::machine::{Change, Machine};
use wire_ipmi::responder::{Closing, Identity, Output, Responder, User};
use wire_ipmi::{MAX_DATAGRAM, Privilege, Secret, Suite};

fn identity() -> Option<Identity> {
    let user = |name: &[u8], password: &[u8], privilege| {
        Some(User { name: name.to_vec(), password: Secret::new(password)?, privilege })
    };
    Some(Identity {
        guid: *b"bmc in an exampl",
        users: vec![
            user(b"admin", b"labpass", Privilege::Administrator)?,
            user(b"oper", b"operpass", Privilege::Operator)?,
        ],
        bmc_key: None,
        suites: vec![Suite::Three, Suite::Seventeen],
        slots: 8,
        closing: Closing::Any,
    })
}

fn seed() -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    let mut seed = [0; 32];
    for octets in seed.as_chunks_mut::<8>().0 {
        *octets = RandomState::new().hash_one(0_u8).to_le_bytes();
    }
    seed
}

/// Performs the outputs of the responder.
fn serve(
    socket: &UdpSocket,
    responder: &mut Responder<SocketAddr, Instant>,
    machine: &mut Machine,
) -> std::io::Result<()> {
    while let Some(output) = responder.poll() {
        match output {
            Output::Send { to, bytes } => drop(socket.send_to(&bytes, to)?),
            Output::Command(call) => {
                let answer = machine.answer(&call);
                if answer.change == Some(Change::Power(Control::Soft)) {
                    machine.set_power(Power::Off);
                }
                writeln!(stdout(), "{:08x} {:02x?} {:?}", call.session, call.command, answer.completion)?;
                responder.respond(call.id, answer.completion, &answer.data);
            }
            Output::Served { call, completion } => {
                writeln!(stdout(), "{:08x} {:02x?} {completion:?}", call.session, call.command)?;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("which port?")?.parse()?;
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    let mut responder = Responder::new(identity().ok_or("a password is too long")?, seed());
    let mut machine = Machine::default();
    let mut buffer = [0; MAX_DATAGRAM];
    writeln!(stdout(), "listening on {}", socket.local_addr()?)?;
    loop {
        // Idle sessions end when the next datagram is received, which is early enough.
        let (length, from) = socket.recv_from(&mut buffer)?;
        if let Err(malformed) = responder.receive(Instant::now(), from, buffer.get(..length).unwrap_or_default()) {
            writeln!(stdout(), "ignored a datagram: {malformed}")?;
        }
        serve(&socket, &mut responder, &mut machine)?;
    }
}
