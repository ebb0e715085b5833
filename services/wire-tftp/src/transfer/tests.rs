use std::sync::Arc;

use super::*;

const ZERO: Duration = Duration::ZERO;

fn asked(options: &[(&str, &str)]) -> Request {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request { file: "f".into(), mode: "octet".into(), options }
}

fn transfer(size: usize, options: &[(&str, &str)]) -> Transfer<Arc<[u8]>, Duration> {
    let file: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
    Transfer::new(file.into(), &asked(options), Limits::default(), ZERO)
}

/// Everything it wants sent now: DATA by number, an OACK as 0; and how it ended, if it did.
fn drain(transfer: &mut Transfer<Arc<[u8]>, Duration>) -> (Vec<u16>, Option<Outcome>) {
    let mut numbers = Vec::new();
    while let Some(output) = transfer.poll() {
        match output {
            Output::Done(outcome) => return (numbers, Some(outcome)),
            Output::Send(bytes) => match Packet::decode(&bytes).unwrap() {
                Packet::Data { block, .. } => numbers.push(block),
                Packet::OptionAck(_) => numbers.push(0),
                other @ (Packet::Read(_) | Packet::Write(_) | Packet::Ack(_) | Packet::Error { .. }) => {
                    panic!("a server must not send {other:?}")
                }
            },
        }
    }
    (numbers, None)
}

fn ack(transfer: &mut Transfer<Arc<[u8]>, Duration>, now: Duration, number: u16) -> Vec<u16> {
    transfer.receive(now, &Packet::Ack(number).encode()).unwrap();
    drain(transfer).0
}

#[test]
fn without_options_the_first_packet_is_block_one() {
    let mut transfer = transfer(1000, &[]);
    assert_eq!(drain(&mut transfer).0, [1]);
    assert_eq!(ack(&mut transfer, ZERO, 1), [2]);
    transfer.receive(ZERO, &Packet::Ack(2).encode()).unwrap();
    let (sent, outcome) = drain(&mut transfer);
    let outcome = outcome.unwrap();
    assert!(sent.is_empty());
    assert_eq!(
        (outcome.end, outcome.bytes_sent, outcome.bytes_acknowledged, outcome.last_acknowledged),
        (End::Delivered, 1000, 1000, 2)
    );
    assert_eq!(transfer.deadline(), None);
    assert_eq!(transfer.poll(), None);
}

#[test]
fn a_file_that_fills_its_blocks_ends_with_an_empty_one() {
    for (size, blocks) in [(0, 1u16), (511, 1), (512, 2), (1024, 3)] {
        let mut transfer = transfer(size, &[]);
        let mut seen = drain(&mut transfer).0;
        for number in 1..=blocks {
            seen.extend(ack(&mut transfer, ZERO, number));
        }
        assert_eq!(seen, (1..=blocks).collect::<Vec<_>>(), "{size}");
    }
}

#[test]
fn options_are_answered_by_an_oack_which_is_repeated_when_lost() {
    let mut transfer = transfer(5000, &[("blksize", "1428"), ("tsize", "0")]);
    let Some(Output::Send(bytes)) = transfer.poll() else { panic!("no OACK") };
    let oack = Packet::OptionAck(vec![("tsize".into(), "5000".into()), ("blksize".into(), "1428".into())]);
    assert_eq!(Packet::decode(&bytes), Ok(oack));
    assert_eq!(drain(&mut transfer).0, []);
    transfer.expire(transfer.deadline().unwrap());
    assert_eq!(drain(&mut transfer).0, [0]);
    assert_eq!(ack(&mut transfer, ZERO, 0), [1]);
    assert_eq!(ack(&mut transfer, ZERO, 0), [], "a doubled ACK of the OACK does not double block 1");
}

#[test]
fn a_size_probe_is_a_quiet_end() {
    let mut transfer = transfer(5000, &[("tsize", "0")]);
    drain(&mut transfer);
    transfer
        .receive(
            ZERO,
            &Packet::Error { code: ErrorCode::OptionsRefused, message: "User aborted the transfer".into() }.encode(),
        )
        .unwrap();
    let outcome = drain(&mut transfer).1.unwrap();
    assert_eq!(outcome.end, End::Aborted(ErrorCode::OptionsRefused));
    assert!(outcome.is_probe());
    assert_eq!(outcome.bytes_sent, 0);
}

