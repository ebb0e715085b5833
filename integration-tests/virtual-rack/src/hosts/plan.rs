//! Properties of hosts, and the names and addresses that follow from them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Hosts, Link, Provisioning, Site, VirtualHost};
use crate::plan::check_tag;
use crate::prefix;

/// Properties of hosts for [`Hosts::up`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsPlan {
    /// A few lower-case letters and digits; unique on this host.
    pub tag: String,
    /// Folder of their files.
    pub state: PathBuf,
    /// The program `virtual-rack`.
    pub program: PathBuf,
    /// The sites; the others are connected to the first one.
    pub sites: Vec<SitePlan>,
}

/// Properties of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePlan {
    /// Its name: 1 to 8 of a-z, 0-9.
    pub name: String,
    /// Its hosts.
    pub hosts: Vec<HostPlan>,
    /// Its link to the first site; not used for the first one.
    pub wan: Wan,
}

/// Properties of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Its name: 1 to 8 of a-z, 0-9.
    pub name: String,
    /// Racks of whose provisioning network it has an interface. Names as of hosts.
    pub racks: Vec<String>,
}

/// Properties of a link between sites, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wan {
    /// Delay of each frame, in milliseconds.
    pub delay_ms: u32,
    /// Share of frames that are lost, in percent.
    pub loss_percent: u8,
    /// Rate in kbit/s; 0: without limit.
    pub rate_kbit: u32,
}

impl Wan {
    /// Arguments of `virtual-rack relay`.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let Self { delay_ms, loss_percent, rate_kbit } = self;
        let options = [("delay-ms", *delay_ms), ("loss-percent", (*loss_percent).into()), ("rate-kbit", *rate_kbit)];
        options.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]).collect()
    }
}

impl SitePlan {
    /// A site from a text such as `fra1=h1,h2,h3:r7,h4:r7+r8@50ms` with hosts, their racks, and the delay of its link.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self> {
        let form = || format!("{text:?}: a site is SITE=HOST[:RACK+RACK…],…[@DELAYms]");
        let (name, rest) = text.split_once('=').with_context(form)?;
        let (hosts, delay) = rest.split_once('@').map_or((rest, None), |(hosts, delay)| (hosts, Some(delay)));
        let delay_ms = match delay {
            Some(delay) => delay.strip_suffix("ms").and_then(|number| number.parse().ok()).with_context(form)?,
            None => 0,
        };
        let host = |text: &str| {
            let (name, racks) = text.split_once(':').unwrap_or((text, ""));
            let racks = racks.split('+').filter(|rack| !rack.is_empty()).map(str::to_owned).collect();
            HostPlan { name: name.to_owned(), racks }
        };
        let hosts = hosts.split(',').map(host).collect();
        Ok(Self { name: name.to_owned(), hosts, wan: Wan { delay_ms, ..Wan::default() } })
    }
}

impl HostsPlan {
    /// Computes all names and addresses.
    ///
    /// # Errors
    /// An impossible tag, name or number.
    pub(super) fn hosts(&self) -> Result<Hosts> {
        check_tag(&self.tag)?;
        let state = std::path::absolute(&self.state)?;
        let mut racks: Vec<String> = Vec::new();
        let mut sites: Vec<Site> = Vec::new();
        for (number, plan) in (1..).zip(&self.sites) {
            let site = self.site(&state, number, plan, &mut racks)?;
            let taken = sites.iter().any(|other| other.name == site.name);
            ensure!(!taken, "two sites have the name {}", site.name);
            sites.push(site);
        }
        let mut names: Vec<&str> = sites.iter().flat_map(|site| &site.hosts).map(|host| &*host.name).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            ensure!(pair.first() != pair.last(), "two hosts have the name {}", pair.concat());
        }
        Ok(Hosts { tag: self.tag.clone(), state, program: self.program.clone(), sites })
    }

    fn site(&self, state: &Path, number: u8, plan: &SitePlan, racks: &mut Vec<String>) -> Result<Site> {
        check_name(&plan.name)?;
        let mut site = Site {
            name: plan.name.clone(),
            network: format!("{}net-{}", prefix(&self.tag), plan.name),
            racks: Vec::new(),
            hosts: Vec::new(),
            link: (number > 1)
                .then(|| Link { namespace: format!("{}wan-{}", prefix(&self.tag), plan.name), wan: plan.wan }),
        };
        ensure!((1..=MAX_HOSTS).contains(&plan.hosts.len()), "a site has 1 to {MAX_HOSTS} hosts");
        for (index, host) in (1..).zip(&plan.hosts) {
            check_name(&host.name)?;
            let mut provisioning = Vec::new();
            for (interface, rack) in (1..).zip(&host.racks) {
                check_name(rack)?;
                if !site.racks.contains(rack) {
                    ensure!(!racks.contains(rack), "the rack {rack} is at two sites");
                    site.racks.push(rack.clone());
                    racks.push(rack.clone());
                }
                let at = racks.iter().position(|other| other == rack).context("the rack was just added")?;
                let network = u8::try_from(at + 1).context("too many racks")?;
                let of_rack = plan.hosts.iter().filter(|other| other.racks.contains(rack));
                let before = of_rack.take_while(|other| other.name != host.name).count();
                provisioning.push(Provisioning {
                    rack: rack.clone(),
                    interface: format!("eth{interface}"),
                    address: Ipv4Addr::new(10, 81, network, u8::try_from(before + 1)?),
                    prefix: 24,
                });
            }
            site.hosts.push(VirtualHost {
                namespace: format!("{}{}", prefix(&self.tag), host.name),
                address: Ipv4Addr::new(10, 80, number, 10 + index),
                address_v6: Ipv6Addr::new(0xfd80, 0, 0, 0, 0, 0, number.into(), u16::from(10 + index)),
                provisioning,
                data: state.join(&host.name),
                name: host.name.clone(),
            });
        }
        Ok(site)
    }
}

