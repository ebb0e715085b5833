//! Executes an instruction, from decoding to the result, and reports progress.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    disk_hints::DiskHints,
    hardware::{Disk, Hardware},
    timeline::{Amount, Entry, Mark},
};
use proto::{agent::v1 as wire, convert};
use reqwest::Client;
use service_kit::clock;
use tokio::{
    sync::mpsc,
    task::{self, JoinError},
    time::Instant,
};

use crate::{
    config_drive::{move_backup_table, write_config_drive},
    disks::{self, Wanted},
    error::WorkError,
    fetch::{Chunk, MAX_QUEUED_CHUNKS, Stream, fetch},
    install::{Image, Target, write_image},
    machine::Machine,
    report::report,
    wipe::wipe,
};

/// Author of our timeline entries.
const AUTHOR: &str = "agent";
/// Minimum interval between progress entries.
const MIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum progress between entries, in percent: a timeline has room for 300 entries.
const PROGRESS_STEP_PERCENT: u64 = 5;
/// Bytes until the first progress entry if the total is unknown; each further one needs twice as many.
const FIRST_PROGRESS_BYTES: u64 = 64 << 20;

/// The work requested of the agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Job {
    /// Write an image to a disk.
    Write(Box<wire::Write>),
    /// Wipe all disks but some.
    Wipe(wire::Wipe),
    /// Only report the hardware.
    Inspect,
}

/// Runs a job. Timeline entries are sent to `entries`.
///
/// Dropping the future stops the transfer; the disk then does not boot.
pub(crate) async fn run(
    job: Job,
    id: [u8; 16],
    machine: &Machine,
    client: &Client,
    entries: &mpsc::UnboundedSender<Entry>,
) -> Result<(), WorkError> {
    match job {
        Job::Write(write) => write_all(*write, id, machine, client, entries).await,
        Job::Wipe(instruction) => {
            let machine = machine.clone();
            let skipped = skipped(&instruction.skipped_disks)?;
            let wiped = task::spawn_blocking(move || wipe(&machine, &skipped)).await.map_err(ended)??;
            note(entries, Mark::Wiped, wiped.summary(), None);
            Ok(())
        }
        Job::Inspect => {
            let Hardware { disks, nics, .. } = report(machine);
            note(entries, Mark::Inspected, format!("{} disks, {} NICs", disks.len(), nics.len()), None);
            Ok(())
        }
    }
}

async fn write_all(
    write: wire::Write,
    id: [u8; 16],
    machine: &Machine,
    client: &Client,
    entries: &mpsc::UnboundedSender<Entry>,
) -> Result<(), WorkError> {
    let write = WriteJob::decode(write)?;
    let skipped = disks::skip_for_write(disks::scan(machine), &write.skipped);
    skipped.say_unmatched(machine);
    let disk = disks::choose(&skipped.found, &write.disk)?.clone();
    machine.say(format_args!("writing image {} to disk {}", write.name, disks::title(&disk)));
    let subject = format!("{} to {}", write.name, disk.name);
    let (chunks, stream) = mpsc::channel::<Chunk>(MAX_QUEUED_CHUNKS);
    let mut progress = Progress::new(Instant::now());
    let label = subject.clone();
    let mut on_progress = |done, total| {
        if progress.is_due(Instant::now(), done, total) {
            note(entries, Mark::ImageProgress, label.clone(), Some(Amount { done, total }));
        }
    };
    let urls = write.urls.clone();
    let (machine, drive, retry) = (machine.clone(), write.config_drive.clone(), machine.retry);
    let name = disk.name.clone();
    let written = entries.clone();
    let writer = task::spawn_blocking(move || {
        install(
            &machine,
            &disk,
            Stream::new(stream),
            &write.image,
            || {
                note(&written, Mark::ImageWritten, subject, None);
                drive
            },
            id,
        )
    });
    fetch(client, &urls, retry, chunks, &mut on_progress).await;
    if writer.await.map_err(ended)?? {
        note(entries, Mark::ConfigDriveWritten, name, None);
    }
    Ok(())
}

/// Writes the image and its config drive, if any. A partially written disk does not boot.
fn install(
    machine: &Machine,
    disk: &Disk,
    stream: Stream,
    image: &Image,
    written: impl FnOnce() -> BTreeMap<String, Vec<u8>>,
    id: [u8; 16],
) -> Result<bool, WorkError> {
    let mut target = Target::new(disks::title(disk), disks::open(machine, disk)?)?;
    target.block_size = disks::block_size(machine, &disk.name);
    let bytes = write_image(stream, image, &mut target)?;
    machine.say(format_args!("image written and verified: {bytes} bytes"));
    let files = written();
    // The config drive is at the end of the disk, which needs the same changes of the table.
    let done =
        if files.is_empty() { move_backup_table(&mut target) } else { write_config_drive(&files, id, &mut target) };
    if let Err(error) = done {
        // Report the first error.
        drop(target.clear_ends());
        return Err(error);
    }
    if files.is_empty() {
        return Ok(false);
    }
    machine.say(format_args!("config drive written: {} files", files.len()));
    Ok(true)
}

fn ended(_: JoinError) -> WorkError {
    WorkError::Stopped
}

fn note(entries: &mpsc::UnboundedSender<Entry>, mark: Mark, subject: String, amount: Option<Amount>) {
    let entry = Entry { at: clock::now(), by: AUTHOR.to_owned(), mark, subject, amount };
    // The receiver is gone only if the agent is shutting down.
    drop(entries.send(entry));
}

