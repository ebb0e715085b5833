//! How long files stay in the cache, and that a changed one is never handed out.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use domain::time::Timestamp;

use super::*;

const LIMITS: CacheLimits = CacheLimits { max_bytes: 0, reserve_bytes: 0, keep_used: Duration::ZERO };
const MIB: u64 = 1 << 20;

/// A folder with images of 1 MiB.
struct Images {
    folder: tempfile::TempDir,
}

impl Images {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        Self { folder }
    }

    fn add(&self, name: &str, content: &[u8]) -> (Digest, String) {
        let file = self.folder.path().join("images").join(name);
        fs::write(&file, content).unwrap();
        (digest_of(content), format!("file://{}", file.display()))
    }

    /// An image of 1 MiB, which a file system cannot compress.
    fn mebibyte(&self, number: u8) -> (Digest, String) {
        self.add(&number.to_string(), &mebibyte_of(number))
    }

    fn cache(&self, limits: CacheLimits) -> Cache {
        cache_with(self.folder.path(), limits)
    }
}

/// Content that looks random (xorshift64*), and is another one for each number.
fn mebibyte_of(number: u8) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..(1 << 20) / 8).flat_map(|_| next()).collect()
}

async fn is_done(cache: &Cache, (digest, url): &(Digest, String)) -> bool {
    matches!(download(cache, digest, url).await, Download::Done(_))
}

