//! Images: what is written to disks and booted from the network.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use domain::image::Digest;
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
    /// How it is packed; it is unpacked while it is written.
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

/// A name that says "packed" and an order that does not would write the packed octets to a disk.
fn encoding(source: &str, named: Option<Encoding>, purpose: Purpose) -> anyhow::Result<Encoding> {
    let packed = [(".gz", "gzip"), (".zst", "zstd"), (".zstd", "zstd")];
    match (named, packed.iter().find(|(ending, _)| source.ends_with(ending))) {
        (Some(encoding), _) => Ok(encoding),
        (None, Some((_, word))) if purpose == Purpose::Disk => {
            bail!("{source} looks packed: say --encoding {word}, or --encoding plain to write it as it is")
        }
        (None, _) => Ok(Encoding::Plain),
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
    fn a_disk_that_looks_packed_is_not_taken_for_plain() {
        assert!(encoding("a.raw.gz", None, Purpose::Disk).unwrap_err().to_string().contains("--encoding gzip"));
        assert_eq!(encoding("a.raw.gz", Some(Encoding::Plain), Purpose::Disk).unwrap(), Encoding::Plain);
        // A ramdisk stays packed: the kernel unpacks it.
        assert_eq!(encoding("initrd.gz", None, Purpose::Ramdisk).unwrap(), Encoding::Plain);
        assert_eq!(encoding("a.raw", None, Purpose::Disk).unwrap(), Encoding::Plain);
    }
}
