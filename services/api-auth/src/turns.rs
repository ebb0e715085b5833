//! Whose password is verified next. Each verification takes a processor for tens of milliseconds, and everybody who can
//! connect may ask for one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use service_kit::listener::AddressKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of passwords that are verified at the same time.
const MAX_VERIFICATIONS: usize = 2;
/// How long a verification waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Gives each address one turn at a time, so that a client that guesses passwords delays the logins of others by one
/// verification and not by all of its guesses.
#[derive(Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// The addresses that have or want a turn.
    addresses: Arc<Mutex<HashMap<AddressKey, Arc<Semaphore>>>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_VERIFICATIONS)), addresses: Arc::default() }
    }
}

/// The right to verify one password. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _address: Place,
}

/// A request of an address in the line of that address.
#[derive(Debug)]
struct Place {
    key: AddressKey,
    line: Option<Arc<Semaphore>>,
    permit: Option<OwnedSemaphorePermit>,
    addresses: Arc<Mutex<HashMap<AddressKey, Arc<Semaphore>>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        let mut addresses = self.addresses.lock();
        self.line = None;
        if addresses.get(&self.key).is_some_and(|line| Arc::strong_count(line) == 1) {
            addresses.remove(&self.key);
        }
    }
}

impl Turns {
    /// Waits for the turn of an address. `None` if it takes too long. Cancel safe.
    pub(super) async fn take(&self, address: AddressKey) -> Option<Turn> {
        let line = Arc::clone(self.addresses.lock().entry(address).or_insert_with(|| Arc::new(Semaphore::new(1))));
        let addresses = Arc::clone(&self.addresses);
        let mut place = Place { key: address, line: Some(Arc::clone(&line)), permit: None, addresses };
        let turn = async {
            place.permit = Some(line.acquire_owned().await.ok()?);
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Turn { _all: all, _address: place })
        };
        tokio::time::timeout(TURN_WAIT, turn).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::join_all};

    use super::*;

    fn address(last: u8) -> AddressKey {
        AddressKey::of([10, 0, 0, last].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_guesses_delays_the_logins_of_others_by_one_guess_only() {
        let turns = Turns::default();
        let guessing = turns.take(address(1)).await.unwrap();
        let mut guesses: Vec<_> = (0..100).map(|_| Box::pin(turns.take(address(1)))).collect();
        assert!(guesses.iter_mut().all(|guess| guess.now_or_never().is_none()));
        // One verification of the guesser is in progress, none of its others is before this one.
        let other = turns.take(address(2)).now_or_never().flatten().expect("another address has its turn at once");
        let mut third = Box::pin(turns.take(address(3)));
        assert!((&mut third).now_or_never().is_none(), "two are verified at a time");
        drop(guessing);
        assert!(third.now_or_never().flatten().is_some(), "the next turn is another address's");
        drop(other);
        assert!(guesses.swap_remove(0).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_given_up_and_its_address_forgotten() {
        let turns = Turns::default();
        let held = (turns.take(address(1)).await.unwrap(), turns.take(address(2)).await.unwrap());
        let late = join_all((0..5).map(|last| turns.take(address(last)))).await;
        assert!(late.iter().all(Option::is_none));
        assert_eq!(turns.addresses.lock().len(), 2);
        drop(held);
        assert!(turns.addresses.lock().is_empty());
        assert!(turns.take(address(1)).await.is_some());
    }
}
