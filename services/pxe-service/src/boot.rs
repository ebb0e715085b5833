//! Decides what a machine receives: loader, script, kernel, ramdisk, token. Pure.

mod endpoint;

use domain::net::MacAddr;
use keyspace::value::{BootDecision, Protocol, Work};
use wire_dhcp::{Architecture, Client, Request};

pub(crate) use self::endpoint::Endpoint;

/// A file of one node that its machine can request, over HTTP or TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeFile {
    /// The iPXE script.
    Script,
    /// The kernel of the agent.
    Kernel,
    /// The ramdisk of the agent.
    Ramdisk,
    /// A second ramdisk with the boot token.
    Token,
}

impl NodeFile {
    const ALL: [Self; 4] = [Self::Script, Self::Kernel, Self::Ramdisk, Self::Token];

    const fn name(self) -> &'static str {
        match self {
            Self::Script => "script.ipxe",
            Self::Kernel => "vmlinuz",
            Self::Ramdisk => "initrd.img",
            Self::Token => "token.cpio",
        }
    }
}

/// The path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BootPath {
    /// A loader, from the directory of loaders.
    Loader(&'static str),
    /// A file of the node with this MAC address.
    Node(MacAddr, NodeFile),
}

/// The loaders that are served; other files of their directory are not.
const LOADERS: [&str; 3] = ["undionly.kpxe", "snponly.efi", "ipxe.efi"];

/// Parses a path. Firmware may add leading slashes.
pub(crate) fn parse_path(text: &str) -> Option<BootPath> {
    let text = text.trim_start_matches('/');
    if let Some(loader) = LOADERS.into_iter().find(|loader| *loader == text) {
        return Some(BootPath::Loader(loader));
    }
    let (mac, name) = text.strip_prefix("boot/")?.split_once('/')?;
    let file = NodeFile::ALL.into_iter().find(|file| file.name() == name)?;
    Some(BootPath::Node(mac.parse().ok()?, file))
}

/// Returns the boot file name for DHCP; `http` is the replica's own `host:port`. Returns `None` if the machine is to
/// boot from its disk.
pub(crate) fn boot_file(client: Client, mac: MacAddr, decision: Option<&BootDecision>, http: &str) -> Option<String> {
    decision?;
    match client {
        Client::Pxe(_) => loader(client).map(str::to_owned),
        Client::Http(_) => loader(client).map(|name| format!("http://{http}/{name}")),
        Client::Ipxe(_) => Some(format!("http://{http}/boot/{mac}/{}", NodeFile::Script.name())),
        Client::System => None,
    }
}

/// Returns the boot loader for firmware of this kind.
fn loader(client: Client) -> Option<&'static str> {
    match client {
        Client::Pxe(Architecture::Bios) => Some("undionly.kpxe"),
        Client::Pxe(Architecture::UefiX64) => Some("snponly.efi"),
        Client::Http(Architecture::UefiX64) => Some("ipxe.efi"),
        Client::Pxe(Architecture::UefiArm64 | Architecture::Other(_))
        | Client::Http(Architecture::Bios | Architecture::UefiArm64 | Architecture::Other(_))
        | Client::Ipxe(_)
        | Client::System => None,
    }
}

/// Returns the client with the first of its architectures that there is a boot loader for. If there is none for any, returns
/// the client with its first one.
pub(crate) fn bootable_client(request: &Request) -> Client {
    let clients = request.architectures.iter().map(|architecture| request.client.with_architecture(*architecture));
    clients.into_iter().find(|client| loader(*client).is_some()).unwrap_or(request.client)
}

/// Describes the client, for the timeline.
pub(crate) fn describe(client: Client) -> String {
    match client {
        Client::Pxe(architecture) => format!("PXE firmware ({})", describe_architecture(architecture)),
        Client::Http(architecture) => format!("HTTP boot firmware ({})", describe_architecture(architecture)),
        Client::Ipxe(architecture) => format!("iPXE ({})", describe_architecture(architecture)),
        Client::System => "an operating system".to_owned(),
    }
}

