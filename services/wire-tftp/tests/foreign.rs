//! Tests [`wire_tftp::Transfer`] with foreign clients over loopback: curl and busybox.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue fails")]

#[expect(dead_code, reason = "the example's main is not called here")]
#[path = "../examples/serve.rs"]
mod serve;

use std::net::UdpSocket;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use wire_tftp::{End, Outcome};

const NAME: &str = "boot.efi";

/// Starts a server of one file, and returns its port and the outcomes of its transfers. It runs until the process ends.
fn server(size: usize) -> (u16, Vec<u8>, Receiver<Outcome>) {
    let content: Vec<u8> = (0..size).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect();
    let door = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    let files = [(NAME.to_owned(), content.clone().into())];
    let (told, outcomes) = channel();
    std::thread::spawn(move || {
        serve::serve(&door, &files, &|_, outcome| {
            let _ = told.send(outcome);
        })
    });
    (port, content, outcomes)
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let ran = Command::new(program).args(arguments).output();
    ran.unwrap_or_else(|error| panic!("{program} must be installed: {error}"))
}

fn curl(port: u16, file: &str, more: &[&str]) -> Output {
    let url = format!("tftp://127.0.0.1:{port}/{file}");
    run("curl", &[&["--silent", "--show-error", "--max-time", "20"], more, &[&url]].concat())
}

fn ended(outcomes: &Receiver<Outcome>) -> Outcome {
    outcomes.recv_timeout(Duration::from_secs(20)).expect("the transfer ends")
}

#[test]
fn curl_reads_a_file_with_each_block_size() {
    let (port, content, outcomes) = server(100_000);
    for block in ["8", "512", "1024", "1428", "1468", "65464"] {
        let ran = curl(port, NAME, &["--tftp-blksize", block]);
        assert!(ran.stdout == content, "block size {block}: {ran:?}");
        let outcome = ended(&outcomes);
        assert_eq!(outcome.end, End::Delivered);
        assert_eq!(outcome.bytes_acknowledged, 100_000);
    }
}

#[test]
fn curl_reads_files_that_fill_their_blocks() {
    for size in [0, 511, 512, 1024] {
        let (port, content, outcomes) = server(size);
        assert!(curl(port, NAME, &["--tftp-no-options"]).stdout == content, "size {size}");
        assert_eq!(ended(&outcomes).end, End::Delivered);
    }
}

#[test]
fn curl_reads_past_block_65535() {
    let (port, content, outcomes) = server(8 * 66_000);
    assert!(curl(port, NAME, &["--tftp-blksize", "8"]).stdout == content);
    assert_eq!(ended(&outcomes).last_acknowledged, 66_001);
}

#[test]
fn curl_is_told_that_a_file_is_missing() {
    let (port, _, _) = server(1);
    // 68: "File not found on TFTP server".
    assert_eq!(curl(port, "else", &[]).status.code(), Some(68));
}

#[test]
fn curl_may_not_write() {
    let (port, _, _) = server(1);
    // 69: "Permission problem on TFTP server".
    assert_eq!(curl(port, NAME, &["--upload-file", "Cargo.toml"]).status.code(), Some(69));
}

#[test]
fn busybox_reads_a_file_with_each_block_size() {
    let (port, content, outcomes) = server(100_000);
    for block in ["512", "1024", "1468", "9000"] {
        let there = format!("{port}");
        let ran = run("busybox", &["tftp", "-g", "-r", NAME, "-l", "-", "-b", block, "127.0.0.1", &there]);
        assert!(ran.stdout == content, "block size {block}: {}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ended(&outcomes).end, End::Delivered);
    }
}

#[test]
fn busybox_may_not_write() {
    let (port, _, _) = server(1);
    let there = format!("{port}");
    let ran = run("busybox", &["tftp", "-p", "-l", "Cargo.toml", "-r", NAME, "127.0.0.1", &there]);
    assert!(!ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stderr).contains("writing is not possible here"), "{ran:?}");
}
