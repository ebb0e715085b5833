//! Reads QCOW2 images, versions 2 and 3 (QEMU, docs/interop/qcow2.rst), from their first byte to their last.
//!
//! What refers to other files or cannot be read in bounded memory is refused: backing files, external data files,
//! encryption. The name of a file in a stranger's image could be that of any file of this host (CVE-2015-5163,
//! CVE-2024-32498).

use std::io::{self, Read, Seek, SeekFrom};

/// Maximum size of the disk, in bytes.
const MAX_DISK_BYTES: u64 = 4 << 40;
/// Exponents of the supported cluster sizes: QEMU supports 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Maximum size of the L1 table, in bytes, as in QEMU.
const MAX_L1_BYTES: u64 = 32 << 20;
/// Size of the header in bytes: version 2, and version 3 with the compression type.
const HEADER_V2_BYTES: usize = 72;
const HEADER_V3_BYTES: usize = 105;
/// Bits of an L1 or L2 entry that hold the offset of a cluster.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Flags of an L2 entry.
const COMPRESSED: u64 = 1 << 62;
const ALL_ZEROS: u64 = 1;
/// Incompatible features that change nothing for a reader: the dirty bit and the compression type.
const READABLE_FEATURES: u64 = 1 | COMPRESSION_FEATURE;
const CORRUPT_FEATURE: u64 = 1 << 1;
const EXTERNAL_DATA_FEATURE: u64 = 1 << 2;
const COMPRESSION_FEATURE: u64 = 1 << 3;
const EXTENDED_L2_FEATURE: u64 = 1 << 4;

/// Reason that an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Qcow2Error {
    /// The file or the sink returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The image has something that is not supported.
    #[error("the QCOW2 image has {0}, which is not supported; convert it: qemu-img convert -O raw")]
    Unsupported(&'static str),
    /// The image is inconsistent.
    #[error("the QCOW2 image is damaged: {0}; check it: qemu-img check")]
    Damaged(&'static str),
}

/// Compression of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Deflate,
    Zstd,
}

/// A checked header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    version: u32,
    cluster_bits: u32,
    /// Size of the disk, in bytes.
    size: u64,
    /// Number of entries of the L1 table.
    l1_entries: u64,
    l1_offset: u64,
    compression: Compression,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Qcow2Error> {
        use Qcow2Error::{Damaged, Unsupported};
        let u32_at = |at| u32::from_be_bytes(number(bytes, at));
        let u64_at = |at| u64::from_be_bytes(number(bytes, at));
        if bytes.len() < HEADER_V2_BYTES || !bytes.starts_with(b"QFI\xfb") {
            return Err(Damaged("it has no header"));
        }
        let version = u32_at(4);
        if !matches!(version, 2 | 3) {
            return Err(Unsupported("another version than 2 and 3"));
        }
        if u64_at(8) != 0 || u32_at(16) != 0 {
            return Err(Unsupported("a backing file"));
        }
        if u32_at(32) != 0 {
            return Err(Unsupported("encryption"));
        }
        let features = if version == 3 { u64_at(72) } else { 0 };
        for (feature, name) in [
            (EXTERNAL_DATA_FEATURE, "an external data file"),
            (EXTENDED_L2_FEATURE, "subclusters (extended L2 entries)"),
        ] {
            if features & feature != 0 {
                return Err(Unsupported(name));
            }
        }
        if features & CORRUPT_FEATURE != 0 {
            return Err(Damaged("it is marked as corrupt"));
        }
        if features & !READABLE_FEATURES != 0 {
            return Err(Unsupported("an unknown incompatible feature"));
        }
        let compression = match (features & COMPRESSION_FEATURE != 0, bytes.get(104)) {
            (false, _) | (true, Some(0)) => Compression::Deflate,
            (true, Some(1)) => Compression::Zstd,
            (true, _) => return Err(Unsupported("an unknown compression")),
        };
        let (cluster_bits, size, l1_entries) = (u32_at(20), u64_at(24), u64::from(u32_at(36)));
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(Damaged("its cluster size is invalid"));
        }
        if size > MAX_DISK_BYTES {
            return Err(Unsupported("a disk of more than 4 TiB"));
        }
        // An L2 table is a cluster with entries of 8 bytes.
        let mapped_by_l1_entry = 1_u64 << (cluster_bits + cluster_bits - 3);
        if l1_entries < size.div_ceil(mapped_by_l1_entry) || l1_entries * 8 > MAX_L1_BYTES {
            return Err(Damaged("its L1 table has the wrong size"));
        }
        Ok(Self { version, cluster_bits, size, l1_entries, l1_offset: u64_at(40), compression })
    }

    const fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }
}

