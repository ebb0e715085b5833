//! A simulated machine: no QEMU, but every packet that a real one would send, and our own agent over a disk that is a
//! file.
//!
//! Its BMC is wire-ipmi's responder over UDP. Power-on starts a boot: DHCP as PXE firmware, the loader by TFTP, DHCP as
//! iPXE, the script, its files, and the agent with the boot file among them; or the system on the disk, which requests
//! an address and phones home. Power-off ends it at any point. [`Faults`] describes its faults.

mod chassis;
pub mod cpio;
pub mod dhcp;
pub mod disk;
pub mod fault;
mod firmware;
mod ironic;
mod rack;
pub mod script;
pub mod tftp;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, fs};

use anyhow::{Context as _, Result};
use domain::hardware::{Disk, Hardware, Nic};
use domain::net::MacAddr;
use domain::power::BootMode;
use service_kit::{Host, clock};
use tokio::sync::{mpsc, oneshot};
use wire_ipmi::chassis::{Power, boot::Choice};

use self::chassis::{Chassis, Turn};
pub use self::fault::Faults;
pub use self::rack::SimulatedRack;
use crate::bmc::{Bmc, Caught, Mutation, PASSWORD, Script};
use crate::check::Deed;
use crate::rack::namespace::Namespace;

/// Maximum time for a boot to end after power-off.
const GRACE: Duration = Duration::from_secs(5);
/// Interval between two checks of its console.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Properties of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Size of each disk in octets.
    pub disks: Vec<u64>,
    /// MACs of its NICs beside the connected one.
    pub more_nics: Vec<MacAddr>,
    /// Password of its BMC; at most 20 octets.
    pub password: String,
    /// Its initial faults.
    pub faults: Faults,
    /// The agent that it runs if it boots a ramdisk with an agent that speaks Ironic's protocol.
    pub ironic_agent: Option<PathBuf>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            disks: vec![64 << 20],
            more_nics: vec![],
            password: PASSWORD.to_owned(),
            faults: Faults::default(),
            ironic_agent: None,
        }
    }
}

/// One machine, with its BMC. It ends when it is dropped.
#[derive(Debug)]
pub struct Machine {
    /// Its name, such as `n1`.
    pub name: String,
    /// MAC of its connected NIC.
    pub mac: MacAddr,
    /// Address of its BMC, on UDP port 623.
    pub bmc_address: Ipv4Addr,
    shared: Arc<Shared>,
    button: mpsc::UnboundedSender<Turn>,
    host: Host,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// State that the BMC's thread, the machine's thread and the test share.
struct Shared {
    folder: PathBuf,
    nic: Namespace,
    mac: MacAddr,
    uuid: [u8; 16],
    hardware: agent::machine::Machine,
    ironic_agent: Option<PathBuf>,
    board: Mutex<wire_ipmi::responder::machine::Machine>,
    faults: Mutex<Faults>,
    bmc: Bmc,
    tokens: Mutex<Vec<Vec<u8>>>,
    console: Mutex<Vec<String>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A panic in a thread that held the lock is reported by that thread.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// Machine number `number` of a rack, with its NIC in its own namespace and its BMC in the namespace of all
    /// BMCs.
    fn build(
        number: u8,
        spec: &Spec,
        folder: PathBuf,
        nic: Namespace,
        bmcs: &Namespace,
        switch: &Namespace,
    ) -> Result<Self> {
        let name = format!("n{number}");
        let mac = MacAddr::new([0x52, 0x54, 0, 2, 0, number]);
        let bmc_address = Ipv4Addr::new(10, 77, 2, 10 + number);
        nic.create()?;
        nic.cable(firmware::NIC, switch, &format!("p-{name}"), "br-prov")?;
        nic.ip(&format!("link set {} address {mac}", firmware::NIC))?;
        bmcs.ip(&format!("addr add {bmc_address}/24 dev bmc0"))?;
        let mut uuid = [0x44; 16];
        uuid[15] = number;
        let mut hardware = agent::machine::lay_out(&folder, &hardware(&name, mac, uuid, spec))?;
        // A test that waits for it to give up should not wait for minutes.
        hardware.retry.idle = Duration::from_secs(5);
        let shared = Arc::new(Shared {
            bmc: Bmc::new(&spec.password, folder.join("bmc.log")),
            folder,
            nic: nic.clone(),
            mac,
            uuid,
            hardware,
            ironic_agent: spec.ironic_agent.clone(),
            board: Mutex::default(),
            faults: Mutex::new(spec.faults),
            tokens: Mutex::default(),
            console: Mutex::default(),
        });
        let (host, (turns, turned)) = (Host::default(), mpsc::unbounded_channel());
        let [for_bmc, for_machine] = [(); 2].map(|()| (Arc::clone(&shared), host.clone()));
        let button = turns.clone();
        let bmc = bmcs.inhabit(&format!("{name}-bmc"), async move || {
            let (shared, host) = for_bmc;
            shared.bmc.serve(Chassis { shared: Arc::clone(&shared), turns }, bmc_address, host).await
        })?;
        let machine = nic.inhabit(&name, async move || live(for_machine.0, turned, for_machine.1).await)?;
        Ok(Self { name, mac, bmc_address, shared, button, host, threads: vec![bmc, machine] })
    }

