//! Reads from BMCs, on request or by polling. Nothing here changes a BMC.

use std::time::Duration;

use domain::{id::NodeId, power::Power, timeline::Mark};
use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Bios, FirmwareSeen, PowerSeen},
};
use mesh::{Claim, WorkGuard};
use service_kit::clock;
use tokio::{sync::oneshot, time::timeout};

use super::{
    Work, failure,
    patience::{Patience, repeat_read},
    power_record,
};
use crate::{
    Error,
    bmc::{Bmc as _, BmcError, BootOrder},
    retry::Verdict,
    session::BmcSession,
};

/// Maximum duration of a read that a caller waits for. It is shorter than the caller's own timeout (scheduler-service,
/// `leaf_clients`).
const READ_TIMEOUT: Duration = Duration::from_secs(12);
/// Maximum duration of a background read: firmware consists of a dozen resources, and a slow BMC may take seconds for
/// each.
const BACKGROUND_READ_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a BMC that answers "later" is asked again, so that the caller receives its answer and not a timeout.
const READ_RETRY_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a power query waits for the firmware settings.
const FIRMWARE_WAIT: Duration = Duration::from_secs(2);

impl Work {
    /// Reads the power state and the description of a BMC.
    pub(crate) async fn query_power(&self, node: NodeId) -> Result<(Power, String), Error> {
        let guard = self.mesh().begin_work(node)?;
        let (power, description) = self
            .read(&guard, async |bmc| {
                let power = bmc.power().await?;
                Ok((power, bmc.describe().await?))
            })
            .await?;
        self.record_power(&guard, power).await;
        // The settings are stored whenever they arrive; a timeout is not an error.
        drop(timeout(FIRMWARE_WAIT, self.read_firmware_in_background(node)).await);
        Ok((power, description))
    }

    /// Reads the firmware settings in the background. Failures are only logged. The receiver resolves when the read has
    /// ended.
    pub(super) fn read_firmware_in_background(&self, node: NodeId) -> oneshot::Receiver<()> {
        let (ended, is_ended) = oneshot::channel();
        if self.bmc_target(node).is_ok_and(|(reach, _)| reach.reports_firmware()) {
            let work = self.clone();
            self.host.spawn(async move {
                if let Err(error) = work.refresh_firmware(node).await {
                    let error = service_kit::status::chain(&error);
                    tracing::info!(node = %node, error, "cannot read firmware settings");
                }
                drop(ended);
            });
        }
        is_ended
    }

    /// Reads the firmware settings and stores them if they changed.
    async fn refresh_firmware(&self, node: NodeId) -> Result<(), Error> {
        let guard = self.mesh().begin_work(node)?;
        let read = self.read_for(&guard, BACKGROUND_READ_TIMEOUT, async |bmc| bmc.firmware().await).await?;
        let Some(firmware) = read else { return Ok(()) };
        let claim = self.mesh().claim(&guard).await?;
        let (rack, now) = (self.rack, clock::now());
        let mut change = self.mesh().fenced(&claim);
        let before = self.mesh().view().get(&key::firmware(rack, node));
        let (boot_mode, secure_boot) = (firmware.boot_mode, firmware.secure_boot);
        let is_known = |seen: &FirmwareSeen| (seen.boot_mode, seen.secure_boot) == (boot_mode, secure_boot);
        let mut has_changed = false;
        if !before.as_ref().is_some_and(|before| is_known(&before.value)) {
            let seen = FirmwareSeen { boot_mode, secure_boot, seen_at: now, seen_by: claim.instance() };
            change = change.put(&key::firmware(rack, node), &seen, Expect::same(before.as_ref())).map_err(store)?;
            has_changed = true;
        }
        if let Some(settings) = firmware.settings {
            let key = key::bios(rack, node);
            let before = self.mesh().store().get_packed(&key).await.map_err(store)?;
            let bios = Bios::read(before.as_ref().map(|read| &read.value), settings, now);
            if before.as_ref().is_none_or(|before| before.value != bios) {
                change = change.put_packed(&key, &bios, Expect::same(before.as_ref())).map_err(store)?;
                has_changed = true;
            }
        }
        if has_changed {
            self.mesh().commit(change).await?;
        }
        Ok(())
    }

    /// Reads the boot device override.
    pub(crate) async fn boot_order(&self, node: NodeId) -> Result<BootOrder, Error> {
        let guard = self.mesh().begin_work(node)?;
        self.read(&guard, async |bmc| bmc.boot_order().await).await
    }

    /// Reads from a BMC in a new session while a caller waits.
    async fn read<T>(
        &self,
        guard: &WorkGuard,
        read: impl AsyncFn(&mut BmcSession) -> Result<T, BmcError>,
    ) -> Result<T, Error> {
        self.read_for(guard, READ_TIMEOUT, read).await
    }

