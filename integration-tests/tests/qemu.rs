//! Real firmware: QEMU machines with SeaBIOS and OVMF behind `ipmi_sim` BMCs, network-booted, written and brought up by
//! the whole mesh as an operator runs it; and foreign clients that look at it. Needs root, what `scripts/test` installs
//! and builds (target/test), and the `ironmesh` binary.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use integration_tests::{
    mesh::{Api, Mesh, Options},
    rack::{
        Node, Plan, Rack,
        console::Console,
        machine::{Behind, Firmware},
    },
};
use proto::{
    api::v1::{CreateNodeRequest, ProvisionNodeRequest},
    common::v1::BootMode,
};
use tempfile::TempDir;

/// How long a deploy may take on a machine that is busy with others (LAB: UEFI alone 53 s; ten times that is enough).
const PATIENCE: Duration = Duration::from_secs(600);

/// Taken down when the test ends, however it ends.
struct Guard(Rack);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("cannot take the rack down: {error:#}");
        }
    }
}

fn built(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test").join(name);
    path.canonicalize().with_context(|| format!("{} is not there; scripts/test builds it", path.display()))
}

async fn register(api: &mut Api, name: &str, purpose: &str, file: &Path) -> Result<()> {
    let sum = std::process::Command::new("sha256sum").arg(file).output()?;
    let sum = String::from_utf8(sum.stdout)?;
    let digest = format!("sha256:{}", sum.split_whitespace().next().context("no digest")?);
    let request = proto::api::v1::CreateImageRequest {
        name: name.to_owned(),
        url: format!("file://{}", file.display()),
        digest,
        encoding: if purpose == "disk" { "gzip".to_owned() } else { String::new() },
        purpose: purpose.to_owned(),
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
        wait_for_life_seconds: 300,
        ..Default::default()
    }
}

/// A rack of machines that are off, and a mesh over it.
struct World {
    // In this order they end.
    mesh: Mesh,
    rack: Guard,
    folder: TempDir,
}

impl World {
    fn up(tag: &str, nodes: &[Firmware], memory_mib: Option<u32>, disk_mib: u32) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("im-").tempdir()?;
        let plan = Plan {
            tag: tag.to_owned(),
            state: folder.path().join("rack"),
            program: env!("CARGO_BIN_EXE_virtual-rack").into(),
            nodes: nodes.to_vec(),
            behind: Behind::IpmiSim,
            memory_mib,
            disk_mib,
        };
        let rack = Guard(Rack::up(&plan)?);
        let images = built("ramdisk")?.parent().context("a folder")?.to_owned();
        let options = Options { replicas: 2, files_from: vec![images], ..Options::default() };
        let mesh = Mesh::up(&rack.0.services, &folder.path().join("mesh"), &options)?;
        Ok(Self { mesh, rack, folder })
    }

    /// Enrols all machines and deploys them at the same time with the image of this file.
    async fn deploy(&self, image: &Path, config_drive: &HashMap<String, Vec<u8>>) -> Result<()> {
        let mut api = self.mesh.api()?;
        register(&mut api, "kernel", "kernel", &built("ramdisk/vmlinuz")?).await?;
        register(&mut api, "ramdisk", "ramdisk", &built("ramdisk/initrd.img")?).await?;
        register(&mut api, "image", "disk", image).await?;
        api.boots_from("kernel", "ramdisk").await?;
        let lives = self.rack.0.nodes.iter().map(|node| {
            let mut api = api.clone();
            async move {
                let name = &node.machine.name;
                api.nodes.create_node(enrolment(node)).await?;
                api.bring(name, "manage", "", "manageable", PATIENCE).await?;
                api.bring(name, "provide", "", "available", PATIENCE).await?;
                let request = ProvisionNodeRequest {
                    node: name.clone(),
                    verb: "deploy".to_owned(),
                    image: "image".to_owned(),
                    config_drive: config_drive.clone(),
                };
                api.nodes.provision_node(request).await?;
                api.reach(name, "active", PATIENCE).await
            }
        });
        for deployed in futures::future::try_join_all(lives).await? {
            assert_eq!(deployed.observed.unwrap_or_default().diagnosis, "", "a healthy boot gets no diagnosis");
        }
        Ok(())
    }

    /// What each deployed system says on its console when it is up.
    fn words(&self, patience: Duration) -> Result<Vec<String>> {
        let consoles = self.rack.0.nodes.iter().map(|node| Console::open(&node.console));
        consoles.map(|mut console| console.wait_for("IRONMESH-OS up", patience)).collect()
    }
}

