//! What the fault runs want of the machines that they go over, of whatever kind these are.

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

/// A mesh over machines.
pub trait World {
    /// Their kind.
    type Machine: Subject;

    /// The mesh.
    fn mesh(&self) -> &Mesh;

    /// The mesh's folder.
    fn data(&self) -> PathBuf;

    /// All machines.
    fn machines(&self) -> &[Self::Machine];
}

/// A machine that owners are hit over.
pub trait Subject {
    /// Its node's name.
    fn name(&self) -> &str;

    /// The points of its deploy at which a service has something to do.
    fn points(&self, service: Service) -> Vec<Point>;

    /// What its BMC did, in order. Nothing of a BMC that keeps no log: then the journal alone is judged.
    fn deeds(&self) -> Vec<Deed>;

    /// Lets its BMC carry out the `number`-th command that changes it, and keep the answer until the trap is released.
    ///
    /// # Errors
    /// Its BMC can not.
    fn trap(&self, number: usize) -> Result<Caught>;

    /// Whether it has power, seen at the machine and not by its BMC.
    ///
    /// # Errors
    /// It can not be seen.
    fn power(&self) -> Result<Power>;

    /// Waits until it has said something with these words in it.
    ///
    /// # Errors
    /// It has not, when `patience` is over: then what it said last.
    fn says(&self, words: &str, patience: Duration) -> impl Future<Output = Result<()>>;

    /// Whether it runs what was deployed: its disk is the image, and its system has spoken where it is one.
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
