//! Properties of a rack, and the names and addresses that follow from them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::bmc::{Access, PASSWORD, PORT, USER};
use super::machine::{Behind, Firmware, Machine};
use super::{Node, Rack, Services, prefix};

/// Properties of a rack for [`Rack::up`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// A few lower-case letters and digits; unique on this host.
    pub tag: String,
    /// Folder of its files. It has QEMU's monitor socket, so its path may have about 80 characters.
    pub state: PathBuf,
    /// The program `virtual-rack`.
    pub program: PathBuf,
    /// The machines.
    pub nodes: Vec<Firmware>,
    /// Kind of their BMCs. With [`Behind::Responder`] only addresses are assigned, and the caller runs the BMCs.
    pub behind: Behind,
    /// Memory of each machine in MiB; `None` for the requirement of its firmware.
    pub memory_mib: Option<u32>,
    /// Disk of each machine in MiB.
    pub disk_mib: u32,
}

/// BMC addresses are 10.77.2.11 to .99; the machines' own addresses are assigned by DHCP.
const MAX_NODES: usize = 89;

/// `sun_path` of unix(7) has 108 octets, the last of them 0.
const MAX_SOCKET_PATH_BYTES: usize = 107;

impl Services {
    /// Namespace and addresses of the services in a rack with this tag.
    #[must_use]
    pub fn usual(tag: &str) -> Self {
        Self {
            namespace: format!("{}svc", prefix(tag)),
            interface: "prov".to_owned(),
            addresses: vec![Ipv4Addr::new(10, 77, 1, 1), Ipv4Addr::new(10, 77, 1, 2)],
            server_identifier: Ipv4Addr::new(10, 77, 1, 3),
            address_v6: Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 1),
            prefix: 24,
            oob_interface: "oob".to_owned(),
            oob_address: Ipv4Addr::new(10, 77, 2, 1),
        }
    }
}

/// Whether a rack can have this tag: it is part of the names of interfaces and namespaces.
///
/// # Errors
/// It is empty, longer than 8 characters, or has others than `a-z` and `0-9`.
pub fn check_tag(tag: &str) -> Result<()> {
    let letters = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    ensure!((1..=8).contains(&tag.len()) && tag.chars().all(letters), "a tag is 1 to 8 of a-z, 0-9");
    Ok(())
}

impl Plan {
    /// Computes all names and addresses.
    ///
    /// # Errors
    /// An impossible tag, path or number of nodes.
    pub(super) fn rack(&self) -> Result<Rack> {
        check_tag(&self.tag)?;
        ensure!((1..=MAX_NODES).contains(&self.nodes.len()), "a rack has 1 to {MAX_NODES} nodes");
        let state = std::path::absolute(&self.state)?;
        for path in [&state, &self.program] {
            ensure!(plain(path), "{}: only A-Z, a-z, 0-9 and . _ - / may be in this path", path.display());
        }
        let nodes: Vec<Node> =
            (1..).zip(&self.nodes).map(|(number, firmware)| self.node(&state, number, *firmware)).collect();
        let longest = nodes.last().context("no nodes")?.machine.path("qmp.sock");
        ensure!(longest.as_os_str().len() <= MAX_SOCKET_PATH_BYTES, "{}: too long for a socket", longest.display());
        let services = Services::usual(&self.tag);
        Ok(Rack { tag: self.tag.clone(), state, program: self.program.clone(), services, nodes })
    }

    fn node(&self, state: &Path, number: u8, firmware: Firmware) -> Node {
        let name = format!("n{number}");
        let machine = Machine {
            firmware,
            behind: self.behind,
            mac: format!("52:54:00:01:00:{number:02x}"),
            uuid: format!("4c4c4544-0001-4c41-8042-5254000100{number:02x}"),
            memory_mib: self.memory_mib.unwrap_or_else(|| firmware.memory_mib()),
            disk_mib: self.disk_mib,
            directory: state.join(&name),
            name,
        };
        Node {
            namespace: format!("{}{}", prefix(&self.tag), machine.name),
            console: machine.console(),
            bmc: Access {
                address: Ipv4Addr::new(10, 77, 2, 10 + number),
                port: PORT,
                user: USER.to_owned(),
                password: PASSWORD.to_owned(),
            },
            machine,
        }
    }
}

/// Whether a path needs no quoting for a shell, QEMU's option lists and `ipmi_sim`'s configuration.
fn plain(path: &Path) -> bool {
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"._-/".contains(octet);
    path.as_os_str().as_encoded_bytes().iter().all(plain)
}
