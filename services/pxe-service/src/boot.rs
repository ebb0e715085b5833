//! Who gets what: loader, script, kernel, ramdisk, token.

use domain::net::MacAddr;
use keyspace::value::{BootDecision, Protocol, Work};
use wire_dhcp::{Client, Machine};

/// What a machine can ask for by name, over HTTP or TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// iPXE's script.
    Script,
    /// The agent's kernel.
    Kernel,
    /// The agent's ramdisk.
    Ramdisk,
    /// A second ramdisk with the boot token in it.
    Token,
}

impl Wanted {
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

/// A path that a machine may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// A loader, from the folder of loaders.
    Loader(&'static str),
    /// Something of a machine's own.
    Own(MacAddr, Wanted),
}

/// The loaders that we hand out; no other file of their folder is.
const LOADERS: [&str; 3] = ["undionly.kpxe", "snponly.efi", "ipxe.efi"];

/// Reads a path. A machine's firmware may put slashes before it.
pub(crate) fn path(text: &str) -> Option<Path> {
    let text = text.trim_start_matches('/');
    if let Some(loader) = LOADERS.into_iter().find(|loader| *loader == text) {
        return Some(Path::Loader(loader));
    }
    let (mac, name) = text.strip_prefix("boot/")?.split_once('/')?;
    let wanted = Wanted::ALL.into_iter().find(|wanted| wanted.name() == name)?;
    Some(Path::Own(mac.parse().ok()?, wanted))
}

/// What DHCP names as boot file; `http` is the replica's own `host:port`. None: the machine boots from its disk.
pub(crate) fn boot_file(client: Client, mac: MacAddr, decision: Option<&BootDecision>, http: &str) -> Option<String> {
    decision?;
    match client {
        Client::Pxe(Machine::Bios) => Some("undionly.kpxe".to_owned()),
        Client::Pxe(Machine::UefiX64) => Some("snponly.efi".to_owned()),
        Client::Http(Machine::UefiX64) => Some(format!("http://{http}/ipxe.efi")),
        Client::Ipxe(_) => Some(format!("http://{http}/boot/{mac}/{}", Wanted::Script.name())),
        Client::Pxe(Machine::UefiArm64 | Machine::Other(_))
        | Client::Http(Machine::Bios | Machine::UefiArm64 | Machine::Other(_))
        | Client::System => None,
    }
}

/// In words for the timeline.
pub(crate) fn words(client: Client) -> String {
    match client {
        Client::Pxe(machine) => format!("PXE firmware ({})", machine_words(machine)),
        Client::Http(machine) => format!("HTTP boot firmware ({})", machine_words(machine)),
        Client::Ipxe(machine) => format!("iPXE ({})", machine_words(machine)),
        Client::System => "an operating system".to_owned(),
    }
}

fn machine_words(machine: Machine) -> String {
    match machine {
        Machine::Bios => "BIOS".to_owned(),
        Machine::UefiX64 => "UEFI x64".to_owned(),
        Machine::UefiArm64 => "UEFI arm64".to_owned(),
        Machine::Other(number) => format!("architecture {number}"),
    }
}

/// Where a replica's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    /// For HTTP.
    pub(crate) http: String,
}

/// The script: each replica in turn, this one first, then all again; a replica that dies in the middle costs a retry.
///
/// `ironic` are the doors for agents that speak Ironic's protocol, as `host:port`; such an agent is told of them.
pub(crate) fn script(mac: MacAddr, decision: &BootDecision, replicas: &[Replica], ironic: &[String]) -> String {
    use std::fmt::Write as _;
    let arguments = arguments(decision, ironic);
    let bootif = mac.to_string().replace(':', "-");
    let mut script = String::from("#!ipxe\necho Ironmesh: booting the agent\n:again\n");
    for (number, replica) in replicas.iter().enumerate() {
        let base = if decision.by_tftp {
            let host = replica.http.rsplit_once(':').map_or(replica.http.as_str(), |(host, _)| host);
            format!("tftp://{host}/boot/{mac}")
        } else {
            format!("http://{}/boot/{mac}", replica.http)
        };
        // Over HTTP or TFTP alike, the token is the first ramdisk: it is not packed, and what is not packed must begin
        // at a multiple of four octets.
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
        ":from{}\necho Ironmesh: no replica has the boot files, trying again\nsleep 3\ngoto again",
        replicas.len()
    );
    script
}

