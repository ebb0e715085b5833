//! A rack of QEMU machines with real firmware and a mesh: the starting point of tests with real firmware.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use domain::{power::Power, service::Service};
use proto::{
    api::v1::{CreateImageRequest, CreateNodeRequest, ImageEncoding},
    common::v1::BootMode,
    convert::time::wire_duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    bmc::{Caught, qemu::Responder},
    check::Deed,
    fault::{Point, Subject, World, firmware_points},
    mesh::{Api, Mesh, Options, beside, purpose},
    rack::{
        Node, Plan, Rack,
        chassis::Chassis,
        console::Console,
        machine::{Behind, Firmware},
    },
};

/// Maximum duration of one step of a machine while others are busy (UEFI alone took 53 s; this is ten times as long).
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(600);
/// Name of the deployed image.
pub const IMAGE: &str = "image";
/// Line that a deployed system prints on its console when it is up.
pub const UP: &str = "IRONMESH-OS up";
/// Maximum time from active, when the system has phoned home, to that line.
const SPEAKS: Duration = Duration::from_secs(60);
/// Interval between two checks of a console.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Offsets in octets of the image's only partition, and of the backup partition table at its end: a config drive
/// changes both tables (UEFI 2.10 §5.3).
const PARTITION: usize = 1 << 20;
const SECOND_TABLE: usize = 33 * 512;

/// Rack, mesh and machines. All of it is taken down when it is dropped.
#[derive(Debug)]
pub struct FirmwareLab {
    // The order of the fields is the order in which they end.
    mesh: Mesh,
    machines: Vec<Machine>,
    rack: Guard,
    folder: TempDir,
}

/// A rack that is taken down however the test ends.
#[derive(Debug)]
struct Guard(Rack);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("cannot take the rack down: {error:#}");
        }
    }
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    node: Node,
    /// Its BMC, if it is ours and not `ipmi_sim`.
    bmc: Option<Responder>,
    chassis: Chassis,
}

/// Machines of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machines {
    /// Firmware of each, `n1` first.
    pub firmware: Vec<Firmware>,
    /// Kind of their BMCs.
    pub behind: Behind,
    /// Memory of each in MiB; `None` for the requirement of its firmware.
    pub memory_mib: Option<u32>,
    /// Disk of each in MiB.
    pub disk_mib: u32,
}

impl Machines {
    /// The smallest machines that the small image permits.
    #[must_use]
    pub fn small(firmware: &[Firmware], behind: Behind) -> Self {
        Self { firmware: firmware.to_vec(), behind, memory_mib: None, disk_mib: 128 }
    }
}

impl FirmwareLab {
    /// Brings up machines that are off, and a mesh.
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn up(tag: &str, machines: Machines, options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("im-").tempdir()?;
        let Machines { firmware: nodes, behind, memory_mib, disk_mib } = machines;
        let (state, program) = (folder.path().join("rack"), beside("virtual-rack")?);
        let plan = Plan { tag: tag.to_owned(), state, program, nodes, behind, memory_mib, disk_mib };
        let rack = Guard(Rack::up(&plan)?);
        let machines = rack.0.nodes.iter().map(|node| Machine::begin(node, &plan.program)).collect::<Result<_>>()?;
        let images = built("ramdisk")?.parent().context("a folder")?.to_owned();
        let options = Options { files_from: vec![images], ..options };
        let mesh = Mesh::up(&rack.0.services, &folder.path().join("mesh"), &options)?;
        Ok(Self { mesh, machines, rack, folder })
    }

    /// Runs `work` in the services' namespace with the mesh's API.
    ///
    /// # Errors
    /// Errors of `work`.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce(Api, &Self) -> Result<T> + Send) -> Result<T> {
        self.rack.0.services().enter(async || work(self.mesh.api()?, self).await)?
    }

    /// Registers the ramdisk and sets it as the rack's.
    ///
    /// # Errors
    /// Errors of the API.
    pub async fn boots_ramdisk(&self, api: &mut Api) -> Result<()> {
        register(api, "kernel", "kernel", &built("ramdisk/vmlinuz")?).await?;
        register(api, "ramdisk", "ramdisk", &built("ramdisk/initrd.img")?).await?;
        Ok(api.boots_from("kernel", "ramdisk").await?)
    }

    /// Registers the ramdisk and this file as [`IMAGE`], and brings all nodes to available.
    ///
    /// # Errors
    /// Errors of the API, or a node does not become available.
    pub async fn make_available(&self, api: &mut Api, image: &Path) -> Result<()> {
        self.boots_ramdisk(api).await?;
        register(api, IMAGE, "disk", image).await?;
        let lives = self.machines.iter().map(|machine| {
            let mut api = api.clone();
            async move {
                api.nodes.create_node(enrolment(&machine.node)).await?;
                api.bring(machine.name(), "manage", "", "manageable", WAIT_TIMEOUT).await?;
                api.bring(machine.name(), "provide", "", "available", WAIT_TIMEOUT).await
            }
        });
        futures::future::try_join_all(lives).await.map(drop)
    }

    /// The rack.
    pub fn rack(&self) -> &Rack {
        &self.rack.0
    }

    /// Ends everything, and checks that no process of the mesh is left.
    ///
    /// # Errors
    /// A process is left.
    pub fn down(self) -> Result<()> {
        self.mesh.down()
    }
}