/// Where a cluster of the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mapping {
    Zeros,
    /// Offset in the file.
    Plain(u64),
    /// Offset and maximum size in the file.
    Compressed {
        offset: u64,
        size: u64,
    },
}

impl Header {
    /// Decodes an L2 entry.
    fn mapping(&self, entry: u64) -> Mapping {
        if entry & COMPRESSED != 0 {
            let bits = 62 - (self.cluster_bits - 8);
            let descriptor = entry & (COMPRESSED - 1);
            let offset = descriptor & ((1 << bits) - 1);
            let sectors = (descriptor >> bits) + 1;
            return Mapping::Compressed { offset, size: sectors * 512 - offset % 512 };
        }
        // In version 2, the bit is reserved.
        let is_zero = self.version >= 3 && entry & ALL_ZEROS != 0;
        match entry & OFFSET_MASK {
            0 => Mapping::Zeros,
            _ if is_zero => Mapping::Zeros,
            offset => Mapping::Plain(offset),
        }
    }
}

/// Part of the disk, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'p> {
    /// Content.
    Data(&'p [u8]),
    /// As many zeros.
    Zeros(u64),
}

/// Returns the size of the disk, in bytes.
///
/// # Errors
/// [`Qcow2Error`]
pub(crate) fn disk_size(file: &mut (impl Read + Seek)) -> Result<u64, Qcow2Error> {
    Ok(Header::parse(&read_at(file, 0, HEADER_V3_BYTES as u64)?)?.size)
}

/// Reads the whole disk and passes it to `sink` in order. Returns its size in bytes. Needs memory for two copies of an
/// L1 table, an L2 table and two clusters.
///
/// # Errors
/// [`Qcow2Error`]; those of `sink`.
pub(crate) fn read_disk<E: From<Qcow2Error> + From<io::Error>>(
    file: &mut (impl Read + Seek),
    mut sink: impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let file_size = file.seek(SeekFrom::End(0))?;
    let head = read_at(file, 0, HEADER_V3_BYTES as u64)?;
    let header = Header::parse(&head)?;
    let cluster_bytes = header.cluster_bytes();
    let l1 = table(file, header.l1_offset, header.l1_entries * 8, file_size)?;
    check_l2_tables(&l1, cluster_bytes)?;
    let mut reader = ClusterReader { header, file_size, used_bytes: cluster_bytes + header.l1_entries * 8 };
    let mut left = header.size;
    for l1_entry in l1 {
        if left == 0 {
            break;
        }
        let l2_offset = l1_entry & OFFSET_MASK;
        if l2_offset == 0 {
            let zeros = left.min(cluster_bytes * (cluster_bytes / 8));
            sink(Piece::Zeros(zeros))?;
            left -= zeros;
            continue;
        }
        reader.count(cluster_bytes)?;
        for l2_entry in table(file, l2_offset, cluster_bytes, file_size)? {
            if left == 0 {
                break;
            }
            let size = left.min(cluster_bytes);
            match reader.read(file, header.mapping(l2_entry))? {
                None => sink(Piece::Zeros(size))?,
                Some(cluster) => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    sink(Piece::Data(cluster.get(..size).unwrap_or(&cluster)))?;
                }
            }
            left -= size;
        }
    }
    Ok(header.size)
}

