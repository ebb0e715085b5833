//! A lab for the fault tests.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use domain::{power::Power, service::Service};

use super::{Lab, holds_image};
use crate::{
    bmc::Caught,
    check::Deed,
    fault::{Point, Subject, World, points},
    machine::Machine,
    mesh::Mesh,
};

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

    async fn says(&self, words: &str, timeout: Duration) -> Result<()> {
        self.says(words, timeout).await
    }

    async fn runs(&self, image: &[u8]) -> Result<()> {
        ensure!(holds_image(&self.disk(), image)?, "the disk is not the image");
        Ok(())
    }
}