/// The kernel's arguments. An agent that speaks Ironic's protocol takes its own from there (ironic-python-agent's
/// `config.py`): where it is answered, and that its report is all that is wanted where that is so.
fn arguments(decision: &BootDecision, ironic: &[String]) -> String {
    if decision.protocol == Protocol::Ironmesh {
        return decision.arguments.clone();
    }
    let urls: Vec<String> = ironic.iter().map(|door| format!("http://{door}")).collect();
    let own = match &decision.work {
        Work::Inspect => {
            let callbacks: Vec<_> = urls.iter().map(|url| format!("{url}/v1/continue_inspection")).collect();
            format!("ipa-inspection-callback-url={}", callbacks.join(","))
        }
        Work::Wipe | Work::Service | Work::Write { .. } => format!("ipa-api-url={}", urls.join(",")),
    };
    format!("{} {own}", decision.arguments).trim().to_owned()
}

/// What an agent that speaks Ironic's protocol reads its token from, where its ramdisk has it look there
/// (`--config-dir /etc/ironic-python-agent.d`, as diskimage-builder's does).
pub(crate) fn ironic_file(token: &[u8]) -> String {
    format!("[DEFAULT]\nagent_token = {}\n", hex::encode(token))
}

/// A cpio archive (newc, kernel `Documentation/driver-api/early-userspace/buffer-format.rst`) with one file that only
/// root may read, and its folders. Its size is a multiple of 512.
pub(crate) fn archive(path: &str, content: &[u8]) -> Vec<u8> {
    const FOLDER: u32 = 0o040_755;
    const FILE: u32 = 0o100_400;
    let mut out = Vec::new();
    let mut folder = String::new();
    let mut number = 1;
    if let Some((folders, _)) = path.rsplit_once('/') {
        for part in folders.split('/') {
            folder = if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
            member(&mut out, number, &folder, FOLDER, &[]);
            number += 1;
        }
    }
    member(&mut out, number, path, FILE, content);
    member(&mut out, 0, "TRAILER!!!", 0, &[]);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn member(out: &mut Vec<u8>, number: u32, name: &str, mode: u32, content: &[u8]) {
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
        assert_eq!(path("undionly.kpxe"), Some(Path::Loader("undionly.kpxe")));
        assert_eq!(path("/boot/52:54:00:01:00:01/vmlinuz"), Some(Path::Own(mac(), Wanted::Kernel)));
        for wrong in ["", "../etc/passwd", "boot/52:54:00:01:00:01/../vmlinuz", "boot//vmlinuz", "ipxe.iso"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }

    fn decision(protocol: Protocol, work: Work) -> BootDecision {
        let digest = format!("sha256:{}", "0".repeat(64));
        let file = |name: &str| BootFile { name: name.to_owned(), digest: digest.parse().unwrap() };
        BootDecision {
            generation: Generation::from_number(1),
            token: Token::default(),
            minted_at: Timestamp::default(),
            kernel: file("k"),
            ramdisk: file("r"),
            arguments: "console=ttyS0".to_owned(),
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
        let doors = ["10.0.0.1:6386".to_owned(), "10.0.0.2:6386".to_owned()];
        let of = |protocol, work| arguments(&decision(protocol, work), &doors);
        assert_eq!(of(Protocol::Ironmesh, Work::Wipe), "console=ttyS0");
        let both = "console=ttyS0 ipa-api-url=http://10.0.0.1:6386,http://10.0.0.2:6386";
        assert_eq!(of(Protocol::Ironic, Work::Wipe), both);
        let callback = "http://10.0.0.1:6386/v1/continue_inspection,http://10.0.0.2:6386/v1/continue_inspection";
        let inspects = format!("console=ttyS0 ipa-inspection-callback-url={callback}");
        assert_eq!(of(Protocol::Ironic, Work::Inspect), inspects);
        assert_eq!(ironic_file(&[0xab; 2]), "[DEFAULT]\nagent_token = abab\n");
    }

    #[test]
    fn an_archive_is_one_that_cpio_reads() {
        use std::{io::Write as _, process};
        let folder = tempfile::tempdir().unwrap();
        let archive = archive("etc/ironmesh/boot.json", b"{}\n");
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
