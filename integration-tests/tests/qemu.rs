//! Real firmware: QEMU machines with SeaBIOS and OVMF behind `ipmi_sim` BMCs, network-booted, written and brought up by
//! the whole mesh as an operator runs it; and foreign clients that look at it. Needs root, what `scripts/test` installs
//! and builds (target/test), and the `ironmesh` binary.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use integration_tests::{
    fault::{Subject as _, World as _},
    firmware::{FirmwareLab, IMAGE, Machines, PATIENCE, UP, built},
    mesh::{Api, Options},
    rack::{
        Rack,
        console::Console,
        machine::{Behind, Firmware},
    },
};
use proto::api::v1::ProvisionNodeRequest;

/// Deploys all machines at the same time with the image of this file.
async fn deploy(api: &mut Api, lab: &FirmwareLab, image: &Path, drive: &HashMap<String, Vec<u8>>) -> Result<()> {
    lab.make_available(api, image).await?;
    for machine in lab.machines() {
        let request = ProvisionNodeRequest {
            node: machine.name().to_owned(),
            verb: "deploy".to_owned(),
            image: IMAGE.to_owned(),
            config_drive: drive.clone(),
            ..ProvisionNodeRequest::default()
        };
        api.nodes.provision_node(request).await?;
    }
    for machine in lab.machines() {
        let deployed = api.reach(machine.name(), "active", PATIENCE).await?;
        assert_eq!(deployed.observed.unwrap_or_default().diagnosis, "", "a healthy boot gets no diagnosis");
    }
    Ok(())
}

fn up(tag: &str, machines: Machines) -> Result<FirmwareLab> {
    FirmwareLab::up(tag, machines, Options { replicas: 2, ..Options::default() })
}

/// What each deployed system says on its console when it is up.
fn words(lab: &FirmwareLab, patience: Duration) -> Result<Vec<String>> {
    let consoles = lab.rack().nodes.iter().map(|node| Console::open(&node.console));
    consoles.map(|mut console| console.wait_for(UP, patience)).collect()
}

#[test]
fn real_firmware_of_both_kinds_is_deployed_at_once_and_speaks_on_its_console() {
    let lab = up("tfirm", Machines::small(&[Firmware::Bios, Firmware::Uefi], Behind::IpmiSim)).unwrap();
    let image = built("os.raw.gz").unwrap();
    lab.run(async |mut api, lab| deploy(&mut api, lab, &image, &HashMap::new()).await).unwrap();
    let words = words(&lab, Duration::from_secs(60)).unwrap();
    for (line, (firmware, host)) in words.iter().zip([("fw=bios", "host=n1"), ("fw=uefi", "host=n2")]) {
        assert!(line.contains(firmware) && line.contains(host), "{line}");
    }
    foreign_clients_see_what_they_should(lab.rack(), &lab.data()).unwrap();
    lab.down().unwrap();
}

#[test]
#[ignore = "a full Debian takes minutes to build and to boot; scripts/test --all builds it and runs this"]
fn real_firmware_brings_up_a_debian_whose_cloud_init_reads_the_config_drive() {
    let small = Machines::small(&[Firmware::Bios], Behind::IpmiSim);
    let lab = up("tdebian", Machines { memory_mib: Some(512), disk_mib: 2048, ..small }).unwrap();
    let image = built("debian.raw.gz").unwrap();
    let user_data = b"#cloud-config\nruncmd:\n  - echo IRONMESH-USER-DATA seen > /dev/ttyS0\n".to_vec();
    let drive = HashMap::from([("openstack/latest/user_data".to_owned(), user_data)]);
    lab.run(async |mut api, lab| deploy(&mut api, lab, &image, &drive).await).unwrap();
    let words = words(&lab, Duration::from_secs(600)).unwrap();
    assert!(words.iter().all(|line| line.contains("host=n1")), "{words:?}");
    let console = &lab.rack().nodes.first().unwrap().console;
    Console::open(console).wait_for("IRONMESH-USER-DATA seen", Duration::from_secs(60)).unwrap();
    lab.down().unwrap();
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
