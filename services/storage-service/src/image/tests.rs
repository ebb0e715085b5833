use std::io::Write as _;

use domain::failure::Cause;
use service_kit::{clock, outbound_http::Outbound};
use sha2::{Digest as _, Sha256};

use super::{download::RETRY_DELAY, *};
use crate::qcow2::tests::{Cluster, build};

/// Maximum size of an image in these tests.
const MAX_IMAGE_BYTES: u64 = 64 << 20;

async fn download(cache: &Cache, digest: &Digest, url: &str) -> Download {
    download_as(cache, digest, url, Expected::BootFile).await
}

async fn download_as(cache: &Cache, digest: &Digest, url: &str, expected: Expected) -> Download {
    loop {
        let pull = cache.ensure(&Wanted { digest, url, name: "test", expected });
        if !matches!(pull, Download::InProgress { .. } | Download::Unverified { .. }) {
            return pull;
        }
        tokio::task::yield_now().await;
    }
}

fn cache(folder: &Path) -> Cache {
    cache_with_reserve(folder, 0)
}

fn cache_with_reserve(folder: &Path, reserve_bytes: u64) -> Cache {
    cache_with(folder, CacheLimits { max_bytes: 0, reserve_bytes, keep_used: Duration::ZERO })
}

fn cache_with(folder: &Path, limits: CacheLimits) -> Cache {
    service_kit::tls::install_provider();
    let sources = Sources::new(vec![folder.join("images")], &Outbound::default(), MAX_IMAGE_BYTES).unwrap();
    Cache::open(folder.join("cache"), sources, Host::default(), limits).unwrap()
}

/// Returns the number of files in the cache, without the notes.
fn files(folder: &Path) -> usize {
    let names = fs::read_dir(folder.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_none_or(|extension| extension != "verified")).count()
}

fn digest_of(content: &[u8]) -> Digest {
    format!("sha256:{}", hex::encode(Sha256::digest(content))).parse().unwrap()
}

fn failure(pull: Download) -> Failure {
    if let Download::Failed { failure, .. } = pull { failure } else { panic!("{pull:?}") }
}

#[tokio::test]
async fn a_file_is_pulled_verified_and_found_again_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    let file = folder.path().join("images/a");
    fs::write(&file, b"content").unwrap();
    let (digest, url) = (digest_of(b"content"), format!("file://{}", file.display()));
    let cached = Cached { size: 7, format: FileFormat::Raw, raw: None };
    assert_eq!(download(&cache(folder.path()), &digest, &url).await, Download::Done(cached));
    assert_eq!(cache(folder.path()).list(), [(digest, 7)]);
}

#[tokio::test]
async fn a_wrong_digest_names_the_registered_one_alone_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    let file = folder.path().join("images/a");
    fs::write(&file, b"content").unwrap();
    let (digest, url) = (digest_of(b"other"), format!("file://{}", file.display()));
    let cache = cache(folder.path());
    let failure = failure(download(&cache, &digest, &url).await);
    assert_eq!(failure.cause, Cause::ImageDigest);
    assert!(failure.text.contains(digest.hex()), "{}", failure.text);
    assert!(!failure.text.contains(digest_of(b"content").hex()), "{}", failure.text);
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn an_address_that_users_must_not_reach_is_refused_at_once_and_its_digest_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    for url in ["http://127.0.0.1:2379/version", "http://169.254.169.254/latest", "https://[::ffff:127.0.0.1]/"] {
        let begun = Instant::now();
        let failure = failure(download(&cache, &digest_of(url.as_bytes()), url).await);
        assert!(failure.text.contains("is not an allowed destination"), "{}", failure.text);
        assert!(begun.elapsed() < RETRY_DELAY, "it was tried again");
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_requested_is_refused_at_once_and_the_error_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    // URL, and words of the error.
    for (url, words) in [
        ("ftp://h/i.raw", "must start with http://"),
        ("i.raw", "must start with http://"),
        ("http://", "must start with http://"),
        ("http://h/an image.raw", "%20"),
        ("http://h/i\n.raw", "U+000A"),
        ("http://h/\u{202e}war.i", "U+202E"),
        ("https://go\u{ad}od.example/i.raw", "U+00AD"),
    ] {
        let expected = Expected::Disk(Encoding::Plain);
        let wanted = Wanted { digest: &digest_of(url.as_bytes()), url, name: "test", expected };
        let part = folder.path().join("part");
        let error = cache.copy(&wanted, &part).await.unwrap_err();
        assert!(error.is_final && error.text.contains(words), "{url:?}: {error:?}");
    }
}

