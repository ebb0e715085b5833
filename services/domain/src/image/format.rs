//! Format of an image file, told by its name, by what a client declares, and by its first bytes.
//!
//! The REST API and gRPC ask for name and declaration before an image is registered, the storage-service for the first
//! bytes while it downloads, and the agent for them once more before its first write. A disk is therefore never erased
//! for a file that cannot be written.

mod content;
mod name;

use std::fmt;

use self::name::NameClaims;
pub use self::{content::by_content, name::file_name};
use super::Encoding;

/// Number of bytes at the start of a file that [`by_content`] needs. ISO 9660 has its identifier at 32,769.
pub const HEAD_BYTES: usize = 64 << 10;

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// The content of a disk, byte by byte: with a partition table, or without anything known.
    Raw,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// Other packing: xz, bzip2, LZ4, …
    Packed(&'static str),
    /// Other format of a virtual disk: VMDK, VHD, …
    VirtualDisk(&'static str),
    /// Archive: tar, zip, …
    Archive(&'static str),
    /// ISO 9660 without a partition table.
    Iso,
    /// File system that is no disk and not written to one.
    Squashfs,
    /// Encrypted volume.
    Luks,
    /// HTML, XML, JSON or a pointer of Git LFS, which servers send in place of a file.
    Text(&'static str),
    /// No bytes at all.
    Empty,
}

impl FileFormat {
    /// Returns how to get an image that can be written.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Raw => "register it as raw, which is written as it is",
            Self::Gzip => "register it as gzip: with a name that ends in .gz, or with --encoding gzip",
            Self::Zstd => "register it as zstd: with a name that ends in .zst, or with --encoding zstd",
            Self::Qcow2 => {
                "declare it as qcow2 (image_disk_format, or --encoding qcow2), or convert it: qemu-img convert -O raw"
            }
            Self::Packed(_) => "unpack it, or pack it with gzip or zstd instead",
            Self::VirtualDisk(_) => "convert it: qemu-img convert -O raw",
            Self::Archive(_) => "extract the disk image from it",
            Self::Iso => {
                "an ISO without a partition table does not boot from a disk; use a disk image, or a hybrid ISO"
            }
            Self::Squashfs => "use an image of a whole disk with a partition table",
            Self::Luks => "use an image that is not encrypted; encrypt the disk when the system is installed",
            Self::Text(_) | Self::Empty => "check that the URL returns the image",
        }
    }

    /// Returns the encoding of images with this format, or `None` if they cannot be written to a disk.
    #[must_use]
    pub const fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Raw => Some(Encoding::Plain),
            Self::Gzip => Some(Encoding::Gzip),
            Self::Zstd => Some(Encoding::Zstd),
            Self::Qcow2 => Some(Encoding::Qcow2),
            Self::Packed(_)
            | Self::VirtualDisk(_)
            | Self::Archive(_)
            | Self::Iso
            | Self::Squashfs
            | Self::Luks
            | Self::Text(_)
            | Self::Empty => None,
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "a raw disk image",
            Self::Gzip => "packed with gzip",
            Self::Zstd => "packed with zstd",
            Self::Qcow2 => "a QCOW2 image",
            Self::Iso => "an ISO 9660 image",
            Self::Squashfs => "a SquashFS file system",
            Self::Luks => "a volume encrypted with LUKS",
            Self::Empty => "empty",
            Self::Packed(name) => return write!(f, "packed with {name}"),
            Self::VirtualDisk(name) => return write!(f, "a {name} image"),
            Self::Archive(name) => return write!(f, "a {name} archive"),
            Self::Text(name) => return f.write_str(name),
        })
    }
}

/// What tells a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// File name in the URL.
    Name,
    /// `image_disk_format` of Ironic, `disk_format` of Glance.
    DiskFormat,
    /// Encoding of the registered image.
    Encoding,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::DiskFormat => "image_disk_format",
            Self::Encoding => "encoding",
        })
    }
}

/// Reason that a file cannot be written to a disk as it is described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageFormatError {
    /// The format cannot be written to a disk.
    #[error("by its {by}, the image is {format}, which cannot be written to a disk; {}", format.advice())]
    Unsupported {
        /// What tells the format.
        by: Evidence,
        /// The format.
        format: FileFormat,
    },
    /// Two descriptions exclude each other.
    #[error("by its {by}, the image is {format}, but by its {other_by} it is {other}; correct the one that is wrong")]
    Contradiction {
        /// What tells the first format.
        by: Evidence,
        /// The first format.
        format: FileFormat,
        /// What tells the second format.
        other_by: Evidence,
        /// The second format.
        other: FileFormat,
    },
    /// Packed in two layers.
    #[error(
        "the image is {inner} that is {outer}, and only one of them can be undone; unpack the file, or convert it: \
         qemu-img convert -O raw"
    )]
    Nested {
        /// The outer packing.
        outer: FileFormat,
        /// What is packed.
        inner: FileFormat,
    },
    /// The declared disk format is unknown.
    #[error("image_disk_format {0:?} is unknown; supported are raw, iso and qcow2")]
    UnknownDiskFormat(String),
    /// The declared container format is not `bare`.
    #[error("image_container_format {0:?} is not supported; use bare, with the disk image itself")]
    Container(String),
    /// The content is of another format than the image is registered with.
    #[error("the file is {found}, but the image is registered as {}; {}", name_of(*.expected), found.advice())]
    Content {
        /// Encoding of the image.
        expected: Encoding,
        /// Format of the file.
        found: FileFormat,
    },
    /// The unpacked content is no raw disk.
    #[error("the unpacked file is {0}, which cannot be written to a disk; {advice}", advice = .0.advice())]
    Unpacked(FileFormat),
    /// A boot file is an error page, or empty.
    #[error("the file is {0}, which no machine boots; {advice}", advice = .0.advice())]
    BootFile(FileFormat),
}