/// Waits until a file is handed out, and returns its content.
async fn content(cache: &Cache, digest: &Digest) -> Vec<u8> {
    loop {
        if let Ok(reading) = cache.open_file(digest) {
            let mut content = vec![0; usize::try_from(reading.size()).unwrap()];
            reading.file.read_exact_at(&mut content, 0).unwrap();
            return content;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for the verification of a file.
async fn verified(cache: &Cache, digest: &Digest) {
    while cache.usage.with(digest, |usage| usage.is_verifying) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_file_that_was_not_used_for_the_longest_time_makes_room() {
    let images = Images::new();
    let cache = images.cache(CacheLimits { max_bytes: 2 * MIB + MIB / 2, ..LIMITS });
    let [a, b, c] = [1, 2, 3].map(|octet| images.mebibyte(octet));
    assert!(is_done(&cache, &a).await && is_done(&cache, &b).await);
    // The clock has milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(is_done(&cache, &a).await, "used again");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(is_done(&cache, &c).await);
    let mut left: Vec<_> = cache.list().into_iter().map(|(digest, _)| digest).collect();
    let mut right = vec![a.0.clone(), c.0.clone()];
    left.sort_by_key(ToString::to_string);
    right.sort_by_key(ToString::to_string);
    assert_eq!(left, right);
    assert!(!cache.path(&b.0).exists() && !cache.note_path(&b.0).exists());
    // It is downloaded again when it is wanted.
    assert!(is_done(&cache, &b).await);
}

#[tokio::test]
async fn a_file_that_is_in_use_stays_and_the_error_says_what_uses_the_room() {
    let images = Images::new();
    let [a, b] = [1, 2].map(|octet| images.mebibyte(octet));
    let small = CacheLimits { max_bytes: MIB + MIB / 2, ..LIMITS };
    // Read by a machine.
    let cache = images.cache(small);
    assert!(is_done(&cache, &a).await);
    let reading = cache.open_file(&a.0).unwrap();
    let full = failure(download(&cache, &b.0, &b.1).await);
    assert_eq!(full.cause, Cause::ImageCache);
    for word in ["uses 1 MiB of at most 1 MiB", "storage.max_cache_bytes", "storage.keep_used", "Repeat the command"] {
        assert!(full.text.contains(word), "{word}: {}", full.text);
    }
    assert!(cache.path(&a.0).exists() && files(images.folder.path()) == 1);
    drop(reading);
    // Asked for by a deployment that is being prepared.
    let kept = images.cache(CacheLimits { keep_used: Duration::from_secs(3600), ..small });
    assert_eq!(failure(download(&kept, &b.0, &b.1).await).cause, Cause::ImageCache);
    assert!(kept.path(&a.0).exists(), "its last use is known to the next run");
    // Not any more.
    assert!(is_done(&images.cache(small), &b).await);
    assert!(!cache.path(&a.0).exists());
}

#[tokio::test]
async fn an_image_above_the_maximum_size_is_refused_with_the_setting() {
    let images = Images::new();
    let file = images.folder.path().join("images/large");
    fs::File::create(&file).unwrap().set_len(MAX_IMAGE_BYTES + 1).unwrap();
    let url = format!("file://{}", file.display());
    let refused = failure(download(&images.cache(LIMITS), &digest_of(b"large"), &url).await);
    assert_eq!(refused.cause, Cause::ImageCache);
    assert!(refused.text.contains("storage.max_image_bytes"), "{}", refused.text);
    assert_eq!(files(images.folder.path()), 0);
}

/// A way in which a file on disk may change.
type Change = fn(&Path);

const CHANGES: [(&str, Change); 7] = [
    ("cut, as by a full disk", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap()),
    ("emptied, as by a power cut", |path| drop(fs::File::create(path).unwrap())),
    ("a byte was changed", |path| {
        OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"x", 5000).unwrap();
    }),
    ("a byte was changed, and the time was set back", |path| {
        let before = fs::metadata(path).unwrap().modified().unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"x", 5000).unwrap();
        file.set_modified(before).unwrap();
    }),
    ("longer", |path| OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"x", MIB).unwrap()),
    ("replaced by another file of the same size", |path| {
        let other = path.with_extension("other");
        fs::write(&other, vec![9; 1 << 20]).unwrap();
        fs::rename(&other, path).unwrap();
    }),
    ("removed", |path| fs::remove_file(path).unwrap()),
];

#[tokio::test]
async fn a_file_that_was_changed_is_never_handed_out_and_is_downloaded_again() {
    for (source, change) in CHANGES {
        let images = Images::new();
        let cache = images.cache(LIMITS);
        let (digest, url) = images.mebibyte(7);
        assert!(is_done(&cache, &(digest.clone(), url.clone())).await);
        assert_eq!(content(&cache, &digest).await, mebibyte_of(7));
        change(&cache.path(&digest));
        assert!(cache.open_file(&digest).is_err(), "{source}");
        // Asked for again, it is there again.
        assert!(is_done(&cache, &(digest.clone(), url)).await, "{source}");
        assert_eq!(content(&cache, &digest).await, mebibyte_of(7), "{source}");
    }
}

#[tokio::test]
async fn a_file_that_is_found_changed_by_a_reader_is_downloaded_again_without_being_asked_for() {
    for (source, change) in CHANGES {
        if source == "removed" {
            continue;
        }
        let images = Images::new();
        let cache = images.cache(LIMITS);
        let image = images.mebibyte(7);
        assert!(is_done(&cache, &image).await);
        change(&cache.path(&image.0));
        assert_eq!(content(&cache, &image.0).await, mebibyte_of(7), "{source}");
    }
}

#[tokio::test]
async fn a_file_that_was_changed_while_the_service_was_down_is_not_handed_out() {
    for (source, change) in CHANGES {
        let images = Images::new();
        let image = images.mebibyte(7);
        let before = images.cache(LIMITS);
        assert!(is_done(&before, &image).await);
        change(&before.path(&image.0));
        let cache = images.cache(LIMITS);
        assert!(cache.open_file(&image.0).is_err(), "{source}");
        verified(&cache, &image.0).await;
        assert_eq!((files(images.folder.path()), cache.list()), (0, vec![]), "{source}");
        assert!(is_done(&cache, &image).await, "{source}");
    }
}

#[tokio::test]
async fn a_file_with_another_state_but_the_same_content_stays() {
    let images = Images::new();
    let image = images.mebibyte(7);
    assert!(is_done(&images.cache(LIMITS), &image).await);
    let path = images.cache(LIMITS).path(&image.0);
    for (source, change) in [
        (
            "touched",
            (|path| OpenOptions::new().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap())
                as Change,
        ),
        ("restored from a backup", |path| {
            let other = path.with_extension("part");
            fs::copy(path, &other).unwrap();
            fs::rename(&other, path).unwrap();
        }),
        ("without its note", |path| fs::remove_file(path.with_extension("verified")).unwrap()),
        ("with a cut note", |path| fs::write(path.with_extension("verified"), "{").unwrap()),
    ] {
        change(&path);
        let inode = fs::metadata(&path).unwrap().ino();
        let cache = images.cache(LIMITS);
        assert_eq!(content(&cache, &image.0).await, mebibyte_of(7), "{source}");
        assert!(is_done(&cache, &image).await, "{source}");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "{source}: it was not downloaded again");
    }
}

