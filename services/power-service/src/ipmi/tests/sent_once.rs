//! Resets of the BMC and raw commands get one datagram each.

use domain::{power::BmcReset, raw_command::RawCommand};
use parking_lot::Mutex;

use super::*;

/// Commands that a BMC received, other than those of sessions and reads of the power.
type Received = Arc<Mutex<Vec<wire_ipmi::Command>>>;

/// A BMC that treats the commands of the test so, and a session with it.
async fn session_with(host: &Host, reaction: fn() -> Reaction) -> (IpmiSession, Received, BmcAddr) {
    let received = Received::default();
    let log = Arc::clone(&received);
    let react = move |command: &wire_ipmi::Command| {
        if *command == chassis::get_status() {
            return Reaction::Regular;
        }
        log.lock().push(command.clone());
        reaction()
    };
    let address = reacting_bmc(host, None, Vec::new(), react).await;
    let mut session = open(host, &login(address.clone(), "admin")).await.unwrap();
    // Short, because the commands without an answer are waited for.
    session.retry = Retry { timeout: Duration::from_millis(100), tries: 4 };
    (session, received, address)
}

/// What a BMC does, the word for the reply, and a text: the source, or what the reply says.
type Row = (fn() -> Reaction, &'static str, &'static str);

/// What a reply says, in a word.
fn word(reply: &Result<Reply, BmcError>) -> &'static str {
    match reply {
        Ok(Reply::Done) => "done",
        Ok(Reply::NotNow(_)) => "later",
        Ok(Reply::Refused(_)) => "never",
        Err(BmcError::NotPermitted) => "not permitted",
        Err(BmcError::NotSent { .. }) => "not sent",
        Err(_) => "maybe",
    }
}

#[tokio::test]
async fn a_bmc_that_does_not_answer_its_reset_restarts_and_one_that_refuses_it_does_not() {
    // IPMI 2.0 Table 5-2; §20.2 and §20.3 say nothing about an answer before the restart.
    let table: [Row; 8] = [
        (|| Reaction::Regular, "done", "answers first"),
        (|| Reaction::Nothing, "done", "is gone before it answers"),
        (|| Reaction::Restart, "done", "ends its sessions before it answers"),
        (|| Reaction::Code(0xc1), "never", "does not have the command"),
        (|| Reaction::Code(0xcc), "never", "takes no such request"),
        (|| Reaction::Code(0xc0), "later", "is busy"),
        (|| Reaction::Code(0xd4), "later", "may refuse it for a moment after the login"),
        (|| Reaction::Code(0xff), "maybe", "says nothing of use"),
    ];
    for reset in [BmcReset::Cold, BmcReset::Warm] {
        for (reaction, right, source) in table {
            let host = Host::default();
            let (mut session, received, address) = session_with(&host, reaction).await;
            let reply = session.execute(Command::ResetBmc(reset), &|_| true).await;
            assert_eq!(word(&reply), right, "{reset}, {source}: {reply:?}");
            let wire = if reset == BmcReset::Cold { app::Reset::Cold } else { app::Reset::Warm };
            assert_eq!(*received.lock(), [wire.command()], "{reset}, {source}: sent once");
            // A session that the reset has ended is not closed by another command.
            assert_eq!(session.close().await, right != "done", "{reset}, {source}");
            // The BMC is back: it takes a new session.
            assert_eq!(open(&host, &login(address, "admin")).await.unwrap().power().await, Ok(Power::Off), "{source}");
        }
    }
}

