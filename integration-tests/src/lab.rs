//! A rack of simulated machines with a mesh and images to deploy: the starting point of most tests.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::cluster::Cluster;
use crate::fault::tell;
use crate::machine::{Machine, SimulatedRack, Spec};
use crate::mesh::{ALLOW_LOOPBACK, Api, Mesh, Options};

/// Maximum duration of one transition of a node in a test: ten times that on an idle host.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Name of the deployed image.
pub const IMAGE: &str = "small";
/// Size of that image in octets.
const IMAGE_SIZE: usize = 8 << 20;
/// Size in octets of a disk for the stock agent: it makes a partition of 64 MiB for any config drive.
pub const STOCK_DISK: u64 = 160 << 20;

/// Rack, mesh and machines. All of it is taken down when it is dropped.
#[derive(Debug)]
pub struct Lab {
    // The order of the fields is the order in which they end.
    mesh: Mesh,
    cluster: Option<Cluster>,
    rack: SimulatedRack,
    options: Options,
    folder: TempDir,
}

impl Lab {
    /// Brings up machines that are off and not enrolled, and a mesh with the images `kernel`, `ramdisk` and [`IMAGE`].
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn up(tag: &str, machines: &[Spec], options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ironmesh-").tempdir()?;
        let rack = SimulatedRack::up(tag, &folder.path().join("rack"), machines)?;
        Self::over(folder, rack, None, options)
    }

    /// The same, with an etcd of three members.
    ///
    /// # Errors
    /// The errors of [`Self::up`].
    pub fn up_over_cluster(tag: &str, machines: &[Spec], options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ironmesh-").tempdir()?;
        let rack = SimulatedRack::up(tag, &folder.path().join("rack"), machines)?;
        let authority = Authority::new()?;
        authority.hand_over(&folder.path().join("mesh"))?;
        let cluster = Cluster::up(tag, &folder.path().join("etcd"), &authority)?;
        let options = Options { etcd: cluster.urls(), ..options };
        Self::over(folder, rack, Some(cluster), options)
    }

    fn over(folder: TempDir, rack: SimulatedRack, cluster: Option<Cluster>, options: Options) -> Result<Self> {
        let images = folder.path().join("images");
        fs::create_dir(&images)?;
        let options = Options { files_from: vec![images], ..options };
        let mesh = Mesh::up(&rack.services, &folder.path().join("mesh"), &options)?;
        let lab = Self { mesh, cluster, rack, options, folder };
        lab.run(async |mut api, lab| {
            for (name, purpose, content) in [
                ("kernel", "kernel", b"a kernel that is never run".repeat(4096)),
                ("ramdisk", "ramdisk", b"a ramdisk that is never unpacked".repeat(4096)),
                (IMAGE, "disk", image()),
            ] {
                let (url, digest) = lab.file(name, &content)?;
                api.register(name, purpose, &url, &digest).await?;
            }
            api.boots_from("kernel", "ramdisk").await?;
            Ok(())
        })?;
        Ok(lab)
    }