    /// Reads from a BMC in a new session and closes it. A read that exceeds `most` fails as silent; its session is left
    /// to the BMC's own timeout.
    async fn read_for<T>(
        &self,
        guard: &WorkGuard,
        most: Duration,
        read: impl AsyncFn(&mut BmcSession) -> Result<T, BmcError>,
    ) -> Result<T, Error> {
        let node = guard.node();
        let (reach, record) = self.bmc_target(node)?;
        let silent = BmcError::Silent(reach.address());
        let reading = async {
            let mut patience = Patience::new(READ_RETRY_TIMEOUT.min(most));
            let mut bmc = loop {
                let opened = reach.open(&self.drivers, &self.limits).await;
                self.rejected.logged_in(node, record.as_ref(), opened.as_ref().err());
                match opened {
                    Ok(bmc) => break bmc,
                    // The caller repeats its request if it wants to wait for longer than one login takes.
                    Err(failure) if failure.verdict() == Verdict::NewSession => return Err(failure),
                    Err(failure) => patience.pause(failure).await.map(drop)?,
                }
            };
            let read = repeat_read!(patience, read(&mut bmc));
            self.rejected.asked(node, record.as_ref(), read.as_ref().err());
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

    /// Returns the owned and verified nodes for which no instruction is running, and whose BMC did not reject the login.
    pub(crate) fn idle_nodes(&self) -> Vec<NodeId> {
        let view = self.mesh().view();
        let running = self.running.lock();
        let idle =
            view.nodes(self.rack).into_iter().filter(|node| !running.contains_key(node) && self.mesh().owns(*node));
        let is_known =
            |node: &NodeId| view.get(&key::life(self.rack, *node)).is_some_and(|life| life.value.state.is_verified());
        // The power of a simulated BMC changes only through us.
        self.rejected.retain(|node| self.intent(node).is_ok());
        // A login that the BMC rejected is not repeated.
        let has_bmc = |node: &NodeId| {
            let bmc = self.intent(*node).ok().and_then(|intent| intent.bmc);
            bmc.is_some_and(|bmc| !self.rejected.has(*node, &bmc))
        };
        idle.filter(is_known).filter(has_bmc).collect()
    }

    /// Reads the power of a node and stores it if it changed. Reasons on our side, such as an instruction that starts,
    /// are not reported as a BMC failure.
    pub(crate) async fn poll_power(&self, node: NodeId) -> Result<(), BmcError> {
        let Ok(guard) = self.mesh().begin_work(node) else { return Ok(()) };
        let Ok((reach, record)) = self.bmc_target(node) else { return Ok(()) };
        let reading = async {
            let opened = reach.open(&self.drivers, &self.limits).await;
            self.rejected.logged_in(node, record.as_ref(), opened.as_ref().err());
            let mut bmc = opened?;
            let power = bmc.power().await;
            self.rejected.asked(node, record.as_ref(), power.as_ref().err());
            bmc.close().await;
            power
        };
        let power = tokio::select! {
            power = reading => power?,
            () = guard.lost() => return Ok(()),
        };
        if !self.running.lock().contains_key(&node) {
            self.record_power(&guard, power).await;
        }
        Ok(())
    }

    /// Stores that the BMC of a node cannot be used.
    pub(crate) async fn record_trouble(&self, node: NodeId, error: &BmcError) {
        let Ok(guard) = self.mesh().begin_work(node) else { return };
        let key = key::power(self.rack, node);
        let read = self.mesh().view().get(&key);
        let Some(before) = read.as_ref().map(|read| &read.value) else { return };
        let trouble = failure(error.cause(), error.to_string());
        if before.trouble.as_ref().is_some_and(|known| known.cause == trouble.cause) {
            return;
        }
        tracing::warn!(node = %node, cause = trouble.cause.word(), text = trouble.text, "BMC is unusable");
        let seen = PowerSeen { trouble: Some(trouble), ..before.clone() };
        self.record(&guard, read.as_ref(), |_| seen).await;
    }

    /// Stores the power state if it changed.
    async fn record_power(&self, guard: &WorkGuard, power: Power) {
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
            self.timeline.note(node, life.value.generation, mark, "outside Ironmesh");
        }
        let settled = before.and_then(|before| before.settled.clone());
        self.record(guard, read.as_ref(), |claim| power_record(Some(power), None, claim, settled)).await;
    }

    async fn record(
        &self,
        guard: &WorkGuard,
        read: Option<&Versioned<PowerSeen>>,
        to: impl FnOnce(Claim) -> PowerSeen,
    ) {
        let recorded = async {
            let claim = self.mesh().claim(guard).await?;
            let key = key::power(self.rack, guard.node());
            let change = self.mesh().fenced(&claim).put(&key, &to(claim), Expect::same(read))?;
            self.mesh().commit(change).await.map(drop)
        };
        if let Err(error) = recorded.await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot store power");
        }
    }
}

/// Wraps an error of the store.
const fn store(source: keyspace::Error) -> Error {
    Error::Mesh(mesh::Error::Store(source))
}
