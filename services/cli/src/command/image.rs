//! Images: what is written to disks and booted from the network.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use domain::image::{
    self, Digest,
    format::{Description, HEAD_BYTES, check_boot_file, check_content},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::api::v1::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image, ImageEncoding, ImagePurpose, ListImagesRequest,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answered;
use crate::{
    call::Api,
    error::Error,
    human::{octets, size},
    json,
    once::once,
    output::Screen,
    pages, table, words,
};

/// Octets read at a time.
const PIECE: usize = 1 << 20;

/// What can be asked of images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Register an image by its digest.
    ///
    /// Nothing is copied now: each rack's storage-service pulls the image when it is first wanted and verifies it by its
    /// digest, and the agent verifies it again while it writes. A file must therefore be readable by the storage-service
    /// under the same path; its digest is computed here unless it is given.
    #[command(
        after_help = "Examples:\n  ironmesh image create debian-12 --file ./debian-12.raw\n  ironmesh image create debian-13 \
                            --url https://images.example/debian-13.raw.zst \\\n      --digest sha256:9f86d0… --encoding zstd\n  \
                            ironmesh image create agent-kernel --file ./kernel --purpose kernel"
    )]
    Create(Create),
    /// List images.
    #[command(after_help = "Example:\n  ironmesh image list")]
    List,
    /// Show an image.
    #[command(after_help = "Example:\n  ironmesh image show debian-12")]
    Show(Named),
    /// Delete an image that is not in use.
    #[command(after_help = "Example:\n  ironmesh image delete debian-12")]
    Delete(Named),
}

/// Which image.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name or id.
    image: String,
}

/// A new image.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name, unique.
    name: String,
    /// Where it is pulled from: http:, https: or file:.
    #[arg(long, required_unless_present = "file", requires = "digest")]
    url: Option<String>,
    /// A file that the storage-service can read under the same path.
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    file: Option<PathBuf>,
    /// The file's digest, as sha256:HEX or sha512:HEX.
    #[arg(long)]
    digest: Option<Digest>,
    /// How it is packed; it is unpacked while it is written. Its name tells, if it ends in .gz, .zst or .qcow2.
    #[arg(long, value_enum)]
    encoding: Option<Encoding>,
    /// What it is for.
    #[arg(long, value_enum, default_value_t = Purpose::Disk)]
    purpose: Purpose,
    /// Its size once unpacked, as 2GiB; compared with the disk before anything is written. Known for a plain file.
    #[arg(long, value_name = "SIZE", value_parser = octets)]
    unpacked_size: Option<u64>,
}

/// How an image is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// QEMU's format; it is converted when it is pulled.
    Qcow2,
}

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Written to a whole disk.
    Disk,
    /// Booted from the network.
    Kernel,
    /// The initial file system beside a kernel.
    Ramdisk,
}

impl From<Encoding> for ImageEncoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Plain => Self::Plain,
            Encoding::Gzip => Self::Gzip,
            Encoding::Zstd => Self::Zstd,
            Encoding::Qcow2 => Self::Qcow2,
        }
    }
}

impl From<Purpose> for ImagePurpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Disk => Self::Disk,
            Purpose::Kernel => Self::Kernel,
            Purpose::Ramdisk => Self::Ramdisk,
        }
    }
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: ImageCommand) -> Result<(), Error> {
    match command {
        ImageCommand::Create(create) => {
            let request = request(screen, create).await?;
            show(
                screen,
                &answered(once(request, async |request| api.images().create_image(request).await).await?.image)?,
            )
        }
        ImageCommand::List => {
            let page = async |page_token| {
                let request = ListImagesRequest { page_token, ..Default::default() };
                let answer = api.images().list_images(request).await?.into_inner();
                Ok((answer.images, answer.next_page_token))
            };
            list(screen, &pages::all(page).await?)
        }
        ImageCommand::Show(Named { image }) => {
            show(screen, &answered(api.images().get_image(GetImageRequest { image }).await?.into_inner().image)?)
        }
        ImageCommand::Delete(Named { image }) => {
            once(DeleteImageRequest { image: image.clone(), ..Default::default() }, async |request| {
                api.images().delete_image(request).await
            })
            .await?;
            screen.show(|| format!("{image}: deleted"), || json!({ "image": image, "deleted": true }))
        }
    }
}

async fn request(screen: &Screen, create: Create) -> Result<CreateImageRequest, Error> {
    let source = create.file.as_deref().and_then(Path::to_str).or(create.url.as_deref()).unwrap_or_default();
    let encoding = encoding(source, create.encoding, create.purpose)?;
    let mut request = CreateImageRequest {
        name: create.name,
        url: create.url.unwrap_or_default(),
        digest: create.digest.as_ref().map(Digest::to_string).unwrap_or_default(),
        encoding: ImageEncoding::from(encoding).into(),
        purpose: ImagePurpose::from(create.purpose).into(),
        unpacked_size: create.unpacked_size.unwrap_or(0),
    };
    if let Some(file) = create.file {
        let path = file.canonicalize().with_context(|| format!("cannot find the image {}", file.display()))?;
        let octets = path.metadata().map(|metadata| metadata.len()).unwrap_or(0);
        check_head(&path, encoding, create.purpose)?;
        request.url = format!("file://{}", path.to_str().context("the image's path is not UTF-8; rename it")?);
        if request.digest.is_empty() {
            request.digest = digest(screen, path, octets).await?;
        }
        if encoding == Encoding::Plain && request.unpacked_size == 0 {
            request.unpacked_size = octets;
        }
    }
    Ok(request)
}

