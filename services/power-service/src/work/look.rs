//! What is read of a BMC, asked for or not: power, what it boots from. Nothing here changes anything at it.

use std::{sync::PoisonError, time::Duration};

use domain::{id::NodeId, power::Power, timeline::Mark};
use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Bios, FirmwareSeen, PowerSeen},
};
use mesh::{Claim, WorkGuard};
use service_kit::clock;
use tokio::{sync::oneshot, time::timeout};

use super::{Work, failure, seen};
use crate::{
    Error,
    bmc::{Bmc as _, BmcError, BootOrder},
    session::Session,
};

/// How long a read may take that a caller waits for; less than he does (scheduler-service, `lines`).
const READ: Duration = Duration::from_secs(12);
/// How long one may take that nobody waits for: a firmware has a dozen resources, and a BMC may need seconds for each.
const LONG: Duration = Duration::from_secs(180);
/// How long whoever asks a BMC who it is waits for what its firmware is set to.
const FIRMWARE: Duration = Duration::from_secs(2);

impl Work {
    /// Asks a BMC who it is and how power stands.
    pub(crate) async fn ask(&self, node: NodeId) -> Result<(Power, String), Error> {
        let guard = self.mesh().begin_work(node)?;
        let (power, words) = self
            .read(&guard, async |bmc| {
                let power = bmc.power().await?;
                Ok((power, bmc.describe().await?))
            })
            .await?;
        self.note_power(&guard, power).await;
        // Late is as good as not at all: it is stored when it is known.
        drop(timeout(FIRMWARE, self.learn_firmware(node)).await);
        Ok((power, words))
    }

    /// Reads in the background what the firmware is set to; what is in its way is no fault of the machine. Resolves when
    /// that has an end.
    pub(super) fn learn_firmware(&self, node: NodeId) -> oneshot::Receiver<()> {
        let (ended, is_ended) = oneshot::channel();
        if self.reach(node).is_ok_and(|reach| reach.tells_firmware()) {
            let work = self.clone();
            self.host.spawn(async move {
                if let Err(error) = work.firmware(node).await {
                    let error = service_kit::status::chain(&error);
                    tracing::info!(node = %node, error, "cannot read what the firmware is set to");
                }
                drop(ended);
            });
        }
        is_ended
    }

    /// Reads what the firmware is set to, and writes what is news.
    async fn firmware(&self, node: NodeId) -> Result<(), Error> {
        let guard = self.mesh().begin_work(node)?;
        let read = self.read_for(&guard, LONG, async |bmc| bmc.firmware().await).await?;
        let Some(firmware) = read else { return Ok(()) };
        let claim = self.mesh().claim(&guard).await?;
        let (rack, now) = (self.rack, clock::now());
        let mut change = self.mesh().fenced(&claim);
        let before = self.mesh().view().get(&key::firmware(rack, node));
        let (boot_mode, secure_boot) = (firmware.boot_mode, firmware.secure_boot);
        let is_known = |seen: &FirmwareSeen| (seen.boot_mode, seen.secure_boot) == (boot_mode, secure_boot);
        let mut is_news = false;
        if !before.as_ref().is_some_and(|before| is_known(&before.value)) {
            let seen = FirmwareSeen { boot_mode, secure_boot, seen_at: now, seen_by: claim.instance() };
            change = change.put(&key::firmware(rack, node), &seen, Expect::same(before.as_ref())).map_err(store)?;
            is_news = true;
        }
        if let Some(settings) = firmware.settings {
            let key = key::bios(rack, node);
            let before = self.mesh().store().get_packed(&key).await.map_err(store)?;
            let bios = Bios::read(before.as_ref().map(|read| &read.value), settings, now);
            if before.as_ref().is_none_or(|before| before.value != bios) {
                change = change.put_packed(&key, &bios, Expect::same(before.as_ref())).map_err(store)?;
                is_news = true;
            }
        }
        if is_news {
            self.mesh().commit(change).await?;
        }
        Ok(())
    }

    /// Asks a BMC what it tells the machine to boot from.
    pub(crate) async fn boot_order(&self, node: NodeId) -> Result<BootOrder, Error> {
        let guard = self.mesh().begin_work(node)?;
        self.read(&guard, async |bmc| bmc.boot_order().await).await
    }