/// Checks that no two L2 tables of `cluster_bytes` share bytes of the file: a disk that refers to a table again and again
/// would fill ours.
fn check_l2_tables(l1: &[u64], cluster_bytes: u64) -> Result<(), Qcow2Error> {
    let mut offsets: Vec<u64> = l1.iter().map(|entry| entry & OFFSET_MASK).filter(|offset| *offset != 0).collect();
    offsets.sort_unstable();
    if offsets.windows(2).any(|pair| matches!(pair, [first, second] if second - first < cluster_bytes)) {
        return Err(Qcow2Error::Damaged("it refers to an L2 table more than once"));
    }
    Ok(())
}

struct ClusterReader {
    header: Header,
    file_size: u64,
    /// Bytes of the file that the header, the tables and the clusters so far were read from. Each has bytes of its own, and
    /// the reference counts, which are not read, have more than a cut last cluster lacks.
    used_bytes: u64,
}

impl ClusterReader {
    /// Returns the content of a cluster, or `None` if it is zero.
    fn read(&mut self, file: &mut (impl Read + Seek), mapping: Mapping) -> Result<Option<Vec<u8>>, Qcow2Error> {
        let cluster_bytes = self.header.cluster_bytes();
        match mapping {
            Mapping::Zeros => Ok(None),
            Mapping::Plain(offset) => {
                self.count(cluster_bytes)?;
                let mut cluster = read_at(file, offset, cluster_bytes)?;
                // The last cluster of a file may be cut.
                if cluster.is_empty() {
                    return Err(Qcow2Error::Damaged("a cluster is outside of the file"));
                }
                cluster.resize(usize::try_from(cluster_bytes).unwrap_or(0), 0);
                Ok(Some(cluster))
            }
            Mapping::Compressed { offset, size } => {
                let packed = read_at(file, offset, size)?;
                match unpack(self.header.compression, &packed, cluster_bytes) {
                    Ok((cluster, used)) if cluster.len() as u64 == cluster_bytes => {
                        self.count(used)?;
                        Ok(Some(cluster))
                    }
                    Ok(_) | Err(_) => Err(Qcow2Error::Damaged("a compressed cluster cannot be unpacked")),
                }
            }
        }
    }

    /// Counts bytes of the file that a table or a cluster was read from. A disk that refers to a cluster again and again would fill
    /// ours.
    fn count(&mut self, bytes: u64) -> Result<(), Qcow2Error> {
        self.used_bytes = self.used_bytes.saturating_add(bytes);
        if self.used_bytes > self.file_size {
            return Err(Qcow2Error::Damaged("it refers to a cluster more than once"));
        }
        Ok(())
    }
}

/// Unpacks a cluster, up to its maximum size. Returns it with the number of bytes that it was unpacked from: `packed` is
/// whole sectors of 512 bytes, which clusters share.
fn unpack(compression: Compression, packed: &[u8], cluster_bytes: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut cluster = Vec::new();
    let used = match compression {
        Compression::Deflate => {
            let mut decoder = flate2::bufread::DeflateDecoder::new(packed);
            decoder.by_ref().take(cluster_bytes).read_to_end(&mut cluster)?;
            decoder.total_in()
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
            decoder.by_ref().take(cluster_bytes).read_to_end(&mut cluster)?;
            // `finish` would unpack the rest of a frame that is larger than a cluster.
            (packed.len() - decoder.get_ref().len()) as u64
        }
    };
    Ok((cluster, used))
}

/// Reads a table of big-endian numbers.
fn table(file: &mut (impl Read + Seek), offset: u64, size: u64, file_size: u64) -> Result<Vec<u64>, Qcow2Error> {
    if offset.checked_add(size).is_none_or(|end| end > file_size) {
        return Err(Qcow2Error::Damaged("a table is outside of the file"));
    }
    let bytes = read_at(file, offset, size)?;
    Ok(bytes.chunks_exact(8).map(|entry| u64::from_be_bytes(number(entry, 0))).collect())
}

/// Reads as much of `size` bytes as there is.
fn read_at(file: &mut (impl Read + Seek), offset: u64, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[cfg(test)]
pub(crate) mod tests;
