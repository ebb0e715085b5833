//! Converts QCOW2 images to raw ones, which agents write as they are.

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{
    failure::Cause,
    image::{
        Digest,
        format::{FileFormat, ImageFormatError, check_unpacked},
    },
};
use durable_file::Access;
use sha2::{Digest as _, Sha256};

use super::{Cache, Cached, Download, DownloadError, content::Head, free_space::SpaceCheck, room::SpaceError};
use crate::qcow2::{Piece, Qcow2Error, disk_size, read_disk};

/// Maximum number of concurrent conversions. Each uses a core and a thread for blocking work.
pub(super) const MAX_CONVERSIONS: usize = 2;
/// Extension of the file that names the digest of a converted image.
const MARK: &str = "converted";
/// Bytes of the disk between two reports of the progress.
const PROGRESS_INTERVAL: u64 = 16 << 20;
/// Zeros that are hashed at a time.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
/// Number of the next temporary file.
static NEXT_PART: AtomicU64 = AtomicU64::new(0);

/// Reason that an image was not converted.
#[derive(Debug, thiserror::Error)]
enum ConversionError {
    /// The image cannot be read.
    #[error(transparent)]
    Qcow2(#[from] Qcow2Error),
    /// The content is no raw disk.
    #[error(transparent)]
    Format(#[from] ImageFormatError),
    /// The content would use the reserve of the file system.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The content cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The service ends.
    #[error("the service is stopping")]
    Stopping,
}

impl ConversionError {
    fn of_image(self, name: &str) -> DownloadError {
        match self {
            Self::Qcow2(Qcow2Error::Unsupported(_) | Qcow2Error::Damaged(_)) | Self::Format(_) => DownloadError {
                cause: Cause::ImageFormat,
                text: format!("cannot write image {name} to a disk: {self}"),
                is_final: true,
            },
            Self::Qcow2(Qcow2Error::Io(_)) | Self::Space(_) | Self::Io(_) | Self::Stopping => {
                DownloadError::cache(format!("cannot convert image {name}: {self}"))
            }
        }
    }
}

impl Cache {
    /// Converts the file with this digest. Its place in the cache is taken by a mark with the digest of the raw content.
    pub(super) async fn convert(&self, digest: &Digest, name: &str) -> Result<Cached, DownloadError> {
        let stopping = || ConversionError::Stopping.of_image(name);
        let permit = tokio::select! {
            permit = Arc::clone(&self.conversions).acquire_owned() => permit.map_err(|_| stopping())?,
            () = self.host.stopping() => return Err(stopping()),
        };
        let (cache, digest, name) = (self.clone(), digest.clone(), name.to_owned());
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let part = cache.conversion_part(&digest);
            let converted = cache.convert_now(&digest, &name, &part);
            converted.inspect_err(|_| drop(fs::remove_file(&part)))
        });
        working.await.map_err(|error| DownloadError::cache(format!("cannot convert an image: {error}")))?
    }

    /// Returns the path of a temporary file that no other conversion has.
    pub(super) fn conversion_part(&self, digest: &Digest) -> PathBuf {
        let number = NEXT_PART.fetch_add(1, Ordering::Relaxed);
        self.path(digest).with_extension(format!("{number}.raw-part"))
    }

    /// Converts the file in the calling thread. If that fails, `part` is left.
    pub(super) fn convert_now(&self, digest: &Digest, name: &str, part: &Path) -> Result<Cached, DownloadError> {
        let disk = |error: io::Error| ConversionError::Io(error).of_image(name);
        let mut source = File::open(self.path(digest)).map_err(disk)?;
        let written = RawWriter::write(self, digest, &mut source, part);
        let (size, hex) = written.map_err(|error| error.of_image(name))?;
        let raw: Digest = format!("sha256:{hex}").parse().map_err(|error| disk(io::Error::other(error)))?;
        self.store(part, &raw, name)?;
        let mark = mark_path(&self.path(digest));
        let marked = durable_file::write(&mark, raw.to_string().as_bytes(), Access::Owner);
        // The image goes last: until then it can be converted again.
        marked.and_then(|()| durable_file::remove(&self.path(digest))).map_err(|error| disk(error.into()))?;
        drop(fs::remove_file(self.note_path(digest)));
        self.usage.forget(digest);
        self.add_unless_known(&raw, Cached { size, format: FileFormat::Raw, raw: None });
        tracing::info!(%digest, %raw, size, name, "converted a QCOW2 image");
        Ok(Cached { size, format: FileFormat::Qcow2, raw: Some(raw) })
    }

