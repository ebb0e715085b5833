//! Pictures as they were approved.

use super::*;
use crate::tests::golden;

fn entry(at_ms: i64, mark: Mark, subject: &str) -> TimelineEntry {
    let by = "pxe-service at 10.77.1.2".to_owned();
    let observe_time = Some(proto::convert::time::wire_time(Timestamp::from_millis(at_ms)));
    TimelineEntry { observe_time, by, mark: mark.word().to_owned(), subject: subject.to_owned(), amount: None }
}

fn deployed() -> Vec<Boot> {
    let mut written = entry(31_000, Mark::ImageWritten, "debian to vda");
    written.amount = Some(proto::common::v1::Amount { done: 24 << 20, total: 0 });
    let network = vec![
        entry(0, Mark::PowerOn, ""),
        entry(6_100, Mark::DhcpDiscover, "PXE (BIOS)"),
        entry(6_110, Mark::DhcpOffer, "10.77.1.101"),
        entry(6_300, Mark::DhcpAck, "10.77.1.101 PXE (BIOS)"),
        entry(9_000, Mark::RamdiskSent, ""),
        entry(18_000, Mark::AgentHello, ""),
        written,
    ];
    let disk =
        vec![entry(32_000, Mark::PowerOff, ""), entry(33_000, Mark::PowerOn, ""), entry(41_200, Mark::FirstLife, "")];
    let lost = Boot { generation: 3, entries: vec![entry(-200_000, Mark::PowerOn, "")] };
    vec![lost, Boot { generation: 4, entries: network }, Boot { generation: 5, entries: disk }]
}

#[test]
fn the_boot_from_disk_belongs_to_the_boot_that_wrote_it() {
    let stories = stories(deployed());
    let generations = |story: &Story| story.boots.iter().map(|boot| boot.generation).collect::<Vec<_>>();
    assert_eq!(stories.iter().map(generations).collect::<Vec<_>>(), [vec![3], vec![4, 5]]);
}

#[test]
fn a_picture_fits_each_terminal() {
    let stories = stories(deployed());
    let story = stories.last().unwrap();
    for width in [60, 80, 140] {
        let picture = super::story(width, "n1", story);
        golden(&format!("timeline-{width}.txt"), &picture);
        let widest = picture.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} columns in a terminal of {width}");
    }
}

#[test]
fn a_bar_stays_within_its_cells_whatever_the_times() {
    for (from, to, whole) in [(0, 0, 0), (5, 3, 1), (0, i64::MAX, 1), (-4, -2, 9), (i64::MAX, i64::MAX, i64::MAX)] {
        assert_eq!(bar(10, from, to, whole).chars().count(), 10, "{from} {to} {whole}");
    }
}

#[test]
fn words_wrap_at_spaces_and_long_words_within() {
    assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
    assert_eq!(wrapped("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
    assert_eq!(wrapped("", 3), [""]);
}
