//! A config drive's content, as cloud-init's ConfigDrive datasource finds it: a FAT volume in memory, labelled
//! `config-2`, made of files; or a volume that a client provided. The agent writes it to the
//! machine's disk.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read as _, Write as _},
};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use flate2::read::GzDecoder;

/// The label that cloud-init looks for, as FAT holds labels: 11 octets.
const LABEL: [u8; 11] = *b"config-2   ";
/// The volume is a multiple of this many octets; so it is never smaller.
const STEP: u64 = 1 << 20;
/// What a file or a folder may take beyond its content: a cluster begun and its directory entries.
const EACH: u64 = 12 << 10;
/// What the volume takes itself: boot sector, root directory, the tables of a volume of 64 MiB.
const FRAME: u64 = 256 << 10;
/// Octets of all files: what OpenStack allows a config drive to have.
const MAX_CONTENT_BYTES: u64 = 64 << 20;

/// Name under which a compressed volume is passed in place of files. No file has this name.
pub const PACKED: &str = ":packed";
/// Where a volume of ISO 9660 says that it is one (ECMA-119 §8.1), and how.
const ISO_AT: usize = 32_769;
const ISO: &[u8] = b"CD001";
/// Where a volume of FAT says it, and how.
const FAT_AT: usize = 510;
const FAT: &[u8] = &[0x55, 0xaa];

/// Renders `openstack/latest/meta_data.json`, by which cloud-init knows the instance. `phone_home` is the URL that the
/// deployed system calls when it is up.
#[must_use]
pub fn meta_data(uuid: &str, name: &str, phone_home: Option<&str>) -> Vec<u8> {
    let data = serde_json::json!({"uuid": uuid, "name": name, "hostname": name, "phone_home": phone_home});
    data.to_string().into_bytes()
}

/// Why files make no volume.
#[derive(Debug, thiserror::Error)]
pub enum ConfigDriveError {
    /// They are too large together.
    #[error("its files need {octets} octets, a config drive has at most {MAX_CONTENT_BYTES}")]
    TooLarge {
        /// What they need, in octets.
        octets: u64,
    },
    /// A file has a name that we do not write.
    #[error("{0:?} is not a name for a file of a config drive")]
    Name(String),
    /// The compressed volume cannot be decompressed.
    #[error("the config drive cannot be decompressed: it must be a gzip-compressed volume")]
    Zip(#[source] io::Error),
    /// The compressed volume has no label by which it could be found.
    #[error("the packed config drive is neither an ISO 9660 nor a FAT volume")]
    Strange,
    /// The file system cannot hold the files.
    #[error("its files make no volume")]
    Volume(#[source] io::Error),
}

/// Makes the volume, for a disk whose sectors have `sector` octets. `id` tells it from others: the node's UUID. The
/// same
/// files and id make the same octets.
///
/// # Errors
/// [`ConfigDriveError`]
pub fn volume(files: &BTreeMap<String, Vec<u8>>, id: [u8; 16], sector: u16) -> Result<Vec<u8>, ConfigDriveError> {
    if let Some(packed) = files.get(PACKED) {
        return unpack(packed);
    }
    let octets: u64 =
        files.iter().map(|(path, file)| file.len() as u64 + EACH * (1 + path.split('/').count() as u64)).sum();
    if octets > MAX_CONTENT_BYTES {
        return Err(ConfigDriveError::TooLarge { octets });
    }
    let size = octets.saturating_add(FRAME).next_multiple_of(STEP);
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

/// Decompresses a volume that a client provided: gzip (RFC 1952) around ISO 9660 or FAT, of 64 MiB at most. What is
/// given back
/// is a multiple of 1 MiB.
///
/// # Errors
/// [`ConfigDriveError`]
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, ConfigDriveError> {
    let mut volume = Vec::new();
    GzDecoder::new(packed).take(MAX_CONTENT_BYTES + 1).read_to_end(&mut volume).map_err(ConfigDriveError::Zip)?;
    let octets = volume.len() as u64;
    if octets > MAX_CONTENT_BYTES {
        return Err(ConfigDriveError::TooLarge { octets });
    }
    let has = |at: usize, sign: &[u8]| volume.get(at..at + sign.len()) == Some(sign);
    if !has(ISO_AT, ISO) && !has(FAT_AT, FAT) {
        return Err(ConfigDriveError::Strange);
    }
    volume.resize(usize::try_from(octets.next_multiple_of(STEP)).unwrap_or(usize::MAX), 0);
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
    fn a_volume_made_by_another_program_is_readable() {
        let mut iso = vec![0; 400_000];
        iso[ISO_AT..ISO_AT + 5].copy_from_slice(ISO);
        let files = BTreeMap::from([(PACKED.to_owned(), packed(&iso)), ("openstack/x".to_owned(), vec![1])]);
        let volume = volume(&files, [7; 16], 512).unwrap();
        assert_eq!((volume.len(), &volume[..iso.len()]), (1 << 20, iso.as_slice()));
        let own = super::volume(&BTreeMap::from([("a".to_owned(), vec![1])]), [7; 16], 512).unwrap();
        assert_eq!(unpack(&packed(&own)).unwrap(), own);
    }

    #[test]
    fn what_is_no_volume_or_too_large_or_cut_off_is_said() {
        assert!(matches!(unpack(b"no zip"), Err(ConfigDriveError::Zip(_))));
        assert!(matches!(unpack(&packed(&[0; 100])), Err(ConfigDriveError::Strange)));
        assert!(matches!(unpack(&packed(&vec![0; 65 << 20])), Err(ConfigDriveError::TooLarge { .. })));
        let whole = packed(&vec![3; 100_000]);
        assert!(matches!(unpack(&whole[..whole.len() / 2]), Err(ConfigDriveError::Zip(_))));
    }
}
