//! Real firmware: QEMU machines with SeaBIOS and OVMF behind `ipmi_sim` BMCs, network-booted, written and brought up by
//! the whole mesh as an operator runs it; and foreign clients that look at it. Needs root, what `scripts/test` installs
//! and builds (target/test), and the `ironmesh` binary.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use integration_tests::{
    mesh::{Api, Mesh, Options},
    rack::{Node, Plan, Rack, console::Console, machine::Firmware},
};
use proto::{api::v1::CreateNodeRequest, common::v1::BootMode};

/// How long a deploy may take on a machine that is busy with others (LAB: UEFI alone 53 s; ten times that is enough).
const PATIENCE: Duration = Duration::from_secs(420);

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

#[test]
fn real_firmware_of_both_kinds_is_deployed_at_once_and_speaks_on_its_console() {
    let folder = tempfile::Builder::new().prefix("im-").tempdir().unwrap();
    let plan = Plan {
        tag: "tfirm".to_owned(),
        state: folder.path().join("rack"),
        program: env!("CARGO_BIN_EXE_virtual-rack").into(),
        nodes: vec![Firmware::Bios, Firmware::Uefi],
        memory_mib: None,
        disk_mib: 128,
    };
    let rack = Guard(Rack::up(&plan).unwrap());
    let images = built("ramdisk").unwrap().parent().unwrap().to_owned();
    let options = Options { replicas: 2, files_from: vec![images], ..Options::default() };
    let data = folder.path().join("mesh");
    let mesh = Mesh::up(&rack.0.services, &data, &options).unwrap();
    let nodes = rack.0.nodes.clone();
    let place = rack.0.services();
    place
        .enter(async || -> Result<()> {
            let mut api = mesh.api()?;
            register(&mut api, "kernel", "kernel", &built("ramdisk/vmlinuz")?).await?;
            register(&mut api, "ramdisk", "ramdisk", &built("ramdisk/initrd.img")?).await?;
            register(&mut api, "small", "disk", &built("os.raw.gz")?).await?;
            api.boots_from("kernel", "ramdisk").await?;
            let lives = nodes.iter().map(|node| {
                let mut api = api.clone();
                async move {
                    api.nodes.create_node(enrolment(node)).await?;
                    api.bring(&node.machine.name, "manage", "", "manageable", PATIENCE).await?;
                    api.bring(&node.machine.name, "provide", "", "available", PATIENCE).await?;
                    api.bring(&node.machine.name, "deploy", "small", "active", PATIENCE).await
                }
            });
            for deployed in futures::future::try_join_all(lives).await? {
                assert_eq!(deployed.observed.unwrap_or_default().diagnosis, "", "a healthy boot gets no diagnosis");
            }
            Ok(())
        })
        .unwrap()
        .unwrap();
    for node in &nodes {
        let word = match node.machine.firmware {
            Firmware::Bios => "fw=bios",
            Firmware::Uefi => "fw=uefi",
        };
        let line = Console::open(&node.console).wait_for("IRONMESH-OS up", Duration::from_secs(60)).unwrap();
        assert!(line.contains(word) && line.contains(&format!("host={}", node.machine.name)), "{line}");
    }
    foreign_clients_see_what_they_should(&rack.0, &data).unwrap();
    mesh.down().unwrap();
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