fn describe_architecture(architecture: Architecture) -> String {
    match architecture {
        Architecture::Bios => "BIOS".to_owned(),
        Architecture::UefiX64 => "UEFI x64".to_owned(),
        Architecture::UefiArm64 => "UEFI arm64".to_owned(),
        Architecture::Other(number) => format!("architecture {number}"),
    }
}

/// Where a replica serves boot files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    /// The HTTP address.
    pub(crate) http: Endpoint,
}

/// Renders the iPXE script. It tries each replica in turn, the current one first, and starts over if all fail.
///
/// `ironic` lists the listeners for agents that use Ironic's protocol; the agent receives them as arguments.
///
/// Everything that goes into the script has a type that cannot hold a line break or a variable: [`MacAddr`], [`Endpoint`]
/// and [`domain::kernel_arguments::KernelArguments`].
pub(crate) fn render_script(
    mac: MacAddr,
    decision: &BootDecision,
    replicas: &[Replica],
    ironic: &[Endpoint],
) -> String {
    use std::fmt::Write as _;
    let arguments = arguments(decision, ironic);
    let bootif = mac.to_string().replace(':', "-");
    let mut script = String::from("#!ipxe\necho Ironmesh: booting the agent\n:again\n");
    for (number, replica) in replicas.iter().enumerate() {
        let base = if decision.by_tftp {
            format!("tftp://{}/boot/{mac}", replica.http.host())
        } else {
            format!("http://{}/boot/{mac}", replica.http)
        };
        // The token is the first ramdisk: it is not compressed, and an uncompressed archive must start at a multiple of
        // four bytes.
        let lines = [
            format!(":from{number}"),
            "imgfree".to_owned(),
            format!(
                "kernel --name vmlinuz {base}/vmlinuz initrd=token.cpio initrd=initrd.img {} BOOTIF=01-{bootif} || goto from{}",
                arguments,
                number + 1
            ),
            format!("initrd --name token.cpio {base}/token.cpio || goto from{}", number + 1),
            format!("initrd --name initrd.img {base}/initrd.img || goto from{}", number + 1),
            format!("boot || goto from{}", number + 1),
        ];
        for line in lines {
            let _ = writeln!(script, "{line}");
        }
    }
    let _ = writeln!(
        script,
        ":from{}\necho Ironmesh: no replica has the boot files, retrying\nsleep 3\ngoto again",
        replicas.len()
    );
    script
}

/// Returns the kernel arguments. An agent that uses Ironic's protocol reads its own from there (ironic-python-agent's
/// `config.py`): the API's URLs, or for an inspection the URLs that receive its report.
fn arguments(decision: &BootDecision, ironic: &[Endpoint]) -> String {
    if decision.protocol == Protocol::Ironmesh {
        return decision.arguments.to_string();
    }
    let urls: Vec<String> = ironic.iter().map(|endpoint| format!("http://{endpoint}")).collect();
    let own = match &decision.work {
        Work::Inspect => {
            let callbacks: Vec<_> = urls.iter().map(|url| format!("{url}/v1/continue_inspection")).collect();
            format!("ipa-inspection-callback-url={}", callbacks.join(","))
        }
        Work::Wipe | Work::Service | Work::Write { .. } => format!("ipa-api-url={}", urls.join(",")),
    };
    format!("{} {own}", decision.arguments).trim().to_owned()
}

/// Returns the file from which an agent that uses Ironic's protocol reads its token, if its ramdisk is configured so
/// (`--config-dir /etc/ironic-python-agent.d`, as diskimage-builder does).
pub(crate) fn ironic_agent_config(token: &[u8]) -> String {
    format!("[DEFAULT]\nagent_token = {}\n", hex::encode(token))
}