/// A folder with an image, a cache, and the image's digest and URL.
struct Lab {
    folder: tempfile::TempDir,
    digest: Digest,
    url: String,
}

impl Lab {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let file = folder.path().join("images/a");
        fs::write(&file, content).unwrap();
        Self { digest: digest_of(content), url: format!("file://{}", file.display()), folder }
    }

    fn cache(&self) -> Cache {
        cache(self.folder.path())
    }

    fn wanted(&self) -> Wanted<'_> {
        let expected = Expected::Disk(Encoding::Qcow2);
        Wanted { digest: &self.digest, url: &self.url, name: "test", expected }
    }

    async fn download(&self, cache: &Cache, encoding: Encoding) -> Download {
        download_as(cache, &self.digest, &self.url, Expected::Disk(encoding)).await
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_file_is_refused_before_it_is_served_if_it_is_not_what_it_is_registered_as() {
    use Encoding::{Gzip, Plain, Qcow2, Zstd};
    let raw: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = build(3, 16, 1 << 16, &[Cluster::Plain(1)]);
    let iso = [vec![0; 32_769], b"CD001".to_vec(), vec![0; 9000]].concat();
    let zstd = |content: &[u8]| zstd::encode_all(content, 1).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &zstd(&raw)].concat();
    for (content, encoding, source, refused) in [
        (raw.clone(), Plain, "raw", None),
        (gzip(&raw), Gzip, "RFC 1952", None),
        (zstd(&raw), Zstd, "RFC 8878", None),
        (skippable, Zstd, "pzstd", None),
        (gzip(&raw), Plain, "x.raw.gz?sha256=1", Some("packed with gzip")),
        (zstd(&raw), Plain, "X.RAW.ZST", Some("packed with zstd")),
        (zstd(&raw), Gzip, "zstd named .gz", Some("packed with zstd")),
        (raw.clone(), Gzip, "a server that unpacks", Some("a raw disk image")),
        (b"\xfd7zXZ\0\0\x04".to_vec(), Plain, "x.raw.xz", Some("packed with xz")),
        (image.clone(), Plain, "x.img of Ubuntu", Some("image_disk_format")),
        (raw.clone(), Qcow2, "raw as qcow2", Some("a raw disk image")),
        (gzip(&image), Gzip, "x.qcow2.gz", Some("a QCOW2 image")),
        (zstd(&iso), Zstd, "x.iso.zst", Some("ISO 9660")),
        (iso.clone(), Plain, "x.iso", Some("ISO 9660")),
        (b"<!DOCTYPE html><title>404</title>".to_vec(), Plain, "an error page", Some("HTML")),
        (Vec::new(), Plain, "an empty file", Some("empty")),
    ] {
        let lab = Lab::new(&content);
        let cache = lab.cache();
        match (lab.download(&cache, encoding).await, refused) {
            (Download::Done(cached), None) => assert_eq!(cached.size, content.len() as u64, "{source}"),
            (download, Some(why)) => {
                let failure = failure(download);
                assert_eq!(failure.cause, Cause::ImageFormat, "{source}: {failure:?}");
                assert!(failure.text.contains(why), "{source}: {}", failure.text);
                assert_eq!(cache.list(), [], "{source}");
            }
            (download, None) => panic!("{source}: {download:?}"),
        }
        // What another caller brought into the cache is no disk image either.
        if refused.is_some_and(|why| !["HTML", "empty"].contains(&why)) && encoding == Plain {
            assert!(matches!(download(&cache, &lab.digest, &lab.url).await, Download::Done(_)), "{source}");
            assert_eq!(failure(lab.download(&cache, encoding).await).cause, Cause::ImageFormat, "{source}");
            assert_eq!(failure(lab.download(&lab.cache(), encoding).await).cause, Cause::ImageFormat, "{source}");
        }
    }
}