    /// Runs `work` in the services' namespace with the mesh's API. If it fails, the machines' consoles are printed.
    ///
    /// # Errors
    /// Errors of `work`.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce(Api, &Self) -> Result<T> + Send) -> Result<T> {
        let done = self.rack.place().enter(async || work(self.mesh.api()?, self).await)?;
        if done.is_err() {
            for machine in self.rack.machines() {
                eprintln!("{}:\n  {}", machine.name, machine.console().join("\n  "));
            }
        }
        done
    }

    /// Writes a file for an image: its URL and its digest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<(String, String)> {
        let path = self.folder.path().join("images").join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(content)));
        Ok((format!("file://{}", path.display()), digest))
    }

    /// Brings up one machine whose ramdisk has the stock agent, runs `work` with it, and takes everything down. The
    /// agent's log is printed if `work` fails.
    ///
    /// # Errors
    /// It does not come up, or errors of `work`.
    pub fn with_stock_agent(tag: &str, work: impl AsyncFnOnce(&Self) -> Result<()> + Send) -> Result<()> {
        let spec = Spec { ironic_agent: Some(stock_agent()), disks: vec![STOCK_DISK], ..Spec::default() };
        // One of two replicas owns the node; the other one refers the agent to it.
        let set = vec![ALLOW_LOOPBACK.to_owned()];
        let lab = Self::up(tag, &[spec], Options { replicas: 2, set, ..Options::default() })?;
        lab.run(async |_, lab| {
            let told = work(lab).await;
            if told.is_err() {
                tell(format_args!("{}", lab.machine("n1")?.agent_log()));
            }
            told
        })?;
        lab.down()
    }

    /// Ends the mesh in order, runs `meanwhile` on its folder, and starts it again.
    ///
    /// # Errors
    /// It does not end or does not start again, or errors of `meanwhile`.
    pub fn again(&mut self, meanwhile: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.mesh.down()?;
        meanwhile(&self.data())?;
        self.mesh = Mesh::up(&self.rack.services, &self.data(), &self.options)?;
        Ok(())
    }

    /// Enrolls all machines and brings each to available.
    ///
    /// # Errors
    /// Errors of the API, or a node does not become available in time.
    pub async fn make_available(&self, api: &mut Api) -> Result<()> {
        for machine in self.rack.machines() {
            api.enrol(machine).await?;
            api.bring(&machine.name, "manage", "", "manageable", WAIT_TIMEOUT).await?;
            api.bring(&machine.name, "provide", "", "available", WAIT_TIMEOUT).await?;
        }
        Ok(())
    }

    /// The mesh.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Its etcd, if that is a [`Cluster`].
    ///
    /// # Errors
    /// It is not.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("etcd is that of ironmesh up")
    }

    /// The mesh's folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("mesh")
    }

    /// The rack.
    pub fn rack(&self) -> &SimulatedRack {
        &self.rack
    }

    /// The machine of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        self.rack.machine(name)
    }

    /// Ends everything, and checks that no process of the mesh is left.
    ///
    /// # Errors
    /// A process is left.
    pub fn down(self) -> Result<()> {
        self.mesh.down()
    }
}

/// `ironic-python-agent`, as scripts/test installs it.
#[must_use]
pub fn stock_agent() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/bin/ironic-python-agent")
}

/// A disk image with an MBR, one partition, and content in which every part differs from the others.
pub fn image() -> Vec<u8> {
    let mut image = vec![0; IMAGE_SIZE];
    let mut random = 1_u32;
    for (sector, octets) in image.chunks_exact_mut(512).enumerate().skip(2048) {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        octets.fill(random.to_be_bytes()[0]);
        octets.iter_mut().zip(sector.to_be_bytes()).for_each(|(octet, own)| *octet = own);
    }
    // One Linux partition (type 0x83) from sector 2048 to the end, and the boot signature.
    let sectors = u32::try_from(IMAGE_SIZE / 512 - 2048).unwrap_or(0);
    let entry = [&[0x80, 0, 0, 0, 0x83, 0, 0, 0][..], &2048_u32.to_le_bytes(), &sectors.to_le_bytes()].concat();
    image.iter_mut().skip(446).zip(entry).for_each(|(octet, own)| *octet = own);
    image.iter_mut().skip(510).zip([0x55, 0xaa]).for_each(|(octet, own)| *octet = own);
    image
}

/// Whether a disk begins with the image, except for the partition table, which the config drive changes.
///
/// # Errors
/// The disk cannot be read.
pub fn holds_image(disk: &Path, image: &[u8]) -> Result<bool> {
    let content = fs::read(disk).with_context(|| disk.display().to_string())?;
    let parts = |octets: &[u8]| Some((octets.get(..446)?.to_vec(), octets.get(512..image.len())?.to_vec()));
    Ok(parts(&content).is_some() && parts(&content) == parts(image))
}
