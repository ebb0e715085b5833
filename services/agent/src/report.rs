//! Reads the hardware of the machine from the kernel.

use std::fs;

use domain::{
    hardware::{Hardware, Nic},
    net::MacAddr,
    power::BootMode,
};

use crate::{
    disks,
    machine::{Machine, text},
};

/// Ethernet in sysfs (Linux, include/uapi/linux/if_arp.h, `ARPHRD_ETHER`).
const ETHERNET: &str = "1";
/// InfiniBand in sysfs (`ARPHRD_INFINIBAND`).
const INFINIBAND: &str = "32";
/// Prefix of iPXE's and PXELINUX's `BOOTIF=01-52-54-…`.
const BOOTIF: &str = "BOOTIF=";
/// Hardware types before the address in `BOOTIF`, in hexadecimal: Ethernet and InfiniBand (RFC 1700, "Hardware Type";
/// RFC 4390 §2.1).
const BOOTIF_TYPES: [&str; 2] = ["01-", "20-"];

/// Reads the hardware. What cannot be read is left empty.
#[must_use]
pub fn report(machine: &Machine) -> Hardware {
    let dmi = |file: &str| text(&machine.path("sys/class/dmi/id").join(file));
    let cpuinfo = read_file(machine, "proc/cpuinfo");
    let processors = cpuinfo.lines().filter(|line| value(line, "processor").is_some()).count();
    let uefi = machine.path("sys/firmware/efi").exists();
    Hardware {
        manufacturer: dmi("sys_vendor"),
        product: dmi("product_name"),
        serial: dmi("product_serial"),
        uuid: dmi("product_uuid").to_lowercase(),
        cpu_model: first(&cpuinfo, "model name").to_owned(),
        cpu_arch: rustix::system::uname().machine().to_string_lossy().into_owned(),
        cpu_count: u32::try_from(processors).unwrap_or(u32::MAX),
        memory_bytes: memory(&read_file(machine, "proc/meminfo")),
        boot_mode: if uefi { BootMode::Uefi } else { BootMode::Bios },
        disks: disks::usable(disks::scan(machine)),
        nics: nics(machine),
    }
}

fn read_file(machine: &Machine, file: &str) -> String {
    fs::read_to_string(machine.path(file)).unwrap_or_default()
}

fn value<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    let (key, value) = line.split_once(':')?;
    (key.trim() == name).then_some(value.trim())
}

fn first<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| value(line, name)).unwrap_or_default()
}

/// Parses proc_meminfo(5): "MemTotal: 2034816 kB", where kB means 1024 bytes.
fn memory(meminfo: &str) -> u64 {
    let kib = first(meminfo, "MemTotal").trim_end_matches("kB").trim();
    kib.parse::<u64>().unwrap_or(0).saturating_mul(1024)
}

fn nics(machine: &Machine) -> Vec<Nic> {
    let booted_from = boot_nic(&read_file(machine, "proc/cmdline"));
    let mut nics: Vec<Nic> = fs::read_dir(machine.path("sys/class/net"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let read = |file: &str| text(&entry.path().join(file));
            let mac = match read("type").as_str() {
                ETHERNET => read("address").parse().ok()?,
                INFINIBAND => infiniband_mac(&read("address"))?,
                _ => return None,
            };
            Some(Nic {
                name: entry.file_name().into_string().ok()?,
                mac,
                // Unreadable while the interface is down, when it has no carrier.
                carrier: read("carrier") == "1",
                booted_from: booted_from == Some(mac),
            })
        })
        .collect();
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

/// Returns the address by which Ironic knows an InfiniBand port: the first and the last three octets of its GUID, which ends its
/// address of 20 octets (RFC 4391 §9.1.1; ironic-python-agent does the same).
fn infiniband_mac(address: &str) -> Option<MacAddr> {
    let octets: Vec<&str> = address.split(':').collect();
    let [.., a, b, c, _, _, d, e, f] = octets.as_slice() else { return None };
    (octets.len() == 20).then(|| [*a, *b, *c, *d, *e, *f].join(":"))?.parse().ok()
}

fn boot_nic(command_line: &str) -> Option<MacAddr> {
    let word = command_line.split_whitespace().find_map(|word| word.strip_prefix(BOOTIF))?;
    let word = BOOTIF_TYPES.iter().find_map(|prefix| word.strip_prefix(prefix))?;
    word.replace('-', ":").to_lowercase().parse().ok()
}

#[cfg(test)]
mod tests {
    use domain::hardware::Disk;

    use super::*;
    use crate::machine::lay_out;

    #[test]
    fn a_machine_is_reported_as_it_was_made() {
        let hardware = Hardware {
            manufacturer: "LabVendor".to_owned(),
            product: "VirtualRack".to_owned(),
            serial: "SN-n11".to_owned(),
            uuid: "4c4c4544-0001-4c01-8042-525400000001".to_owned(),
            cpu_model: "QEMU Virtual CPU version 2.5+".to_owned(),
            cpu_arch: rustix::system::uname().machine().to_string_lossy().into_owned(),
            cpu_count: 2,
            memory_bytes: 256 << 20,
            boot_mode: BootMode::Uefi,
            disks: vec![Disk {
                name: "vda".to_owned(),
                size_bytes: 1 << 20,
                serial: "disk-n11".to_owned(),
                model: String::new(),
                rotational: true,
            }],
            nics: vec![
                Nic { name: "eth0".to_owned(), mac: mac("52:54:00:01:00:01"), carrier: true, booted_from: false },
                Nic { name: "eth1".to_owned(), mac: mac("52:54:00:01:00:02"), carrier: false, booted_from: true },
            ],
        };
        let folder = tempfile::tempdir().unwrap();
        let machine = lay_out(folder.path(), &hardware).unwrap();
        assert_eq!(report(&machine), hardware);
    }

    #[test]
    fn a_machine_that_shows_nothing_is_reported_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let hardware = report(&Machine::at(folder.path()));
        assert_eq!((hardware.cpu_count, hardware.disks.len(), hardware.nics.len()), (0, 0, 0));
    }

    fn mac(text: &str) -> MacAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_nic_that_booted_is_found_by_every_hardware_type() {
        let mac = "00:02:c9:03:04:05".parse().ok();
        for (line, source, right) in [
            ("quiet BOOTIF=01-00-02-c9-03-04-05", "iPXE", mac),
            ("BOOTIF=01-00-02-C9-03-04-05 quiet", "PXELINUX in capitals", mac),
            ("BOOTIF=20-00-02-c9-03-04-05", "InfiniBand (RFC 4390)", mac),
            ("BOOTIF=06-00-02-c9-03-04-05", "IEEE 802", None),
            ("BOOTIF=01-00-02-c9", "cut", None),
            ("quiet", "none", None),
        ] {
            assert_eq!(boot_nic(line), right, "{source}");
        }
        let infiniband = "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:03:04:05";
        assert_eq!(infiniband_mac(infiniband), "00:02:c9:03:04:05".parse().ok());
        assert_eq!(infiniband_mac("00:02:c9:03:04:05"), None);
        assert_eq!(infiniband_mac(""), None);
    }
}