#[tokio::test]
async fn a_converted_image_whose_content_was_changed_or_evicted_is_converted_again() {
    let image = build(3, 16, 1 << 16, &[Cluster::Plain(1)]);
    let lab = Lab::new(&image);
    let cache = lab.cache();
    let Download::Done(Cached { raw: Some(raw), .. }) = lab.download(&cache, Encoding::Qcow2).await else { panic!() };
    OpenOptions::new().write(true).open(cache.path(&raw)).unwrap().write_all_at(b"x", 5000).unwrap();
    assert!(cache.open_file(&raw).is_err());
    assert_eq!(content(&cache, &raw).await, [1; 1 << 16]);
    assert!(matches!(lab.download(&cache, Encoding::Qcow2).await, Download::Done(_)), "the conversion has ended");
    // A reader that came before the content was recorded had it verified.
    verified(&cache, &raw).await;
    // Evicted, with the mark.
    cache.forget(&raw);
    assert_eq!((files(lab.folder.path()), cache.list()), (0, vec![]));
    assert!(matches!(lab.download(&cache, Encoding::Qcow2).await, Download::Done(_)));
    assert_eq!(content(&cache, &raw).await, [1; 1 << 16]);
}

#[tokio::test]
async fn what_a_crash_left_at_each_stage_of_a_download_or_conversion_is_removed_or_used() {
    let image = build(3, 16, 1 << 16, &[Cluster::Plain(1)]);
    let raw = [1_u8; 1 << 16];
    let (image_name, raw_name) = (digest_of(&image).file_name(), digest_of(&raw).file_name());
    let mark = (format!("{image_name}.converted"), digest_of(&raw).to_string().into_bytes());
    let cut_mark = (mark.0.clone(), b"sha256:".to_vec());
    let (whole, converted) = ((image_name.clone(), image.clone()), (raw_name, raw.to_vec()));
    for (left, source, kept) in [
        (vec![(format!("{image_name}.part"), image[..9].to_vec())], "while it is downloaded", 0),
        (vec![whole.clone()], "before the note of its state", 1),
        (vec![whole.clone(), (format!("{image_name}.0.raw-part"), raw[..9].to_vec())], "while it is converted", 1),
        (vec![whole.clone(), converted.clone()], "before the mark of the conversion", 2),
        (vec![whole.clone(), converted.clone(), mark.clone()], "before the image is removed", 3),
        (vec![converted, mark.clone()], "at the end", 2),
        (vec![mark], "the content was removed", 0),
        (vec![whole, cut_mark], "a mark that another program cut", 1),
        (vec![(format!(".{image_name}.verified.1-0.unfinished"), vec![])], "while a note is written", 0),
        (vec![(format!("{image_name}.verified"), b"{}".to_vec())], "a note without its file", 0),
    ] {
        let lab = Lab::new(&image);
        fs::create_dir(lab.folder.path().join("cache")).unwrap();
        for (name, content) in left {
            fs::write(lab.folder.path().join("cache").join(name), content).unwrap();
        }
        let cache = lab.cache();
        assert_eq!(files(lab.folder.path()), kept, "{source}");
        let Download::Done(cached) = lab.download(&cache, Encoding::Qcow2).await else { panic!("{source}") };
        assert_eq!(cached.raw, Some(digest_of(&raw)), "{source}");
        assert_eq!(content(&cache, &digest_of(&raw)).await, raw, "{source}");
    }
}

#[tokio::test]
async fn a_stranger_who_asks_for_digests_costs_no_memory() {
    let images = Images::new();
    let cache = images.cache(LIMITS);
    for number in 0..100_u32 {
        let missing = cache.open_file(&digest_of(&number.to_le_bytes()));
        assert!(matches!(missing, Err(NotServed::Missing)));
    }
    assert_eq!(cache.usage.len(), 0);
}

#[tokio::test]
async fn a_file_that_was_chosen_and_is_used_again_before_it_leaves_stays() {
    let images = Images::new();
    let hour = Duration::from_secs(3600);
    let cache = images.cache(CacheLimits { keep_used: hour, ..LIMITS });
    let image = images.mebibyte(7);
    assert!(is_done(&cache, &image).await);
    let later = clock::now().plus(hour * 2);
    for (source, before, stays) in [
        ("asked for", (|usage| usage.last_used = clock::now().plus(Duration::from_secs(7000))) as fn(&mut Usage), true),
        ("read", |usage| usage.readers = 1, true),
        ("verified", |usage| usage.is_verifying = true, true),
        ("idle", |_| {}, false),
    ] {
        let used = cache.usage.with(&image.0, |usage| usage.last_used);
        cache.usage.with(&image.0, before);
        cache.evict(&image.0, later);
        assert_eq!(cache.path(&image.0).exists(), stays, "{source}");
        cache.usage.with(&image.0, |usage| {
            (usage.last_used, usage.readers, usage.is_verifying) = (used, 0, false);
        });
    }
    assert_eq!((files(images.folder.path()), cache.list()), (0, vec![]), "nothing is left over");
}

