use super::*;

/// A file with these bytes at these offsets, and zeros elsewhere.
fn file(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; HEAD_BYTES];
    for (at, bytes) in parts {
        file[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    file
}

const XZ: FileFormat = FileFormat::Packed("xz");
const MBR: (usize, &[u8]) = (510, &[0x55, 0xaa]);
const LINUX_PARTITION: (usize, &[u8]) = (446 + 4, &[0x83]);
const ISO: (usize, &[u8]) = (32_769, b"CD001");

#[test]
fn the_first_bytes_tell_what_a_file_is() {
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7][..], &[0x28, 0xb5, 0x2f, 0xfd]].concat();
    let skippable_lz4 = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7][..], &[0x04, 0x22, 0x4d, 0x18]].concat();
    for (head, source, right) in [
        (vec![0x1f, 0x8b, 8, 0], "RFC 1952 §2.3.1", FileFormat::Gzip),
        (vec![0x28, 0xb5, 0x2f, 0xfd], "RFC 8878 §3.1.1", FileFormat::Zstd),
        (skippable, "RFC 8878 §3.1.2; pzstd", FileFormat::Zstd),
        (
            vec![0x5f, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff],
            "RFC 8878 §3.1.2, longer than the head",
            FileFormat::Zstd,
        ),
        (skippable_lz4, "LZ4 Frame Format 1.6.1, skippable frames", FileFormat::Packed("LZ4")),
        (vec![0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], "The .xz File Format 1.2.0, §2.1.1.1", XZ),
        (b"BZh91AY&SY".to_vec(), "bzip2", FileFormat::Packed("bzip2")),
        (b"BZh9 is a text".to_vec(), "no bzip2", FileFormat::Raw),
        (vec![0x04, 0x22, 0x4d, 0x18], "LZ4 Frame Format 1.6.1", FileFormat::Packed("LZ4")),
        (b"QFI\xfb\0\0\0\x03".to_vec(), "QEMU docs/interop/qcow2.rst", FileFormat::Qcow2),
        (b"QFI\xfb\0\0\0\x02".to_vec(), "QEMU docs/interop/qcow2.rst", FileFormat::Qcow2),
        (b"QFI\xfb\0\0\0\x01".to_vec(), "QEMU block/qcow.c", FileFormat::VirtualDisk("QCOW")),
        (b"KDMV\x01\0\0\0".to_vec(), "VMware Virtual Disk Format 5.0", FileFormat::VirtualDisk("VMDK")),
        (b"# Disk DescriptorFile\nversion=1".to_vec(), "the same", FileFormat::VirtualDisk("VMDK")),
        (b"conectix\0\0\0\x02".to_vec(), "Microsoft VHD specification 1.0", FileFormat::VirtualDisk("VHD")),
        (b"vhdxfile".to_vec(), "MS-VHDX §2.2.1", FileFormat::VirtualDisk("VHDX")),
        (
            file(&[(0, b"<<< Oracle VM VirtualBox Disk Image >>>\n"), (64, &[0x7f, 0x10, 0xda, 0xbe])]),
            "VirtualBox VDICore.h",
            FileFormat::VirtualDisk("VDI"),
        ),
        (file(&[ISO]), "ECMA-119 §8.1", FileFormat::Iso),
        (file(&[ISO, MBR, LINUX_PARTITION]), "isohybrid: also a disk", FileFormat::Raw),
        (
            file(&[ISO, MBR, (446, &[0x80]), (446 + 12, &[0, 0x80, 0x0b])]),
            "xorriso -iso_mbr_part_type 0x00 --mbr-force-bootable",
            FileFormat::Raw,
        ),
        (file(&[ISO, MBR, (446, &[0x80])]), "UEFI 2.10 §5.2.1: a boot flag alone", FileFormat::Raw),
        (
            file(&[ISO, MBR, (446 + 3 * 16 + 15, &[1])]),
            "xorriso -iso_mbr_part_type 0x00: a size alone",
            FileFormat::Raw,
        ),
        (file(&[ISO, MBR, (446, &[0x7f]), (446 + 8, &[1])]), "UEFI 2.10 §5.2.1: no entry is used", FileFormat::Iso),
        (file(&[ISO, MBR]), "boot code without partitions", FileFormat::Iso),
        (file(&[MBR, LINUX_PARTITION]), "UEFI 2.10 §5.2.1", FileFormat::Raw),
        (file(&[MBR, (512, b"EFI PART")]), "UEFI 2.10 §5.3.2", FileFormat::Raw),
        (file(&[(257, b"ustar\0")]), "POSIX pax", FileFormat::Archive("tar")),
        (b"PK\x03\x04".to_vec(), "APPNOTE.TXT 6.3.10 §4.3.7", FileFormat::Archive("zip")),
        (b"hsqs".to_vec(), "Linux squashfs_fs.h", FileFormat::Squashfs),
        (b"LUKS\xba\xbe\0\x02".to_vec(), "LUKS2 On-Disk Format 1.1.1", FileFormat::Luks),
        (b"\xef\xbb\xbf\n <!DOCTYPE html>".to_vec(), "a captive portal", FileFormat::Text("an HTML page")),
        (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey".to_vec(), "S3", FileFormat::Text("an XML document")),
        (b"{\"error\": \"not found\"}".to_vec(), "Artifactory", FileFormat::Text("a JSON document")),
        (
            b"version https://git-lfs.github.com/spec/v1\noid".to_vec(),
            "Git LFS",
            FileFormat::Text("a pointer of Git LFS"),
        ),
        (Vec::new(), "a cut upload", FileFormat::Empty),
        (vec![0; 4096], "a blank disk", FileFormat::Raw),
        (vec![0x1f], "a single byte", FileFormat::Raw),
    ] {
        assert_eq!(by_content(&head), right, "{source}");
    }
}

