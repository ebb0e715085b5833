//! What a file's name says about its format.

use percent_encoding::percent_decode_str;

use super::FileFormat;

/// Formats that a name claims: the packing, and what is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NameClaims {
    pub(super) packing: Option<FileFormat>,
    pub(super) content: Option<FileFormat>,
}

impl NameClaims {
    /// Reads the extensions of a URL or path: the last one, and the one before it if the last one is a packing.
    pub(super) fn of(url: &str) -> Self {
        let name = file_name(url).to_lowercase();
        let mut extensions = name.rsplit('.');
        let count = name.matches('.').count();
        let Some(last) = extensions.next().filter(|_| count > 0) else { return Self::default() };
        let Some(packing) = packing(last) else { return Self { packing: None, content: content(last) } };
        let before = extensions.next().filter(|_| count > 1);
        let inner = before.and_then(|before| self::packing(before).or_else(|| content(before)));
        Self { packing: Some(packing), content: inner }
    }
}

/// Returns the file name in a URL or path, percent-decoded, without query and fragment (RFC 3986 §3).
#[must_use]
pub fn file_name(url: &str) -> String {
    let path = match url.split_once("://") {
        Some((_, rest)) => {
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            rest.split_once('/').map_or("", |(_, path)| path)
        }
        None => return last_segment(url).to_owned(),
    };
    percent_decode_str(last_segment(path)).decode_utf8_lossy().into_owned()
}

fn last_segment(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn packing(extension: &str) -> Option<FileFormat> {
    Some(match extension {
        "gz" | "gzip" => FileFormat::Gzip,
        "zst" | "zstd" => FileFormat::Zstd,
        "xz" => FileFormat::Packed("xz"),
        "lzma" => FileFormat::Packed("lzma"),
        "bz2" | "bzip2" => FileFormat::Packed("bzip2"),
        "lz4" => FileFormat::Packed("LZ4"),
        "lz" => FileFormat::Packed("lzip"),
        "lzo" => FileFormat::Packed("lzop"),
        "z" => FileFormat::Packed("compress"),
        "br" => FileFormat::Packed("Brotli"),
        _ => return None,
    })
}

fn content(extension: &str) -> Option<FileFormat> {
    Some(match extension {
        "raw" | "dd" => FileFormat::Raw,
        "iso" => FileFormat::Iso,
        "qcow2" => FileFormat::Qcow2,
        "squashfs" | "sqsh" | "sfs" => FileFormat::Squashfs,
        "luks" => FileFormat::Luks,
        "tar" | "tgz" | "txz" | "tbz2" | "tzst" => FileFormat::Archive("tar"),
        "zip" => FileFormat::Archive("zip"),
        "7z" => FileFormat::Archive("7z"),
        "html" | "htm" => FileFormat::Text("an HTML page"),
        other => return virtual_disk(other),
    })
}

/// Returns the format that an extension or a disk format of Glance names, if it is that of a virtual disk that is not
/// supported.
pub(super) fn virtual_disk(word: &str) -> Option<FileFormat> {
    Some(FileFormat::VirtualDisk(match word {
        "vmdk" => "VMDK",
        "vhd" | "vpc" => "VHD",
        "vhdx" => "VHDX",
        "vdi" => "VDI",
        "qcow" => "QCOW",
        "qed" => "QED",
        "ploop" | "hdd" => "Parallels",
        "dmg" => "DMG",
        "ova" | "ovf" => "OVF",
        "ami" | "ari" | "aki" => "Amazon",
        _ => return None,
    }))
}
