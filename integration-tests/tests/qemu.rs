//! Real firmware: QEMU machines with SeaBIOS and OVMF and `ipmi_sim` BMCs, booted from the network, written and started
//! by a whole mesh; and foreign clients that read from it. Needs root, what `scripts/test` installs and builds
//! (target/test), and the `ironmesh` binary.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::power::Power;
use integration_tests::{
    baremetal::Baremetal,
    fault::{Subject as _, World as _, tell},
    firmware::{FirmwareLab, IMAGE, Machines, UP, WAIT_TIMEOUT, built, unpacked},
    mesh::{ALLOW_LOOPBACK, Api, Options},
    rack::{
        Node, Rack,
        console::Console,
        daemon::Daemon,
        machine::{Behind, Firmware},
        wait,
    },
};
use proto::api::v1::{ProvisionNodeRequest, ProvisionVerb};
use sha2::{Digest as _, Sha256};

/// URL prefix of images on a foreign server.
const IMAGES: &str = "8099";

/// Deploys all machines at the same time with the image in this file.
async fn deploy(api: &mut Api, lab: &FirmwareLab, image: &Path, drive: &HashMap<String, Vec<u8>>) -> Result<()> {
    lab.make_available(api, image).await?;
    for machine in lab.machines() {
        let request = ProvisionNodeRequest {
            node: machine.name().to_owned(),
            verb: ProvisionVerb::Deploy.into(),
            image: IMAGE.to_owned(),
            config_drive: drive.clone(),
            ..ProvisionNodeRequest::default()
        };
        api.nodes.provision_node(request).await?;
    }
    for machine in lab.machines() {
        let deployed = api.reach(machine.name(), "active", WAIT_TIMEOUT).await?;
        assert_eq!(deployed.observed.unwrap_or_default().diagnosis, "", "a healthy boot gets no diagnosis");
    }
    Ok(())
}

fn up(tag: &str, machines: Machines) -> Result<FirmwareLab> {
    let set = vec![ALLOW_LOOPBACK.to_owned()];
    FirmwareLab::up(tag, machines, Options { replicas: 2, set, ..Options::default() })
}

/// Line that each deployed system prints on its console when it is up.
fn words(lab: &FirmwareLab, timeout: Duration) -> Result<Vec<String>> {
    let consoles = lab.rack().nodes.iter().map(|node| Console::open(&node.console));
    consoles.map(|mut console| console.wait_for(UP, timeout)).collect()
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

#[test]
#[ignore = "takes minutes, most of it firmware: scripts/test --all"]
fn real_firmware_is_taken_from_its_enrolment_to_active_and_back_by_the_stock_command_line() {
    let lab = up("tcli", Machines::small(&[Firmware::Bios, Firmware::Uefi], Behind::IpmiSim)).unwrap();
    lab.run(async |mut api, lab| lab.boots_ramdisk(&mut api).await).unwrap();
    let image = unpacked(&built("os.raw.gz").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("os.raw"), &image).unwrap();
    let server = served(&lab, folder.path()).unwrap();
    let bm = Baremetal::new(lab.rack().services(), lab.mesh().rest(1).unwrap()).unwrap();
    by_command_line(&lab, &bm, &image).unwrap();
    server.end().unwrap();
    lab.down().unwrap();
}

/// Serves a folder with a web server of Python's, where the services are.
fn served(lab: &FirmwareLab, folder: &Path) -> Result<Daemon> {
    let mut command = lab.rack().services().command("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", IMAGES]).current_dir(folder);
    let server = Daemon::spawn(command, &folder.join("log"), &folder.join("record"))?;
    let url = format!("http://127.0.0.1:{IMAGES}/");
    wait::until("a web server", WAIT_TIMEOUT, || Ok(lab.rack().services().run(&["curl", "-sf", &url]).ok()))?;
    Ok(server)
}

