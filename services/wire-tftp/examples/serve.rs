//! Minimal driver of a [`Transfer`]: serves the files on the command line, for tests with foreign clients and for tracing
//! firmware. `serve ADDRESS:PORT FILE...`
#![expect(clippy::disallowed_types, reason = "an example without tokio; its clock is the standard one")]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use wire_tftp::{Limits, Outcome, Output, Refusal, Transfer};

/// A file's name and content.
pub(crate) type File = (String, Arc<[u8]>);

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let socket = UdpSocket::bind(words.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()))?;
    eprintln!("serving on {}", socket.local_addr()?);
    let files = words
        .map(|path| {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            Ok((name, std::fs::read(&path)?.into()))
        })
        .collect::<io::Result<Vec<File>>>()?;
    serve(&socket, &files, &|name, outcome| eprintln!("{name}: {outcome:?}"))
}

/// Serves requests forever, and passes the outcome of each transfer to `report`.
pub(crate) fn serve(socket: &UdpSocket, files: &[File], report: &(dyn Fn(&str, Outcome) + Sync)) -> io::Result<()> {
    std::thread::scope(|scope| {
        let mut buffer = [0; 1024];
        loop {
            let (length, client) = socket.recv_from(&mut buffer)?;
            let asked = match wire_tftp::request(buffer.get(..length).unwrap_or_default()) {
                Ok(asked) => asked,
                Err(Some(refusal)) => {
                    socket.send_to(&refusal.encode(), client)?;
                    continue;
                }
                Err(None) => continue,
            };
            let name = asked.file.trim_start_matches('/').to_owned();
            let Some((_, content)) = files.iter().find(|(known, _)| *known == name) else {
                socket.send_to(&Refusal::NotFound.encode(), client)?;
                continue;
            };
            let transfer = Transfer::new(Arc::clone(content), &asked, Limits::default(), Instant::now());
            let here = socket.local_addr()?;
            scope.spawn(move || match drive(transfer, here, client) {
                Ok(outcome) => report(&name, outcome),
                Err(error) => eprintln!("{name} to {client}: {error}"),
            });
        }
    })
}

fn drive(mut transfer: Transfer<Arc<[u8]>, Instant>, mut here: SocketAddr, client: SocketAddr) -> io::Result<Outcome> {
    here.set_port(0);
    let socket = UdpSocket::bind(here)?;
    socket.connect(client)?;
    let mut buffer = [0; 1024];
    loop {
        while let Some(output) = transfer.poll() {
            match output {
                Output::Send(bytes) => drop(socket.send(&bytes)),
                Output::Done(outcome) => return Ok(outcome),
            }
        }
        let wait = transfer.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        socket.set_read_timeout(wait.filter(|wait| !wait.is_zero()))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                if let Err(malformed) = transfer.receive(Instant::now(), bytes) {
                    eprintln!("ignored: {malformed}");
                }
            }
            Err(_) => transfer.expire(Instant::now()),
        }
    }
}