    /// Presses the power button: the machine is switched on without its BMC.
    ///
    /// # Errors
    /// Its thread has ended.
    pub fn press_power(&self) -> Result<()> {
        held(&self.shared.board).set_power(Power::On);
        self.button.send(Turn::On).context("the machine has ended")
    }

    /// Cuts the power: the machine is off at once, without its BMC.
    ///
    /// # Errors
    /// Its thread has ended.
    pub fn cut_power(&self) -> Result<()> {
        held(&self.shared.board).set_power(Power::Off);
        self.button.send(Turn::Off).context("the machine has ended")
    }

    /// Applies this script of faults to its BMC from now on.
    pub fn spoil_bmc(&self, script: Script) {
        self.shared.bmc.follow(script);
    }

    /// Loses everything that it sends to this TCP port, until its rack is taken down.
    ///
    /// # Errors
    /// Errors of nft(8).
    pub fn lose_tcp(&self, port: u16) -> Result<()> {
        let chain = "add table ip lose; add chain ip lose out { type filter hook output priority 0; }";
        let rule = format!("add rule ip lose out tcp dport {port} drop");
        self.shared.nic.run(&["nft", &format!("{chain}; {rule}")]).map(drop)
    }

    /// Waits until its console has a line with these words.
    ///
    /// # Errors
    /// It does not within `timeout`.
    pub async fn says(&self, words: &str, timeout: Duration) -> Result<()> {
        let said = async {
            while !self.console().iter().any(|line| line.contains(words)) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let waited = tokio::time::timeout(timeout, said).await;
        waited.with_context(|| format!("{} never said {words:?}: {:#?}", self.name, self.console()))
    }

    /// Its present faults.
    pub fn faults(&self) -> Faults {
        self.shared.faults()
    }

    /// Changes its faults.
    pub fn set_faults(&self, faults: Faults) {
        *held(&self.shared.faults) = faults;
    }

    /// The password of its BMC.
    pub fn password(&self) -> String {
        self.shared.bmc.password()
    }

    /// Changes the password of its BMC; all sessions end.
    pub fn set_password(&self, password: &str) {
        self.shared.bmc.set_password(password);
    }

    /// Whether it has power.
    pub fn power(&self) -> Power {
        held(&self.shared.board).power()
    }

    /// All commands that changed it, in order; they are also in `bmc.log` in its folder.
    pub fn mutations(&self) -> Vec<Mutation> {
        self.shared.bmc.mutations()
    }

    /// Returns the log of its BMC, as input for the checker.
    pub fn deeds(&self) -> Vec<Deed> {
        self.shared.bmc.deeds()
    }

    /// Sets a trap: the BMC carries out the `number`-th command from now on that changes the machine, and withholds the
    /// answer until the trap is released.
    pub fn trap(&self, number: usize) -> Caught {
        self.shared.bmc.trap(number)
    }

    /// Loses the next command that would change the machine, and everything that follows in its session, until
    /// [`Self::find_commands`]. Resolves with the BMC's id of the session when the first command is lost.
    pub fn lose_commands(&self) -> oneshot::Receiver<u32> {
        self.shared.bmc.lose_commands()
    }

    /// Ends the loss of [`Self::lose_commands`].
    pub fn find_commands(&self) {
        self.shared.bmc.find_commands();
    }

    /// All boot tokens that it received, the last one last.
    pub fn tokens(&self) -> Vec<Vec<u8>> {
        held(&self.shared.tokens).clone()
    }

    /// Its console, line by line; also in `console.log` in its folder.
    pub fn console(&self) -> Vec<String> {
        held(&self.shared.console).clone()
    }

    /// Log of its agent, if that is `ironic-python-agent`.
    pub fn agent_log(&self) -> String {
        fs::read_to_string(ironic::log(&self.shared)).unwrap_or_default()
    }

    /// Its first disk, a sparse file.
    pub fn disk(&self) -> PathBuf {
        self.shared.disk()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.host.stop();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("{}: {error:#}", self.name),
                Err(_) => eprintln!("{}: a thread panicked", self.name),
            }
        }
    }
}