#[test]
fn a_client_that_probes_and_falls_silent_is_a_probe_too() {
    let mut transfer = transfer(5000, &[("tsize", "0")]);
    let outcome = give_up(&mut transfer, 3);
    assert!(outcome.is_probe());
    assert_eq!(outcome.end, End::Lost);
}

fn give_up(transfer: &mut Transfer<Arc<[u8]>, Duration>, tries: usize) -> Outcome {
    let mut sent = Vec::new();
    while let Some(deadline) = transfer.deadline() {
        sent.push(drain(transfer).0);
        transfer.expire(deadline);
    }
    assert_eq!(sent.len(), tries);
    assert!(sent.windows(2).all(|pair| pair.first() == pair.last()), "{sent:?}");
    drain(transfer).1.unwrap()
}

#[test]
fn a_silent_client_is_given_up_after_six_tries() {
    let mut transfer = transfer(5000, &[]);
    drain(&mut transfer);
    ack(&mut transfer, ZERO, 1);
    // `give_up` looks at the first round too.
    transfer.next = 2;
    let outcome = give_up(&mut transfer, 6);
    assert_eq!((outcome.end, outcome.last_acknowledged, outcome.bytes_acknowledged), (End::Lost, 1, 512));
    assert!(!outcome.is_probe());
}

#[test]
fn the_last_block_is_repeated_as_well() {
    let mut transfer = transfer(10, &[]);
    drain(&mut transfer);
    transfer.expire(transfer.deadline().unwrap());
    assert_eq!(drain(&mut transfer).0, [1]);
}

#[test]
fn waits_double_unless_the_client_chose_its_own() {
    let waits = |options: &[(&str, &str)], confirmation: Option<u16>| {
        let mut transfer = transfer(1000, options);
        drain(&mut transfer);
        if let Some(number) = confirmation {
            ack(&mut transfer, ZERO, number);
        }
        assert_eq!(transfer.is_confirmed(), confirmation.is_some());
        let mut times = Vec::new();
        while let Some(deadline) = transfer.deadline() {
            times.push(deadline.as_secs());
            transfer.expire(deadline);
        }
        times
    };
    assert_eq!(waits(&[], Some(1)), [1, 3, 7, 11, 15, 19]);
    assert_eq!(waits(&[("timeout", "3")], Some(0)), [3, 6, 9, 12, 15, 18]);
    assert_eq!(waits(&[("timeout", "60")], Some(1)), [1, 3, 7, 11, 15, 19]);
    // A client that never acknowledged anything may not be there.
    assert_eq!(waits(&[], None), [1, 3]);
    assert_eq!(waits(&[("tsize", "0")], None), [1, 3, 7]);
    assert_eq!(waits(&[("timeout", "10")], None), [10, 20, 30]);
}

#[test]
fn an_early_expire_does_nothing() {
    let mut transfer = transfer(10, &[]);
    drain(&mut transfer);
    transfer.expire(Duration::from_millis(999));
    assert_eq!(drain(&mut transfer).0, []);
}

#[test]
fn a_doubled_ack_never_doubles_the_blocks() {
    let mut transfer = transfer(5000, &[]);
    drain(&mut transfer);
    assert_eq!(ack(&mut transfer, ZERO, 1), [2]);
    assert_eq!(ack(&mut transfer, ZERO, 1), []);
    assert_eq!(ack(&mut transfer, ZERO, 2), [3]);
    assert_eq!(ack(&mut transfer, ZERO, 1), []);
    assert_eq!(ack(&mut transfer, ZERO, 9), [], "nor does an ACK of what was never sent");
}

#[test]
fn a_window_is_sent_at_once_and_goes_on_after_its_ack() {
    let mut transfer = transfer(512 * 10, &[("windowsize", "4")]);
    assert_eq!(drain(&mut transfer).0, [0]);
    assert_eq!(ack(&mut transfer, ZERO, 0), [1, 2, 3, 4]);
    assert_eq!(ack(&mut transfer, ZERO, 4), [5, 6, 7, 8]);
    assert_eq!(ack(&mut transfer, ZERO, 6), [7, 8, 9, 10], "a gap after 6");
    assert_eq!(ack(&mut transfer, ZERO, 10), [11]);
}

