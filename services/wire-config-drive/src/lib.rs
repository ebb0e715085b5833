//! A config drive's content, as cloud-init's ConfigDrive datasource finds it: a FAT volume in memory, labelled
//! `config-2`. Whoever deploys a machine puts it on its disk, or hands it to who does.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Write as _},
};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

/// The label that cloud-init looks for, as FAT holds labels: 11 octets.
const LABEL: [u8; 11] = *b"config-2   ";
/// The volume is a multiple of this many octets; so it is never smaller.
const STEP: u64 = 1 << 20;
/// What a file or a folder may take beyond its content: a cluster begun and its directory entries.
const EACH: u64 = 12 << 10;
/// What the volume takes itself: boot sector, root directory, the tables of a volume of 64 MiB.
const FRAME: u64 = 256 << 10;
/// Octets of all files: what OpenStack allows a config drive to have.
const MOST: u64 = 64 << 20;

/// Why files make no volume.
#[derive(Debug, thiserror::Error)]
pub enum Unmade {
    /// They are too large together.
    #[error("its files need {octets} octets, a config drive has at most {MOST}")]
    TooLarge {
        /// What they need, in octets.
        octets: u64,
    },
    /// A file has a name that we do not write.
    #[error("{0:?} is not a name for a file of a config drive")]
    Name(String),
    /// The file system can not hold them.
    #[error("its files make no volume")]
    Volume(#[source] io::Error),
}

/// Makes the volume, for a disk whose sectors have `sector` octets. `id` tells it from others: the node's UUID. The same
/// files and id make the same octets.
///
/// # Errors
/// [`Unmade`]
pub fn volume(files: &BTreeMap<String, Vec<u8>>, id: [u8; 16], sector: u16) -> Result<Vec<u8>, Unmade> {
    let octets: u64 =
        files.iter().map(|(path, file)| file.len() as u64 + EACH * (1 + path.split('/').count() as u64)).sum();
    if octets > MOST {
        return Err(Unmade::TooLarge { octets });
    }
    let size = octets.saturating_add(FRAME).next_multiple_of(STEP);
    let mut volume = Cursor::new(vec![0; usize::try_from(size).unwrap_or(usize::MAX)]);
    let [a, b, c, d, ..] = id;
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(sector)
        .volume_label(LABEL)
        .volume_id(u32::from_be_bytes([a, b, c, d]));
    fatfs::format_volume(&mut volume, options).map_err(Unmade::Volume)?;
    fill(&mut volume, files)?;
    Ok(volume.into_inner())
}

fn fill(volume: &mut Cursor<Vec<u8>>, files: &BTreeMap<String, Vec<u8>>) -> Result<(), Unmade> {
    let volume = FileSystem::new(volume, FsOptions::new()).map_err(Unmade::Volume)?;
    for (path, content) in files {
        let wrong = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.split('/').any(wrong) {
            return Err(Unmade::Name(path.clone()));
        }
        let root = volume.root_dir();
        for (end, _) in path.match_indices('/') {
            root.create_dir(path.get(..end).unwrap_or_default()).map_err(Unmade::Volume)?;
        }
        let mut file = root.create_file(path).map_err(Unmade::Volume)?;
        file.truncate().and_then(|()| file.write_all(content)).map_err(Unmade::Volume)?;
    }
    volume.unmount().map_err(Unmade::Volume)
}