/// Maximum number of hosts of a site, by their addresses.
const MAX_HOSTS: usize = 200;

fn check_name(name: &str) -> Result<()> {
    // Names of interfaces have at most 15 characters, and namespaces of hosts must differ from those of switches.
    check_tag(name).with_context(|| format!("{name:?} cannot be a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sites: &[&str]) -> Result<Hosts> {
        let sites = sites.iter().map(|site| SitePlan::parse(site)).collect::<Result<_>>()?;
        HostsPlan { tag: "t".to_owned(), state: "/tmp/t".into(), program: "/bin/true".into(), sites }.hosts()
    }

    #[test]
    fn names_and_addresses_follow_from_the_plan() {
        let hosts = plan(&["fra1=h1,h2:r7,h3:r8+r7", "fra2=h4:r9@50ms"]).unwrap();
        // Host, its namespace, its address, and its addresses on provisioning networks.
        for (name, address, provisioning) in [
            ("h1", "10.80.1.11", vec![]),
            ("h2", "10.80.1.12", vec![("r7", "eth1", "10.81.1.1")]),
            ("h3", "10.80.1.13", vec![("r8", "eth1", "10.81.2.1"), ("r7", "eth2", "10.81.1.2")]),
            ("h4", "10.80.2.11", vec![("r9", "eth1", "10.81.3.1")]),
        ] {
            let host = hosts.host(name).unwrap();
            assert_eq!(host.namespace, format!("im-t-{name}"));
            assert_eq!(host.address.to_string(), address);
            let has: Vec<_> =
                host.provisioning.iter().map(|own| (&*own.rack, &*own.interface, own.address.to_string())).collect();
            let wanted: Vec<_> = provisioning.iter().map(|(rack, at, is)| (*rack, *at, (*is).to_owned())).collect();
            assert_eq!(has, wanted, "{name}");
        }
        let link = hosts.sites.last().unwrap().link.clone().unwrap();
        assert_eq!((&*link.namespace, link.wan.delay_ms), ("im-t-wan-fra2", 50));
        assert_eq!(hosts.host("h4").unwrap().address_v6, "fd80::2:b".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn an_impossible_plan_is_refused() {
        for (sites, says) in [
            (&["fra1"][..], "a site is"),
            (&["fra1=h1@50"], "a site is"),
            (&["=h1"], "cannot be a name"),
            (&["fra1=H1"], "cannot be a name"),
            (&["fra1=h1:rack-with-a-long-name"], "cannot be a name"),
            (&["fra1=h1,h1"], "two hosts"),
            (&["fra1=h1", "fra1=h2"], "two sites"),
            (&["fra1=h1", "fra2=h1"], "two hosts"),
            (&["fra1=h1:r7", "fra2=h2:r7"], "two sites"),
        ] {
            let error = format!("{:#}", plan(sites).unwrap_err());
            assert!(error.contains(says), "{sites:?}: {error}");
        }
    }
}