#[test]
fn a_lost_first_block_of_a_window_is_repeated_at_once_but_only_once_a_second() {
    let mut transfer = transfer(512 * 20, &[("windowsize", "4")]);
    drain(&mut transfer);
    ack(&mut transfer, ZERO, 0);
    assert_eq!(ack(&mut transfer, ZERO, 4), [5, 6, 7, 8]);
    assert_eq!(ack(&mut transfer, ZERO, 4), [5, 6, 7, 8]);
    assert_eq!(ack(&mut transfer, ZERO, 4), []);
    assert_eq!(ack(&mut transfer, ZERO, 8), [9, 10, 11, 12]);
    assert_eq!(ack(&mut transfer, ZERO, 8), [], "doubling may not spread over the file");
    assert_eq!(ack(&mut transfer, Duration::from_secs(1), 8), [9, 10, 11, 12]);
}

#[test]
fn block_numbers_go_on_at_zero() {
    let blocks = 65536 * 2 + 3;
    let mut transfer = transfer(8 * (blocks - 1), &[("blksize", "8"), ("windowsize", "64")]);
    drain(&mut transfer);
    let mut sent = ack(&mut transfer, ZERO, 0);
    let mut total = 0;
    while let Some(&last) = sent.last() {
        total += sent.len();
        transfer.receive(ZERO, &Packet::Ack(last).encode()).unwrap();
        sent = {
            let (numbers, outcome) = drain(&mut transfer);
            if let Some(outcome) = outcome {
                assert_eq!((outcome.end, outcome.last_acknowledged), (End::Delivered, blocks as u64));
            }
            numbers
        };
    }
    assert_eq!(total, blocks);
}

#[test]
fn rubbish_changes_nothing() {
    let mut transfer = transfer(5000, &[]);
    drain(&mut transfer);
    assert_eq!(transfer.receive(ZERO, b"\0\x09"), Err(Malformed::Kind(9)));
    assert_eq!(transfer.receive(ZERO, b"\0\x03\0\x01x"), Err(Malformed::Unexpected));
    assert_eq!(transfer.receive(ZERO, b""), Err(Malformed::Short));
    assert_eq!(drain(&mut transfer), (vec![], None));
    assert_eq!(ack(&mut transfer, ZERO, 1), [2]);
}

#[test]
fn a_client_that_leaves_in_the_middle_is_no_probe() {
    let mut transfer = transfer(5000, &[("tsize", "0")]);
    drain(&mut transfer);
    ack(&mut transfer, ZERO, 0);
    ack(&mut transfer, ZERO, 1);
    let full = Packet::Error { code: ErrorCode::DiskFull, message: "no memory".into() };
    transfer.receive(ZERO, &full.encode()).unwrap();
    let outcome = drain(&mut transfer).1.unwrap();
    assert!(!outcome.is_probe());
    assert_eq!(
        (outcome.end, outcome.bytes_sent, outcome.bytes_acknowledged),
        (End::Aborted(ErrorCode::DiskFull), 1024, 512)
    );
}

/// Steps before the further request of [`a_further_request_of_a_running_transfer`].
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    Ack(u16),
    Wait(u64),
    Expire,
    Error,
}

struct Further {
    source: &'static str,
    options: &'static [(&'static str, &'static str)],
    before: &'static [Before],
    file: &'static str,
    further_options: &'static [(&'static str, &'static str)],
    meaning: FurtherRequest,
    sent: &'static [u16],
}