/// Builds a cpio archive (newc, kernel `Documentation/driver-api/early-userspace/buffer-format.rst`) with one file,
/// readable only by root, and its directories. The size is a multiple of 512.
pub(crate) fn cpio_archive(path: &str, content: &[u8]) -> Vec<u8> {
    const FOLDER: u32 = 0o040_755;
    const FILE: u32 = 0o100_400;
    let mut out = Vec::new();
    let mut folder = String::new();
    let mut number = 1;
    if let Some((folders, _)) = path.rsplit_once('/') {
        for part in folders.split('/') {
            folder = if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
            write_entry(&mut out, number, &folder, FOLDER, &[]);
            number += 1;
        }
    }
    write_entry(&mut out, number, path, FILE, content);
    write_entry(&mut out, 0, "TRAILER!!!", 0, &[]);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn write_entry(out: &mut Vec<u8>, number: u32, name: &str, mode: u32, content: &[u8]) {
    let (size, name_size) = (content.len(), name.len() + 1);
    out.extend(format!("070701{number:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}", 0, 0, 1, 0).bytes());
    out.extend(format!("{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}", 0, 0, 0, 0, 0).bytes());
    out.extend(name.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use domain::{
        generation::{Generation, Token},
        time::Timestamp,
    };
    use keyspace::value::BootFile;

    use super::*;

    fn mac() -> MacAddr {
        "52:54:00:01:00:01".parse().unwrap()
    }

    #[test]
    fn only_what_is_named_can_be_asked_for() {
        assert_eq!(parse_path("undionly.kpxe"), Some(BootPath::Loader("undionly.kpxe")));
        assert_eq!(parse_path("/boot/52:54:00:01:00:01/vmlinuz"), Some(BootPath::Node(mac(), NodeFile::Kernel)));
        for wrong in ["", "../etc/passwd", "boot/52:54:00:01:00:01/../vmlinuz", "boot//vmlinuz", "ipxe.iso"] {
            assert_eq!(parse_path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_firmware_gets_its_own_loader_and_a_node_without_a_decision_none() {
        let decision = decision(Protocol::Ironmesh, Work::Wipe);
        let of = |client| boot_file(client, mac(), Some(&decision), "10.0.0.1:80");
        assert_eq!(of(Client::Pxe(Architecture::Bios)).as_deref(), Some("undionly.kpxe"));
        assert_eq!(of(Client::Pxe(Architecture::UefiX64)).as_deref(), Some("snponly.efi"));
        assert_eq!(of(Client::Http(Architecture::UefiX64)).as_deref(), Some("http://10.0.0.1:80/ipxe.efi"));
        let script = "http://10.0.0.1:80/boot/52:54:00:01:00:01/script.ipxe";
        assert_eq!(of(Client::Ipxe(Architecture::Bios)).as_deref(), Some(script));
        assert_eq!(of(Client::Pxe(Architecture::UefiArm64)), None);
        assert_eq!(of(Client::System), None);
        assert_eq!(boot_file(Client::Pxe(Architecture::Bios), mac(), None, "10.0.0.1:80"), None);
    }

    #[test]
    fn the_first_architecture_with_a_boot_loader_is_booted() {
        use Architecture::{Bios, Other, UefiArm64, UefiX64};
        // A DISCOVER with this option 60 and this option 93 (RFC 4578 §2.1).
        let discover = |class: &[u8], list: &[u8]| {
            let mut bytes = vec![0; 240];
            bytes.splice(..3, [1, 1, 6]);
            bytes.splice(28..34, [0x52, 0x54, 0, 1, 0, 1]);
            bytes.splice(236.., [99, 130, 83, 99, 53, 1, 1]);
            for (code, octets) in [(60, class), (93, list)] {
                bytes.extend([code, u8::try_from(octets.len()).unwrap()]);
                bytes.extend(octets);
            }
            Request::decode(&bytes).unwrap()
        };
        for (class, list, expected) in [
            (&b"PXEClient"[..], &[0, 6, 0, 7][..], Client::Pxe(UefiX64)),
            (b"PXEClient", &[0, 11, 0, 7], Client::Pxe(UefiX64)),
            (b"PXEClient", &[0, 6, 0, 0], Client::Pxe(Bios)),
            (b"PXEClient", &[0, 0, 0, 7], Client::Pxe(Bios)),
            (b"PXEClient:Arch:00007:UNDI:003016", &[0, 0, 0, 7], Client::Pxe(UefiX64)),
            (b"HTTPClient:Arch:00016:UNDI:003001", &[0, 20, 0, 16], Client::Http(UefiX64)),
            (b"HTTPClient", &[0, 20, 0, 16], Client::Http(UefiX64)),
            (b"PXEClient", &[0, 6, 0, 11], Client::Pxe(Other(6))),
            (b"PXEClient", &[0, 11], Client::Pxe(UefiArm64)),
            (b"udhcp 1.35.0", &[], Client::System),
        ] {
            assert_eq!(bootable_client(&discover(class, list)), expected, "{list:?}");
        }
    }

    #[test]
    fn a_script_tries_each_replica_in_turn_and_then_starts_over() {
        let replicas = ["10.0.0.1:80", "10.0.0.2:80"].map(|http| Replica { http: http.parse().unwrap() });
        let mut decision = decision(Protocol::Ironmesh, Work::Wipe);
        let script = render_script(mac(), &decision, &replicas, &[]);
        let first = script.find("http://10.0.0.1:80/boot/52:54:00:01:00:01/vmlinuz").unwrap();
        let second = script.find("http://10.0.0.2:80/boot/52:54:00:01:00:01/vmlinuz").unwrap();
        assert!(first < second && script.contains("|| goto from1") && script.ends_with("goto again\n"), "{script}");
        assert!(script.contains(" console=ttyS0 BOOTIF=01-52-54-00-01-00-01 "), "{script}");
        decision.by_tftp = true;
        let script = render_script(mac(), &decision, &replicas, &[]);
        assert!(script.contains("tftp://10.0.0.2/boot/52:54:00:01:00:01/initrd.img"), "{script}");
    }

    fn decision(protocol: Protocol, work: Work) -> BootDecision {
        let digest = format!("sha256:{}", "0".repeat(64));
        let file = |name: &str| BootFile { name: name.to_owned(), digest: digest.parse().unwrap() };
        BootDecision {
            generation: Generation::from_number(1),
            token: Token::default(),
            minted_at: Timestamp::default(),
            kernel: Some(file("k")),
            ramdisk: Some(file("r")),
            arguments: "console=ttyS0".parse().unwrap(),
            by_tftp: false,
            boot_token: serde_json::from_str(r#"{"key": "k", "sealed": ""}"#).unwrap(),
            work,
            protocol,
            steps: vec![],
            part: None,
        }
    }

    #[test]
    fn an_agent_that_speaks_ironics_protocol_is_told_every_door() {
        let endpoints = ["10.0.0.1:6386", "10.0.0.2:6386"].map(|endpoint| endpoint.parse().unwrap());
        let of = |protocol, work| arguments(&decision(protocol, work), &endpoints);
        assert_eq!(of(Protocol::Ironmesh, Work::Wipe), "console=ttyS0");
        let both = "console=ttyS0 ipa-api-url=http://10.0.0.1:6386,http://10.0.0.2:6386";
        assert_eq!(of(Protocol::Ironic, Work::Wipe), both);
        let callback = "http://10.0.0.1:6386/v1/continue_inspection,http://10.0.0.2:6386/v1/continue_inspection";
        let inspects = format!("console=ttyS0 ipa-inspection-callback-url={callback}");
        assert_eq!(of(Protocol::Ironic, Work::Inspect), inspects);
        assert_eq!(ironic_agent_config(&[0xab; 2]), "[DEFAULT]\nagent_token = abab\n");
    }

    #[test]
    fn an_archive_is_one_that_cpio_reads() {
        use std::{io::Write as _, process};
        let folder = tempfile::tempdir().unwrap();
        let archive = cpio_archive("etc/ironmesh/boot.json", b"{}\n");
        assert_eq!(archive.len() % 512, 0);
        let mut cpio = process::Command::new("cpio")
            .args(["--extract", "--make-directories", "--quiet"])
            .current_dir(folder.path())
            .stdin(process::Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(cpio.wait().unwrap().success());
        assert_eq!(std::fs::read(folder.path().join("etc/ironmesh/boot.json")).unwrap(), b"{}\n");
    }
}
