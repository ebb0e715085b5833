//! Interface of the fault tests to machines of any kind.

use std::{future::Future, path::PathBuf, time::Duration};

use anyhow::Result;
use domain::{power::Power, service::Service};

use super::Point;
use crate::{bmc::Caught, check::Deed, mesh::Mesh};

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

    /// Returns the log of its BMC; `None` if the BMC has no log, and only the journal is checked.
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
    /// It does not within `timeout`; the error has its last line.
    fn says(&self, words: &str, timeout: Duration) -> impl Future<Output = Result<()>>;

    /// Whether it runs the deployed system: its disk is the image, and the system, if it is a real one, has reported.
    ///
    /// # Errors
    /// It does not.
    fn runs(&self, image: &[u8]) -> impl Future<Output = Result<()>>;
}