#[tokio::test]
async fn a_qcow2_image_is_served_raw_under_the_digest_of_its_content() {
    let image = build(3, 16, 3 << 16, &[Cluster::Deflate(1), Cluster::Unallocated, Cluster::Plain(3)]);
    let raw = [vec![1; 1 << 16], vec![0; 1 << 16], vec![3; 1 << 16]].concat();
    let (lab, served) = (Lab::new(&image), digest_of(&raw));
    let cached = Cached { size: 3 << 16, format: FileFormat::Qcow2, raw: Some(served.clone()) };
    let cache = lab.cache();
    assert_eq!(lab.download(&cache, Encoding::Qcow2).await, Download::Done(cached.clone()));
    assert!(fs::read(cache.path(&served)).unwrap() == raw);
    assert_eq!(cache.list(), [(served.clone(), 3 << 16)]);
    // The next run knows it, and converts it again if the content was removed.
    assert_eq!(lab.cache().ensure(&lab.wanted()), Download::Done(cached.clone()));
    fs::remove_file(cache.path(&served)).unwrap();
    assert_eq!(lab.download(&lab.cache(), Encoding::Qcow2).await, Download::Done(cached));
}

#[tokio::test]
async fn a_qcow2_image_is_parsed_only_if_it_has_its_digest() {
    let mut image = build(3, 16, 1 << 16, &[Cluster::Plain(1)]);
    let digest = digest_of(&image);
    image[15] = 1;
    let lab = Lab { digest, ..Lab::new(&image) };
    assert_eq!(failure(lab.download(&lab.cache(), Encoding::Qcow2).await).cause, Cause::ImageDigest);
    let lab = Lab::new(&image);
    let failure = failure(lab.download(&lab.cache(), Encoding::Qcow2).await);
    assert_eq!(failure.cause, Cause::ImageFormat);
    assert!(failure.text.contains("a backing file") && failure.text.contains("qemu-img convert"), "{}", failure.text);
}

#[tokio::test]
async fn an_image_that_would_use_the_reserve_is_neither_downloaded_nor_converted() {
    let lab = Lab::new(&build(3, 16, 2 << 16, &[Cluster::Plain(1), Cluster::Plain(2)]));
    let full = || cache_with_reserve(lab.folder.path(), u64::MAX);
    let refused = |download| {
        let failure = failure(download);
        assert_eq!(failure.cause, Cause::ImageCache, "{failure:?}");
        assert!(failure.text.contains("storage.reserve_bytes"), "{}", failure.text);
    };
    refused(lab.download(&full(), Encoding::Qcow2).await);
    assert_eq!(files(lab.folder.path()), 0);
    assert!(matches!(download(&lab.cache(), &lab.digest, &lab.url).await, Download::Done(_)));
    refused(lab.download(&full(), Encoding::Qcow2).await);
    // The image itself stays.
    assert_eq!(files(lab.folder.path()), 1);
}

#[tokio::test]
async fn discovery_of_a_converted_image_does_not_lead_to_another_conversion() {
    let lab = Lab::new(&build(3, 16, 1 << 16, &[Cluster::Plain(1)]));
    let cache = lab.cache();
    let Download::Done(converted) = lab.download(&cache, Encoding::Qcow2).await else { panic!() };
    assert!(converted.raw.is_some());
    while matches!(cache.discover_digest(&lab.url, "test"), DigestDiscovery::InProgress { .. }) {
        tokio::task::yield_now().await;
    }
    assert!(matches!(cache.discover_digest(&lab.url, "test"), DigestDiscovery::Known { .. }));
    assert_eq!(cache.ensure(&lab.wanted()), Download::Done(converted));
}

#[tokio::test]
async fn a_file_found_by_its_digest_replaces_no_download_and_no_converted_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let file = |raw| Download::Done(Cached { size: 1, format: FileFormat::Qcow2, raw });
    let found = Cached { size: 2, format: FileFormat::Qcow2, raw: None };
    let failed = |expected| DownloadError::cache("full".to_owned()).failed(expected);
    for (known, source, replaced) in [
        (None, "unknown", true),
        (Some(failed(Expected::BootFile)), "failed as a boot file", true),
        (Some(failed(Expected::Disk(Encoding::Qcow2))), "failed as an image", true),
        (Some(Download::InProgress { done: 0, total: 0 }), "a download begins", false),
        (Some(Download::InProgress { done: 5, total: 9 }), "a conversion goes on", false),
        (Some(file(None)), "cached", false),
        (Some(file(Some(digest_of(b"raw")))), "converted", false),
    ] {
        let digest = digest_of(source.as_bytes());
        known.clone().into_iter().for_each(|known| cache.set(&digest, known));
        cache.add_unless_known(&digest, found.clone());
        let now = cache.downloads.lock().get(&digest).cloned();
        assert_eq!(now, if replaced { Some(Download::Done(found.clone())) } else { known }, "{source}");
    }
}