#[tokio::test]
async fn a_file_that_is_there_already_when_its_download_ends_is_in_use() {
    let images = Images::new();
    let cache = images.cache(CacheLimits { keep_used: Duration::from_secs(3600), ..LIMITS });
    let image = images.mebibyte(7);
    assert!(is_done(&cache, &image).await);
    cache.usage.with(&image.0, |usage| usage.last_used = Timestamp::default());
    let part = cache.path(&image.0).with_extension("part");
    fs::write(&part, mebibyte_of(7)).unwrap();
    cache.store(&part, &image.0, "test").unwrap();
    cache.evict(&image.0, clock::now());
    assert!(cache.path(&image.0).exists() && !part.exists());
}

#[tokio::test]
async fn an_image_whose_file_left_as_its_download_ended_is_downloaded_again() {
    let images = Images::new();
    let cache = images.cache(LIMITS);
    let (image, cached) = (images.mebibyte(7), Cached { size: MIB, format: FileFormat::Raw, raw: None });
    // An image, and one that was converted to it.
    let (from, raw) = (digest_of(b"qcow2"), Some(image.0.clone()));
    cache.add(&image.0, cached.clone());
    cache.add(&from, Cached { raw, ..cached });
    for _ in 0..2 {
        assert!(is_done(&cache, &image).await);
        assert_eq!(content(&cache, &image.0).await, mebibyte_of(7));
    }
    assert!(!cache.downloads.lock().contains_key(&from));
}

#[tokio::test]
async fn a_file_of_an_earlier_run_that_no_deployment_asked_for_is_not_in_use_for_being_verified() {
    let images = Images::new();
    let image = images.mebibyte(7);
    let before = images.cache(LIMITS);
    assert!(is_done(&before, &image).await);
    let (path, note) = (before.path(&image.0), before.note_path(&image.0));
    // As a copy of the folder: the state differs, and the note has the last use.
    let used = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    OpenOptions::new().write(true).open(&path).unwrap().set_modified(used).unwrap();
    OpenOptions::new().write(true).open(&note).unwrap().set_modified(used).unwrap();
    let cache = images.cache(CacheLimits { keep_used: Duration::from_secs(3600), ..LIMITS });
    verified(&cache, &image.0).await;
    assert!(cache.is_intact(&image.0));
    assert_eq!(cache.usage.with(&image.0, |usage| usage.last_used).millis(), 1_000_000_000);
    assert_eq!(fs::metadata(&note).unwrap().modified().unwrap(), used);
    cache.evict(&image.0, clock::now());
    assert!(!path.exists() && !note.exists());
}

#[tokio::test]
async fn a_file_whose_note_cannot_be_written_is_served() {
    let images = Images::new();
    let cache = images.cache(LIMITS);
    let image = images.mebibyte(7);
    fs::create_dir(cache.note_path(&image.0)).unwrap();
    assert!(is_done(&cache, &image).await);
    assert_eq!(content(&cache, &image.0).await, mebibyte_of(7));
}

#[tokio::test]
async fn an_image_that_is_larger_than_the_cache_is_refused_without_advice_to_repeat() {
    let images = Images::new();
    let image = images.mebibyte(7);
    let cache = images.cache(CacheLimits { max_bytes: MIB / 2, ..LIMITS });
    let text = failure(download(&cache, &image.0, &image.1).await).text;
    assert!(text.contains("repeating the command does not help") && text.contains("max_cache_bytes"), "{text}");
}

