//! A machine with power: from the first DHCP packet to an agent, or to the system on its disk.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use agent::config::BootFile;
use anyhow::{Context as _, Result, bail, ensure};
use service_kit::Host;
use tokio::time::sleep;
use wire_dhcp::{Architecture, Client, Mac, ServerReply, SimulatedClient};
use wire_ipmi::chassis::boot::{Choice, Device};

use super::dhcp::{self, Offers};
use super::{Shared, cpio, disk, fault, ironic, script, tftp};

/// The machine's only NIC.
pub(super) const NIC: &str = "eth0";
/// Duration of a power-on self-test; real ones take minutes.
/// Number of calls with which a system phones home, as in the small image, and the pause between two calls.
const CALLS: u32 = 30;
const PHONE_HOME_INTERVAL: Duration = Duration::from_secs(1);
const SELF_TEST: Duration = Duration::from_millis(100);
/// A self-test that is longer than everything else that happens meanwhile.
const SLOW_SELF_TEST: Duration = Duration::from_secs(3);
/// A server that is silent for this long is given up for the next one.
const SILENCE: Duration = Duration::from_secs(3);
/// Pause between two tries of a script (which says 3 s; everything is faster here).
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// Interval between two checks of the disk.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// One boot, from power-on. Returns when nothing more will happen, although the power stays on.
pub(super) async fn boot(shared: Arc<Shared>, choice: Option<Choice>) {
    shared.say(format!("power on, told to boot {:?}", choice.map(|choice| choice.device)));
    sleep(if shared.faults().boot == fault::Boot::SlowSelfTest { SLOW_SELF_TEST } else { SELF_TEST }).await;
    let booted = match choice {
        Some(Choice { device: Device::Disk, .. }) => system(&shared).await,
        // The firmware tries the network card first.
        Some(_) | None => network(&shared).await,
    };
    match booted {
        Ok(()) => shared.say("there it stays".to_owned()),
        Err(error) => shared.say(format!("it stopped: {error:#}")),
    }
}

async fn network(shared: &Shared) -> Result<()> {
    let fault = shared.faults().boot;
    if fault == fault::Boot::NoDhcp {
        bail!("PXE-E61: media test failure, check cable");
    }
    let offers = if fault == fault::Boot::IgnoresOffers { Offers::Ignore } else { Offers::Take };
    let Some(given) = address(shared, Client::Pxe(Architecture::Bios), offers).await? else {
        bail!("PXE-E51: no DHCP offers were received");
    };
    let Some(loader) = given.file else {
        shared.say("no boot file is offered: booting from the disk".to_owned());
        return system(shared).await;
    };
    tftp::probe(given.next_server, &loader).await?;
    let silent_after = if let fault::Boot::TftpSilentAfter(blocks) = fault { Some(blocks) } else { None };
    let size = tftp::fetch(given.next_server, &loader, silent_after).await?.len();
    shared.say(format!("loader {loader}: {size} octets"));
    ipxe(shared, fault).await
}

async fn ipxe(shared: &Shared, fault: fault::Boot) -> Result<()> {
    let given =
        address(shared, Client::Ipxe(Architecture::Bios), Offers::Take).await?.context("iPXE got no address")?;
    let url = given.file.context("iPXE was named no script")?;
    let text = String::from_utf8(file(&url).await?)?;
    ensure!(text.starts_with("#!ipxe"), "{url} is no script");
    shared.say(format!("script from {url}"));
    if fault == fault::Boot::StopsAfterScript {
        bail!("Connection timed out (https://ipxe.org/4c0a6092)");
    }
    let tries = script::tries(&text);
    loop {
        for files in &tries {
            match fetched(shared, files).await {
                Ok(Agent::Ours(boot)) => return agent(shared, *boot).await,
                Ok(Agent::Ironic(booted)) => {
                    let program = shared.ironic_agent.as_deref().context("it has no agent for this ramdisk")?;
                    return ironic::run(shared, program, &booted).await;
                }
                Err(error) => shared.say(format!("{error:#}")),
            }
        }
        sleep(RETRY_DELAY).await;
    }
}

/// The agent in a ramdisk, and its boot parameters.
enum Agent {
    Ours(Box<BootFile>),
    Ironic(ironic::Booted),
}

