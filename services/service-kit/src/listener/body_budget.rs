//! The memory that request bodies may take, in all and by class of caller.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use ::metrics::Gauge;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::{
    limits::{Class, HttpLimits},
    metrics,
};

/// Unit of the budget, in bytes.
const UNIT_BYTES: usize = 1 << 10;
/// Number of units that a body takes at once, so that not each of its chunks has to ask.
const STEP_UNITS: u32 = 16;
/// How long a body that takes memory as it arrives waits for other bodies to be done with, if its request is authenticated.
const BUDGET_WAIT: Duration = Duration::from_secs(10);
/// The same for requests without credentials, which are small if they are honest.
const ANONYMOUS_BUDGET_WAIT: Duration = Duration::from_secs(2);

/// No memory for request bodies is left for the class of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bodies of other requests take all memory that is set aside for them; repeat the request")]
pub struct BudgetExhausted;

/// The memory that all request bodies of a process may take. Clones share it.
///
/// Each class has a part of its own, so that requests without credentials cannot take the memory of users, and users
/// cannot take all memory of services and administrators. The parts do not depend on each other: a large request that
/// waits in one does not hold up those in another.
///
/// A large body whose size is announced takes all its memory before it is read ([`Charge::reserve`]): two that took it as they
/// arrive could each wait for what the other has. An account has one such reservation at a time, so that its other requests
/// do not wait before those of others.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    anonymous: Arc<Part>,
    ordinary: Arc<Part>,
    reserved: Arc<Part>,
    turns: AccountTurns,
    /// Told whenever memory of any part is given back.
    freed: Arc<Notify>,
    gauge: Gauge,
}

/// The memory of one class.
#[derive(Debug)]
struct Part {
    units: Arc<Semaphore>,
    /// Number of all units.
    capacity: u32,
    /// Held by the large body that is next. It takes memory only when there is enough, so that it does not hold up small
    /// ones. Fair: large bodies take turns in the order of their requests.
    turn: Mutex<()>,
}

/// The turns of accounts, of which each has one reservation at a time. Those that are not in use are forgotten.
#[derive(Debug, Clone, Default)]
struct AccountTurns(Arc<parking_lot::Mutex<HashMap<Box<str>, Weak<Turn>>>>);

/// Held by the one whose turn it is.
type Turn = Mutex<()>;