/// Makes the verification of a file fail: a folder can be opened and not read.
fn make_unreadable(cache: &Cache, digest: &Digest) {
    fs::create_dir(cache.path(digest)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_verification_that_is_given_up_ends_no_download() {
    let lab = Lab::new(b"image");
    let (digest, raw) = (&lab.digest, digest_of(b"raw"));
    let begun = || Download::InProgress { done: 5, total: 9 };
    let done = |raw| Download::Done(Cached { size: 9, format: FileFormat::Raw, raw });
    for (source, state, is_kept) in [
        ("a download goes on", begun(), true),
        ("it is of an earlier run", Download::Unverified { total: 9 }, false),
        ("it was downloaded by this run", done(None), false),
        ("it was converted, and the raw content is fine", done(Some(raw.clone())), false),
        (
            "a failure is downloaded again anyway",
            DownloadError::cache("x".to_owned()).failed(Expected::BootFile),
            false,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        make_unreadable(&cache, digest);
        cache.set(digest, state.clone());
        cache.verify_in_background(digest);
        verified(&cache, digest).await;
        assert_eq!(cache.downloads.lock().get(digest).cloned(), is_kept.then_some(state), "{source}");
    }
    // A converted image is lost with its raw content, and one that is being converted to it is not.
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    make_unreadable(&cache, &raw);
    let converting = digest_of(b"another");
    cache.set(digest, done(Some(raw.clone())));
    cache.set(&converting, begun());
    cache.verify_in_background(&raw);
    verified(&cache, &raw).await;
    let known: Vec<_> = cache.downloads.lock().keys().cloned().collect();
    assert_eq!(known, [converting]);
}

#[tokio::test]
async fn a_damaged_file_that_is_being_downloaded_again_is_downloaded_once() {
    let images = Images::new();
    let cache = images.cache(LIMITS);
    let image = images.mebibyte(7);
    assert!(is_done(&cache, &image).await);
    OpenOptions::new().write(true).open(cache.path(&image.0)).unwrap().write_all_at(b"x", 5000).unwrap();
    let begun = Download::InProgress { done: 5, total: 9 };
    cache.set(&image.0, begun.clone());
    cache.verify_in_background(&image.0);
    verified(&cache, &image.0).await;
    assert!(!cache.path(&image.0).exists());
    assert_eq!(cache.downloads.lock().get(&image.0), Some(&begun), "no other download took its place");
    // What a verification finds does not end a download either.
    fs::write(cache.path(&image.0), mebibyte_of(7)).unwrap();
    cache.verify_in_background(&image.0);
    verified(&cache, &image.0).await;
    assert_eq!(cache.downloads.lock().get(&image.0), Some(&begun));
}

#[tokio::test]
async fn files_that_are_not_in_the_cache_are_forgotten_in_the_end() {
    let images = Images::new();
    let cache = images.cache(LIMITS);
    let [kept, read] = [1, 2].map(|number| images.mebibyte(number));
    assert!(is_done(&cache, &kept).await && is_done(&cache, &read).await);
    let reading = cache.open_file(&read.0).unwrap();
    cache.forget(&read.0);
    let wanted = |number: usize| digest_of(&number.to_le_bytes());
    for number in 0..3 * MAX_ABSENT {
        let digest = wanted(number);
        cache.note_source(&Wanted { digest: &digest, url: "http://h/", name: "i", expected: Expected::BootFile });
        assert!(cache.usage.len() <= MAX_ABSENT + 2, "{number}");
    }
    assert!(cache.open_file(&kept.0).is_ok());
    assert!(cache.usage.with(&kept.0, |usage| usage.source.is_some()), "it can be downloaded again");
    assert_eq!(cache.usage.with(&read.0, |usage| usage.readers), 1);
    drop(reading);
    let last = wanted(3 * MAX_ABSENT - 1);
    assert!(cache.usage.with(&last, |usage| usage.source.is_some()), "the last one is remembered");
}

#[tokio::test(start_paused = true)]
async fn failures_are_forgotten_once_there_are_many_and_they_are_old() {
    let lab = Lab::new(b"image");
    let cache = lab.cache();
    let failed = |number: usize| {
        let failed = DownloadError::cache("x".to_owned()).failed(Expected::BootFile);
        cache.set(&digest_of(&number.to_le_bytes()), failed);
    };
    (0..MAX_ABSENT).for_each(failed);
    cache.ensure(&lab.wanted());
    assert_eq!(cache.downloads.lock().len(), MAX_ABSENT + 1, "they are returned for a while");
    tokio::time::sleep(RESULT_TTL * 2).await;
    failed(MAX_ABSENT);
    let other = digest_of(b"other");
    cache.ensure(&Wanted { digest: &other, ..lab.wanted() });
    let left = cache.downloads.lock().len();
    assert!(left <= 3, "{left}: the last failure, and the two downloads");
}