    /// Reads the mark of an earlier conversion. Returns `None` if the raw content is not in the cache any more.
    pub(super) fn converted(&self, mark: &Path) -> Option<(Digest, Cached)> {
        let digest = mark.file_stem()?.to_str()?.parse().ok()?;
        let raw: Digest = fs::read_to_string(mark).ok()?.parse().ok()?;
        let size = fs::metadata(self.path(&raw)).ok()?.len();
        Some((digest, Cached { size, format: FileFormat::Qcow2, raw: Some(raw) }))
    }
}

/// Returns the path of the mark of a file.
pub(super) fn mark_path(file: &Path) -> PathBuf {
    file.with_extension(MARK)
}

/// Whether a path is that of a mark.
pub(super) fn is_mark(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == MARK)
}

/// Writes raw content to a file, with holes for zeros.
struct RawWriter<'c> {
    cache: &'c Cache,
    /// Digest of the QCOW2 image, whose progress is reported.
    digest: &'c Digest,
    out: File,
    hash: Sha256,
    head: Head,
    space: SpaceCheck,
    /// Bytes of the disk so far, and in all.
    done: u64,
    total: u64,
}

impl<'c> RawWriter<'c> {
    /// Writes the content of a QCOW2 image. Returns its size in bytes and its SHA-256.
    fn write(
        cache: &'c Cache,
        digest: &'c Digest,
        source: &mut File,
        part: &Path,
    ) -> Result<(u64, String), ConversionError> {
        let total = disk_size(source)?;
        // The size of the content without its zeros is unknown.
        let mut space = SpaceCheck::new(None);
        space.write(0).map_or(Ok(()), |needed| cache.make_room(needed))?;
        let (out, hash, head) = (File::create(part)?, Sha256::new(), Head::default());
        let mut writer = Self { cache, digest, out, hash, head, space, done: 0, total };
        read_disk(source, |piece| match piece {
            Piece::Data(data) if data.iter().any(|octet| *octet != 0) => writer.data(data),
            Piece::Data(data) => writer.zeros(data.len() as u64),
            Piece::Zeros(count) => writer.zeros(count),
        })?;
        writer.finish()
    }

    fn data(&mut self, data: &[u8]) -> Result<(), ConversionError> {
        self.count(data)?;
        self.space.write(data.len() as u64).map_or(Ok(()), |needed| self.cache.make_room(needed))?;
        Ok(self.out.write_all(data)?)
    }

    fn zeros(&mut self, count: u64) -> Result<(), ConversionError> {
        let mut left = count;
        while left > 0 {
            let size = left.min(ZEROS.len() as u64);
            self.count(ZEROS.get(..usize::try_from(size).unwrap_or(0)).unwrap_or_default())?;
            left -= size;
        }
        self.out.seek(SeekFrom::Current(i64::try_from(count).unwrap_or(i64::MAX)))?;
        Ok(())
    }

    /// Hashes content, checks the start of it, and reports the progress.
    fn count(&mut self, content: &[u8]) -> Result<(), ConversionError> {
        if self.cache.host.is_stopping() {
            return Err(ConversionError::Stopping);
        }
        if let Some(head) = self.head.add(content) {
            check_unpacked(head)?;
        }
        self.hash.update(content);
        let before = self.done / PROGRESS_INTERVAL;
        self.done += content.len() as u64;
        if self.done / PROGRESS_INTERVAL > before {
            self.cache.set(self.digest, Download::InProgress { done: self.done, total: self.total });
        }
        Ok(())
    }

    fn finish(self) -> Result<(u64, String), ConversionError> {
        if let Some(head) = self.head.short() {
            check_unpacked(head)?;
        }
        self.out.set_len(self.done)?;
        self.out.sync_all()?;
        Ok((self.done, hex::encode(self.hash.finalize())))
    }
}