impl World for FirmwareLab {
    type Machine = Machine;

    fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("mesh")
    }

    fn machines(&self) -> &[Machine] {
        &self.machines
    }
}

impl Machine {
    fn begin(node: &Node, program: &Path) -> Result<Self> {
        let bmc = match node.machine.behind {
            Behind::IpmiSim => None,
            Behind::Responder => Some(Responder::begin(node, program)?),
        };
        Ok(Self { node: node.clone(), bmc, chassis: Chassis::of(node.machine.clone(), program) })
    }

    /// Waits for the first console line with these words.
    async fn heard(&self, words: &str, timeout: Duration) -> Result<String> {
        let (mut console, begun) = (Console::open(&self.node.console), Instant::now());
        loop {
            if let Some(line) = console.look_for(words)? {
                return Ok(line);
            }
            if begun.elapsed() > timeout {
                let last = console.last_lines();
                bail!("{} did not say {words:?} within {timeout:?}; it said last:\n{last}", self.name());
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Subject for Machine {
    fn name(&self) -> &str {
        &self.node.machine.name
    }

    fn points(&self, service: Service) -> Vec<Point> {
        let can = |point: &&Point| self.bmc.is_some() || !matches!(point, Point::Unanswered(_));
        firmware_points(service).iter().filter(can).copied().collect()
    }

    fn deeds(&self) -> Vec<Deed> {
        self.bmc.as_ref().map_or_else(Vec::new, |bmc| bmc.bmc().deeds())
    }

    fn trap(&self, number: usize) -> Result<Caught> {
        Ok(self.bmc.as_ref().context("ipmi_sim keeps no answer back")?.bmc().trap(number))
    }

    fn power(&self) -> Result<Power> {
        Ok(if self.chassis.is_on()? { Power::On } else { Power::Off })
    }

    async fn says(&self, words: &str, timeout: Duration) -> Result<()> {
        self.heard(words, timeout).await.map(drop)
    }

    async fn runs(&self, image: &[u8]) -> Result<()> {
        let disk = self.node.machine.path("disk.img");
        ensure!(holds_partition(&disk, image)?, "the disk is not the image");
        let firmware = match self.node.machine.firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        };
        let line = self.heard(UP, SPEAKS).await?;
        let itself = format!(" fw={firmware} host={} ", self.name());
        ensure!(line.contains(&itself), "the system is not what was deployed, {itself:?}: {line}");
        Ok(())
    }
}

/// A file that scripts/test builds.
///
/// # Errors
/// It does not exist.
pub fn built(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test").join(name);
    path.canonicalize().with_context(|| format!("{} is not there; scripts/test builds it", path.display()))
}

/// The content of one of our images, unpacked.
///
/// # Errors
/// gzip(1) cannot unpack it.
pub fn unpacked(image: &Path) -> Result<Vec<u8>> {
    let output = Command::new("gzip").arg("-dc").arg(image).output()?;
    ensure!(output.status.success(), "{}: {}", image.display(), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// Whether a disk begins with the image's boot code and has its partition.
fn holds_partition(disk: &Path, image: &[u8]) -> Result<bool> {
    let content = fs::read(disk).with_context(|| disk.display().to_string())?;
    let end = image.len().saturating_sub(SECOND_TABLE);
    let parts = |octets: &[u8]| Some((octets.get(..446)?.to_vec(), octets.get(PARTITION..end)?.to_vec()));
    Ok(parts(&content).is_some() && parts(&content) == parts(image))
}

async fn register(api: &mut Api, name: &str, kind: &str, file: &Path) -> Result<()> {
    let sum = Command::new("sha256sum").arg(file).output()?;
    let sum = String::from_utf8(sum.stdout)?;
    let digest = format!("sha256:{}", sum.split_whitespace().next().context("no digest")?);
    let request = CreateImageRequest {
        name: name.to_owned(),
        url: format!("file://{}", file.display()),
        digest,
        encoding: if kind == "disk" { ImageEncoding::Gzip } else { ImageEncoding::Unspecified }.into(),
        purpose: purpose(kind),
        unpacked_size: 0,
    };
    api.images.create_image(request).await?;
    Ok(())
}

fn enrolment(node: &Node) -> CreateNodeRequest {
    let boot_mode = match node.machine.firmware {
        Firmware::Bios => BootMode::Bios,
        Firmware::Uefi => BootMode::Uefi,
    };
    CreateNodeRequest {
        name: node.machine.name.clone(),
        bmc_address: format!("{}:{}", node.bmc.address, node.bmc.port),
        bmc_user: node.bmc.user.clone(),
        bmc_password: node.bmc.password.clone(),
        boot_mode: boot_mode.into(),
        macs: vec![node.machine.mac.clone()],
        sign_of_life_timeout: Some(wire_duration(Duration::from_secs(300))),
        ..Default::default()
    }
}
