//! Tells a fresh sequence number from one that was seen before.

/// How far back a number may lie and still be taken once. IPMI 2.0 §6.12.13 asks for eight or more; 64 lets a
/// datagram that was held up for a second through.
const WIDTH: u32 = 64;

/// The sequence numbers received in one direction of one session.
///
/// A number may jump forward by any amount, because it is looked at only after the datagram's integrity was proven.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    /// The highest number seen, and one bit for it and each of the 63 below.
    seen: Option<(u32, u64)>,
}

impl Window {
    /// Notes the number; false when it was noted before or is too old to tell.
    pub(crate) fn admit(&mut self, number: u32) -> bool {
        let Some((highest, bits)) = self.seen else {
            self.seen = Some((number, 1));
            return true;
        };
        let ahead = number.wrapping_sub(highest);
        // The numbers are a circle: less than half of it ahead is ahead.
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
    fn the_window_goes_round_the_end_of_the_numbers() {
        let mut window = Window::default();
        assert!(window.admit(u32::MAX));
        assert!(window.admit(1));
        assert!(!window.admit(u32::MAX));
        assert!(window.admit(u32::MAX - 1));
    }
}