/// A QCOW2 image with this content.
fn qcow2_of(content: &[u8]) -> Vec<u8> {
    let clusters = vec![Cluster::Plain(0); content.len().div_ceil(1 << 16)];
    let mut image = build(3, 16, content.len() as u64, &clusters);
    image[3 << 16..][..content.len()].copy_from_slice(content);
    image
}

#[tokio::test]
async fn a_qcow2_image_is_refused_before_it_is_served_if_its_content_is_no_raw_disk() {
    let iso = [vec![0; 32_769], b"CD001".to_vec(), vec![0; 90_000]].concat();
    let mut hybrid = iso.clone();
    hybrid[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x17, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    hybrid[510..512].copy_from_slice(&[0x55, 0xaa]);
    for (content, source, refused) in [
        (qcow2_of(&[1; 512]), "a QCOW2 image in another one", Some("a QCOW2 image")),
        ([b"LUKS\xba\xbe".to_vec(), vec![0; 9000]].concat(), "cryptsetup luksFormat", Some("encrypted with LUKS")),
        (iso, "ECMA-119 §8.1", Some("an ISO 9660 image")),
        (hybrid, "isohybrid", None),
        (gzip(&[1; 9000]), "qemu-img convert -f raw x.raw.gz", Some("packed with gzip")),
        (b"KDMV\x01\0\0\0".to_vec(), "qemu-img convert -f raw x.vmdk", Some("a VMDK image")),
        (Vec::new(), "qemu-img create x.qcow2 0", Some("empty")),
        (vec![0; 200_000], "qemu-img create x.qcow2 200000", None),
    ] {
        let lab = Lab::new(&qcow2_of(&content));
        let cache = lab.cache();
        match (lab.download(&cache, Encoding::Qcow2).await, refused) {
            (Download::Done(cached), None) => assert_eq!(cached.raw, Some(digest_of(&content)), "{source}"),
            (download, Some(why)) => {
                let failure = failure(download);
                assert_eq!(failure.cause, Cause::ImageFormat, "{source}: {failure:?}");
                assert!(failure.text.contains(why), "{source}: {}", failure.text);
                // The QCOW2 image alone is left.
                assert_eq!(files(lab.folder.path()), 1, "{source}");
                assert!(!cache.path(&digest_of(&content)).exists(), "{source}");
            }
            (download, None) => panic!("{source}: {download:?}"),
        }
    }
}

#[tokio::test]
async fn a_conversion_ends_with_the_service_and_leaves_nothing() {
    let lab = Lab::new(&build(3, 16, 3 << 16, &[Cluster::Unallocated, Cluster::Plain(2)]));
    let cache = lab.cache();
    assert!(matches!(download(&cache, &lab.digest, &lab.url).await, Download::Done(_)));
    cache.host.stop();
    // One stops at its first bytes, the other one does not begin.
    let part = cache.conversion_part(&lab.digest);
    let error = cache.convert_now(&lab.digest, "test", &part).unwrap_err();
    assert!(error.text.contains("stopping") && part.exists(), "{error}");
    let error = cache.convert(&lab.digest, "test").await.unwrap_err();
    assert!(error.text.contains("stopping"), "{error}");
    // The next run removes what a run that did not end in order left.
    assert_eq!(files(lab.folder.path()), 2);
    assert_eq!(lab.cache().list().len(), 1);
    assert_eq!(files(lab.folder.path()), 1);
}

#[tokio::test]
async fn a_conversion_waits_for_its_turn_and_has_a_file_of_its_own() {
    let lab = Lab::new(b"");
    let cache = lab.cache();
    assert_ne!(cache.conversion_part(&lab.digest), cache.conversion_part(&lab.digest));
    let missing = cache.convert(&lab.digest, "test").await.unwrap_err();
    assert!(missing.text.contains("No such file"), "{missing}");
    let permits = convert::MAX_CONVERSIONS.try_into().unwrap();
    let _permits = cache.conversions.acquire_many(permits).await.unwrap();
    cache.host.stop();
    // It waited without opening the missing file until the service stopped.
    let waited = cache.convert(&lab.digest, "test").await.unwrap_err();
    assert!(waited.text.contains("stopping"), "{waited}");
}

mod lifetime;
