//! What the fault tests need from machines of any kind.

use std::{future::Future, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use domain::{power::Power, service::Service};

use super::{Point, points};
use crate::{
    bmc::Caught,
    check::Deed,
    lab::{Lab, holds_image},
    machine::Machine,
    mesh::Mesh,
};

/// A mesh with machines.
pub trait World {
    /// Kind of the machines.
    type Machine: Subject;

    /// The mesh.
    fn mesh(&self) -> &Mesh;

    /// Data folder of the mesh.
    fn data(&self) -> PathBuf;

    /// All machines.
    fn machines(&self) -> &[Self::Machine];
}

/// A machine whose node's owners are hit.
pub trait Subject {
    /// Name of its node.
    fn name(&self) -> &str;

    /// Points of its deployment at which a service has something to do.
    fn points(&self, service: Service) -> Vec<Point>;

    /// What its BMC did, in order; `None` if the BMC has no log, and only the journal is checked.
    fn deeds(&self) -> Vec<Deed>;

    /// Sets a trap: the BMC carries out the `number`-th command that changes the machine, and withholds the answer
    /// until the trap is released.
    ///
    /// # Errors
    /// The BMC has no traps.
    fn trap(&self, number: usize) -> Result<Caught>;

    /// Whether the machine itself, not its BMC, has power.
    ///
    /// # Errors
    /// It cannot be determined.
    fn power(&self) -> Result<Power>;

    /// Waits until its console has a line with these words.
    ///
    /// # Errors
    /// It does not within `patience`; the error has its last line.
    fn says(&self, words: &str, patience: Duration) -> impl Future<Output = Result<()>>;

    /// Whether it runs the deployed system: its disk is the image, and the system, if it is a real one, has reported.
    ///
    /// # Errors
    /// It does not.
    fn runs(&self, image: &[u8]) -> impl Future<Output = Result<()>>;
}

impl World for Lab {
    type Machine = Machine;

    fn mesh(&self) -> &Mesh {
        self.mesh()
    }

    fn data(&self) -> PathBuf {
        self.data()
    }

    fn machines(&self) -> &[Machine] {
        self.rack().machines()
    }
}

impl Subject for Machine {
    fn name(&self) -> &str {
        &self.name
    }

    fn points(&self, service: Service) -> Vec<Point> {
        points(service).to_vec()
    }

    fn deeds(&self) -> Vec<Deed> {
        self.deeds()
    }

    fn trap(&self, number: usize) -> Result<Caught> {
        Ok(self.trap(number))
    }

    fn power(&self) -> Result<Power> {
        Ok(match self.power() {
            wire_ipmi::chassis::Power::On => Power::On,
            wire_ipmi::chassis::Power::Off => Power::Off,
        })
    }

    async fn says(&self, words: &str, patience: Duration) -> Result<()> {
        self.says(words, patience).await
    }

    async fn runs(&self, image: &[u8]) -> Result<()> {
        ensure!(holds_image(&self.disk(), image)?, "the disk is not the image");
        Ok(())
    }
}
