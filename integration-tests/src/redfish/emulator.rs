//! OpenStack's `sushy-emulator`, over HTTPS and with users, with two fake machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::authority::Authority;
use crate::rack::daemon::Daemon;
use crate::rack::namespace::Namespace;

/// Maximum time for it to start.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Its port.
pub const PORT: u16 = 8443;
/// Its only user.
pub const USER: &str = "admin";
/// The user's password.
pub const PASSWORD: &str = "r3df1sh-pw";
/// A password among the firmware settings, which no service may show.
pub const BIOS_PASSWORD: &str = "b10s-pw";
/// The emulator's systems; the node is the second.
pub const SYSTEMS: [&str; 2] = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];

/// The emulator's machines that are not there have no firmware settings: these have those of a file. All else, their
/// resource and its registry too, is the emulator's own.
const LAUNCHER: &str = r#"
import json, sys
from sushy_tools.emulator import main
from sushy_tools.emulator.resources.systems import fakedriver
path = sys.argv.pop(1)
def get_bios(self, identity):
    self._get(identity)
    with open(path) as file:
        return json.load(file)
fakedriver.FakeDriver.get_bios = get_bios
sys.exit(main.main())
"#;

/// The emulator. It ends when it is dropped.
#[derive(Debug)]
pub struct Emulator {
    process: Daemon,
    log: PathBuf,
    /// Firmware settings of its machines.
    pub bios: PathBuf,
    /// Certificate of the CA that signed its own.
    pub ca: PathBuf,
    /// A client that trusts it.
    pub client: reqwest::Client,
}

impl Emulator {
    /// Starts it where the services are; its certificate is signed by a CA that no system trusts.
    ///
    /// # Errors
    /// A program is missing.
    pub fn start(place: &Namespace, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let authority = Authority::new()?;
        let files = authority.issue_for_loopback(folder)?;
        let users = folder.join("users");
        // The hash is libxcrypt's, as htpasswd writes it.
        let hash = format!(
            r#"import crypt; print("{USER}:" + crypt.crypt("{PASSWORD}", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))"#
        );
        let made = Command::new("/usr/bin/python3").args(["-W", "ignore", "-c", &hash]).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(&users, made.stdout)?;
        let config = folder.join("config.py");
        // Otherwise it would find its state of this run again in the next one.
        let (users, state) = (users.display().to_string(), folder.display().to_string());
        let systems = SYSTEMS.map(|uuid| {
            format!(
                "{{'uuid': '{uuid}', 'name': '{uuid}', 'power_state': 'Off', 'external_notifier': False, 'nics': []}}"
            )
        });
        let settings = format!(
            "SUSHY_EMULATOR_AUTH_FILE = {users:?}\nSUSHY_EMULATOR_STATE_DIR = {state:?}\nSUSHY_EMULATOR_FAKE_SYSTEMS = [{}]\n",
            systems.join(", ")
        );
        fs::write(&config, settings)?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/bin/sushy-emulator");
        ensure!(program.exists(), "{} is not there; scripts/test installs it", program.display());
        let launcher = folder.join("launcher.py");
        fs::write(&launcher, LAUNCHER)?;
        let mut command = place.command(&program.with_file_name("python3").display().to_string());
        command.arg(&launcher).arg(folder.join("bios.json"));
        command.args(["--fake", "--interface", "127.0.0.1", "--port", &PORT.to_string()]);
        command.arg("--config").arg(&config);
        command.arg("--ssl-certificate").arg(&files.certificate).arg("--ssl-key").arg(&files.key);
        let (log, bios) = (folder.join("log"), folder.join("bios.json"));
        fs::write(&bios, json!({"BootMode": "Uefi", "NumCores": "10", "SysPassword": BIOS_PASSWORD}).to_string())?;
        let process = Daemon::spawn(command, &log, &folder.join("record"))?;
        service_kit::tls::install_provider();
        let ca = reqwest::Certificate::from_pem(authority.pem().as_bytes())?;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build()?;
        Ok(Self { process, log, bios, ca: files.ca, client })
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// The resource does not exist, or may not be read.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("https://127.0.0.1:{PORT}{path}")).basic_auth(USER, Some(PASSWORD));
        let answer = request.send().await?.error_for_status()?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It has ended, or does not answer in time.
    pub async fn answers(&self) -> Result<()> {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            match self.get("/redfish/v1/Systems").await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until || !self.process.alive() => {
                    bail!("{error:#}: {}", fs::read_to_string(&self.log)?)
                }
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Number of requests with this method, from its log.
    ///
    /// # Errors
    /// It has no log.
    pub fn asked(&self, method: &str) -> Result<Vec<String>> {
        let log = fs::read_to_string(&self.log)?;
        let request = |line: &str| {
            // The quote before it is followed by a color, for most answers.
            let (_, path) = line.split_once(&format!("{method} /"))?;
            Some(format!("/{}", path.split(' ').next()?))
        };
        Ok(log.lines().filter_map(request).collect())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.process.end());
    }
}
