//! A machine made of files, for tests.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use domain::{hardware::Hardware, power::BootMode};

use super::Machine;

/// Creates the files of a machine with this hardware: its facts, and its disks as sparse files in `root/dev`.
///
/// # Errors
/// I/O errors.
pub fn lay_out(root: &Path, hardware: &Hardware) -> io::Result<Machine> {
    let machine = Machine::at(root);
    let write = |path: String, text: String| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, text)
    };
    for (file, text) in [
        ("sys_vendor", &hardware.manufacturer),
        ("product_name", &hardware.product),
        ("product_serial", &hardware.serial),
        ("product_uuid", &hardware.uuid),
    ] {
        write(format!("sys/class/dmi/id/{file}"), format!("{text}\n"))?;
    }
    let cpu = format!("processor\t: 0\nmodel name\t: {}\n\n", hardware.cpu_model);
    write("proc/cpuinfo".to_owned(), cpu.repeat(hardware.cpu_count as usize))?;
    write("proc/meminfo".to_owned(), format!("MemTotal:       {} kB\n", hardware.memory_bytes / 1024))?;
    if hardware.boot_mode == BootMode::Uefi {
        fs::create_dir_all(root.join("sys/firmware/efi"))?;
    }
    fs::create_dir_all(&machine.disks)?;
    for disk in &hardware.disks {
        let at = format!("sys/block/{}", disk.name);
        write(format!("{at}/size"), (disk.size_bytes / 512).to_string())?;
        write(format!("{at}/serial"), disk.serial.clone())?;
        write(format!("{at}/device/model"), disk.model.clone())?;
        write(format!("{at}/queue/rotational"), u8::from(disk.rotational).to_string())?;
        File::create(machine.disks.join(&disk.name))?.set_len(disk.size_bytes)?;
    }
    let mut line = "quiet".to_owned();
    for nic in &hardware.nics {
        let at = format!("sys/class/net/{}", nic.name);
        write(format!("{at}/type"), "1\n".to_owned())?;
        write(format!("{at}/address"), format!("{}\n", nic.mac))?;
        write(format!("{at}/carrier"), u8::from(nic.carrier).to_string())?;
        if nic.booted_from {
            line = format!("quiet BOOTIF=01-{}", nic.mac.to_string().replace(':', "-"));
        }
    }
    write("proc/cmdline".to_owned(), line)?;
    Ok(machine)
}
