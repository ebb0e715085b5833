//! A rack of simulated machines: with the same switch and services' namespace as [`crate::rack`].

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Machine, Spec};
use crate::rack::namespace::Namespace;
use crate::rack::{Services, down_by_tag, plan::check_tag, prefix, switch};

/// Maximum number of machines, by the available addresses.
const MAX_MACHINES: usize = 89;

/// A rack of simulated machines. It is taken down when it is dropped.
#[derive(Debug)]
pub struct SimulatedRack {
    tag: String,
    /// Namespace and addresses of the services.
    pub services: Services,
    machines: Vec<Machine>,
}

impl SimulatedRack {
    /// Brings up machines that are off, named `n1` and so on. Removes the remains of an earlier rack with this tag.
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn up(tag: &str, state: &Path, machines: &[Spec]) -> Result<Self> {
        check_tag(tag)?;
        anyhow::ensure!(machines.len() <= MAX_MACHINES, "a rack has at most {MAX_MACHINES} machines");
        down_by_tag(tag)?;
        let mut rack = Self { tag: tag.to_owned(), services: Services::usual(tag), machines: vec![] };
        let switch = switch(tag);
        rack.services.build(&switch)?;
        let bmcs = Namespace::named(&format!("{}bmc", prefix(tag)));
        bmcs.create()?;
        bmcs.cable("bmc0", &switch, "o-bmc", "br-oob")?;
        for (number, spec) in (1..).zip(machines) {
            let folder = state.join(format!("n{number}"));
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let nic = Namespace::named(&format!("{}n{number}", prefix(tag)));
            rack.machines.push(Machine::build(number, spec, folder, nic, &bmcs, &switch)?);
        }
        Ok(rack)
    }

    /// The services' namespace.
    pub fn place(&self) -> Namespace {
        Namespace::named(&self.services.namespace)
    }

    /// All machines, `n1` first.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The machine of this name.
    ///
    /// # Errors
    /// It does not exist.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines.iter().find(|machine| machine.name == name).with_context(|| format!("no machine {name}"))
    }

    /// Limits traffic to a machine's NIC to `rate` (tc(8), such as `16mbit`).
    ///
    /// # Errors
    /// Errors of tc(8).
    pub fn slow_down(&self, name: &str, rate: &str) -> Result<()> {
        let port = format!("p-{name}");
        let shape = ["tc", "qdisc", "replace", "dev", &port, "root", "tbf", "rate", rate];
        switch(&self.tag).run(&[&shape[..], &["burst", "64k", "latency", "100ms"]].concat()).map(drop)
    }
}

impl Drop for SimulatedRack {
    fn drop(&mut self) {
        // The machines' threads are in the namespaces, so they end first.
        self.machines.clear();
        if let Err(error) = down_by_tag(&self.tag) {
            eprintln!("the rack stays up: {error:#}");
        }
    }
}
