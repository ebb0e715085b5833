//! Fair shares of something scarce: how many units are taken in all and by each holder.

use std::{collections::HashMap, hash::Hash};

use super::limits::{Class, ShareLimits};

/// Why no unit is left for a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// The holder has its maximum.
    Holder,
    /// All units that are open to this class are taken.
    Total,
}

/// Counts the units that each holder has taken.
#[derive(Debug)]
pub struct Shares<K> {
    limits: ShareLimits,
    taken: usize,
    holders: HashMap<K, usize>,
}

impl<K: Hash + Eq> Shares<K> {
    /// Creates a table in which nothing is taken.
    #[must_use]
    pub fn new(limits: ShareLimits) -> Self {
        Self { limits, taken: 0, holders: HashMap::new() }
    }

    /// Takes a unit for a holder.
    ///
    /// # Errors
    /// [`Exhausted`] if the holder has its maximum or the whole is taken; nothing changes then.
    pub fn take(&mut self, holder: K, class: Class) -> Result<(), Exhausted> {
        let open = match class {
            Class::Privileged => self.limits.total,
            Class::Ordinary | Class::Stranger => self.limits.total.saturating_sub(self.limits.reserved),
        };
        if self.taken >= open {
            return Err(Exhausted::Total);
        }
        let held = self.holders.entry(holder).or_insert(0);
        if *held >= self.limits.each {
            return Err(Exhausted::Holder);
        }
        *held += 1;
        self.taken += 1;
        Ok(())
    }

    /// Returns a unit that the holder has taken.
    pub fn release(&mut self, holder: &K) {
        let Some(held) = self.holders.get_mut(holder) else { return };
        *held -= 1;
        self.taken = self.taken.saturating_sub(1);
        if *held == 0 {
            self.holders.remove(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_and_a_class_have_their_maximum() {
        use Class::{Ordinary, Privileged, Stranger};
        let mut shares = Shares::new(ShareLimits { total: 6, reserved: 2, each: 3 });
        for (holder, class, outcome) in [
            ("ann", Ordinary, Ok(())),
            ("ann", Ordinary, Ok(())),
            ("ann", Ordinary, Ok(())),
            ("ann", Ordinary, Err(Exhausted::Holder)),
            ("bob", Stranger, Ok(())),
            ("bob", Stranger, Err(Exhausted::Total)),
            ("root", Ordinary, Err(Exhausted::Total)),
            ("root", Privileged, Ok(())),
            ("root", Privileged, Ok(())),
            ("root", Privileged, Err(Exhausted::Total)),
        ] {
            assert_eq!(shares.take(holder, class), outcome, "{holder} {class:?}");
        }
        shares.release(&"ann");
        assert_eq!(shares.take("root", Privileged), Ok(()));
    }

    #[test]
    fn a_holder_without_units_is_forgotten() {
        let mut shares = Shares::new(ShareLimits { total: 2, reserved: 0, each: 1 });
        for holder in 0..100 {
            shares.take(holder, Class::Ordinary).unwrap();
            shares.release(&holder);
            shares.release(&holder);
        }
        assert!(shares.holders.is_empty() && shares.taken == 0);
    }
}