/// Downloads all files of one try, and returns the agent's boot parameters among them.
async fn fetched(shared: &Shared, files: &[script::File]) -> Result<Agent> {
    let mut boot = None;
    let arguments = files.iter().map(|file| file.arguments.as_str()).find(|arguments| !arguments.is_empty());
    for script::File { name, url, .. } in files {
        let content = file(url).await?;
        shared.say(format!("{name} from {url}: {} octets", content.len()));
        if let Some(text) = cpio::member(&content, "etc/ironmesh/boot.json") {
            boot = Some(Agent::Ours(serde_json::from_slice(text).context("boot.json")?));
        }
        if let Some(token) = cpio::member(&content, "etc/ironic-python-agent.d/ironmesh.conf") {
            let arguments = arguments.unwrap_or_default().to_owned();
            boot = Some(Agent::Ironic(ironic::Booted { arguments, token: token.to_vec() }));
        }
    }
    boot.context("no ramdisk has anything for an agent")
}

async fn file(url: &str) -> Result<Vec<u8>> {
    if let Some(rest) = url.strip_prefix("tftp://") {
        let (server, path) = rest.split_once('/').with_context(|| url.to_owned())?;
        return tftp::fetch(server.parse()?, path, None).await;
    }
    let client = reqwest::Client::builder().no_proxy().connect_timeout(SILENCE).read_timeout(SILENCE).build()?;
    let answer = client.get(url).send().await?.error_for_status()?;
    Ok(answer.bytes().await?.to_vec())
}

async fn agent(shared: &Shared, boot: BootFile) -> Result<()> {
    super::held(&shared.tokens).push(boot.boot_token.expose().to_vec());
    let fault = shared.faults().agent;
    if fault == fault::Agent::NeverStarts {
        bail!("Kernel panic - not syncing: VFS: Unable to mount root fs");
    }
    shared.say(format!("the agent starts: node {}, generation {}", boot.node, boot.generation));
    let host = Host::default();
    let mut agent = pin!(agent::run(boot.clone(), shared.hardware.clone(), host.clone()));
    tokio::select! {
        ended = &mut agent => ended.context("the agent ended")?,
        () = touched(shared), if fault != fault::Agent::Well => {
            shared.say(format!("the agent is at work: {fault:?}"));
            match fault {
                fault::Agent::DiesAtWork => host.stop(),
                // Only its key, made when it starts, distinguishes it from the first agent.
                fault::Agent::CalledByTwo => {
                    agent::run(boot, shared.hardware.clone(), host.clone()).await.context("the second agent ended")?;
                }
                // The second agent stays: its connection is open, and its answers are ignored.
                fault::Agent::Well | fault::Agent::NeverStarts | fault::Agent::MuteAtWork => {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
    Ok(())
}

/// Resolves when the disk is written to.
async fn touched(shared: &Shared) {
    let written = || std::fs::metadata(shared.disk()).map(|disk| (disk.mtime(), disk.mtime_nsec())).ok();
    let before = written();
    while written() == before {
        sleep(POLL_INTERVAL).await;
    }
}

/// The deployed system: it finds its config drive, requests its address and phones home.
async fn system(shared: &Shared) -> Result<()> {
    let path = shared.disk();
    ensure!(path.exists() && disk::boots(&path)?, "no bootable device");
    ensure!(shared.faults().boot != fault::Boot::DeadSystem, "Kernel panic - not syncing: no init found");
    shared.say("booting from the disk".to_owned());
    let home = disk::phone_home(&path)?;
    address(shared, Client::System, Offers::Take).await?.context("the system got no address")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut calls = 1;
    while let Err(error) = client.post(&home).send().await.and_then(reqwest::Response::error_for_status) {
        ensure!(calls < CALLS, "the agent call failed too often: {error}");
        shared.say(format!("calls home again: {}", error.without_url()));
        calls += 1;
        sleep(PHONE_HOME_INTERVAL).await;
    }
    shared.say(format!("phoned home to {}", home.rsplit_once('/').map_or("", |(public, _)| public)));
    Ok(())
}

/// Drops its address, requests one and configures it.
async fn address(shared: &Shared, client: Client, offers: Offers) -> Result<Option<ServerReply>> {
    shared.forget_address().await?;
    let mut xid = [0; 4];
    getrandom::fill(&mut xid)?;
    let mac = Mac(shared.mac.octets());
    let uuid = (client != Client::System).then_some(shared.uuid);
    let mut ask = SimulatedClient { client, mac, xid: u32::from_be_bytes(xid), secs: 0, uuid, relay: None };
    let Some(given) = dhcp::lease(NIC, &mut ask, offers).await? else { return Ok(None) };
    let prefix = given.netmask.map_or(24, |mask: Ipv4Addr| mask.to_bits().leading_ones());
    shared.ip(format!("addr add {}/{prefix} dev {NIC}", given.address)).await?;
    shared.say(format!("{client:?} has {}, file {:?}", given.address, given.file));
    Ok(Some(given))
}
