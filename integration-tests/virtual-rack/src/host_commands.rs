//! The commands about hosts: `virtual-rack hosts …` and `virtual-rack relay …`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use virtual_rack::hosts::fault::HostFault;
use virtual_rack::hosts::plan::{HostsPlan, SitePlan, Wan};
use virtual_rack::hosts::{Hosts, relay};

const USAGE: &str = "\
usage: virtual-rack hosts up --state DIR --tag TAG --sites SITE=HOST[:RACK+RACK…],…[@DELAYms][;SITE=…]
       virtual-rack hosts down|status --state DIR
       virtual-rack hosts exec --state DIR --host HOST -- COMMAND…
       virtual-rack hosts kill|stop|resume --state DIR --host HOST     (all processes of a host)
       virtual-rack hosts cut --state DIR --name NAME --left HOST,… [--right HOST,…]
       virtual-rack hosts mend --state DIR --name NAME
       virtual-rack relay --left INTERFACE --right INTERFACE [--delay-ms N] [--loss-percent N] [--rate-kbit N]";

/// Options of all verbs; each verb uses some of them.
struct Options<'w>(BTreeMap<&'w str, &'w str>);

impl<'w> Options<'w> {
    fn read(words: &'w [String]) -> Result<Self> {
        let pair = |pair: &'w [String]| match pair {
            [option, value] if option.starts_with("--") => Ok((&option[2..], &**value)),
            _ => bail!("{}?\n{USAGE}", pair.join(" ")),
        };
        words.chunks(2).map(pair).collect::<Result<_>>().map(Self)
    }

    fn get(&self, option: &str) -> Result<&'w str> {
        self.0.get(option).copied().with_context(|| format!("--{option} is needed\n{USAGE}"))
    }

    fn number<N: std::str::FromStr>(&self, option: &str, usual: N) -> Result<N> {
        let Some(text) = self.0.get(option) else { return Ok(usual) };
        text.parse().ok().with_context(|| format!("--{option} {text}: not a number"))
    }

    fn names(&self, option: &str) -> Vec<String> {
        let list = self.0.get(option).copied().unwrap_or_default();
        list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn hosts(&self) -> Result<Hosts> {
        Hosts::load(Path::new(self.get("state")?))
    }
}

/// Runs `virtual-rack hosts WORDS`.
///
/// # Errors
/// Errors of the command.
pub(crate) fn hosts(words: &[String]) -> Result<()> {
    let Some((verb, rest)) = words.split_first() else { bail!("{USAGE}") };
    let (rest, command) = rest.split_at(rest.iter().position(|word| word == "--").unwrap_or(rest.len()));
    let options = Options::read(rest)?;
    match verb.as_str() {
        "up" => {
            let hosts = Hosts::up(&HostsPlan {
                tag: options.get("tag")?.to_owned(),
                state: options.get("state")?.into(),
                program: std::env::current_exe()?,
                sites: options.get("sites")?.split(';').map(SitePlan::parse).collect::<Result<_>>()?,
            })?;
            show(&hosts)
        }
        "down" => options.hosts()?.down(),
        "status" => show(&options.hosts()?),
        "exec" => {
            let program = command.get(1).context(USAGE)?;
            let hosts = options.hosts()?;
            let host = hosts.host(options.get("host")?)?;
            Err(host.command(program).args(command.get(2..).unwrap_or_default()).exec()).context("running ip")
        }
        "kill" => options.hosts()?.host(options.get("host")?)?.kill(),
        "stop" => options.hosts()?.host(options.get("host")?)?.stop(),
        "resume" => options.hosts()?.host(options.get("host")?)?.resume(),
        "cut" => {
            let fault = HostFault::Cut { left: options.names("left"), right: options.names("right") };
            options.hosts()?.inflict(options.get("name")?, &fault)
        }
        "mend" => options.hosts()?.mend(options.get("name")?),
        _ => bail!("{USAGE}"),
    }
}

/// Runs `virtual-rack relay WORDS`.
///
/// # Errors
/// Errors of the relay.
pub(crate) fn relay(words: &[String]) -> Result<()> {
    let options = Options::read(words)?;
    let wan = Wan {
        delay_ms: options.number("delay-ms", 0)?,
        loss_percent: options.number("loss-percent", 0)?,
        rate_kbit: options.number("rate-kbit", 0)?,
    };
    relay::run(options.get("left")?, options.get("right")?, wan)
}

fn show(hosts: &Hosts) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<8} {:<8} {:<15} {:<12} provisioning", "site", "host", "address", "address_v6")?;
    for site in &hosts.sites {
        for host in &site.hosts {
            let networks =
                host.provisioning.iter().map(|own| format!("{} {} {}", own.rack, own.interface, own.address));
            let networks: Vec<String> = networks.collect();
            let (name, address, address_v6) = (&host.name, host.address, host.address_v6);
            writeln!(out, "{:<8} {name:<8} {address:<15} {address_v6:<12} {}", site.name, networks.join(", "))?;
        }
    }
    Ok(())
}
