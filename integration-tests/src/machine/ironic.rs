//! The stock agent: an unmodified ironic-python-agent in the machine's network namespace, with the machine's disk as a
//! loop device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::Shared;

/// Hardware manager that reports the simulated hardware to the agent.
const HARDWARE: &str = include_str!("../../ironic/ironmesh_lab.py");
/// Entry points by which a Python package announces a hardware manager (packaging.python.org, *Entry points*).
const ENTRY_POINTS: &str = "[ironic_python_agent.hardware_managers]\nlab = ironmesh_lab:LabHardwareManager\n";
/// The agent must see only its own processes, and its own kernel command line.
const OWN_PROCESSES: [&str; 5] = ["--pid", "--fork", "--mount-proc", "--kill-child", "sh"];
const START: &str = r#"mount --bind "$1" /proc/cmdline && exec "$2" --config-dir "$3" --debug"#;

/// Boot parameters of such an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Booted {
    /// The kernel's arguments.
    pub(super) arguments: String,
    /// The file with its token.
    pub(super) token: Vec<u8>,
}

/// A file as a block device. It is detached when it is dropped.
struct Loop(PathBuf);

impl Loop {
    async fn over(file: &Path) -> Result<Self> {
        let losetup = Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(file).output().await?;
        ensure!(losetup.status.success(), "losetup: {}", String::from_utf8_lossy(&losetup.stderr));
        Ok(Self(String::from_utf8(losetup.stdout)?.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A device that cannot be detached is reported as in use by the next test.
        let _ = std::process::Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// Path of its log.
pub(super) fn log(shared: &Shared) -> PathBuf {
    shared.folder.join("ironic-python-agent.log")
}

/// Runs the agent until the machine loses its power.
pub(super) async fn run(shared: &Shared, program: &Path, booted: &Booted) -> Result<()> {
    let folder = shared.folder.join("ironic");
    let (configured, package) = (folder.join("ironic-python-agent.d"), folder.join("lab-1.dist-info"));
    for made in [&configured, &package] {
        fs::create_dir_all(made)?;
    }
    fs::write(folder.join("ironmesh_lab.py"), HARDWARE)?;
    fs::write(package.join("METADATA"), "Metadata-Version: 2.1\nName: lab\nVersion: 1\n")?;
    fs::write(package.join("entry_points.txt"), ENTRY_POINTS)?;
    fs::write(configured.join("ironmesh.conf"), &booted.token)?;
    let arguments = folder.join("cmdline");
    fs::write(&arguments, format!("{}\n", booted.arguments))?;
    let disk = Loop::over(&shared.disk()).await?;
    let log = fs::File::options().create(true).append(true).open(log(shared))?;
    let mut command = Command::from(shared.nic.command("unshare"));
    command
        .args(OWN_PROCESSES)
        .args(["-c", START, "sh"])
        .args([&arguments, program, &configured])
        .env("PYTHONPATH", &folder)
        .env("LAB_DISK", &disk.0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    let mut agent = command.spawn().with_context(|| program.display().to_string())?;
    shared.say(format!("ironic-python-agent starts: {}", booted.arguments));
    let ended = agent.wait().await?;
    shared.say(format!("ironic-python-agent ended: {ended}"));
    Ok(())
}
