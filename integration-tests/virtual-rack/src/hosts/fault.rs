//! Faults of the network between hosts, by packet filters in the hosts that do not receive something.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::{Hosts, VirtualHost};

/// What is lost until [`Hosts::mend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostFault {
    /// Packets from these hosts do not arrive at those; the other direction works.
    CutOneWay {
        /// Names of the hosts that send; empty: all others.
        from: Vec<String>,
        /// Names of the hosts at which nothing arrives.
        to: Vec<String>,
    },
    /// These hosts and those do not reach each other.
    Cut {
        /// Names of the hosts on one side.
        left: Vec<String>,
        /// Names of the hosts on the other side; empty: all others.
        right: Vec<String>,
    },
    /// Connections of other hosts to this TCP port of these hosts are not answered, as behind a firewall.
    BlockedPort {
        /// Names of the hosts.
        hosts: Vec<String>,
        /// The port.
        port: u16,
    },
    /// These hosts lose this share of the packets that arrive from the datacenter's network.
    Loss {
        /// Names of the hosts.
        hosts: Vec<String>,
        /// The share in percent.
        percent: u8,
    },
}

impl Hosts {
    /// Begins a fault. `name` is for [`Hosts::mend`]: lower-case letters.
    ///
    /// # Errors
    /// There is no such host, or errors of nft(8).
    pub fn inflict(&self, name: &str, fault: &HostFault) -> Result<()> {
        for (host, rules) in self.rules(name, fault)? {
            host.place().run(&["nft", &rules])?;
        }
        Ok(())
    }

    /// Ends the faults of this name. It is not an error if there are none.
    ///
    /// # Errors
    /// Errors of nft(8).
    pub fn mend(&self, name: &str) -> Result<()> {
        let table = table(name)?;
        for host in self.all() {
            // Added first, so that deleting it does not fail.
            host.place().run(&["nft", &format!("add table inet {table}; delete table inet {table}")])?;
        }
        Ok(())
    }

    /// The packet filters of a fault, each with the host that has it.
    fn rules(&self, name: &str, fault: &HostFault) -> Result<Vec<(&VirtualHost, String)>> {
        let table = table(name)?;
        let chain =
            format!("add table inet {table}; add chain inet {table} lose {{ type filter hook input priority 0; }}");
        let dropped = |what: &[String]| {
            what.iter().fold(chain.clone(), |mut rules, what| {
                // Writing to memory does not fail.
                let _ = write!(rules, "; add rule inet {table} lose iifname eth0 {what} drop");
                rules
            })
        };
        let cut = |from: &[String], to: &[String]| -> Result<Vec<(&VirtualHost, String)>> {
            let (from, to) = (self.named(from, to)?, self.named(to, &[])?);
            Ok(to.into_iter().map(|host| (host, dropped(&sent_by(&from)))).collect())
        };
        let everywhere = |hosts: &[String], what: String| -> Result<Vec<(&VirtualHost, String)>> {
            let what = [what];
            Ok(self.named(hosts, &[])?.into_iter().map(|host| (host, dropped(&what))).collect())
        };
        match fault {
            HostFault::CutOneWay { from, to } => cut(from, to),
            HostFault::Cut { left, right } => {
                let others: Vec<String> = self.named(right, left)?.iter().map(|host| host.name.clone()).collect();
                Ok([cut(left, &others)?, cut(&others, left)?].concat())
            }
            HostFault::BlockedPort { hosts, port } => everywhere(hosts, format!("tcp dport {port}")),
            HostFault::Loss { hosts, percent } => everywhere(hosts, format!("numgen random mod 100 < {percent}")),
        }
    }

    /// The hosts with these names, or all but those of `others` if there are none.
    fn named(&self, names: &[String], others: &[String]) -> Result<Vec<&VirtualHost>> {
        if names.is_empty() {
            ensure!(!others.is_empty(), "a fault of no host");
            return Ok(self.all().filter(|host| !others.contains(&host.name)).collect());
        }
        names.iter().map(|name| self.host(name)).collect()
    }
}

/// Matches of packets that these hosts sent on the datacenter's network.
fn sent_by(hosts: &[&VirtualHost]) -> Vec<String> {
    let list = |of: &dyn Fn(&VirtualHost) -> String| hosts.iter().map(|host| of(host)).collect::<Vec<_>>().join(", ");
    let v4 = list(&|host| host.address.to_string());
    let v6 = list(&|host| host.address_v6.to_string());
    vec![format!("ip saddr {{ {v4} }}"), format!("ip6 saddr {{ {v6} }}")]
}

/// The name of the table of a fault's packet filters.
fn table(name: &str) -> Result<String> {
    let is_plain = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase());
    ensure!(is_plain, "{name:?}: a fault's name has lower-case letters only");
    Ok(format!("fault_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::plan::{HostsPlan, SitePlan};

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_fault_is_filtered_where_packets_arrive() {
        let site = SitePlan::parse("fra1=h1,h2,h3").unwrap();
        let plan = HostsPlan { tag: "t".to_owned(), state: "/t".into(), program: "/p".into(), sites: vec![site] };
        let hosts = plan.hosts().unwrap();
        let h1 = "iifname eth0 ip saddr { 10.80.1.11 } drop";
        let h2 = "iifname eth0 ip saddr { 10.80.1.12 } drop";
        let others = "iifname eth0 ip saddr { 10.80.1.12, 10.80.1.13 } drop";
        // Fault, and for each host that filters what it drops.
        for (fault, wanted) in [
            (HostFault::CutOneWay { from: names("h1"), to: names("h2") }, vec![("h2", h1)]),
            (HostFault::CutOneWay { from: vec![], to: names("h1") }, vec![("h1", others)]),
            (HostFault::Cut { left: names("h1"), right: names("h2") }, vec![("h2", h1), ("h1", h2)]),
            (HostFault::Cut { left: names("h1"), right: vec![] }, vec![("h2", h1), ("h3", h1), ("h1", others)]),
            (
                HostFault::BlockedPort { hosts: names("h1"), port: 7380 },
                vec![("h1", "iifname eth0 tcp dport 7380 drop")],
            ),
            (
                HostFault::Loss { hosts: names("h1 h3"), percent: 5 },
                vec![
                    ("h1", "iifname eth0 numgen random mod 100 < 5 drop"),
                    ("h3", "iifname eth0 numgen random mod 100 < 5 drop"),
                ],
            ),
        ] {
            let rules = hosts.rules("cut", &fault).unwrap();
            assert_eq!(rules.len(), wanted.len(), "{fault:?}: {rules:?}");
            for ((host, rules), (at, says)) in rules.iter().zip(wanted) {
                assert_eq!(host.name, at, "{fault:?}");
                assert!(rules.contains(says), "{fault:?}: {rules}");
            }
        }
    }

    #[test]
    fn a_fault_of_no_host_is_refused() {
        let site = SitePlan::parse("fra1=h1").unwrap();
        let plan = HostsPlan { tag: "t".to_owned(), state: "/t".into(), program: "/p".into(), sites: vec![site] };
        let hosts = plan.hosts().unwrap();
        hosts.rules("cut", &HostFault::Cut { left: vec![], right: vec![] }).unwrap_err();
        hosts.rules("cut", &HostFault::Loss { hosts: names("h9"), percent: 5 }).unwrap_err();
        hosts.rules("Cut", &HostFault::Loss { hosts: names("h1"), percent: 5 }).unwrap_err();
    }
}
