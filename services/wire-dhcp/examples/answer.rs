//! Minimal driver of `wire_dhcp::answer` for one machine and one address, for tracing real firmware.
//! `answer OWN-ADDRESS MACHINE-ADDRESS PXE-FILE SCRIPT-URL`; `-` means no file.
//! Requests and replies are printed to standard error, requests in hexadecimal for `golden/`.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use wire_dhcp::{Boot, BootFile, Client, Replica, Request, Reservation};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [own, machine, pxe, script] = words.as_slice() else {
        return Err(io::Error::other("usage: answer OWN-ADDRESS MACHINE-ADDRESS PXE-FILE SCRIPT-URL"));
    };
    let parse = |word: &str| word.parse::<Ipv4Addr>().map_err(io::Error::other);
    let own = parse(own)?;
    let replica = Replica { server_identifier: own, address: own };
    let address = parse(machine)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67))?;
    socket.set_broadcast(true)?;
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        let hex: String = bytes.iter().map(|octet| format!("{octet:02x}")).collect();
        let request = match Request::decode(bytes) {
            Ok(request) => request,
            Err(malformed) => {
                eprintln!("{from}: {malformed}: {hex}");
                continue;
            }
        };
        eprintln!("< {from} {:?} {:?} {hex}", request.message_type, request.client);
        let file = match request.client {
            Client::Ipxe(_) | Client::Http(_) => script,
            Client::Pxe(_) | Client::System => pxe,
        };
        let reservation = Reservation {
            address,
            prefix: 24,
            router: Some(own),
            dns: vec![own],
            lease_seconds: 3600,
            host_name: Some("node".to_owned()),
            boot: BootFile::new(file).ok().filter(|_| file != "-").map(|file| Boot { next_server: None, file }),
        };
        match wire_dhcp::answer(&request, &reservation, &replica) {
            Ok(reply) => {
                eprintln!("> {} {:?}", reply.destination.socket(), reply.kind);
                socket.send_to(&reply.bytes, reply.destination.socket())?;
            }
            Err(reason) => eprintln!("> nothing: {reason}"),
        }
    }
}