impl AccountTurns {
    /// Waits for the turn of an account, in the order of its requests.
    async fn take(&self, account: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            turns.retain(|_, turn| turn.strong_count() > 0);
            turns.get(account).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turn = Arc::new(Mutex::new(()));
                turns.insert(account.into(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

impl Part {
    fn new(bytes: usize) -> Arc<Self> {
        let units = (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        let capacity = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::new(Self { units: Arc::new(Semaphore::new(units)), capacity, turn: Mutex::new(()) })
    }
}

impl BodyBudget {
    /// Creates the budget of a process.
    #[must_use]
    pub fn new(limits: &HttpLimits) -> Self {
        let authenticated = limits.body_bytes.saturating_sub(limits.anonymous_body_bytes);
        let reserved = authenticated / 2;
        Self {
            anonymous: Part::new(limits.anonymous_body_bytes),
            ordinary: Part::new(authenticated - reserved),
            reserved: Part::new(reserved),
            turns: AccountTurns::default(),
            freed: Arc::new(Notify::new()),
            gauge: metrics::body_bytes(),
        }
    }

    /// Returns an account of one request, which has taken nothing yet.
    #[must_use]
    pub fn account(&self, class: Class) -> Charge {
        let part = match class {
            Class::Stranger => &self.anonymous,
            Class::Ordinary => &self.ordinary,
            Class::Privileged => &self.reserved,
        };
        let wait = if class == Class::Stranger { ANONYMOUS_BUDGET_WAIT } else { BUDGET_WAIT };
        let spare = (class == Class::Privileged).then(|| Arc::clone(&self.ordinary));
        Charge {
            part: Arc::clone(part),
            spare,
            turns: self.turns.clone(),
            turn: None,
            freed: Arc::clone(&self.freed),
            permits: Vec::new(),
            units: 0,
            used: 0,
            wait,
            gauge: self.gauge.clone(),
        }
    }
}

/// What one request has taken of the budget. It is given back on drop.
#[derive(Debug)]
pub struct Charge {
    part: Arc<Part>,
    /// Where a privileged request takes what its own part lacks.
    spare: Option<Arc<Part>>,
    turns: AccountTurns,
    /// The turn of the account of a reservation.
    turn: Option<OwnedMutexGuard<()>>,
    freed: Arc<Notify>,
    /// At most one of each part.
    permits: Vec<OwnedSemaphorePermit>,
    units: u32,
    used: usize,
    wait: Duration,
    gauge: Gauge,
}

impl Charge {
    /// Takes memory that will be used, or all of the part if it is smaller. Waits for `wait` until it is there: after other
    /// reservations of the account until they end, and then after those of the class that wait. It ends when what is not used
    /// is given back ([`Self::give_back_unused`]), or all is.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if other requests take too much for so long.
    pub(super) async fn reserve(&mut self, account: &str, bytes: usize, wait: Duration) -> Result<(), BudgetExhausted> {
        let Some(units) = self.missing(bytes) else { return Ok(()) };
        let units = units.min(self.part.capacity);
        let taking = async {
            let own = self.turns.take(account).await;
            let _turn = self.part.turn.lock().await;
            loop {
                // Enabled first: what is given back after the attempt is noticed.
                let mut freed = pin!(self.freed.notified());
                freed.as_mut().enable();
                match self.try_take(units) {
                    Some(permit) => return (own, permit),
                    None => freed.await,
                }
            }
        };
        let (turn, permit) = tokio::time::timeout(wait, taking).await.map_err(|_| BudgetExhausted)?;
        self.keep(permit);
        self.turn = Some(turn);
        Ok(())
    }

    /// Gives back what was taken and not used, and the turn of the account.
    pub(super) fn give_back_unused(&mut self) {
        let used = u32::try_from(self.used.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let mut unused = self.units.saturating_sub(used);
        for permit in &mut self.permits {
            let count = usize::try_from(unused).unwrap_or(usize::MAX).min(permit.num_permits());
            let given = permit.split(count).map_or(0, |given| given.num_permits());
            let given = u32::try_from(given).unwrap_or(u32::MAX);
            unused -= given;
            self.units -= given;
            self.gauge.decrement(to_f64(given));
        }
        self.turn = None;
        self.freed.notify_waiters();
    }

    /// Takes more memory. Waits for it for a short time.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if other requests take too much for too long.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        if let Some(units) = self.missing(bytes) {
            let permit = match self.try_take(units) {
                Some(permit) => permit,
                None => {
                    let waiting = Arc::clone(&self.part.units).acquire_many_owned(units);
                    let acquired = tokio::time::timeout(self.wait, waiting).await;
                    acquired.ok().and_then(Result::ok).ok_or(BudgetExhausted)?
                }
            };
            self.keep(permit);
        }
        self.used = self.used.saturating_add(bytes);
        Ok(())
    }

    /// Takes more memory, if it is there.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if it is not.
    pub fn try_grow(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        if let Some(units) = self.missing(bytes) {
            let permit = self.try_take(units).ok_or(BudgetExhausted)?;
            self.keep(permit);
        }
        self.used = self.used.saturating_add(bytes);
        Ok(())
    }

    /// Gives everything back.
    pub fn release(&mut self) {
        self.gauge.decrement(to_f64(self.units));
        self.permits.clear();
        self.turn = None;
        (self.units, self.used) = (0, 0);
        self.freed.notify_waiters();
    }

    /// Returns how many units must be taken for more bytes, if any.
    fn missing(&self, bytes: usize) -> Option<u32> {
        let held = usize::try_from(self.units).unwrap_or(usize::MAX).saturating_mul(UNIT_BYTES);
        let used = self.used.saturating_add(bytes);
        if used <= held {
            return None;
        }
        let units = (used - held).div_ceil(UNIT_BYTES);
        Some(u32::try_from(units).unwrap_or(u32::MAX))
    }

    /// Takes a whole step if there is one, otherwise what is missing.
    fn try_take(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        let parts = || std::iter::once(&self.part).chain(&self.spare);
        let take = |count: u32| parts().find_map(|part| Arc::clone(&part.units).try_acquire_many_owned(count).ok());
        take(units.max(STEP_UNITS)).or_else(|| take(units))
    }

    fn keep(&mut self, permit: OwnedSemaphorePermit) {
        let units = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
        self.units = self.units.saturating_add(units);
        self.gauge.increment(to_f64(units));
        let same = self.permits.iter_mut().find(|held| Arc::ptr_eq(held.semaphore(), permit.semaphore()));
        match same {
            Some(held) => held.merge(permit),
            None => self.permits.push(permit),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.units > 0 {
            self.release();
        }
    }
}

fn to_f64(units: u32) -> f64 {
    f64::from(units) * 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn budget() -> BodyBudget {
        let limits = HttpLimits { body_bytes: 10 * MIB, anonymous_body_bytes: 2 * MIB, ..HttpLimits::default() };
        BodyBudget::new(&limits)
    }

    #[test]
    fn each_class_has_a_part_of_the_budget() {
        use Class::{Ordinary, Privileged, Stranger};
        // What is taken in turn, and whether it is given. Parts: 2 for strangers, 4 for users, 4 reserved.
        for requests in [
            [(Stranger, 2 * MIB, true), (Stranger, 1, false), (Ordinary, 4 * MIB, true)],
            [(Stranger, 2 * MIB + 1, false), (Stranger, 2 * MIB, true), (Privileged, 4 * MIB, true)],
            [(Ordinary, 4 * MIB, true), (Ordinary, 1, false), (Privileged, 4 * MIB, true)],
            [(Ordinary, 4 * MIB, true), (Privileged, 4 * MIB, true), (Privileged, 1, false)],
            [(Privileged, 4 * MIB, true), (Privileged, 4 * MIB, true), (Ordinary, 1, false)],
            [(Privileged, 5 * MIB, false), (Privileged, 4 * MIB, true), (Stranger, 2 * MIB, true)],
        ] {
            let budget = budget();
            let mut charges = Vec::new();
            for (class, bytes, is_given) in requests {
                let mut charge = budget.account(class);
                assert_eq!(charge.try_grow(bytes).is_ok(), is_given, "{requests:?}: {class:?} {bytes}");
                charges.push(charge);
            }
        }
    }

    #[test]
    fn what_a_request_took_is_given_back() {
        let budget = budget();
        for _ in 0..100 {
            let mut charge = budget.account(Class::Stranger);
            for _ in 0..16 {
                charge.try_grow(100 << 10).unwrap();
            }
            charge.release();
            charge.try_grow(2 * MIB).unwrap();
        }
        assert_eq!(budget.anonymous.units.available_permits(), 2 << 10);
    }

    #[test]
    fn the_last_bytes_of_a_part_can_be_taken_whatever_the_sizes_of_chunks() {
        for chunk in [1, 1000, 1024, 3000, 15_000, 16_384, 70_000, 2 * MIB] {
            let budget = budget();
            let mut charge = budget.account(Class::Stranger);
            for start in (0..2 * MIB).step_by(chunk) {
                assert_eq!(charge.try_grow(chunk.min(2 * MIB - start)), Ok(()), "{start} in chunks of {chunk}");
            }
            assert_eq!(charge.try_grow(1), Err(BudgetExhausted));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_briefly_for_others() {
        let budget = budget();
        let mut first = budget.account(Class::Ordinary);
        first.grow(4 * MIB).await.unwrap();
        let mut second = budget.account(Class::Ordinary);
        let started = tokio::time::Instant::now();
        assert_eq!(second.grow(1).await, Err(BudgetExhausted));
        assert_eq!(started.elapsed(), BUDGET_WAIT);
        let (outcome, ()) = tokio::join!(second.grow(1), async { drop(first) });
        assert_eq!(outcome, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reservation_waits_in_turn_and_does_not_hold_up_small_bodies() {
        const WAIT: Duration = Duration::from_secs(100);
        let budget = budget();
        let mut first = budget.account(Class::Ordinary);
        first.reserve("a", 3 * MIB, WAIT).await.unwrap();
        let reserve = async |account: &str, bytes| {
            let mut charge = budget.account(Class::Ordinary);
            charge.reserve(account, bytes, WAIT).await.map(|()| charge)
        };
        let (mut second, mut third) = (pin!(reserve("b", 3 * MIB)), pin!(reserve("c", MIB)));
        let is_waiting = tokio::time::timeout(Duration::from_secs(50), futures::future::join(&mut second, &mut third));
        assert!(is_waiting.await.is_err(), "the third would fit, and is not before the second");
        budget.account(Class::Ordinary).try_grow(MIB).unwrap();
        // The first one used less than it reserved.
        first.try_grow(MIB / 2).unwrap();
        first.give_back_unused();
        let second = second.await.unwrap();
        drop(first);
        let third = third.await.unwrap();
        assert_eq!(budget.ordinary.units.available_permits(), 0);
        assert_eq!(reserve("d", 1).await.unwrap_err(), BudgetExhausted);
        drop((second, third));
        assert_eq!(budget.ordinary.units.available_permits(), 4 << 10);
        assert!(reserve("d", 9 * MIB).await.is_ok(), "all of the part, where it is smaller");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_has_one_reservation_at_a_time_and_others_do_not_wait_for_it() {
        const WAIT: Duration = Duration::from_secs(100);
        type End = fn(&mut Charge);
        // How the first reservation of the account ends.
        for (source, end) in [
            ("the body is parsed", (|charge| charge.give_back_unused()) as End),
            ("the request ends", |charge| drop(std::mem::replace(charge, budget().account(Class::Ordinary)))),
            ("all is given back", Charge::release),
        ] {
            let budget = budget();
            let reserve = async |account: &str, bytes| {
                let mut charge = budget.account(Class::Ordinary);
                charge.reserve(account, bytes, WAIT).await.map(|()| charge)
            };
            let mut first = reserve("ann", MIB).await.unwrap();
            let mut second = pin!(reserve("ann", MIB));
            let is_waiting = tokio::time::timeout(Duration::from_secs(50), &mut second).await.is_err();
            assert!(is_waiting, "{source}: it would fit");
            let other = reserve("bob", 3 * MIB).await.unwrap();
            drop(other);
            end(&mut first);
            drop(second.await.unwrap());
            drop(first);
            assert_eq!(budget.ordinary.units.available_permits(), 4 << 10, "{source}");
            drop(reserve("carol", 1).await.unwrap());
            assert!(budget.turns.0.lock().len() <= 1, "{source}: accounts are forgotten");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_reserved_and_not_used_is_given_back() {
        for (reserved, used, left) in [
            (MIB, 0, 4 << 10),
            (MIB, 1, (4 << 10) - 1),
            (MIB, MIB, 3 << 10),
            (4 * MIB, 3 * MIB, 1 << 10),
            (MIB, 3 * MIB, 1 << 10),
            (0, 0, 4 << 10),
        ] {
            let budget = budget();
            let mut charge = budget.account(Class::Ordinary);
            charge.reserve("a", reserved, BUDGET_WAIT).await.unwrap();
            charge.try_grow(used).unwrap();
            charge.give_back_unused();
            assert_eq!(budget.ordinary.units.available_permits(), left, "{used} of {reserved}");
        }
    }
}
