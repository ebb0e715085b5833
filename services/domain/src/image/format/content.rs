//! What a file's first bytes say about its format.

use super::FileFormat;

/// Signatures at the start of a file.
const SIGNATURES: &[(&[u8], FileFormat)] = &[
    // RFC 1952 §2.3.1.
    (&[0x1f, 0x8b], FileFormat::Gzip),
    // RFC 8878 §3.1.1.
    (&[0x28, 0xb5, 0x2f, 0xfd], FileFormat::Zstd),
    // The .xz File Format 1.2.0, §2.1.1.1.
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], FileFormat::Packed("xz")),
    (b"LZIP", FileFormat::Packed("lzip")),
    // LZ4 frame and legacy frame.
    (&[0x04, 0x22, 0x4d, 0x18], FileFormat::Packed("LZ4")),
    (&[0x02, 0x21, 0x4c, 0x18], FileFormat::Packed("LZ4")),
    (&[0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'], FileFormat::Packed("lzop")),
    (&[0x1f, 0x9d], FileFormat::Packed("compress")),
    (&[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], FileFormat::Archive("7z")),
    (b"PK\x03\x04", FileFormat::Archive("zip")),
    (b"QED\0", FileFormat::VirtualDisk("QED")),
    // VMDK: sparse extent, its predecessor, and descriptor.
    (b"KDMV", FileFormat::VirtualDisk("VMDK")),
    (b"COWD", FileFormat::VirtualDisk("VMDK")),
    (b"# Disk DescriptorFile", FileFormat::VirtualDisk("VMDK")),
    (b"conectix", FileFormat::VirtualDisk("VHD")),
    (b"vhdxfile", FileFormat::VirtualDisk("VHDX")),
    (b"WithoutFreeSpace", FileFormat::VirtualDisk("Parallels")),
    (b"WithouFreSpacExt", FileFormat::VirtualDisk("Parallels")),
    (b"hsqs", FileFormat::Squashfs),
    (b"sqsh", FileFormat::Squashfs),
    (b"LUKS\xba\xbe", FileFormat::Luks),
];

/// Beginnings of texts, in lower case.
const TEXTS: &[(&[u8], FileFormat)] = &[
    (b"<!doctype", FileFormat::Text("an HTML page")),
    (b"<html", FileFormat::Text("an HTML page")),
    (b"<head", FileFormat::Text("an HTML page")),
    (b"<body", FileFormat::Text("an HTML page")),
    (b"<?xml", FileFormat::Text("an XML document")),
    (b"<error", FileFormat::Text("an XML document")),
    (b"{\"", FileFormat::Text("a JSON document")),
    (b"version https://git-lfs.github.com/", FileFormat::Text("a pointer of Git LFS")),
];

const QCOW_MAGIC: &[u8] = b"QFI\xfb";
/// Beginnings of the first block of a bzip2 stream, after `BZh` and the level: a block, or the end of an empty stream.
const BZIP2_BLOCKS: [&[u8]; 2] = [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
/// Signature of VDI, at 64.
const VDI_MAGIC: &[u8] = &[0x7f, 0x10, 0xda, 0xbe];
/// Offset of the identifier of an ISO 9660 or UDF volume (ECMA-119 §8.1, ECMA-167 2/9.1).
const ISO_OFFSET: usize = 32_769;
/// Offset and size of the partition entries of an MBR (UEFI 2.10 §5.2.1).
const MBR_ENTRIES_OFFSET: usize = 446;
const MBR_ENTRY_BYTES: usize = 16;

/// Tells the format of a file by its start: [`HEAD_BYTES`](super::HEAD_BYTES), or all of it. What has no known signature
/// is raw.
#[must_use]
pub fn by_content(head: &[u8]) -> FileFormat {
    let has = |at: usize, sign: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(sign));
    if head.is_empty() {
        return FileFormat::Empty;
    }
    if let Some(format) = skippable_frame(head) {
        return format;
    }
    if let Some((_, format)) = SIGNATURES.iter().find(|(sign, _)| head.starts_with(sign)) {
        return *format;
    }
    if head.starts_with(QCOW_MAGIC) {
        // Version 1 is another format.
        return if has(4, &[0, 0, 0, 1]) { FileFormat::VirtualDisk("QCOW") } else { FileFormat::Qcow2 };
    }
    if head.starts_with(b"BZh") && BZIP2_BLOCKS.iter().any(|block| has(4, block)) {
        return FileFormat::Packed("bzip2");
    }
    if let Some(text) = text(head) {
        return text;
    }
    let bootable = has(510, &[0x55, 0xaa]);
    if has(64, VDI_MAGIC) {
        return FileFormat::VirtualDisk("VDI");
    }
    if has(257, b"ustar") && !bootable {
        return FileFormat::Archive("tar");
    }
    let volume = has(ISO_OFFSET, b"CD001") || has(ISO_OFFSET, b"BEA01");
    if volume && !(bootable && has_partition(head)) {
        return FileFormat::Iso;
    }
    FileFormat::Raw
}

/// Returns the format of a file that starts with skippable frames, which zstd and LZ4 share (RFC 8878 §3.1.2): that of
/// the first other frame, or zstd if that is not in `head`.
fn skippable_frame(head: &[u8]) -> Option<FileFormat> {
    let (mut rest, mut skipped) = (head, false);
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, after @ ..] = rest {
        let size = u32::from_le_bytes([*a, *b, *c, *d]);
        rest = usize::try_from(size).ok().and_then(|size| after.get(size..)).unwrap_or_default();
        skipped = true;
    }
    let other = SIGNATURES.iter().find(|(sign, _)| rest.starts_with(sign)).map(|(_, format)| *format);
    skipped.then(|| other.unwrap_or(FileFormat::Zstd))
}

fn text(head: &[u8]) -> Option<FileFormat> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |sign: &[u8]| head.get(..sign.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(sign));
    TEXTS.iter().find(|(sign, _)| begins(sign)).map(|(_, format)| *format)
}

/// Returns whether an MBR has a used entry, as that of a hybrid ISO has. xorriso can give the partition of the ISO type 0,
/// so a boot flag or a size also means that an entry is used.
fn has_partition(head: &[u8]) -> bool {
    let entries = head.get(MBR_ENTRIES_OFFSET..MBR_ENTRIES_OFFSET + 4 * MBR_ENTRY_BYTES).unwrap_or_default();
    let is_used = |entry: &[u8]| match entry {
        [flag, _, _, _, kind, _, _, _, _, _, _, _, sectors @ ..] => {
            *flag == 0x80 || *kind != 0 || sectors.iter().any(|octet| *octet != 0)
        }
        _ => false,
    };
    entries.chunks_exact(MBR_ENTRY_BYTES).any(is_used)
}