#[test]
fn real_firmware_of_both_kinds_is_deployed_at_once_and_speaks_on_its_console() {
    let world = World::up("tfirm", &[Firmware::Bios, Firmware::Uefi], None, 128).unwrap();
    let image = built("os.raw.gz").unwrap();
    let place = world.rack.0.services();
    place.enter(async || world.deploy(&image, &HashMap::new()).await).unwrap().unwrap();
    let words = world.words(Duration::from_secs(60)).unwrap();
    for (line, (firmware, host)) in words.iter().zip([("fw=bios", "host=n1"), ("fw=uefi", "host=n2")]) {
        assert!(line.contains(firmware) && line.contains(host), "{line}");
    }
    foreign_clients_see_what_they_should(&world.rack.0, &world.folder.path().join("mesh")).unwrap();
    world.mesh.down().unwrap();
}

#[test]
#[ignore = "a full Debian takes minutes to build and to boot; scripts/test --all builds it and runs this"]
fn real_firmware_brings_up_a_debian_whose_cloud_init_reads_the_config_drive() {
    let world = World::up("tdebian", &[Firmware::Bios], Some(512), 2048).unwrap();
    let image = built("debian.raw.gz").unwrap();
    let user_data = b"#cloud-config\nruncmd:\n  - echo IRONMESH-USER-DATA seen > /dev/ttyS0\n".to_vec();
    let drive = HashMap::from([("openstack/latest/user_data".to_owned(), user_data)]);
    let place = world.rack.0.services();
    place.enter(async || world.deploy(&image, &drive).await).unwrap().unwrap();
    let words = world.words(Duration::from_secs(600)).unwrap();
    assert!(words.iter().all(|line| line.contains("host=n1")), "{words:?}");
    let console = &world.rack.0.nodes.first().unwrap().console;
    Console::open(console).wait_for("IRONMESH-USER-DATA seen", Duration::from_secs(60)).unwrap();
    world.mesh.down().unwrap();
}

/// etcdctl, curl and ipmitool, each of which none of us wrote.
fn foreign_clients_see_what_they_should(rack: &Rack, data: &Path) -> Result<()> {
    let place = rack.services();
    let certs = data.join("certs");
    let config = fs::read_to_string(data.join("scheduler-service-1/config.toml"))?;
    let etcd = config.split('"').find(|word| word.starts_with("https://127.0.0.1:")).context("no etcd member")?;
    let file = |name: &str| certs.join(name).display().to_string();
    let seen = place.run(&[
        "env",
        "ETCDCTL_API=3",
        "etcdctl",
        &format!("--endpoints={etcd}"),
        &format!("--cacert={}", file("ca.pem")),
        &format!("--cert={}", file("up.pem")),
        &format!("--key={}", file("up.key")),
        "get",
        "--prefix",
        "/ironmesh/v1/",
    ])?;
    assert!(seen.contains("\"state\":\"active\"") && seen.contains("/claim/power-service/"), "{seen}");
    assert!(seen.contains("\"sealed\":") && !seen.contains("labpass"), "the password is sealed");

    let at = |service: &str, what: &str| {
        fs::read_to_string(data.join(service).join(format!("{what}.address"))).map(|text| text.trim().to_owned())
    };
    let metrics = place.run(&["curl", "-sf", &format!("http://{}/metrics", at("power-service-1", "monitor")?)])?;
    assert!(metrics.contains("power_command_seconds") || metrics.contains("mesh_"), "{metrics}");
    let health = place.run(&["curl", "-sf", &format!("http://{}/healthz", at("pxe-service-2", "monitor")?)])?;
    assert_eq!(health, "ok\n");
    let loader = format!("http://{}/undionly.kpxe", at("pxe-service-1", "http")?);
    let size = place.run(&["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", &loader])?;
    assert!(size.parse::<u64>()? > 10_000, "{size}");
    let tftp =
        place.run(&["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", "tftp://10.77.1.2/snponly.efi"])?;
    assert!(tftp.parse::<u64>()? > 10_000, "{tftp}");
    let script = format!("http://{}/boot/52:54:00:01:00:01/script.ipxe", at("pxe-service-1", "http")?);
    let refused = place.run(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", &script])?;
    assert_eq!(refused, "404", "a machine's files are for its own address alone");

    let login = ["-I", "lanplus", "-C", "3", "-H", "10.77.2.11", "-U", "admin", "-P", "labpass"];
    let power = place.run(&[&["ipmitool"][..], &login, &["power", "status"]].concat())?;
    assert_eq!(power.trim(), "Chassis Power is on");
    Ok(())
}
