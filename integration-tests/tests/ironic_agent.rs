//! The stock agent, an unmodified `ironic-python-agent`: we boot it, it looks itself up, sends heartbeats, and receives
//! commands. Its machine is simulated; its disk is a loop device.

use std::{fs, net::TcpStream, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use integration_tests::bmc::USER;
use integration_tests::ironic::Rest;
use integration_tests::lab::{Lab, STOCK_DISK, image, stock_agent};
use integration_tests::machine::{Machine, disk::config_drive};
use integration_tests::rack::{daemon::Daemon, wait};
use serde_json::{Value, json};

/// Maximum duration of a boot of the agent with its work; most of it is Python's start.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

#[test]
fn a_stock_agent_inspects_cleans_and_deploys_its_machine() {
    Lab::with_stock_agent("ipa", life).unwrap();
}

async fn life(lab: &Lab) -> Result<()> {
    let (machine, rest) = (lab.machine("n1")?, Rest::new(lab.mesh())?);
    enrol(lab, machine, &rest).await?;
    rest.provision("n1", "manage").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    let nothing = rest.status("GET", &format!("lookup?addresses={}", machine.mac), None).await?;
    ensure!(nothing == 404, "a node that waits for no agent was found: {nothing}");

    rest.provision("n1", "inspect").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    let said = rest.ask("GET", "nodes/n1/inventory", None).await?;
    let nic = &said["inventory"]["interfaces"][0];
    ensure!(nic["mac_address"] == machine.mac.to_string(), "{said}");
    ensure!(said["inventory"]["disks"][0]["serial"] == "LAB1", "{said}");
    ensure!(said["plugin_data"].is_object(), "{said}");

    fs::write(machine.disk(), vec![0xa5; usize::try_from(STOCK_DISK)?])?;
    let steps = json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "erase_devices_metadata"}]});
    rest.ask("PUT", "nodes/n1/states/provision", Some(steps)).await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    let octets = fs::read(machine.disk())?;
    ensure!(octets.iter().take(512).all(|octet| *octet == 0), "what names the disk's partitions is still there");
    ensure!(octets[32 << 20] == 0xa5, "more was wiped than the step says");

    refusals(&rest).await?;
    rest.provision("n1", "manage").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    rest.provision("n1", "provide").await?;
    rest.reach_within("n1", "available", WAIT_TIMEOUT).await?;
    let (url, digest) = lab.file("os.raw", &image())?;
    let image = json!([
        {"op": "add", "path": "/instance_info/image_source", "value": url},
        {"op": "add", "path": "/instance_info/image_checksum", "value": digest.trim_start_matches("sha256:")},
    ]);
    rest.ask("PATCH", "nodes/n1", Some(image)).await?;
    let folder = tempfile::tempdir()?;
    let server = serves_a_drive(folder.path())?;
    let to = |drive: String| json!({"target": "active", "configdrive": drive});
    for (wrong, why) in [("http://127.0.0.1:8099/none", "404"), ("http://127.0.0.1:1/drive", "downloaded")] {
        let told = rest.ask("PUT", "nodes/n1/states/provision", Some(to(wrong.to_owned()))).await;
        let told = told.err().context("it was taken")?.to_string();
        ensure!(told.contains("400") && told.contains(why), "{told}");
    }
    let drive = to("http://127.0.0.1:8099/drive".to_owned());
    rest.ask("PUT", "nodes/n1/states/provision", Some(drive)).await?;
    rest.reach_within("n1", "active", WAIT_TIMEOUT).await?;
    server.end()?;
    let (octets, image) = (fs::read(machine.disk())?, self::image());
    // The first sector has a new signature and one more partition.
    ensure!(octets.get(512..image.len()) == image.get(512..), "the disk is not the image");
    let drive = config_drive(&machine.disk())?;
    ensure!(drive.windows(5).any(|octets| octets == b"first"), "the config drive does not say who the machine is");
    Ok(())
}

/// Serves a config drive made by openstacksdk, with a web server of Python's, where the services are.
fn serves_a_drive(folder: &Path) -> Result<Daemon> {
    const BUILD: &str = "import sys; from openstack.baremetal import configdrive; \
                         drive = configdrive.build({'hostname': 'first', 'uuid': 'n1'}); \
                         sys.stdout.write(drive if isinstance(drive, str) else drive.decode())";
    let python = stock_agent().with_file_name("python");
    let built = Command::new(python).args(["-c", BUILD]).output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::write(folder.join("drive"), built.stdout)?;
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "8099"]).current_dir(folder);
    let server = Daemon::spawn(command, &folder.join("log"), &folder.join("record"))?;
    wait::until("a web server", WAIT_TIMEOUT, || Ok(TcpStream::connect("127.0.0.1:8099").ok().map(drop)))?;
    Ok(server)
}

async fn refusals(rest: &Rest<'_>) -> Result<()> {
    let steps = json!({"target": "clean", "clean_steps": [{"interface": "bios", "step": "unknown_step"}]});
    rest.ask("PUT", "nodes/n1/states/provision", Some(steps)).await?;
    rest.reach_within("n1", "clean failed", WAIT_TIMEOUT).await?;
    let failed = rest.ask("GET", "nodes/n1", None).await?;
    let why = failed["last_error"].as_str().unwrap_or_default();
    ensure!(why.contains("bios.unknown_step") && why.contains("erase_devices_metadata"), "{why}");
    Ok(())
}

async fn enrol(lab: &Lab, machine: &Machine, rest: &Rest<'_>) -> Result<()> {
    let (kernel, _) = lab.file("ipa.kernel", b"a foreign kernel")?;
    let (ramdisk, _) = lab.file("ipa.initramfs", b"a ramdisk with the stock agent")?;
    let node = json!({"name": "n1", "driver": "ipmi", "driver_info": {
        "ipmi_address": machine.bmc_address, "ipmi_username": USER, "ipmi_password": machine.password(),
        "deploy_kernel": kernel, "deploy_ramdisk": ramdisk, "kernel_append_params": "quiet %default%",
    }});
    let node: Value = rest.ask("POST", "nodes", Some(node)).await?;
    let port = json!({"address": machine.mac.to_string(), "node_uuid": node["uuid"]});
    rest.ask("POST", "ports", Some(port)).await.map(drop)
}
