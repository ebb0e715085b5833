//! Converts QCOW2 images to raw ones, which agents write as they are.

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use domain::{
    failure::Cause,
    image::{Digest, format::FileFormat},
};
use sha2::{Digest as _, Sha256};

use super::{Cache, Cached, DownloadError};
use crate::qcow2::{Piece, Qcow2Error, read_disk};

/// Extension of the file that names the digest of a converted image.
const MARK: &str = "converted";
/// Zeros that are hashed at a time.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl Cache {
    /// Converts the file with this digest. Its place in the cache is taken by a mark with the digest of the raw content.
    pub(super) async fn convert(&self, digest: &Digest, name: &str) -> Result<Cached, DownloadError> {
        let (cache, digest, name) = (self.clone(), digest.clone(), name.to_owned());
        let working = tokio::task::spawn_blocking(move || {
            let part = cache.path(&digest).with_extension("raw-part");
            let converted = cache.convert_now(&digest, &name, &part);
            converted.inspect_err(|_| drop(fs::remove_file(&part)))
        });
        working.await.map_err(|error| DownloadError::disk(format!("cannot convert an image: {error}")))?
    }

    fn convert_now(&self, digest: &Digest, name: &str, part: &Path) -> Result<Cached, DownloadError> {
        let disk = |error: io::Error| DownloadError::disk(format!("cannot convert image {name}: {error}"));
        let mut source = File::open(self.path(digest)).map_err(disk)?;
        let (size, hex) = write_raw(&mut source, part).map_err(|error| match error {
            Qcow2Error::Io(error) => disk(error),
            error @ (Qcow2Error::Unsupported(_) | Qcow2Error::Damaged(_)) => DownloadError {
                cause: Cause::ImageFormat,
                text: format!("cannot write image {name} to a disk: {error}"),
                is_final: true,
            },
        })?;
        let raw: Digest = format!("sha256:{hex}").parse().map_err(|error| disk(io::Error::other(error)))?;
        fs::rename(part, self.path(&raw)).map_err(disk)?;
        fs::write(self.path(digest).with_extension(MARK), raw.to_string()).map_err(disk)?;
        fs::remove_file(self.path(digest)).map_err(disk)?;
        self.add(&raw, Cached { size, format: FileFormat::Raw, raw: None });
        tracing::info!(%digest, %raw, size, name, "converted a QCOW2 image");
        Ok(Cached { size, format: FileFormat::Qcow2, raw: Some(raw) })
    }

    /// Reads the mark of an earlier conversion. Returns `None` if the raw content is not in the cache any more.
    pub(super) fn converted(&self, mark: &Path) -> Option<(Digest, Cached)> {
        let digest =
            mark.file_stem()?.to_str()?.parse().ok().filter(|_| mark.extension().is_some_and(|it| it == MARK))?;
        let raw: Digest = fs::read_to_string(mark).ok()?.parse().ok()?;
        let size = fs::metadata(self.path(&raw)).ok()?.len();
        Some((digest, Cached { size, format: FileFormat::Qcow2, raw: Some(raw) }))
    }
}

/// Writes the raw content to a file, with holes for zeros. Returns its size in bytes and its SHA-256.
fn write_raw(source: &mut File, path: &Path) -> Result<(u64, String), Qcow2Error> {
    let (mut out, mut hash) = (File::create(path)?, Sha256::new());
    let size = read_disk(source, |piece| {
        let zeros = match piece {
            Piece::Data(data) if data.iter().any(|octet| *octet != 0) => {
                hash.update(data);
                return out.write_all(data);
            }
            Piece::Data(data) => data.len() as u64,
            Piece::Zeros(count) => count,
        };
        let mut left = zeros;
        while left > 0 {
            let count = left.min(ZEROS.len() as u64);
            hash.update(ZEROS.get(..usize::try_from(count).unwrap_or(0)).unwrap_or_default());
            left -= count;
        }
        out.seek(SeekFrom::Current(i64::try_from(zeros).unwrap_or(i64::MAX))).map(drop)
    })?;
    out.set_len(size)?;
    out.sync_all()?;
    Ok((size, hex::encode(hash.finalize())))
}