    /// Reads something while a caller waits, in a session of its own.
    async fn read<T>(
        &self,
        guard: &WorkGuard,
        read: impl AsyncFnOnce(&mut Session) -> Result<T, BmcError>,
    ) -> Result<T, Error> {
        self.read_for(guard, READ, read).await
    }

    /// Reads something in a session of its own, which is closed whatever came of it; one that takes longer than this is
    /// left to the BMC, and counts as silent.
    async fn read_for<T>(
        &self,
        guard: &WorkGuard,
        most: Duration,
        read: impl AsyncFnOnce(&mut Session) -> Result<T, BmcError>,
    ) -> Result<T, Error> {
        let node = guard.node();
        let reach = self.reach(node)?;
        let silent = BmcError::Silent(reach.address());
        let reading = async {
            let mut bmc = reach.open(&self.hands, &self.limits).await?;
            let read = read(&mut bmc).await;
            bmc.close().await;
            read
        };
        tokio::select! {
            read = timeout(most, reading) => {
                read.unwrap_or(Err(silent)).map_err(|error| Error::bmc(node, &error))
            }
            () = guard.lost() => Err(mesh::Error::HandingOver { node }.into()),
        }
    }

    /// The nodes that this instance owns, that were verified and that no instruction is at work on.
    pub(crate) fn idle_nodes(&self) -> Vec<NodeId> {
        let view = self.mesh().view();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let idle =
            view.nodes(self.rack).into_iter().filter(|node| !running.contains_key(node) && self.mesh().owns(*node));
        let is_known =
            |node: &NodeId| view.get(&key::life(self.rack, *node)).is_some_and(|life| life.value.state.is_verified());
        // What is not there changes by no other hand than ours.
        let has_bmc = |node: &NodeId| self.intent(*node).is_ok_and(|intent| intent.bmc.is_some());
        idle.filter(is_known).filter(has_bmc).collect()
    }

    /// Reads a node's power, and writes it where it is news. What is in the way of the read itself, such as an
    /// instruction that begins, is no fault of the BMC.
    pub(crate) async fn look_at(&self, node: NodeId) -> Result<(), BmcError> {
        let Ok(guard) = self.mesh().begin_work(node) else { return Ok(()) };
        let Ok(reach) = self.reach(node) else { return Ok(()) };
        let looking = async {
            let mut bmc = reach.open(&self.hands, &self.limits).await?;
            let power = bmc.power().await;
            bmc.close().await;
            power
        };
        let power = tokio::select! {
            power = looking => power?,
            () = guard.lost() => return Ok(()),
        };
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&node) {
            self.note_power(&guard, power).await;
        }
        Ok(())
    }

    /// Writes that the BMC of a node is of no use.
    pub(crate) async fn note_trouble(&self, node: NodeId, error: &BmcError) {
        let Ok(guard) = self.mesh().begin_work(node) else { return };
        let key = key::power(self.rack, node);
        let read = self.mesh().view().get(&key);
        let Some(before) = read.as_ref().map(|read| &read.value) else { return };
        let trouble = failure(error.cause(), error.to_string());
        if before.trouble.as_ref().is_some_and(|known| known.cause == trouble.cause) {
            return;
        }
        tracing::warn!(node = %node, cause = trouble.cause.word(), text = trouble.text, "a BMC is of no use");
        let seen = PowerSeen { trouble: Some(trouble), ..before.clone() };
        self.note(&guard, read.as_ref(), |_| seen).await;
    }

    /// Writes what was read, where it is news.
    async fn note_power(&self, guard: &WorkGuard, power: Power) {
        let node = guard.node();
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
        self.note(guard, read.as_ref(), |claim| seen(power, claim, settled)).await;
    }

    async fn note(
        &self,
        guard: &WorkGuard,
        read: Option<&Versioned<PowerSeen>>,
        seen: impl FnOnce(Claim) -> PowerSeen,
    ) {
        let noted = async {
            let claim = self.mesh().claim(guard).await?;
            let key = key::power(self.rack, guard.node());
            let change = self.mesh().fenced(&claim).put(&key, &seen(claim), Expect::same(read))?;
            self.mesh().commit(change).await.map(drop)
        };
        if let Err(error) = noted.await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot note power");
        }
    }
}

/// What the store did not do.
const fn store(source: keyspace::Error) -> Error {
    Error::Mesh(mesh::Error::Store(source))
}