#[tokio::test]
async fn the_reset_of_a_bmc_needs_an_administrator() {
    let host = Host::default();
    let address = bmc(&host, None, Vec::new()).await;
    let mut modest = login(address, "oper");
    modest.ipmi.privilege = IpmiPrivilege::Operator;
    let mut session = open(&host, &modest).await.unwrap();
    match session.execute(Command::ResetBmc(BmcReset::Cold), &|_| true).await {
        Ok(Reply::NotNow(error)) => {
            assert_eq!(error.cause(), domain::failure::Cause::BmcPrivilege);
            assert_eq!(error.verdict(), Verdict::Doubtful);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_raw_command_is_sent_as_it_is_and_once_whatever_the_bmc_answers() {
    let table: [Row; 19] = [
        (|| Reaction::Code(0x00), "done", ""),
        (|| Reaction::Code(0xc1), "never", "completion code 0xc1 to raw command 0x06 0x47"),
        (|| Reaction::Code(0xc7), "never", "completion code 0xc7"),
        // Codes of the command and of the manufacturer, which may follow what it has already changed.
        (|| Reaction::Code(0x80), "maybe", "completion code 0x80"),
        (|| Reaction::Code(0x01), "maybe", "completion code 0x01"),
        (|| Reaction::Code(0xd7), "maybe", "completion code 0xd7"),
        // Table 5-2: out of space; request data truncated.
        (|| Reaction::Code(0xc4), "maybe", "completion code 0xc4"),
        (|| Reaction::Code(0xc6), "maybe", "completion code 0xc6"),
        // Reservation canceled; update modes; not in this state.
        (|| Reaction::Code(0xc5), "never", "completion code 0xc5"),
        (|| Reaction::Code(0xd0), "never", "completion code 0xd0"),
        (|| Reaction::Code(0xd1), "never", "completion code 0xd1"),
        (|| Reaction::Code(0xd5), "never", "completion code 0xd5"),
        // Node busy; initializing; privilege, which may be missing for a moment after the login.
        (|| Reaction::Code(0xc0), "later", "completion code 0xc0"),
        (|| Reaction::Code(0xd2), "later", "completion code 0xd2"),
        (|| Reaction::Code(0xd4), "later", "completion code 0xd4"),
        (|| Reaction::Code(0xff), "maybe", "completion code 0xff"),
        (|| Reaction::Code(0xc3), "maybe", "completion code 0xc3"),
        (|| Reaction::Nothing, "maybe", "may have been executed"),
        (|| Reaction::Restart, "maybe", "may have been executed"),
    ];
    let raw = RawCommand::parse("0x06 0x47 0x02 0x02 0x68 0x75 0x6e 0x74").unwrap();
    for (reaction, right, text) in table {
        let host = Host::default();
        let (mut session, received, _) = session_with(&host, reaction).await;
        let reply = session.send_raw(&raw, &|_| true).await;
        assert_eq!(word(&reply), right, "{reply:?}");
        let told = match &reply {
            Ok(Reply::Refused(why)) => why.clone(),
            Ok(Reply::NotNow(error)) | Err(error) => error.to_string(),
            Ok(Reply::Done) => String::new(),
        };
        assert!(told.contains(text) && !told.contains("hunt") && !told.contains("0x68"), "{told}");
        let sent = wire_ipmi::Command::raw(6, 0x47, [2, 2, b'h', b'u', b'n', b't']);
        assert_eq!(*received.lock(), [sent], "sent once");
    }
}

#[tokio::test]
async fn neither_is_sent_with_the_permit_of_a_former_owner() {
    let host = Host::default();
    let (mut session, received, _) = session_with(&host, || Reaction::Regular).await;
    let raw = RawCommand::parse("0x00 0x04 0x0f").unwrap();
    let reset = session.execute(Command::ResetBmc(BmcReset::Cold), &|_| false).await;
    let sent = session.send_raw(&raw, &|_| false).await;
    assert_eq!([word(&reset), word(&sent)], ["not permitted"; 2]);
    assert!(received.lock().is_empty(), "{:?}", received.lock());
    assert_eq!(session.power().await, Ok(Power::Off), "the session goes on");
    assert!(session.close().await);
    // Without its data it is sent by no session.
    let (mut session, received, _) = session_with(&host, || Reaction::Regular).await;
    let bare = session.execute(Command::of_raw(&raw), &|_| true).await;
    assert_eq!((word(&bare), received.lock().len()), ("never", 0));
}

#[tokio::test]
async fn a_command_that_never_left_this_host_is_neither_done_nor_in_doubt() {
    let host = Host::default();
    let raw = RawCommand::parse("0x00 0x04 0x0f").unwrap();
    let (mut session, received, _) = session_with(&host, || Reaction::Regular).await;
    let peer = session.peer;
    // No datagram can be sent to port 0.
    session.peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let replies = [
        session.execute(Command::ResetBmc(BmcReset::Cold), &|_| true).await,
        session.execute(Command::ResetBmc(BmcReset::Warm), &|_| true).await,
        session.send_raw(&raw, &|_| true).await,
        session.execute(Command::Interrupt, &|_| true).await,
        session.execute(Command::On, &|_| true).await,
        session.execute(Command::Off, &|_| true).await,
    ];
    for reply in replies {
        assert_eq!(word(&reply), "not sent", "{reply:?}");
        let error = reply.unwrap_err();
        assert!(error.is_not_sent() && error.verdict().may_pass(), "{error}");
    }
    session.peer = peer;
    assert!(received.lock().is_empty(), "{:?}", received.lock());
    assert_eq!(session.execute(Command::ResetBmc(BmcReset::Cold), &|_| true).await, Ok(Reply::Done));
    assert_eq!(*received.lock(), [app::Reset::Cold.command()], "the earlier ones are not sent later");
}
