//! Sliding window that detects repeated sequence numbers.

/// Size of the window. IPMI 2.0 §6.12.13 requires at least eight numbers; 64 accept a datagram that was delayed for a second.
const WIDTH: u32 = 64;

/// Received sequence numbers in one direction of a session.
///
/// A number may jump forward by any amount, because only authenticated datagrams are checked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    /// Highest received number, and one bit for it and each of the 63 below.
    seen: Option<(u32, u64)>,
}

impl Window {
    /// Records a number. Returns `false` if it was recorded before or is too old.
    pub(crate) fn admit(&mut self, number: u32) -> bool {
        let Some((highest, bits)) = self.seen else {
            self.seen = Some((number, 1));
            return true;
        };
        let ahead = number.wrapping_sub(highest);
        // Numbers wrap: a distance of less than half of the range is ahead.
        if ahead != 0 && ahead < 1 << 31 {
            self.seen = Some((number, bits.checked_shl(ahead).unwrap_or(0) | 1));
            return true;
        }
        let behind = highest.wrapping_sub(number);
        let bit = if behind < WIDTH { 1_u64 << behind } else { return false };
        self.seen = Some((highest, bits | bit));
        bits & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_admitted_once_even_out_of_order() {
        let mut window = Window::default();
        let admitted: Vec<bool> = [5, 5, 7, 6, 6, 7, 80, 17, 16, 81].map(|n| window.admit(n)).to_vec();
        assert_eq!(admitted, [true, false, true, true, false, false, true, true, false, true]);
    }

    #[test]
    fn the_window_wraps_at_the_maximum_number() {
        let mut window = Window::default();
        assert!(window.admit(u32::MAX));
        assert!(window.admit(1));
        assert!(!window.admit(u32::MAX));
        assert!(window.admit(u32::MAX - 1));
    }
}