/// How an image is packed: as it is said, or as its name says, unless the two exclude each other.
fn encoding(source: &str, named: Option<Encoding>, purpose: Purpose) -> anyhow::Result<Encoding> {
    if purpose != Purpose::Disk {
        return Ok(named.unwrap_or(Encoding::Plain));
    }
    let explicit = named.map(image::Encoding::from);
    let described = Description { url: source, encoding: explicit, ..Description::default() };
    described.encoding().map(Encoding::from).with_context(|| format!("cannot register {source}"))
}

/// Compares the start of a file with what it is registered as.
fn check_head(path: &Path, encoding: Encoding, purpose: Purpose) -> anyhow::Result<()> {
    let told = || format!("cannot register {}", path.display());
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head)).with_context(told)?;
    let checked = match purpose {
        Purpose::Disk => check_content(encoding.into(), &head),
        Purpose::Kernel | Purpose::Ramdisk => check_boot_file(&head),
    };
    checked.with_context(told)
}

impl From<Encoding> for image::Encoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Plain => Self::Plain,
            Encoding::Gzip => Self::Gzip,
            Encoding::Zstd => Self::Zstd,
            Encoding::Qcow2 => Self::Qcow2,
        }
    }
}

impl From<image::Encoding> for Encoding {
    fn from(encoding: image::Encoding) -> Self {
        match encoding {
            image::Encoding::Plain => Self::Plain,
            image::Encoding::Gzip => Self::Gzip,
            image::Encoding::Zstd => Self::Zstd,
            image::Encoding::Qcow2 => Self::Qcow2,
        }
    }
}

/// Computes a file's digest, showing how far it is.
async fn digest(screen: &Screen, path: PathBuf, octets: u64) -> anyhow::Result<String> {
    let bar = ProgressBar::with_draw_target(Some(octets), target(screen));
    bar.set_style(ProgressStyle::with_template("sha256 {bar:30} {bytes}/{total_bytes} {eta}")?);
    let reading = tokio::task::spawn_blocking(move || {
        let told = || format!("cannot read the image {}", path.display());
        let (mut file, mut hash) = (File::open(&path).with_context(told)?, Sha256::new());
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).with_context(told)?;
            if read == 0 {
                bar.finish_and_clear();
                return Ok(format!("sha256:{}", hex::encode(hash.finalize())));
            }
            hash.update(piece.get(..read).unwrap_or_default());
            bar.inc(u64::try_from(read).unwrap_or(0));
        }
    });
    reading.await.map_err(|error| anyhow!(error))?
}

fn target(screen: &Screen) -> ProgressDrawTarget {
    if screen.has_bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn list(screen: &Screen, images: &[Image]) -> Result<(), Error> {
    let row = |image: &Image| {
        let digest: String = image.digest.chars().take(19).collect();
        let digest = if digest.len() < image.digest.len() { format!("{digest}…") } else { digest };
        let unpacked = size(image.unpacked_size);
        let (purpose, encoding) = (words::purpose(image.purpose()), words::encoding(image.encoding()));
        vec![image.name.clone(), purpose.to_owned(), encoding.to_owned(), unpacked, digest, image.url.clone()]
    };
    screen.show(
        || table::list(screen, &["IMAGE", "PURPOSE", "ENCODING", "SIZE", "DIGEST", "URL"], images.iter().map(row)),
        || images.iter().map(json::image).collect::<Value>(),
    )
}

fn show(screen: &Screen, image: &Image) -> Result<(), Error> {
    let facts = || {
        [
            ("image", image.name.clone()),
            ("id", image.id.clone()),
            ("purpose", words::purpose(image.purpose()).to_owned()),
            ("encoding", words::encoding(image.encoding()).to_owned()),
            ("unpacked size", size(image.unpacked_size)),
            ("digest", image.digest.clone()),
            ("url", image.url.clone()),
        ]
    };
    screen.show(|| table::facts(screen, facts()), || json::image(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_registered_as_what_its_name_says_or_refused() {
        for (source, named, purpose, right) in [
            ("a.raw", None, Purpose::Disk, Ok(Encoding::Plain)),
            ("a.raw.gz", None, Purpose::Disk, Ok(Encoding::Gzip)),
            ("https://h/A.RAW.ZST?x=1", None, Purpose::Disk, Ok(Encoding::Zstd)),
            ("a.qcow2", None, Purpose::Disk, Ok(Encoding::Qcow2)),
            ("image", Some(Encoding::Gzip), Purpose::Disk, Ok(Encoding::Gzip)),
            ("a.raw.xz", None, Purpose::Disk, Err("packed with xz")),
            ("a.vmdk", None, Purpose::Disk, Err("qemu-img convert -O raw")),
            ("a.raw.gz", Some(Encoding::Plain), Purpose::Disk, Err("packed with gzip")),
            ("a.raw.gz", Some(Encoding::Zstd), Purpose::Disk, Err("packed with gzip")),
            // A ramdisk stays packed: the kernel unpacks it.
            ("initrd.gz", None, Purpose::Ramdisk, Ok(Encoding::Plain)),
            ("initrd.xz", None, Purpose::Ramdisk, Ok(Encoding::Plain)),
        ] {
            match (encoding(source, named, purpose), right) {
                (Ok(encoding), Ok(right)) => assert_eq!(encoding, right, "{source}"),
                (Err(error), Err(right)) => assert!(format!("{error:#}").contains(right), "{source}: {error:#}"),
                (got, _) => panic!("{source}: {got:?}"),
            }
        }
    }
}