fn told(url: &str, disk_format: Option<&str>, encoding: Option<Encoding>) -> Result<Encoding, String> {
    let description = Description { url, disk_format, container_format: None, encoding };
    description.encoding().map_err(|error| error.to_string())
}

#[test]
fn a_name_tells_the_encoding_or_is_refused_in_words() {
    for (url, source, right) in [
        ("https://h/x.raw.gz?sha256=1", "a query", Ok(Encoding::Gzip)),
        ("https://h/x.raw.gz#top", "a fragment", Ok(Encoding::Gzip)),
        ("https://h/X.RAW.GZ", "upper case", Ok(Encoding::Gzip)),
        ("https://h/x%2Eraw%2Egz", "RFC 3986 §2.1", Ok(Encoding::Gzip)),
        ("https://h/x.raw?name=y.gz", "a name in the query is none", Ok(Encoding::Plain)),
        ("https://h.gz/image", "a host is no name", Ok(Encoding::Plain)),
        ("https://h.gz", "no path", Ok(Encoding::Plain)),
        ("https://h/dir.gz/image", "a directory is no name", Ok(Encoding::Plain)),
        ("file:///srv/x.img.zst", "zstd", Ok(Encoding::Zstd)),
        ("/srv/x#1.raw.gz", "a path has no fragment", Ok(Encoding::Gzip)),
        ("https://h/debian-12-generic-amd64.qcow2", "Debian", Ok(Encoding::Qcow2)),
        ("https://h/noble-server-cloudimg-amd64.img", "Ubuntu: says nothing", Ok(Encoding::Plain)),
        ("https://h/gz", "no extension", Ok(Encoding::Plain)),
        ("https://h/x.iso", "may be hybrid", Ok(Encoding::Plain)),
        ("https://h/x.raw.xz", "Fedora", Err("packed with xz")),
        ("https://h/x.RAW.XZ?raw=1", "Fedora", Err("packed with xz")),
        ("https://h/x.raw.bz2", "bzip2", Err("packed with bzip2")),
        ("https://h/x.vmdk", "VMware", Err("qemu-img convert -O raw")),
        ("https://h/x.vhd.zst", "Azure", Err("VHD")),
        ("https://h/x.qcow2.gz", "packed twice", Err("that is packed with gzip")),
        ("https://h/x.raw.gz.gz", "packed twice", Err("packed with gzip that is packed with gzip")),
        ("https://h/rootfs.tar.gz", "an archive", Err("tar archive")),
        ("https://h/x.ova", "an archive", Err("OVF")),
        ("https://h/root.squashfs", "a file system", Err("SquashFS")),
    ] {
        match (told(url, None, None), right) {
            (Err(error), Err(right)) => assert!(error.contains(right), "{url} ({source}): {error}"),
            (got, right) => assert_eq!(got, right.map_err(str::to_owned), "{url} ({source})"),
        }
    }
}

