use std::{
    fs,
    io::Cursor,
    process::{Command, Stdio},
};

use domain::failure::Cause;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256, Sha512};

use super::*;

const MIB: usize = 1 << 20;

impl Device for Cursor<Vec<u8>> {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> Digest {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes))).parse().unwrap()
}

fn image(packed: &[u8], encoding: Encoding) -> Image {
    Image { digest: digest(packed), encoding, unpacked_size: None }
}

/// A disk that held something before.
fn disk(bytes: usize) -> Target<Cursor<Vec<u8>>> {
    Target::new("vda (serial S1)".to_owned(), Cursor::new(vec![0xee; bytes])).unwrap()
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
}

fn packed_by(tool: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    fs::write(&path, bytes).unwrap();
    let input = File::open(&path).unwrap();
    let done = Command::new(tool).args(arguments).stdin(input).stderr(Stdio::inherit()).output().unwrap();
    assert!(done.status.success());
    done.stdout
}

fn untouched(target: &Target<Cursor<Vec<u8>>>) -> bool {
    target.device.get_ref().iter().all(|octet| *octet == 0xee)
}

fn blank(target: &Target<Cursor<Vec<u8>>>) -> bool {
    let bytes = target.device.get_ref();
    let edge = (4 * MIB).min(bytes.len());
    bytes[..edge].iter().chain(&bytes[bytes.len() - edge..]).all(|octet| *octet == 0)
}

#[test]
fn what_gzip_and_zstd_pack_is_on_the_disk_octet_by_octet() {
    let plain = content(5 * MIB + 12_345);
    for (encoding, packed) in [
        (Encoding::Plain, plain.clone()),
        (Encoding::Gzip, packed_by("gzip", &["-1"], &plain)),
        (Encoding::Zstd, packed_by("zstd", &["-q", "-3"], &plain)),
        (Encoding::Zstd, packed_by("zstd", &["-q", "--long=27"], &plain)),
        (Encoding::Gzip, [packed_by("gzip", &[], &plain[..MIB]), packed_by("gzip", &[], &plain[MIB..])].concat()),
        (Encoding::Zstd, [packed_by("zstd", &[], &plain[..MIB]), packed_by("zstd", &[], &plain[MIB..])].concat()),
    ] {
        let mut target = disk(16 * MIB);
        let written = write_image(&packed[..], &image(&packed, encoding), &mut target).unwrap();
        assert_eq!(written, plain.len() as u64, "{encoding:?}");
        assert!(target.device.get_ref().starts_with(&plain), "{encoding:?}");
    }
}

#[test]
fn an_image_is_proved_by_sha512_too() {
    let plain = content(1000);
    let wanted = Image {
        digest: format!("sha512:{}", hex::encode(Sha512::digest(&plain))).parse().unwrap(),
        ..image(&plain, Encoding::Plain)
    };
    assert_eq!(write_image(&plain[..], &wanted, &mut disk(MIB)).unwrap(), 1000);
}

#[test]
fn an_image_that_does_not_fit_is_refused_before_anything_is_written() {
    let plain = content(MIB);
    let large = Image { unpacked_size: Some(17 * MIB as u64), ..image(&plain, Encoding::Plain) };
    let mut target = disk(16 * MIB);
    let error = write_image(&plain[..], &large, &mut target).unwrap_err();
    assert_eq!(error.cause(), Cause::ImageTooLarge);
    assert!(untouched(&target));
}

#[test]
fn an_image_that_turns_out_too_large_leaves_a_disk_that_boots_nothing() {
    let packed = packed_by("gzip", &[], &content(17 * MIB));
    let mut target = disk(16 * MIB);
    let error = write_image(&packed[..], &image(&packed, Encoding::Gzip), &mut target).unwrap_err();
    assert_eq!(error.cause(), Cause::ImageTooLarge);
    assert!(blank(&target));
    let whole = content(16 * MIB);
    assert!(write_image(&whole[..], &image(&whole, Encoding::Plain), &mut disk(16 * MIB)).is_ok(), "exactly fits");
}

#[test]
fn another_image_than_the_registered_one_leaves_a_disk_that_boots_nothing() {
    let plain = content(9 * MIB);
    let mut target = disk(9 * MIB);
    let error = write_image(&plain[1..], &image(&plain, Encoding::Plain), &mut target).unwrap_err();
    assert_eq!(error.cause(), Cause::ImageDigest);
    assert!(error.to_string().contains(&digest(&plain[1..]).to_string()), "{error}");
    assert!(blank(&target));
}

