//! A QEMU machine: its properties, and the command that runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;

/// Firmware of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS, with iPXE in the network card's ROM.
    Bios,
    /// OVMF with its own PXE client; iPXE is downloaded by TFTP.
    Uefi,
}

impl Firmware {
    /// Enough for a Debian kernel and our ramdisk: UEFI starts from 160 MiB, BIOS from 80.
    pub fn memory_mib(self) -> u32 {
        match self {
            Self::Bios => 256,
            Self::Uefi => 384,
        }
    }
}

impl FromStr for Firmware {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "bios" => Ok(Self::Bios),
            "uefi" => Ok(Self::Uefi),
            other => bail!("firmware is bios or uefi, not {other:?}"),
        }
    }
}

/// Device that the machine tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// No device was requested: the disk.
    Unsaid,
    /// The disk. An empty one falls through to the network, as in real machines.
    Disk,
    /// The network card.
    Network,
}

/// Kind of a machine's BMC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behind {
    /// OpenIPMI's `ipmi_sim`, a process that also has the serial line and the in-band interface.
    #[default]
    IpmiSim,
    /// A simulated BMC in the process of the test, which logs its actions.
    Responder,
}

/// All properties of a machine; kept as `machine.json` in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name within the rack, such as `n1`.
    pub name: String,
    /// BIOS or UEFI.
    pub firmware: Firmware,
    /// Its BMC's kind.
    pub behind: Behind,
    /// MAC of its only network card.
    pub mac: String,
    /// UUID in SMBIOS and in its BMC.
    pub uuid: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Size of its only disk in MiB; the file is sparse.
    pub disk_mib: u32,
    /// Folder of its files.
    pub directory: PathBuf,
}

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

impl Machine {
    /// The machine whose files are in `directory`.
    ///
    /// # Errors
    /// There is none.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("machine.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Makes its directory and files: an empty disk, fresh UEFI variables.
    ///
    /// # Errors
    /// A file cannot be written, or OVMF is not installed.
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.directory).with_context(|| self.directory.display().to_string())?;
        let disk = fs::File::create(self.path("disk.img"))?;
        disk.set_len(u64::from(self.disk_mib) << 20)?;
        if self.firmware == Firmware::Uefi {
            fs::copy(OVMF_VARIABLES, self.path("vars.fd")).context(OVMF_VARIABLES)?;
        }
        fs::write(self.path("machine.json"), serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Path of everything that its firmware and system wrote to the serial port.
    pub fn console(&self) -> PathBuf {
        self.path("console.log")
    }

    /// Its QEMU, if it runs.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn running(&self) -> Result<Option<Daemon>> {
        Ok(Daemon::recorded(&self.path("qemu.record"))?.filter(Daemon::alive))
    }

    /// Starts QEMU, and returns when the machine runs. Call it inside the machine's namespace, without unrelated open
    /// files: QEMU would keep them.
    ///
    /// # Errors
    /// QEMU does not start; the reason is in `qemu.log`.
    pub fn power_on(&self, first: BootDevice) -> Result<()> {
        let log = self.path("qemu.log");
        let output = fs::File::options().create(true).append(true).open(&log)?;
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(self.command_line(first)).arg("-daemonize");
        qemu.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let status = qemu.status().context("running qemu-system-x86_64")?;
        if !status.success() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("qemu: {status}: {}", said.lines().last().unwrap_or_default());
        }
        let pid = fs::read_to_string(self.path("qemu.pid"))?;
        Daemon::of(pid.trim().parse()?)?.remember(&self.path("qemu.record"))
    }

    /// QEMU's arguments, without the program.
    pub fn command_line(&self, first: BootDevice) -> Vec<String> {
        let (disk, network) = bootindexes(first);
        let Self { name, uuid, mac, memory_mib, .. } = self;
        let file = |file: &str| self.path(file).display().to_string();
        // `romfile=` leaves OVMF its own driver; the default ROM has iPXE for SeaBIOS.
        let rom = if self.firmware == Firmware::Uefi { ",romfile=" } else { "" };
        let mut words = vec![
            // Without tb-size the code cache grows to several times the machine's memory. With graphics=off, SeaBIOS
            // and its iPXE use the serial port.
            format!("-name {name} -uuid {uuid} -machine pc,graphics=off -accel tcg,tb-size=96 -cpu qemu64 -smp 1"),
            format!("-m {memory_mib} -nodefaults -no-user-config -display none -rtc base=utc"),
            format!("-smbios type=1,manufacturer=Ironmesh,product=VirtualRack,serial=SN-{name},uuid={uuid}"),
            format!("-smbios type=3,manufacturer=Ironmesh,serial=CH-{name},asset=asset-{name}"),
            // Otherwise SeaBIOS halts forever when nothing could be booted.
            "-boot reboot-timeout=10000 -device virtio-rng-pci".to_owned(),
            "-netdev tap,id=net0,ifname=tap0,script=no,downscript=no".to_owned(),
            format!("-device virtio-net-pci,id=nic0,netdev=net0,mac={mac},bootindex={network}{rom}"),
            format!("-drive if=none,id=disk0,file={},format=raw,cache=unsafe,discard=unmap", file("disk.img")),
            format!("-device virtio-blk-pci,id=vd0,drive=disk0,serial=disk-{name},bootindex={disk}"),
            self.serial_line(),
            "-device isa-serial,chardev=ser0".to_owned(),
            format!("-qmp unix:{},server=on,wait=off -pidfile {}", file("qmp.sock"), file("qemu.pid")),
        ];
        if self.firmware == Firmware::Uefi {
            words.push(format!("-drive if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"));
            words.push(format!("-drive if=pflash,format=raw,unit=1,file={}", file("vars.fd")));
        }
        // No path contains a space: `Plan` refuses them.
        words.iter().flat_map(|words| words.split(' ')).map(str::to_owned).collect()
    }

    /// The other end of its serial port, and the in-band way to its BMC, if there is one.
    fn serial_line(&self) -> String {
        let [line, console] = [self.path("com1.qemu"), self.console()].map(|path| path.display().to_string());
        match self.behind {
            Behind::IpmiSim => format!(
                "-chardev serial,id=ser0,path={line},logfile={console},logappend=on \
                 -chardev socket,id=ipmi0,host=127.0.0.1,port=9002,reconnect=2 \
                 -device ipmi-bmc-extern,id=bmc0,chardev=ipmi0 -device isa-ipmi-kcs,bmc=bmc0"
            ),
            Behind::Responder => format!("-chardev file,id=ser0,path={console},append=on"),
        }
    }
}

/// Places of the disk and the network card in the firmware's order; the lower one is tried first.
pub(super) fn bootindexes(first: BootDevice) -> (i16, i16) {
    match first {
        BootDevice::Unsaid | BootDevice::Disk => (1, 2),
        BootDevice::Network => (2, 1),
    }
}
