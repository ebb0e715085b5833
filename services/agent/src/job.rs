//! What is asked of the agent, done: from an instruction to an outcome, with news on the way.

use std::{collections::BTreeMap, time::Duration};

use domain::{
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
    config_drive::write_config_drive,
    disks,
    error::Trouble,
    fetch::{Piece, Stream, WAITING, fetch},
    install::{Image, Target, write_image},
    machine::Machine,
    report::report,
    wipe::wipe,
};

/// Who made our entries of the timeline.
const BY: &str = "agent";
/// Progress is told at most this often …
const EVERY: Duration = Duration::from_secs(1);
/// … and when so many hundredths more are done: a timeline has room for 300 entries.
const STEP: u64 = 5;
/// Where nobody knows the whole, the first progress; the next ones at twice as much each.
const FIRST_STEP: u64 = 64 << 20;

/// What the agent is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Job {
    /// An image to a disk.
    Write(wire::Write),
    /// The disks blank.
    Wipe,
    /// Nothing but what was reported.
    Inspect,
}

/// Does it. Entries go to `notes`.
///
/// Dropping it stops the transfer; the disk boots nothing then.
pub(crate) async fn run(
    job: Job,
    id: [u8; 16],
    machine: &Machine,
    client: &Client,
    notes: &mpsc::UnboundedSender<Entry>,
) -> Result<(), Trouble> {
    match job {
        Job::Write(write) => write_all(write, id, machine, client, notes).await,
        Job::Wipe => {
            let machine = machine.clone();
            let wiped = task::spawn_blocking(move || wipe(&machine)).await.map_err(ended)??;
            note(notes, Mark::Wiped, if wiped.is_empty() { "no disks".to_owned() } else { wiped.join(", ") }, None);
            Ok(())
        }
        Job::Inspect => {
            let Hardware { disks, nics, .. } = report(machine);
            note(notes, Mark::Inspected, format!("{} disks, {} NICs", disks.len(), nics.len()), None);
            Ok(())
        }
    }
}

async fn write_all(
    write: wire::Write,
    id: [u8; 16],
    machine: &Machine,
    client: &Client,
    notes: &mpsc::UnboundedSender<Entry>,
) -> Result<(), Trouble> {
    let order = Order::decode(write).map_err(Trouble::Instruction)?;
    let found = disks::scan(machine);
    let disk = disks::choose(&found, &order.disk, order.image.unpacked_size.unwrap_or(0))?.clone();
    machine.say(format_args!("writing image {} to disk {}", order.name, disks::title(&disk)));
    let subject = format!("{} to {}", order.name, disk.name);
    let (pieces, stream) = mpsc::channel::<Piece>(WAITING);
    let mut progress = Progress::new(Instant::now());
    let tell = subject.clone();
    let mut far = |done, total| {
        if progress.is_due(Instant::now(), done, total) {
            note(notes, Mark::ImageProgress, tell.clone(), Some(Amount { done, total }));
        }
    };
    let urls = order.urls.clone();
    let (machine, drive, patience) = (machine.clone(), order.config_drive.clone(), machine.patience);
    let name = disk.name.clone();
    let written = notes.clone();
    let writer = task::spawn_blocking(move || {
        install(
            &machine,
            &disk,
            Stream::new(stream),
            &order.image,
            || {
                note(&written, Mark::ImageWritten, subject, None);
                drive
            },
            id,
        )
    });
    fetch(client, &urls, patience, pieces, &mut far).await;
    if writer.await.map_err(ended)?? {
        note(notes, Mark::ConfigDriveWritten, name, None);
    }
    Ok(())
}

/// Writes the image and then the config drive, where there is one. A disk that has not all of it boots nothing.
fn install(
    machine: &Machine,
    disk: &Disk,
    stream: Stream,
    image: &Image,
    written: impl FnOnce() -> BTreeMap<String, Vec<u8>>,
    id: [u8; 16],
) -> Result<bool, Trouble> {
    let mut target = Target::new(disks::title(disk), disks::open(machine, disk)?)?;
    let octets = write_image(stream, image, &mut target)?;
    machine.say(format_args!("image written and verified: {octets} octets"));
    let files = written();
    if files.is_empty() {
        return Ok(false);
    }
    if let Err(trouble) = write_config_drive(&files, id, &mut target) {
        // The trouble that we have is the one to tell.
        drop(target.forget());
        return Err(trouble);
    }
    machine.say(format_args!("config drive written: {} files", files.len()));
    Ok(true)
}

fn ended(_: JoinError) -> Trouble {
    Trouble::Stopped
}

fn note(notes: &mpsc::UnboundedSender<Entry>, mark: Mark, subject: String, amount: Option<Amount>) {
    let entry = Entry { at: clock::now(), by: BY.to_owned(), mark, subject, amount };
    // Nobody reads: the agent is going down.
    drop(notes.send(entry));
}

/// An instruction to write, read.
struct Order {
    name: String,
    image: Image,
    urls: Vec<String>,
    disk: String,
    config_drive: BTreeMap<String, Vec<u8>>,
}

impl Order {
    fn decode(write: wire::Write) -> Result<Self, convert::Invalid> {
        let encoding = write.encoding().try_into()?;
        if write.urls.is_empty() {
            return Err(convert::Invalid::Missing("urls"));
        }
        // It becomes a path below a folder of devices.
        if write.disk.contains('/') || write.disk.starts_with('.') {
            return Err(convert::Invalid::wrong("disk", "it must be a kernel's name such as vda"));
        }
        Ok(Self {
            image: Image {
                digest: convert::text("digest", &write.digest)?,
                encoding,
                unpacked_size: (write.unpacked_size > 0).then_some(write.unpacked_size),
            },
            name: write.image_name,
            urls: write.urls,
            disk: write.disk,
            config_drive: write.config_drive.into_iter().collect(),
        })
    }
}

/// When progress is worth telling.
struct Progress {
    told: Instant,
    next: u64,
}

impl Progress {
    const fn new(now: Instant) -> Self {
        Self { told: now, next: 0 }
    }

    fn is_due(&mut self, now: Instant, done: u64, total: u64) -> bool {
        if done < self.next || now.saturating_duration_since(self.told) < EVERY {
            return false;
        }
        self.told = now;
        let step = if total > 0 { total.saturating_mul(STEP) / 100 } else { done.max(FIRST_STEP) };
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
        let content = b"somebody's".repeat(100);
        std::fs::write(machine.disks.join("vda"), &content).unwrap();
        service_kit::tls::install_provider();
        let (notes, mut noted) = mpsc::unbounded_channel();
        run(Job::Inspect, [0; 16], &machine, &Client::new(), &notes).await.unwrap();
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
        let told = (1..=1024_u64).filter(|n| progress.is_due(start + Duration::from_secs(*n), n << 30, 0)).count();
        assert_eq!(told, 11);
    }

    #[test]
    fn an_instruction_that_names_a_path_or_no_url_is_not_followed() {
        let write = wire::Write {
            digest: format!("sha256:{}", "ab".repeat(32)),
            urls: vec!["http://10.0.0.1/x".to_owned()],
            encoding: wire::Encoding::Gzip.into(),
            ..wire::Write::default()
        };
        assert!(Order::decode(write.clone()).is_ok());
        assert!(Order::decode(wire::Write { disk: "../etc/passwd".to_owned(), ..write.clone() }).is_err());
        assert!(Order::decode(wire::Write { urls: vec![], ..write.clone() }).is_err());
        assert!(Order::decode(wire::Write { encoding: 0, ..write }).is_err());
    }
}
