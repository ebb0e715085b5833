//! A real Ironic 39.0.0, as scripts/test installs it from the package registry, run where a mesh is: one process with
//! its API, SQLite and `fake-hardware`, without authentication.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use domain::driver::Interface;

use crate::rack::{daemon::Daemon, namespace::Namespace, wait};

/// Its port, in its own network namespace.
const PORT: u16 = 16385;
/// Maximum time for it to start, which includes creating a database.
const START: Duration = Duration::from_secs(90);
/// Changes its database, where no request does so quickly.
const SQL: &str = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], 10); c.execute(sys.argv[2]); c.commit()";

/// Which implementations of the interfaces are enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// Those with which `golden/recorded.jsonl` was recorded.
    Recorded,
    /// All that exist.
    All,
}

/// A running Ironic. It is ended when it is dropped.
#[derive(Debug)]
pub struct Peer {
    place: Namespace,
    folder: PathBuf,
    daemon: Daemon,
}

/// Program of the peer.
fn beside(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ironic/bin").join(name);
    ensure!(path.exists(), "{} is not there; scripts/test --all installs it", path.display());
    Ok(path.display().to_string())
}

impl Peer {
    /// Starts it with its files in this folder, and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not start; the error has its log.
    pub fn up(place: &Namespace, folder: &Path, enabled: Enabled) -> Result<Self> {
        let (file, log) = (folder.join("ironic.conf"), folder.join("ironic.log"));
        fs::write(&file, configuration(folder, enabled))?;
        let configured = ["--config-file".to_owned(), file.display().to_string()];
        let mut schema = place.command(&beside("ironic-dbsync")?);
        let output = schema.args(&configured).arg("create_schema").output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut command = place.command(&beside("ironic")?);
        command.args(&configured);
        let daemon = Daemon::spawn(command, &log, &folder.join("ironic.record"))?;
        let peer = Self { place: place.clone(), folder: folder.to_owned(), daemon };
        // It answers before its conductor has registered its drivers.
        let drivers = format!("{}/v1/drivers", peer.address());
        wait::until("Ironic to answer", START, || {
            ensure!(peer.daemon.alive(), "Ironic ended: {}", fs::read_to_string(&log)?);
            let said = peer.place.run(&["curl", "-s", &drivers]);
            Ok(said.is_ok_and(|said| said.contains("fake-hardware")).then_some(()))
        })?;
        Ok(peer)
    }

    /// Its URL, as `http://host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{PORT}")
    }

    /// Asks it for its matrix of hardware types, interfaces and implementations, by `record/matrix.py`.
    ///
    /// # Errors
    /// Errors of the script.
    pub fn matrix(&self) -> Result<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/wire-ironic/record/matrix.py");
        let find =
            "import importlib.metadata as m; print(m.distribution('ironic').locate_file('ironic-39.0.0.dist-info'))";
        let python = beside("python")?;
        let info = self.place.run(&[&python, "-c", find])?;
        let entry_points = Path::new(info.trim()).join("entry_points.txt").display().to_string();
        self.place.run(&[&python, &script.display().to_string(), &format!("127.0.0.1:{PORT}"), &entry_points])
    }

    /// Changes its database.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn sql(&self, change: &str) -> Result<()> {
        let database = self.folder.join("ironic.db").display().to_string();
        self.place.run(&[&beside("python")?, "-c", SQL, &database, change]).with_context(|| change.to_owned()).map(drop)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Err(error) = self.daemon.end() {
            eprintln!("Ironic: {error:#}");
        }
    }
}

/// The configuration of the Ironic whose answers are recorded.
fn configuration(folder: &Path, enabled: Enabled) -> String {
    let mut text = format!(
        "[DEFAULT]\nauth_strategy = noauth\nrpc_transport = none\nhost = conductor-a\nmy_ip = 127.0.0.1\n\
         state_path = {folder}\ndefault_network_interface = noop\n\
         enabled_hardware_types = fake-hardware,ipmi,redfish,manual-management\n",
        folder = folder.display()
    );
    let recorded = [
        ("bios", "fake,no-bios,redfish"),
        ("boot", "fake,pxe,ipxe,http,http-ipxe,redfish-virtual-media"),
        ("console", "fake,no-console"),
        ("deploy", "fake,direct,ramdisk,autodetect,bootc,noop"),
        ("firmware", "fake,no-firmware,redfish"),
        ("inspect", "fake,no-inspect,agent,redfish"),
        ("management", "fake,ipmitool,redfish,noop"),
        ("network", "noop"),
        ("power", "fake,ipmitool,redfish,agent"),
        ("raid", "fake,no-raid,agent,redfish"),
        ("rescue", "fake,no-rescue,agent"),
        ("storage", "fake,noop"),
        ("vendor", "fake,no-vendor,ipmitool,redfish"),
    ];
    for interface in Interface::ALL {
        let names = match enabled {
            Enabled::Recorded => {
                recorded.iter().find(|(name, _)| *name == interface.name()).map(|(_, names)| (*names).to_owned())
            }
            Enabled::All => Some(interface.implementations().join(",")),
        };
        text.push_str(&format!("enabled_{interface}_interfaces = {}\n", names.unwrap_or_default()));
    }
    text.push_str(&format!(
        "[api]\nhost_ip = 127.0.0.1\nport = {PORT}\n[database]\nconnection = sqlite:///{}/ironic.db\n\
         [conductor]\nheartbeat_timeout = 3600\nautomated_clean = false\nsync_power_state_interval = -1\n",
        folder.display()
    ));
    if enabled == Enabled::All {
        let root = folder.join("httpboot");
        text.push_str(&format!("[deploy]\nhttp_url = http://127.0.0.1:8080\nhttp_root = {}\n", root.display()));
        text.push_str("[redfish]\nconnection_attempts = 1\n");
    }
    text
}