impl Shared {
    fn faults(&self) -> Faults {
        *held(&self.faults)
    }

    fn disk(&self) -> PathBuf {
        self.hardware.disks.join("vda")
    }

    fn say(&self, words: String) {
        let line = format!("{} {words}", clock::now());
        let log = fs::File::options().create(true).append(true).open(self.folder.join("console.log"));
        // The console in memory is authoritative.
        drop(log.and_then(|mut log| writeln!(log, "{line}")));
        held(&self.console).push(line);
    }

    async fn forget_address(&self) -> Result<()> {
        self.ip(format!("addr flush dev {}", firmware::NIC)).await
    }

    /// Runs ip(8) in the NIC's namespace.
    async fn ip(&self, words: String) -> Result<()> {
        let nic = self.nic.clone();
        tokio::task::spawn_blocking(move || nic.ip(&words)).await.context("ip(8)")?.map(drop)
    }
}

/// Boots and stops, as its BMC commands, until the host stops.
async fn live(shared: Arc<Shared>, mut turns: mpsc::UnboundedReceiver<Turn>, host: Host) -> Result<()> {
    service_kit::tls::install_provider();
    let mut running: Option<Host> = None;
    loop {
        let turn = tokio::select! {
            () = host.stopping() => None,
            turn = turns.recv() => turn,
        };
        if let Some(boot) = running.take() {
            boot.drain(GRACE).await.context("a boot does not end")?;
            shared.forget_address().await?;
            shared.say("power off".to_owned());
        }
        match turn {
            None => return Ok(()),
            Some(Turn::Off) => {}
            Some(Turn::On) => {
                let choice = held(&shared.board).take_boot();
                running = Some(start(&shared, choice));
            }
        }
    }
}

fn start(shared: &Arc<Shared>, choice: Option<Choice>) -> Host {
    let host = Host::default();
    let (shared, stop) = (Arc::clone(shared), host.clone());
    host.spawn(async move {
        tokio::select! {
            () = stop.stopping() => {}
            () = firmware::boot(shared, choice) => {}
        }
    });
    host
}

fn hardware(name: &str, mac: MacAddr, uuid: [u8; 16], spec: &Spec) -> Hardware {
    let disk = |(letter, size): (char, &u64)| Disk {
        name: format!("vd{letter}"),
        size_bytes: *size,
        serial: format!("{name}-{letter}"),
        model: "file".to_owned(),
        rotational: false,
    };
    let own = Nic { name: firmware::NIC.to_owned(), mac, carrier: true, booted_from: true };
    let more = (1..).zip(&spec.more_nics);
    let more = more.map(|(n, mac)| Nic { name: format!("eth{n}"), mac: *mac, carrier: false, booted_from: false });
    Hardware {
        manufacturer: "Ironmesh".to_owned(),
        product: "simulated machine".to_owned(),
        serial: name.to_owned(),
        uuid: uuid::Uuid::from_bytes(uuid).to_string(),
        cpu_model: "none".to_owned(),
        cpu_arch: "x86_64".to_owned(),
        cpu_count: 2,
        memory_bytes: 1 << 30,
        boot_mode: BootMode::Bios,
        disks: ('a'..='z').zip(&spec.disks).map(disk).collect(),
        nics: std::iter::once(own).chain(more).collect(),
    }
}

/// Whether a file has only zeros.
///
/// # Errors
/// The file cannot be read.
pub fn is_blank(disk: &Path) -> Result<bool> {
    let content = fs::read(disk).with_context(|| disk.display().to_string())?;
    Ok(content.iter().all(|octet| *octet == 0))
}
