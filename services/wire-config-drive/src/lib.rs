//! Content of a config drive for cloud-init's ConfigDrive datasource: a FAT volume with the label `config-2`, created in
//! memory from files, or a volume that a client provided. The agent writes it to the disk of the machine.

mod gzip;

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read as _, Write as _},
};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

pub use self::gzip::GzipReader;

/// Volume label that cloud-init requires, in FAT's format of 11 octets.
const LABEL: [u8; 11] = *b"config-2   ";
/// The size of a volume is a multiple of this number of octets.
const VOLUME_SIZE_UNIT: u64 = 1 << 20;
/// Maximum overhead of a file or folder, in octets: a partially used cluster and directory entries.
const FILE_OVERHEAD: u64 = 12 << 10;
/// Overhead of the volume, in octets: boot sector, root directory, and the tables of a volume of 64 MiB.
const VOLUME_OVERHEAD: u64 = 256 << 10;
/// Maximum size of all files, in octets, as in OpenStack.
const MAX_CONTENT_BYTES: u64 = 64 << 20;

/// Name under which a compressed volume is passed in place of files. No file has this name.
pub const PACKED: &str = ":packed";
/// Offset of the identifier of an ISO 9660 volume (ECMA-119 §8.1).
const ISO_IDENTIFIER_OFFSET: usize = 32_769;
/// Identifier of an ISO 9660 volume.
const ISO_IDENTIFIER: &[u8] = b"CD001";
/// Signature of a FAT volume, with its offset. A disk with an MBR has it, too.
const FAT_SIGNATURE: (usize, &[u8]) = (510, &[0x55, 0xaa]);
/// First bytes of a FAT volume: a jump (Microsoft FAT specification, 3.1).
const FAT_JUMPS: [u8; 2] = [0xeb, 0xe9];

/// Renders `openstack/latest/meta_data.json`, which identifies the instance to cloud-init. `phone_home` is the URL that the
/// deployed system calls after it has started.
#[must_use]
pub fn meta_data(uuid: &str, name: &str, phone_home: Option<&str>) -> Vec<u8> {
    let data = serde_json::json!({"uuid": uuid, "name": name, "hostname": name, "phone_home": phone_home});
    data.to_string().into_bytes()
}

/// Reason why a volume cannot be created or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ConfigDriveError {
    /// The files are too large in total.
    #[error("its files need {octets} octets, a config drive has at most {MAX_CONTENT_BYTES}")]
    TooLarge {
        /// Total size, in octets.
        octets: u64,
    },
    /// The name of a file is not supported.
    #[error("{0:?} is not a name for a file of a config drive")]
    Name(String),
    /// The compressed volume cannot be decompressed.
    #[error("the config drive cannot be decompressed: it must be a volume packed with gzip")]
    Zip(#[source] io::Error),
    /// The compressed volume is neither ISO 9660 nor FAT.
    #[error("the packed config drive is neither an ISO 9660 nor a FAT volume")]
    Strange,
    /// The file system cannot hold the files.
    #[error("its files make no volume")]
    Volume(#[source] io::Error),
}

/// Creates a volume for a disk with sectors of `sector` octets. `id` is the UUID of the node, from which the volume id is
/// derived. The result is reproducible.
///
/// # Errors
/// [`ConfigDriveError`] if the files are too large, have unsupported names, or do not fit into a file system.
pub fn volume(files: &BTreeMap<String, Vec<u8>>, id: [u8; 16], sector: u16) -> Result<Vec<u8>, ConfigDriveError> {
    if let Some(packed) = files.get(PACKED) {
        return unpack(packed);
    }
    let octets: u64 =
        files.iter().map(|(path, file)| file.len() as u64 + FILE_OVERHEAD * (1 + path.split('/').count() as u64)).sum();
    if octets > MAX_CONTENT_BYTES {
        return Err(ConfigDriveError::TooLarge { octets });
    }
    let size = octets.saturating_add(VOLUME_OVERHEAD).next_multiple_of(VOLUME_SIZE_UNIT);
    let mut volume = Cursor::new(vec![0; usize::try_from(size).unwrap_or(usize::MAX)]);
    let [a, b, c, d, ..] = id;
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(sector)
        .volume_label(LABEL)
        .volume_id(u32::from_be_bytes([a, b, c, d]));
    fatfs::format_volume(&mut volume, options).map_err(ConfigDriveError::Volume)?;
    fill(&mut volume, files)?;
    Ok(volume.into_inner())
}

/// Decompresses a volume that a client provided: ISO 9660 or FAT of at most 64 MiB, compressed by gzip (RFC 1952). The result
/// is padded to a multiple of 1 MiB.
///
/// # Errors
/// [`ConfigDriveError`] if it cannot be decompressed, is too large, or is not a volume.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, ConfigDriveError> {
    let mut volume = Vec::new();
    GzipReader::new(packed).take(MAX_CONTENT_BYTES + 1).read_to_end(&mut volume).map_err(ConfigDriveError::Zip)?;
    let octets = volume.len() as u64;
    if octets > MAX_CONTENT_BYTES {
        return Err(ConfigDriveError::TooLarge { octets });
    }
    let has = |at: usize, sign: &[u8]| volume.get(at..at + sign.len()) == Some(sign);
    let (at, sign) = FAT_SIGNATURE;
    let is_fat = has(at, sign) && volume.first().is_some_and(|first| FAT_JUMPS.contains(first));
    // A hybrid ISO has the signature of a disk as well.
    if !has(ISO_IDENTIFIER_OFFSET, ISO_IDENTIFIER) && !is_fat {
        return Err(ConfigDriveError::Strange);
    }
    volume.resize(usize::try_from(octets.next_multiple_of(VOLUME_SIZE_UNIT)).unwrap_or(usize::MAX), 0);
    Ok(volume)
}