#[test]
fn a_further_request_of_a_running_transfer() {
    use Before::{Ack, Error, Expire, Nothing, Wait};
    use FurtherRequest::{LateCopy, New, Retransmission};
    const SIZED: &[(&str, &str)] = &[("tsize", "0"), ("blksize", "1428")];
    const WINDOWED: &[(&str, &str)] = &[("blksize", "512"), ("windowsize", "4")];
    let row = |source, options, before, file, further_options, meaning, sent| Further {
        source,
        options,
        before,
        file,
        further_options,
        meaning,
        sent,
    };
    for further in [
        row("RFC 1350 §4: the network doubled the request", &[], &[Nothing], "f", &[], Retransmission, &[1]),
        row("the same with options: the OACK again (RFC 2347 §2)", SIZED, &[Nothing], "f", SIZED, Retransmission, &[0]),
        row("firmware repeats after 4 s, our own repeat is out", SIZED, &[Expire], "f", SIZED, Retransmission, &[0]),
        row("the same without options", &[], &[Expire, Wait(2500)], "f", &[], Retransmission, &[1]),
        row(
            "RFC 1350 §4: a copy that was delayed past the ACK of the OACK",
            SIZED,
            &[Ack(0)],
            "f",
            SIZED,
            LateCopy,
            &[],
        ),
        row("a copy after the first block (RFC 1123 §4.2.3.1)", &[], &[Ack(1)], "f", &[], LateCopy, &[]),
        row("a copy within a window (RFC 7440)", WINDOWED, &[Ack(0), Ack(4)], "f", WINDOWED, LateCopy, &[]),
        row("a copy 1.9 s after the last ACK", &[], &[Ack(1), Wait(1900)], "f", &[], LateCopy, &[]),
        row("reset in the middle of the file, same port", &[], &[Ack(1), Wait(2000)], "f", &[], New, &[]),
        row("the same with options", SIZED, &[Ack(0), Ack(1), Wait(9000)], "f", SIZED, New, &[]),
        row(
            "OVMF's two requests, of the size and of the file, from one port",
            SIZED,
            &[Nothing],
            "f",
            &[("blksize", "1428")],
            New,
            &[],
        ),
        row("the options were not understood: asked without", SIZED, &[Nothing], "f", &[], New, &[]),
        row("another block size", SIZED, &[Nothing], "f", &[("tsize", "0"), ("blksize", "512")], New, &[]),
        row("another file, even within milliseconds", &[], &[Ack(1)], "g", &[], New, &[]),
        row("the size was asked, the client left, and asks again", SIZED, &[Error], "f", SIZED, New, &[]),
        row("an option that is passed over differs", &[], &[Nothing], "f", &[("multicast", "")], Retransmission, &[1]),
        row(
            "names of options in capitals, in another order (RFC 2347 §2)",
            SIZED,
            &[Nothing],
            "f",
            &[("BLKSIZE", "1428"), ("TSIZE", "0")],
            Retransmission,
            &[0],
        ),
    ] {
        let mut now = ZERO;
        let mut transfer = transfer(5000, further.options);
        drain(&mut transfer);
        for step in further.before {
            match *step {
                Nothing => {}
                Ack(number) => drop(ack(&mut transfer, now, number)),
                Wait(millis) => now += Duration::from_millis(millis),
                Expire => {
                    now = transfer.deadline().unwrap();
                    transfer.expire(now);
                    drain(&mut transfer);
                }
                Error => {
                    let error = Packet::Error { code: ErrorCode::OptionsRefused, message: "aborted".into() };
                    transfer.receive(now, &error.encode()).unwrap();
                    drain(&mut transfer);
                }
            }
        }
        let again = Request { file: further.file.to_owned(), ..asked(further.further_options) };
        let meaning = transfer.receive_request(now, &again);
        assert_eq!((meaning, drain(&mut transfer).0.as_slice()), (further.meaning, further.sent), "{}", further.source);
    }
}

#[test]
fn a_client_that_only_repeats_its_request_is_given_up_and_gets_one_packet_for_each() {
    let mut transfer = transfer(5000, &[]);
    let (mut packets, mut requests) = (drain(&mut transfer).0.len(), 0);
    let outcome = loop {
        requests += 1;
        let Some(deadline) = transfer.deadline() else { panic!("no deadline") };
        assert_eq!(transfer.receive_request(deadline, &asked(&[])), FurtherRequest::Retransmission);
        packets += drain(&mut transfer).0.len();
        transfer.expire(deadline);
        let (sent, outcome) = drain(&mut transfer);
        packets += sent.len();
        if let Some(outcome) = outcome {
            break outcome;
        }
    };
    assert_eq!((outcome.end, requests, packets), (End::Lost, 2, 4));
}
