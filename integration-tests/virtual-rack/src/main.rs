//! Brings a rack of virtual machines up and down. Its BMCs run it for power and boot device.

mod host_commands;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use virtual_rack::machine::Behind;
use virtual_rack::{Plan, Rack, chassis, down_by_tag};

const USAGE: &str = "\
usage: virtual-rack up --state DIR --tag TAG --nodes bios,uefi,… [--memory MIB] [--disk-mib MIB]
       virtual-rack down --state DIR | --tag TAG
       virtual-rack status --state DIR
       virtual-rack exec --state DIR -- COMMAND…     (in the services' namespace)
       virtual-rack hosts …                          (hosts of datacenters; see: virtual-rack hosts)";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtual-rack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[OsString]) -> Result<()> {
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some((verb, rest)) = texts.split_first() else { bail!("{USAGE}") };
    match (verb.as_str(), rest) {
        ("chassis", [directory, words @ ..]) => answer_bmc(Path::new(directory), words),
        ("up", rest) => up(&Options::read(rest)?),
        ("down", rest) => down(&Options::read(rest)?),
        ("status", rest) => show(&Rack::load(Options::read(rest)?.state()?)?),
        ("exec", rest) => {
            let (options, command) = rest.split_at(rest.iter().position(|word| word == "--").context(USAGE)?);
            let program = command.get(1).context(USAGE)?;
            let rack = Rack::load(Options::read(options)?.state()?)?;
            let error = rack.services().command(program).args(command.get(2..).unwrap_or_default()).exec();
            Err(error).context("running ip")
        }
        ("hosts", rest) => host_commands::hosts(rest),
        ("relay", rest) => host_commands::relay(rest),
        _ => bail!("{USAGE}"),
    }
}

/// Options of all verbs; each verb uses some of them.
#[derive(Default)]
struct Options {
    state: Option<PathBuf>,
    tag: Option<String>,
    nodes: Option<String>,
    memory_mib: Option<u32>,
    disk_mib: Option<u32>,
}

impl Options {
    fn read(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for pair in words.chunks(2) {
            let [option, value] = pair else { bail!("{} needs a value\n{USAGE}", pair.concat()) };
            match option.as_str() {
                "--state" => options.state = Some(value.into()),
                "--tag" => options.tag = Some(value.clone()),
                "--nodes" => options.nodes = Some(value.clone()),
                "--memory" => options.memory_mib = Some(value.parse().context("--memory")?),
                "--disk-mib" => options.disk_mib = Some(value.parse().context("--disk-mib")?),
                _ => bail!("{option}?\n{USAGE}"),
            }
        }
        Ok(options)
    }

    fn state(&self) -> Result<&Path> {
        self.state.as_deref().with_context(|| format!("--state is needed\n{USAGE}"))
    }
}

/// Room for a small image; the file is sparse.
const DISK_MIB: u32 = 512;

fn up(options: &Options) -> Result<()> {
    let nodes = options.nodes.as_deref().context("--nodes is needed")?;
    let rack = Rack::up(&Plan {
        tag: options.tag.clone().context("--tag is needed")?,
        state: options.state()?.to_owned(),
        program: std::env::current_exe()?,
        nodes: nodes.split(',').map(str::parse).collect::<Result<_>>()?,
        behind: Behind::IpmiSim,
        memory_mib: options.memory_mib,
        disk_mib: options.disk_mib.unwrap_or(DISK_MIB),
    })?;
    show(&rack)
}

fn down(options: &Options) -> Result<()> {
    match (&options.state, &options.tag) {
        // No rack.json: nothing was made, or it was removed, and --tag is needed.
        (Some(state), None) if !state.join("rack.json").exists() => Ok(()),
        (Some(state), None) => Rack::load(state)?.down(),
        (None, Some(tag)) => down_by_tag(tag),
        _ => bail!("down needs either --state or --tag"),
    }
}

fn show(rack: &Rack) -> Result<()> {
    let mut out = io::stdout().lock();
    let addresses: Vec<String> = rack.services.addresses.iter().map(ToString::to_string).collect();
    writeln!(out, "services  in {}: {}", rack.services.namespace, addresses.join(", "))?;
    writeln!(out, "{:<5} {:<5} {:<6} {:<18} {:<12} console", "node", "power", "boots", "mac", "bmc")?;
    for node in &rack.nodes {
        let machine = &node.machine;
        let power = if machine.running()?.is_some() { "on" } else { "off" };
        let firmware = format!("{:?}", machine.firmware).to_lowercase();
        let (name, mac, bmc) = (&machine.name, &machine.mac, node.bmc.address);
        writeln!(out, "{name:<5} {power:<5} {firmware:<6} {mac:<18} {bmc:<12} {}", node.console.display())?;
    }
    Ok(())
}

fn answer_bmc(directory: &Path, words: &[String]) -> Result<()> {
    drop_inherited()?;
    let told = chassis::run(&std::env::current_exe()?, directory, words)?;
    Ok(io::stdout().write_all(told.as_bytes())?)
}

/// Closes the sockets that `ipmi_sim` left open for us. A QEMU that kept them would keep its ports, too, and the BMC
/// could not start again while the machine runs.
fn drop_inherited() -> Result<()> {
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        inherited.extend(entry?.file_name().to_string_lossy().parse::<i32>().ok().filter(|descriptor| *descriptor > 2));
    }
    for descriptor in inherited {
        // The descriptor of the listing itself is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}