fn fill(volume: &mut Cursor<Vec<u8>>, files: &BTreeMap<String, Vec<u8>>) -> Result<(), ConfigDriveError> {
    let volume = FileSystem::new(volume, FsOptions::new()).map_err(ConfigDriveError::Volume)?;
    for (path, content) in files {
        let wrong = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.split('/').any(wrong) {
            return Err(ConfigDriveError::Name(path.clone()));
        }
        let root = volume.root_dir();
        for (end, _) in path.match_indices('/') {
            root.create_dir(path.get(..end).unwrap_or_default()).map_err(ConfigDriveError::Volume)?;
        }
        let mut file = root.create_file(path).map_err(ConfigDriveError::Volume)?;
        file.truncate().and_then(|()| file.write_all(content)).map_err(ConfigDriveError::Volume)?;
    }
    volume.unmount().map_err(ConfigDriveError::Volume)
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(volume: &[u8]) -> Vec<u8> {
        let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
        zip.write_all(volume).unwrap();
        zip.finish().unwrap()
    }

    #[test]
    fn a_volume_of_another_program_is_unpacked() {
        let mut iso = vec![0; 400_000];
        iso[ISO_IDENTIFIER_OFFSET..ISO_IDENTIFIER_OFFSET + 5].copy_from_slice(ISO_IDENTIFIER);
        let files = BTreeMap::from([(PACKED.to_owned(), packed(&iso)), ("openstack/x".to_owned(), vec![1])]);
        let volume = volume(&files, [7; 16], 512).unwrap();
        assert_eq!((volume.len(), &volume[..iso.len()]), (1 << 20, iso.as_slice()));
        let own = super::volume(&BTreeMap::from([("a".to_owned(), vec![1])]), [7; 16], 512).unwrap();
        assert_eq!(unpack(&packed(&own)).unwrap(), own);
    }

    #[test]
    fn a_packed_volume_is_told_by_its_content() {
        let signed = |parts: &[(usize, &[u8])]| {
            let mut volume = vec![0; 400_000];
            for (at, bytes) in parts {
                volume[*at..*at + bytes.len()].copy_from_slice(bytes);
            }
            volume
        };
        let iso: (usize, &[u8]) = (ISO_IDENTIFIER_OFFSET, ISO_IDENTIFIER);
        let own = volume(&BTreeMap::from([("a".to_owned(), vec![1])]), [7; 16], 512).unwrap();
        let two = |volume: &[u8]| [packed(&volume[..1000]), packed(&volume[1000..])].concat();
        for (octets, source, works) in [
            (packed(&signed(&[iso])), "ECMA-119 §8.1", true),
            (packed(&signed(&[iso, FAT_SIGNATURE])), "isohybrid", true),
            (packed(&own), "FAT", true),
            (packed(&signed(&[FAT_SIGNATURE, (450, &[0x83])])), "a disk with an MBR is no volume", false),
            (packed(&signed(&[])), "zeros", false),
            (two(&signed(&[iso])), "RFC 1952 §2.2: the second member has the identifier", true),
            (two(&own), "RFC 1952 §2.2: FAT in two members", true),
            ([packed(&own), vec![0; 700]].concat(), "gzip -t: zeros", true),
            ([packed(&own), b"x".to_vec()].concat(), "garbage", false),
        ] {
            assert_eq!(unpack(&octets).is_ok(), works, "{source}");
        }
        assert_eq!(unpack(&two(&own)).unwrap(), own);
    }

    #[test]
    fn an_invalid_or_too_large_or_truncated_volume_is_an_error() {
        assert!(matches!(unpack(b"no zip"), Err(ConfigDriveError::Zip(_))));
        assert!(matches!(unpack(&packed(&[0; 100])), Err(ConfigDriveError::Strange)));
        assert!(matches!(unpack(&packed(&vec![0; 65 << 20])), Err(ConfigDriveError::TooLarge { .. })));
        let whole = packed(&vec![3; 100_000]);
        assert!(matches!(unpack(&whole[..whole.len() / 2]), Err(ConfigDriveError::Zip(_))));
    }
}
