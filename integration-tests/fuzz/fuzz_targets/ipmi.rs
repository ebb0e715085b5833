//! Any datagrams to either half of RMCP+ are survived: to a console that logs in, and to a BMC.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wire_ipmi::responder::{Closing, Identity, Responder, User};
use wire_ipmi::{Config, Privilege, Secret, Session, Suite, console_session_id};

fuzz_target!(|datagrams: Vec<&[u8]>| {
    let password = Secret::new(b"labpass").expect("it is short");
    let user = User { name: b"admin".to_vec(), password, privilege: Privilege::Administrator };
    let identity = Identity {
        guid: [1; 16],
        users: vec![user],
        bmc_key: None,
        suites: vec![Suite::Three, Suite::Seventeen],
        slots: 4,
        closing: Closing::Any,
    };
    let mut responder = Responder::new(identity, [3; 32]);
    let config = Config::new(7, b"admin", b"labpass").expect("it is short");
    let mut session = Session::new(config, [4; 32], Duration::ZERO);
    for bytes in datagrams {
        let _ = console_session_id(bytes);
        let _ = responder.receive(Duration::ZERO, 0_u8, bytes);
        let _ = session.receive(Duration::ZERO, bytes);
        while responder.poll().is_some() {}
        while session.poll().is_some() {}
    }
    assert!(responder.sessions().count() <= 4);
});