#[test]
fn name_disk_format_and_encoding_agree_or_are_refused() {
    use Encoding::{Gzip, Plain, Qcow2, Zstd};
    for (url, disk_format, encoding, source, right) in [
        ("http://h/x.qcow2", "qcow2", None, "Metal3, bifrost", Ok(Qcow2)),
        ("http://h/x.img", "qcow2", None, "Ubuntu", Ok(Qcow2)),
        ("http://h/x", "QCOW2", None, "upper case", Ok(Qcow2)),
        ("http://h/x.raw.gz", "raw", None, "it describes the unpacked file", Ok(Gzip)),
        ("http://h/x.iso", "raw", None, "hybrid", Ok(Plain)),
        ("http://h/x.raw", "iso", None, "hybrid", Ok(Plain)),
        ("http://h/x.raw", "", None, "not set", Ok(Plain)),
        ("http://h/x.raw", "qcow2", None, "contradiction", Err("by its image_disk_format, the image is a QCOW2")),
        ("http://h/x.qcow2", "raw", None, "contradiction", Err("by its name it is a QCOW2")),
        ("http://h/x.img.gz", "qcow2", None, "packed twice", Err("only one of them")),
        ("http://h/x", "vmdk", None, "Glance", Err("VMDK")),
        ("http://h/x", "ami", None, "Glance", Err("Amazon")),
        ("http://h/x", "floppy", None, "unknown", Err("\"floppy\" is unknown")),
        ("http://h/x", "", Some(Gzip), "--encoding alone", Ok(Gzip)),
        ("http://h/x.raw", "", Some(Zstd), "the name tells what is packed", Ok(Zstd)),
        ("http://h/x.raw.gz", "", Some(Plain), "--encoding plain of a packed file", Err("by its encoding")),
        ("http://h/x.raw.gz", "", Some(Zstd), "contradiction", Err("packed with gzip")),
        ("http://h/x.qcow2", "", Some(Plain), "contradiction", Err("QCOW2")),
        ("http://h/x.qcow2", "", Some(Gzip), "packed twice", Err("only one of them")),
        ("http://h/x.raw", "", Some(Qcow2), "contradiction", Err("raw")),
    ] {
        match (told(url, Some(disk_format), encoding), right) {
            (Err(error), Err(right)) => assert!(error.contains(right), "{url} ({source}): {error}"),
            (got, right) => assert_eq!(got, right.map_err(str::to_owned), "{url} ({source})"),
        }
    }
    for (container, works) in [("bare", true), ("BARE", true), ("", true), ("ova", false), ("docker", false)] {
        let described = Description { url: "http://h/x.raw", container_format: Some(container), ..Default::default() };
        assert_eq!(described.encoding().is_ok(), works, "{container}");
    }
}

#[test]
fn a_file_is_checked_against_its_registered_encoding() {
    let gzip = [0x1f, 0x8b, 8];
    assert_eq!(check_content(Encoding::Gzip, &gzip), Ok(()));
    assert_eq!(check_content(Encoding::Plain, &file(&[MBR])), Ok(()));
    let error = check_content(Encoding::Plain, &gzip).unwrap_err().to_string();
    assert!(error.contains("packed with gzip") && error.contains("registered as raw"), "{error}");
    let error = check_content(Encoding::Gzip, &[0xeb, 0x63]).unwrap_err().to_string();
    assert!(error.contains("a raw disk image") && error.contains("registered as gzip"), "{error}");
    assert!(check_content(Encoding::Plain, b"QFI\xfb\0\0\0\x03").unwrap_err().to_string().contains("qcow2"));
    assert!(check_unpacked(b"QFI\xfb\0\0\0\x03").is_err() && check_unpacked(&[0; 512]).is_ok());
    // The kernel unpacks a ramdisk itself.
    assert!(check_boot_file(&gzip).is_ok() && check_boot_file(b"").is_err());
    assert!(check_boot_file(b"<html>").unwrap_err().to_string().contains("HTML"));
}