fn by_command_line(lab: &FirmwareLab, bm: &Baremetal, image: &[u8]) -> Result<()> {
    let all = |words: &str| lab.rack().nodes.iter().try_for_each(|node| bm.run(&filled(node, words)).map(drop));
    let checksum = hex::encode(Sha256::digest(image));
    all("node create --driver ipmi --name NAME --driver-info ipmi_address=ADDRESS --driver-info ipmi_port=PORT \
         --driver-info ipmi_username=USER --driver-info ipmi_password=PASSWORD --property \
         capabilities=boot_mode:FIRMWARE --resource-class virtual")?;
    for node in &lab.rack().nodes {
        let uuid = bm.field(&node.machine.name, "uuid")?;
        bm.run(&filled(node, &format!("port create MAC --node {uuid}")))?;
    }
    all("node manage NAME --wait 600")?;
    all("node provide NAME --wait 600")?;
    all(&format!(
        "node set NAME --instance-info image_source=http://127.0.0.1:{IMAGES}/os.raw \
         --instance-info image_checksum={checksum}"
    ))?;
    // Both at once; then each is waited for.
    all("node deploy NAME --config-drive {\"meta_data\":{\"hostname\":\"NAME\"}}")?;
    for node in &lab.rack().nodes {
        becomes(bm, &node.machine.name, "active")?;
    }
    lab.run(async |_, lab| {
        for machine in lab.machines() {
            machine.runs(image).await?;
            ensure!(machine.power()? == Power::On, "{} is off", machine.name());
        }
        Ok(())
    })?;
    all("node undeploy NAME")?;
    for node in &lab.rack().nodes {
        let name = &node.machine.name;
        becomes(bm, name, "available")?;
        ensure!(bm.field(name, "instance_info")? == "{}", "what was deployed is still known");
        ensure!(bm.field(name, "power_state")? == "power off", "{name} is not off");
    }
    ensure!(lab.machines().iter().all(|machine| machine.power().is_ok_and(|power| power == Power::Off)));
    all("node delete NAME")?;
    ensure!(bm.run("node list -f value -c Name")?.is_empty());
    tell(format_args!("{} calls of the stock command line", bm.calls()));
    Ok(())
}

/// Waits until a node is in a state, as long as firmware may take.
fn becomes(bm: &Baremetal, node: &str, state: &str) -> Result<()> {
    wait::until(&format!("{node} to be {state}"), WAIT_TIMEOUT, || {
        let now = bm.field(node, "provision_state")?;
        let failed = now.ends_with("failed") || now == "error";
        ensure!(!failed, "{node} is {now}: {}", bm.field(node, "last_error")?);
        Ok((now == state).then_some(()))
    })
}

/// The words, with a machine's values.
fn filled(node: &Node, words: &str) -> String {
    let firmware = match node.machine.firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    let filled = [
        ("ADDRESS", node.bmc.address.to_string()),
        ("PORT", node.bmc.port.to_string()),
        ("USER", node.bmc.user.clone()),
        ("PASSWORD", node.bmc.password.clone()),
        ("FIRMWARE", firmware.to_owned()),
        ("NAME", node.machine.name.clone()),
        ("MAC", node.machine.mac.clone()),
    ];
    filled.iter().fold(words.to_owned(), |words, (name, value)| words.replace(name, value))
}

/// Foreign clients: etcdctl, curl and ipmitool.
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
        &format!("--cacert={}", file("etcd-ca.pem")),
        &format!("--cert={}", file("etcd-root.pem")),
        &format!("--key={}", file("etcd-root.key")),
        "get",
        "--prefix",
        "/ironmesh/v1/",
    ])?;
    assert!(seen.contains("\"state\":\"active\"") && seen.contains("/power-service/claim/"), "{seen}");
    assert!(seen.contains("\"sealed\":") && !seen.contains("labpass"), "the password is sealed");

    let at = |service: &str, what: &str| {
        fs::read_to_string(data.join(service).join(format!("{what}.address"))).map(|text| text.trim().to_owned())
    };
    let metrics = |service: &str| -> Result<String> {
        place.run(&["curl", "-sf", &format!("http://{}/metrics", at(service, "monitor")?)])
    };
    // Either replica may own none of the machines: then its metrics show that it runs, and no work.
    let both = [metrics("power-service-1")?, metrics("power-service-2")?];
    assert!(both.iter().all(|shown| shown.contains("ironmesh_build_info{service=\"power-service\"")), "{both:?}");
    assert!(both.iter().any(|shown| shown.contains("power_command_seconds")), "{both:?}");
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
