//! Any datagram to the DHCP server or client is survived, and what is answered can be read and fits.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use wire_dhcp::{ServerReply, Boot, BootFile, MAX_MESSAGE, Replica, Request, Reservation, answer};

fuzz_target!(|bytes: &[u8]| {
    let _ = ServerReply::decode(bytes);
    let Ok(request) = Request::decode(bytes) else { return };
    let reservation = Reservation {
        address: Ipv4Addr::new(10, 77, 1, 100),
        prefix: 24,
        router: Some(Ipv4Addr::new(10, 77, 1, 254)),
        dns: vec![Ipv4Addr::new(10, 77, 1, 1)],
        lease_seconds: 3600,
        host_name: Some("n1".into()),
        boot: Some(Boot { next_server: None, file: BootFile::new("http://10.77.1.2/boot.ipxe").expect("it is fit") }),
    };
    let replica = Replica { server_identifier: Ipv4Addr::new(10, 77, 1, 3), address: Ipv4Addr::new(10, 77, 1, 2) };
    if let Ok(reply) = answer(&request, &reservation, &replica) {
        assert!(reply.bytes.len() <= MAX_MESSAGE);
        let read = ServerReply::decode(&reply.bytes).expect("what we write can be read");
        assert_eq!(read.xid, request.xid);
    }
});