#[test]
fn damaged_packing_is_told_from_another_image() {
    let packed = packed_by("zstd", &["-q"], &content(3 * MIB));
    let mut bad = packed.clone();
    let middle = bad.len() / 2;
    bad[middle..middle + 64].fill(0);
    let error = write_image(&bad[..], &image(&bad, Encoding::Zstd), &mut disk(9 * MIB)).unwrap_err();
    assert_eq!(error.cause(), Cause::ImageCorrupt, "its digest is right");
    let error = write_image(&bad[..], &image(&packed, Encoding::Zstd), &mut disk(9 * MIB)).unwrap_err();
    assert_eq!(error.cause(), Cause::ImageDigest);
    let none = pack(Encoding::Gzip, &[]);
    let error = write_image(&none[..], &image(&none, Encoding::Gzip), &mut disk(9 * MIB)).unwrap_err();
    assert_eq!(error.cause(), Cause::ImageCorrupt, "nothing is no image");
}

#[test]
fn a_file_that_is_no_disk_image_leaves_the_disk_as_it_was() {
    let (raw, qcow2) = (content(2 * MIB), [b"QFI\xfb\0\0\0\x03".to_vec(), vec![0; MIB]].concat());
    let signed = |sign: &[u8]| [sign, &raw].concat();
    let iso = [vec![0; 32_769], b"CD001".to_vec(), vec![0; MIB]].concat();
    for (packed, encoding, source, found) in [
        (packed_by("gzip", &[], &raw), Encoding::Plain, "x.raw.gz?sha256=1", "packed with gzip"),
        (packed_by("zstd", &["-q"], &raw), Encoding::Plain, "X.RAW.ZST", "packed with zstd"),
        (signed(b"\xfd7zXZ\0"), Encoding::Plain, "x.raw.xz", "packed with xz"),
        (signed(b"BZh91AY&SY"), Encoding::Plain, "x.raw.bz2", "packed with bzip2"),
        (signed(b"\x04\x22\x4d\x18"), Encoding::Plain, "x.raw.lz4", "packed with LZ4"),
        (qcow2.clone(), Encoding::Plain, "x.qcow2", "QCOW2"),
        (iso.clone(), Encoding::Plain, "x.iso", "ISO 9660"),
        (packed_by("zstd", &["-q"], &raw), Encoding::Gzip, "zstd as gzip", "packed with zstd"),
        (raw.clone(), Encoding::Gzip, "raw as gzip", "raw"),
        (packed_by("gzip", &[], &qcow2), Encoding::Gzip, "x.qcow2.gz", "QCOW2"),
        (packed_by("zstd", &["-q"], &iso), Encoding::Zstd, "x.iso.zst", "ISO 9660"),
        (packed_by("gzip", &[], &packed_by("gzip", &[], &raw)), Encoding::Gzip, "x.raw.gz.gz", "packed with gzip"),
        (b"<html>404".to_vec(), Encoding::Plain, "an error page", "HTML"),
        (Vec::new(), Encoding::Plain, "an empty file", "empty"),
    ] {
        let mut target = disk(9 * MIB);
        let error = write_image(&packed[..], &image(&packed, encoding), &mut target).unwrap_err();
        let text = service_kit::status::chain(&error);
        assert_eq!(error.cause(), Cause::ImageFormat, "{source}: {text}");
        assert!(text.contains(found) && text.contains("vda (serial S1)"), "{source}: {text}");
        assert!(untouched(&target), "{source}");
    }
}

/// gzip(1) ignores what follows the last member, too, but says so and exits with 2.
#[test]
fn gzip_members_and_zeros_behind_them_are_written_and_other_bytes_behind_them_are_refused() {
    let raw = content(2 * MIB + 77);
    let whole = packed_by("gzip", &["-1"], &raw);
    let two = [packed_by("gzip", &[], &raw[..MIB]), packed_by("gzip", &[], &raw[MIB..])].concat();
    for (packed, source, works) in [
        (whole.clone(), "RFC 1952", true),
        (two.clone(), "RFC 1952 §2.2", true),
        ([&whole[..], &[0; 512]].concat(), "gzip -t: zeros", true),
        ([&two[..], &[0; 300_000]].concat(), "gzip -t: many zeros behind two members", true),
        ([&whole[..], b"garbage"].concat(), "garbage", false),
        ([&whole[..], &[0; 512], b"garbage"].concat(), "garbage behind zeros", false),
        (whole[..whole.len() - 1].to_vec(), "cut in the trailer", false),
        (whole[..whole.len() / 2].to_vec(), "cut in the data", false),
        (two[..two.len() - 9].to_vec(), "the second member is cut", false),
    ] {
        let mut target = disk(9 * MIB);
        match write_image(&packed[..], &image(&packed, Encoding::Gzip), &mut target) {
            Ok(bytes) => assert!(works && bytes == raw.len() as u64 && target.device.get_ref().starts_with(&raw)),
            Err(error) => {
                assert!(!works && error.cause() == Cause::ImageCorrupt, "{source}: {error}");
                // A first block that cannot be unpacked is found before anything is written.
                assert!(untouched(&target) || blank(&target), "{source}");
            }
        }
    }
}

