//! The config drive's content: a FAT volume in memory.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write as _},
};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

use super::Unplaceable;

/// The label that cloud-init looks for (its ConfigDrive datasource), as FAT holds labels: 11 octets.
const LABEL: [u8; 11] = *b"config-2   ";
/// The volume is a multiple of this many octets; so it is never smaller.
const STEP: u64 = 1 << 20;
/// What a file or a folder may take beyond its content: a cluster begun and its directory entries.
const EACH: u64 = 12 << 10;
/// What the volume takes itself: boot sector, root directory, the tables of a volume of 64 MiB.
const FRAME: u64 = 256 << 10;
/// Octets of all files: what OpenStack allows a config drive to have.
const MOST: u64 = 64 << 20;

/// Makes the volume, for a disk whose sectors have `sector` octets. The same files and id make the same octets.
pub(crate) fn volume(files: &BTreeMap<String, Vec<u8>>, id: [u8; 16], sector: u16) -> Result<Vec<u8>, Unplaceable> {
    let octets: u64 =
        files.iter().map(|(path, file)| file.len() as u64 + EACH * (1 + path.split('/').count() as u64)).sum();
    if octets > MOST {
        return Err(Unplaceable::NoRoom { wanted: octets });
    }
    let size = octets.saturating_add(FRAME).next_multiple_of(STEP);
    let mut volume = Cursor::new(vec![0; usize::try_from(size).unwrap_or(usize::MAX)]);
    let [a, b, c, d, ..] = id;
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(sector)
        .volume_label(LABEL)
        .volume_id(u32::from_be_bytes([a, b, c, d]));
    fatfs::format_volume(&mut volume, options).map_err(Unplaceable::Volume)?;
    fill(&mut volume, files)?;
    Ok(volume.into_inner())
}

fn fill(volume: &mut Cursor<Vec<u8>>, files: &BTreeMap<String, Vec<u8>>) -> Result<(), Unplaceable> {
    let volume = FileSystem::new(volume, FsOptions::new()).map_err(Unplaceable::Volume)?;
    for (path, content) in files {
        let wrong = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.split('/').any(wrong) {
            return Err(Unplaceable::Name(path.clone()));
        }
        let root = volume.root_dir();
        for (end, _) in path.match_indices('/') {
            root.create_dir(path.get(..end).unwrap_or_default()).map_err(Unplaceable::Volume)?;
        }
        let mut file = root.create_file(path).map_err(Unplaceable::Volume)?;
        file.truncate().and_then(|()| file.write_all(content)).map_err(Unplaceable::Volume)?;
    }
    volume.unmount().map_err(Unplaceable::Volume)
}