/// A decoded write instruction.
struct WriteJob {
    name: String,
    image: Image,
    urls: Vec<String>,
    disk: Wanted,
    skipped: Vec<DiskHints>,
    config_drive: BTreeMap<String, Vec<u8>>,
}

/// Decodes the hints of disks that are left as they are.
fn skipped(disks: &[wire::DiskHints]) -> Result<Vec<DiskHints>, WorkError> {
    disks.iter().map(|disk| hints("properties/skip_block_devices", disk)).collect()
}

/// Decodes the hints for a disk. Hints that this agent does not evaluate end the work: it must not take another disk.
fn hints(key: &'static str, disk: &wire::DiskHints) -> Result<DiskHints, WorkError> {
    let pairs = disk.hints.iter().map(|(hint, value)| (hint.as_str(), value.as_str()));
    DiskHints::parse(pairs).map_err(|source| WorkError::DiskHints { key, source })
}

impl WriteJob {
    fn decode(write: wire::Write) -> Result<Self, WorkError> {
        let encoding = write.encoding().try_into().map_err(WorkError::Instruction)?;
        if write.urls.is_empty() {
            return Err(WorkError::Instruction(convert::Invalid::Missing("urls")));
        }
        // The name becomes a path in the device directory.
        if write.disk.contains('/') || write.disk.starts_with('.') {
            let wrong = convert::Invalid::wrong("disk", "it must be a kernel name such as vda");
            return Err(WorkError::Instruction(wrong));
        }
        let root_device = write.root_device.as_ref().map(|disk| hints("root_device", disk)).transpose()?;
        Ok(Self {
            image: Image {
                digest: convert::text("digest", &write.digest).map_err(WorkError::Instruction)?,
                encoding,
                unpacked_size: (write.unpacked_size > 0).then_some(write.unpacked_size),
            },
            name: write.image_name,
            urls: write.urls,
            disk: Wanted { name: write.disk, hints: root_device.unwrap_or_default(), bytes: write.unpacked_size },
            skipped: skipped(&write.skipped_disks)?,
            config_drive: write.config_drive.into_iter().collect(),
        })
    }
}

/// Limits progress entries.
struct Progress {
    last: Instant,
    next: u64,
}

impl Progress {
    const fn new(now: Instant) -> Self {
        Self { last: now, next: 0 }
    }

    fn is_due(&mut self, now: Instant, done: u64, total: u64) -> bool {
        if done < self.next || now.saturating_duration_since(self.last) < MIN_PROGRESS_INTERVAL {
            return false;
        }
        self.last = now;
        let step =
            if total > 0 { total.saturating_mul(PROGRESS_STEP_PERCENT) / 100 } else { done.max(FIRST_PROGRESS_BYTES) };
        self.next = done.saturating_add(step);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_inspection_notes_what_there_is_and_leaves_the_disk_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk { name: "vda".to_owned(), size_bytes: 1 << 20, ..Disk::default() };
        let hardware = Hardware { disks: vec![disk], ..Hardware::default() };
        let machine = crate::machine::lay_out(folder.path(), &hardware).unwrap();
        let content = b"content".repeat(100);
        std::fs::write(machine.disks.join("vda"), &content).unwrap();
        service_kit::tls::install_provider();
        let (entries, mut noted) = mpsc::unbounded_channel();
        run(Job::Inspect, [0; 16], &machine, &Client::new(), &entries).await.unwrap();
        let entry = noted.recv().await.unwrap();
        assert_eq!((entry.mark, entry.subject.as_str()), (Mark::Inspected, "1 disks, 0 NICs"));
        assert_eq!(std::fs::read(machine.disks.join("vda")).unwrap(), content);
    }

    #[test]
    fn progress_is_told_once_a_second_and_every_twentieth() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(start);
        assert!(!progress.is_due(start, 1, 1000), "too early");
        assert!(progress.is_due(at(1), 10, 1000));
        assert!(!progress.is_due(at(9), 59, 1000), "too little");
        assert!(progress.is_due(at(9), 60, 1000));
        assert!(!progress.is_due(at(9), 900, 1000), "too early");
        assert!(progress.is_due(at(10), 900, 1000));
    }

    #[test]
    fn progress_towards_an_unknown_whole_grows_rarer() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let last = (1..=1024_u64).filter(|n| progress.is_due(start + Duration::from_secs(*n), n << 30, 0)).count();
        assert_eq!(last, 11);
    }

    #[test]
    fn an_instruction_that_names_a_path_or_no_url_is_not_followed() {
        let write = wire::Write {
            digest: format!("sha256:{}", "ab".repeat(32)),
            urls: vec!["http://10.0.0.1/x".to_owned()],
            encoding: wire::Encoding::Gzip.into(),
            ..wire::Write::default()
        };
        assert!(WriteJob::decode(write.clone()).is_ok());
        assert!(WriteJob::decode(wire::Write { disk: "../etc/passwd".to_owned(), ..write.clone() }).is_err());
        assert!(WriteJob::decode(wire::Write { urls: vec![], ..write.clone() }).is_err());
        let wwn = wire::DiskHints { hints: [("wwn".to_owned(), "0x5000".to_owned())].into() };
        let refused = WriteJob::decode(wire::Write { root_device: Some(wwn.clone()), ..write.clone() }).map(drop);
        assert_eq!(refused.unwrap_err().cause().word(), "NO_DISK");
        assert!(WriteJob::decode(wire::Write { skipped_disks: vec![wwn], ..write.clone() }).is_err());
        assert!(WriteJob::decode(wire::Write { encoding: 0, ..write }).is_err());
    }
}
