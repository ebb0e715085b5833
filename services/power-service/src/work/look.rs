//! What is read of a BMC, asked for or not: power, what it boots from. Nothing here changes anything at it.

use std::sync::PoisonError;

use domain::{id::NodeId, power::Power, timeline::Mark};
use keyspace::{Expect, key, store::Revised, value::PowerSeen};
use mesh::{Claim, Stake};

use super::{Work, failure, seen};
use crate::{
    Error,
    bmc::{Bmc as _, BmcError, BootOrder},
    session::Session,
};

impl Work {
    /// Asks a BMC who it is and how power stands.
    pub(crate) async fn ask(&self, node: NodeId) -> Result<(Power, String), Error> {
        let stake = self.mesh().stake(node)?;
        let (power, words) = self
            .read(&stake, async |bmc| {
                let power = bmc.power().await?;
                Ok((power, bmc.describe().await?))
            })
            .await?;
        self.note_power(&stake, power).await;
        Ok((power, words))
    }

    /// Asks a BMC what it tells the machine to boot from.
    pub(crate) async fn boot_order(&self, node: NodeId) -> Result<BootOrder, Error> {
        let stake = self.mesh().stake(node)?;
        self.read(&stake, async |bmc| bmc.boot_order().await).await
    }

    /// Reads something in a session of its own, which is closed whatever came of it.
    async fn read<T>(
        &self,
        stake: &Stake,
        read: impl AsyncFnOnce(&mut Session) -> Result<T, BmcError>,
    ) -> Result<T, Error> {
        let node = stake.node();
        let reach = self.reach(node)?;
        let reading = async {
            let mut bmc = reach.open(&self.hands, &self.limits).await?;
            let read = read(&mut bmc).await;
            bmc.close().await;
            read
        };
        tokio::select! {
            read = reading => read.map_err(|error| Error::bmc(node, &error)),
            () = stake.lost() => Err(mesh::Error::HandingOver { node }.into()),
        }
    }

    /// The nodes that this instance owns, that were verified and that no instruction is at work on.
    pub(crate) fn idle_nodes(&self) -> Vec<NodeId> {
        let view = self.mesh().view();
        let paths = view.paths(&key::node_prefix(self.rack));
        let nodes = paths.iter().filter(|path| path.ends_with("/life")).filter_map(|path| key::node_of(path));
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = nodes.map(|(_, node)| node).filter(|node| !running.contains_key(node) && self.mesh().owns(*node));
        let is_known =
            |node: &NodeId| view.get(&key::life(self.rack, *node)).is_some_and(|life| life.value.state.is_verified());
        // What is not there changes by no other hand than ours.
        let has_bmc = |node: &NodeId| self.intent(*node).is_ok_and(|intent| intent.bmc.is_some());
        idle.filter(is_known).filter(has_bmc).collect()
    }

    /// Reads a node's power, and writes it where it is news. What is in the way of the read itself, such as an
    /// instruction that begins, is no fault of the BMC.
    pub(crate) async fn look_at(&self, node: NodeId) -> Result<(), BmcError> {
        let Ok(stake) = self.mesh().stake(node) else { return Ok(()) };
        let Ok(reach) = self.reach(node) else { return Ok(()) };
        let looking = async {
            let mut bmc = reach.open(&self.hands, &self.limits).await?;
            let power = bmc.power().await;
            bmc.close().await;
            power
        };
        let power = tokio::select! {
            power = looking => power?,
            () = stake.lost() => return Ok(()),
        };
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&node) {
            self.note_power(&stake, power).await;
        }
        Ok(())
    }

    /// Writes that the BMC of a node is of no use.
    pub(crate) async fn note_trouble(&self, node: NodeId, error: &BmcError) {
        let Ok(stake) = self.mesh().stake(node) else { return };
        let key = key::power(self.rack, node);
        let read = self.mesh().view().get(&key);
        let Some(before) = read.as_ref().map(|read| &read.value) else { return };
        let trouble = failure(error.cause(), error.to_string());
        if before.trouble.as_ref().is_some_and(|known| known.cause == trouble.cause) {
            return;
        }
        tracing::warn!(node = %node, cause = trouble.cause.word(), text = trouble.text, "a BMC is of no use");
        let seen = PowerSeen { trouble: Some(trouble), ..before.clone() };
        self.note(&stake, read.as_ref(), |_| seen).await;
    }

    /// Writes what was read, where it is news.
    async fn note_power(&self, stake: &Stake, power: Power) {
        let node = stake.node();
        let read = self.mesh().view().get(&key::power(self.rack, node));
        let before = read.as_ref().map(|read| &read.value);
        if before.is_some_and(|before| before.power == power && before.trouble.is_none()) {
            return;
        }
        if before.is_some_and(|before| before.power != power)
            && let Some(life) = self.mesh().view().get(&key::life(self.rack, node))
        {
            let mark = if power == Power::On { Mark::PowerOn } else { Mark::PowerOff };
            self.timeline.note(node, life.value.generation, mark, "by another hand than ours");
        }
        let settled = before.and_then(|before| before.settled.clone());
        self.note(stake, read.as_ref(), |claim| seen(power, claim, settled)).await;
    }

    async fn note(&self, stake: &Stake, read: Option<&Revised<PowerSeen>>, seen: impl FnOnce(Claim) -> PowerSeen) {
        let noted = async {
            let claim = self.mesh().claim(stake).await?;
            let key = key::power(self.rack, stake.node());
            let change = self.mesh().fenced(&claim).put(&key, &seen(claim), Expect::same(read))?;
            self.mesh().commit(change).await.map(drop)
        };
        if let Err(error) = noted.await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot note power");
        }
    }
}