#[test]
fn an_image_for_other_blocks_than_the_disks_is_refused() {
    let with_table = |at: &[usize]| {
        let mut raw = vec![0; 2 * MIB];
        at.iter().for_each(|at| raw[*at..*at + 8].copy_from_slice(b"EFI PART"));
        raw
    };
    for (raw, found, source, works) in [
        (with_table(&[512]), Some(512), "UEFI 2.10 §5.3.1: LBA 1", true),
        (with_table(&[4096]), Some(4096), "a 4Kn image on a 4Kn disk", true),
        (with_table(&[512]), Some(4096), "a 512-byte image on a 4Kn disk", false),
        (with_table(&[4096]), Some(512), "a 4Kn image on a 512-byte disk", false),
        (with_table(&[512, 4096]), Some(4096), "for both", true),
        (with_table(&[]), Some(4096), "without a GPT", true),
        (with_table(&[512]), None, "the kernel does not tell", true),
        (vec![7; 100], Some(4096), "shorter than a block", true),
    ] {
        let mut target = Target { block_size: found, ..disk(9 * MIB) };
        match write_image(&raw[..], &image(&raw, Encoding::Plain), &mut target) {
            Ok(_) => assert!(works, "{source}"),
            Err(error) => {
                assert!(!works && error.cause() == Cause::ImageFormat, "{source}: {error}");
                assert!(untouched(&target), "{source}");
            }
        }
    }
}

/// A disk that takes so many writes and then none.
#[derive(Debug)]
struct Dying {
    disk: Cursor<Vec<u8>>,
    writes: usize,
}

impl Read for Dying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.read(buffer)
    }
}

impl Seek for Dying {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

impl Write for Dying {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes = self.writes.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(5))?;
        self.disk.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Device for Dying {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_dies_is_named_with_what_it_answered() {
    let plain = content(9 * MIB);
    for writes in 0..17 {
        let device = Dying { disk: Cursor::new(vec![0; 16 * MIB]), writes };
        let mut target = Target::new("vda (serial S1)".to_owned(), device).unwrap();
        let error = write_image(&plain[..], &image(&plain, Encoding::Plain), &mut target).unwrap_err();
        let text = service_kit::status::chain(&error);
        assert_eq!(error.cause(), Cause::DiskError, "{writes}");
        assert!(text.contains("disk vda (serial S1): Input/output error"), "{text}");
    }
}

/// A stream that comes in pieces and breaks.
struct Broken<'p> {
    rest: &'p [u8],
    piece: usize,
}

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return Err(io::Error::other(WorkError::Stopped));
        }
        let got = self.piece.min(buffer.len()).min(self.rest.len());
        buffer[..got].copy_from_slice(&self.rest[..got]);
        self.rest = &self.rest[got..];
        Ok(got)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_stream_that_breaks_anywhere_is_not_taken_for_the_whole(
        at in 0_usize..30_000, piece in 1_usize..70_000, encoding in prop::sample::select(vec![Encoding::Plain, Encoding::Gzip, Encoding::Zstd]),
    ) {
        let packed = pack(encoding, &content(40_000));
        let stream = Broken { rest: &packed[..at.min(packed.len() - 1)], piece };
        let mut target = disk(9 * MIB);
        let error = write_image(stream, &image(&packed, encoding), &mut target).unwrap_err();
        prop_assert!(matches!(error, WorkError::Stopped), "{error:?}");
        prop_assert!(untouched(&target) || blank(&target));
    }

    #[test]
    fn any_octets_under_any_encoding_end_in_an_image_or_in_a_named_trouble(
        bytes in prop::collection::vec(any::<u8>(), 0..2000), magic in 0..3, encoding in prop::sample::select(vec![Encoding::Gzip, Encoding::Zstd]),
    ) {
        let head: &[u8] = match magic { 0 => &[0x1f, 0x8b, 8], 1 => &[0x28, 0xb5, 0x2f, 0xfd], _ => &[] };
        let packed = [head, &bytes].concat();
        let mut target = disk(9 * MIB);
        if let Err(error) = write_image(&packed[..], &image(&packed, encoding), &mut target) {
            let known = [Cause::ImageCorrupt, Cause::ImageTooLarge, Cause::ImageFormat];
            prop_assert!(known.contains(&error.cause()), "{error:?}");
            let may_be_blank = error.cause() != Cause::ImageFormat;
            prop_assert!(untouched(&target) || may_be_blank && blank(&target), "{error:?}");
        }
    }
}

fn pack(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Plain => bytes.to_vec(),
        Encoding::Gzip => {
            let mut packed = Vec::new();
            flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
            packed
        }
        Encoding::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        Encoding::Qcow2 => panic!("an agent is given none"),
    }
}
