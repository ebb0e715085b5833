use proptest::prelude::*;

use super::*;
use crate::{End, Limits, Output, Transfer, request};

const MAX_FILE_BYTES: usize = 1 << 20;

/// What the wire does to the n-th packet: false loses it.
type Wire<'w> = &'w mut dyn FnMut() -> bool;

/// Runs a fetch and a transfer against each other until both have ended, and returns both ends.
fn play(file: &[u8], fetch: &mut Fetch<Duration>, wire: Wire<'_>) -> (FetchEnd, Option<crate::Outcome>) {
    let mut now = Duration::ZERO;
    let mut transfer: Option<Transfer<&[u8], Duration>> = None;
    let (mut fetched, mut sent) = (None, None);
    for _ in 0..100_000 {
        let mut quiet = true;
        while let Some(output) = fetch.poll() {
            quiet = false;
            match output {
                Fetched::Done(end) => fetched = Some(end),
                Fetched::Send(bytes) if wire() => match (request(&bytes), &mut transfer) {
                    (Ok(asked), _) => transfer = Some(Transfer::new(file, &asked, Limits::default(), now)),
                    (Err(_), Some(transfer)) => transfer.receive(now, &bytes).unwrap(),
                    (Err(_), None) => {}
                },
                Fetched::Send(_) => {}
            }
        }
        while let Some(output) = transfer.as_mut().and_then(Transfer::poll) {
            quiet = false;
            match output {
                Output::Done(outcome) => sent = Some(outcome),
                Output::Send(bytes) => {
                    if wire() {
                        fetch.receive(now, &bytes).unwrap();
                    }
                }
            }
        }
        let deadlines = [fetch.deadline(), transfer.as_ref().and_then(Transfer::deadline)];
        let Some(next) = deadlines.into_iter().flatten().min() else {
            break;
        };
        if quiet {
            now = next;
            fetch.expire(now);
            if let Some(transfer) = &mut transfer {
                transfer.expire(now);
            }
        }
    }
    (fetched.expect("the fetch ends"), sent)
}

fn file(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at % 253).unwrap()).collect()
}

#[test]
fn a_file_arrives_whole_with_and_without_options() {
    for requested in [
        RequestedOptions::default(),
        RequestedOptions { block_size: Some(1432), size: Some(0), ..RequestedOptions::default() },
        RequestedOptions { block_size: Some(1468), window: Some(16), ..RequestedOptions::default() },
    ] {
        for size in [0, 1, 512, 100_000] {
            let file = file(size);
            let mut fetch = Fetch::new("f", requested, MAX_FILE_BYTES, Duration::ZERO);
            let (end, outcome) = play(&file, &mut fetch, &mut || true);
            assert_eq!(end, FetchEnd::Complete);
            assert_eq!(outcome.unwrap().end, End::Delivered);
            assert_eq!(outcome.unwrap().bytes_sent, size as u64, "nothing was sent twice");
            assert!(fetch.content() == file);
        }
    }
}

#[test]
fn a_probe_learns_the_size_and_leaves_quietly() {
    let mut fetch = Fetch::probe("f", Duration::ZERO);
    let (end, outcome) = play(&file(4321), &mut fetch, &mut || true);
    assert_eq!(end, FetchEnd::Probed);
    assert!(outcome.unwrap().is_probe());
    assert_eq!(fetch.negotiated().unwrap().oack.size, Some(4321));
}

#[test]
fn a_file_larger_than_allowed_is_not_collected() {
    let mut fetch = Fetch::new("f", RequestedOptions::default(), 1000, Duration::ZERO);
    let (end, outcome) = play(&file(2000), &mut fetch, &mut || true);
    assert_eq!(end, FetchEnd::Unfit);
    assert!(matches!(outcome.unwrap().end, End::Aborted(_)));
}

#[test]
fn a_deaf_server_is_given_up() {
    let mut fetch = Fetch::new("f", RequestedOptions::default(), MAX_FILE_BYTES, Duration::ZERO);
    assert_eq!(play(&[], &mut fetch, &mut || false).0, FetchEnd::Lost);
}

#[test]
fn a_gap_is_reported_at_once_and_so_is_a_repeated_block() {
    let requested = RequestedOptions { window: Some(4), ..RequestedOptions::default() };
    let mut fetch = Fetch::new("f", requested, MAX_FILE_BYTES, Duration::ZERO);
    let mut hear = |packet: Packet<'_>| {
        fetch.receive(Duration::ZERO, &packet.encode()).unwrap();
        std::iter::from_fn(|| fetch.poll()).last()
    };
    let oack = |block| Some(Fetched::Send(Packet::Ack(block).encode()));
    let block = |number| Packet::Data { block: number, payload: vec![0; 512].into() };
    assert_eq!(hear(Packet::OptionAck(requested.list())), oack(0));
    assert_eq!(hear(block(1)), None);
    assert_eq!(hear(block(3)), oack(1));
    assert_eq!(hear(block(2)), None);
    assert_eq!(hear(block(2)), oack(2));
    assert_eq!(hear(block(900)), None, "far off is a stray");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_arrives_over_a_lossy_wire_is_the_file(
        size in 0usize..40_000, window in 1u16..20, lost in prop::collection::vec(0usize..5, 1..200),
    ) {
        let file = file(size);
        let mut fetch = Fetch::new("f", RequestedOptions { block_size: Some(700), window: Some(window), ..RequestedOptions::default() }, MAX_FILE_BYTES, Duration::ZERO);
        let mut fates = lost.iter().cycle();
        // One packet in five is lost on average.
        let (end, _) = play(&file, &mut fetch, &mut || fates.next() != Some(&0));
        prop_assert!(file.starts_with(fetch.content()));
        if end == FetchEnd::Complete {
            prop_assert!(fetch.content() == file);
        }
    }

    #[test]
    fn any_datagrams_are_survived(datagrams in prop::collection::vec((0u8..7, prop::collection::vec(any::<u8>(), 0..40)), 0..50)) {
        let mut fetch = Fetch::new("f", RequestedOptions { window: Some(4), ..RequestedOptions::default() }, MAX_FILE_BYTES, Duration::ZERO);
        let asked = Request { file: "f".into(), mode: "octet".into(), options: vec![] };
        let mut transfer = Transfer::new(file(5000), &asked, Limits::default(), Duration::ZERO);
        for (kind, bytes) in datagrams {
            let bytes = [&[0, kind], bytes.as_slice()].concat();
            let _ = fetch.receive(Duration::ZERO, &bytes);
            let _ = transfer.receive(Duration::ZERO, &bytes);
            while fetch.poll().is_some() {}
            while transfer.poll().is_some() {}
        }
    }
}