/// Returns the name of an encoding as clients write it.
const fn name_of(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Plain => "raw",
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
        Encoding::Qcow2 => "qcow2",
    }
}

/// What a client says about an image for a disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Description<'d> {
    /// URL or path.
    pub url: &'d str,
    /// `image_disk_format` of Ironic, `disk_format` of Glance. It describes the unpacked file.
    pub disk_format: Option<&'d str>,
    /// `image_container_format` of Ironic, `container_format` of Glance.
    pub container_format: Option<&'d str>,
    /// Explicit encoding.
    pub encoding: Option<Encoding>,
}

impl Description<'_> {
    /// Determines the encoding of the image: the explicit one, or that of name and disk format, or plain.
    ///
    /// # Errors
    /// [`ImageFormatError`] if the descriptions exclude each other, or the image cannot be written to a disk.
    pub fn encoding(&self) -> Result<Encoding, ImageFormatError> {
        if let Some(container) = stated(self.container_format).filter(|container| container != "bare") {
            return Err(ImageFormatError::Container(container));
        }
        let declared = self.declared_format()?;
        let NameClaims { packing, content: named } = NameClaims::of(self.url);
        let unsupported = |by, format| ImageFormatError::Unsupported { by, format };
        for format in [packing, named].into_iter().flatten() {
            // A hybrid ISO is a raw disk; the content tells.
            if format.encoding().is_none() && format != FileFormat::Iso {
                return Err(unsupported(Evidence::Name, format));
            }
        }
        let raw = |format| if format == FileFormat::Iso { FileFormat::Raw } else { format };
        let (declared, named) = (declared.map(raw), named.map(raw));
        if let Some((format, other)) = declared.zip(named).filter(|(format, other)| format != other) {
            let (by, other_by) = (Evidence::DiskFormat, Evidence::Name);
            return Err(ImageFormatError::Contradiction { by, format, other_by, other });
        }
        let content = declared.or(named);
        let by = if declared.is_some() { Evidence::DiskFormat } else { Evidence::Name };
        let told = match (packing, content) {
            (Some(outer), Some(inner)) if inner != FileFormat::Raw => {
                return Err(ImageFormatError::Nested { outer, inner });
            }
            (Some(packing), _) => Some((Evidence::Name, packing)),
            (None, content) => content.map(|content| (by, content)),
        };
        match self.encoding {
            None => Ok(told.and_then(|(_, format)| format.encoding()).unwrap_or_default()),
            Some(encoding) => check_explicit(encoding, told),
        }
    }

    fn declared_format(&self) -> Result<Option<FileFormat>, ImageFormatError> {
        let Some(word) = stated(self.disk_format) else { return Ok(None) };
        let format = match word.as_str() {
            "raw" | "gpt" => FileFormat::Raw,
            "iso" => FileFormat::Iso,
            "qcow2" => FileFormat::Qcow2,
            _ => {
                let format = name::virtual_disk(&word).ok_or(ImageFormatError::UnknownDiskFormat(word))?;
                return Err(ImageFormatError::Unsupported { by: Evidence::DiskFormat, format });
            }
        };
        Ok(Some(format))
    }
}

/// Returns the explicit encoding, unless what else is told excludes it.
fn check_explicit(encoding: Encoding, told: Option<(Evidence, FileFormat)>) -> Result<Encoding, ImageFormatError> {
    let Some((other_by, other)) = told else { return Ok(encoding) };
    let format = match encoding {
        Encoding::Plain => FileFormat::Raw,
        Encoding::Gzip => FileFormat::Gzip,
        Encoding::Zstd => FileFormat::Zstd,
        Encoding::Qcow2 => FileFormat::Qcow2,
    };
    let is_packing = matches!(encoding, Encoding::Gzip | Encoding::Zstd);
    // The name tells the unpacked content.
    if other == format || is_packing && other == FileFormat::Raw {
        return Ok(encoding);
    }
    if is_packing && other == FileFormat::Qcow2 {
        return Err(ImageFormatError::Nested { outer: format, inner: other });
    }
    Err(ImageFormatError::Contradiction { by: Evidence::Encoding, format, other_by, other })
}

/// Returns a word in lower case, or `None` if there is none.
fn stated(word: Option<&str>) -> Option<String> {
    word.map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty())
}

/// Checks that a file for a disk has the format that its image is registered with. `head` is the start of the file:
/// [`HEAD_BYTES`], or all of it.
///
/// # Errors
/// [`ImageFormatError::Content`].
pub fn check_content(expected: Encoding, head: &[u8]) -> Result<(), ImageFormatError> {
    let found = by_content(head);
    if found.encoding() == Some(expected) { Ok(()) } else { Err(ImageFormatError::Content { expected, found }) }
}

/// Checks that the unpacked content of a packed image can be written to a disk. `head` is the start of it, as far as it
/// is known.
///
/// # Errors
/// [`ImageFormatError::Unpacked`].
pub fn check_unpacked(head: &[u8]) -> Result<(), ImageFormatError> {
    let found = by_content(head);
    if found == FileFormat::Raw { Ok(()) } else { Err(ImageFormatError::Unpacked(found)) }
}

/// Checks that a kernel or ramdisk is neither empty nor an error page.
///
/// # Errors
/// [`ImageFormatError::BootFile`].
pub fn check_boot_file(head: &[u8]) -> Result<(), ImageFormatError> {
    let found = by_content(head);
    let is_wrong = matches!(found, FileFormat::Text(_) | FileFormat::Empty);
    if is_wrong { Err(ImageFormatError::BootFile(found)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
