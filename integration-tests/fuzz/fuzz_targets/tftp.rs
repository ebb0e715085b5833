//! Any datagrams to either half of TFTP are survived, and a packet that was read is written back the same.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wire_tftp::{Fetch, Limits, Packet, Request, Transfer, RequestedOptions, request};

fuzz_target!(|datagrams: Vec<&[u8]>| {
    let asked = Request { file: "f".into(), mode: "octet".into(), options: vec![] };
    let mut transfer = Transfer::new(vec![7; 5000], &asked, Limits::default(), Duration::ZERO);
    let mut fetch = Fetch::new("f", RequestedOptions { window: Some(4), ..RequestedOptions::default() }, 1 << 20, Duration::ZERO);
    for bytes in datagrams {
        // An error's words are for people: what is no UTF-8 in them is replaced, and what is too long is cut.
        if let Ok(packet) = Packet::decode(bytes)
            && !matches!(packet, Packet::Error { .. })
        {
            assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        }
        let _ = request(bytes);
        let _ = fetch.receive(Duration::ZERO, bytes);
        let _ = transfer.receive(Duration::ZERO, bytes);
        while fetch.poll().is_some() {}
        while transfer.poll().is_some() {}
    }
    assert!(fetch.content().len() <= 1 << 20);
});
