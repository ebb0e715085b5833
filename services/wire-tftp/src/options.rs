//! Option negotiation: what a client may wish, what we agree to, what we say about it (RFC 2347 §3).

use std::time::Duration;

use crate::packet::MAX_PAYLOAD;

/// The block size without negotiation, in octets (RFC 1350 §2).
pub(crate) const DEFAULT_BLOCK: u16 = 512;
/// The smallest and largest block size a client may ask for, in octets (RFC 2348).
const BLOCK_RANGE: std::ops::RangeInclusive<u64> = 8..=MAX_PAYLOAD as u64;
/// The window sizes a client may ask for, in blocks (RFC 7440 §3).
const WINDOW_RANGE: std::ops::RangeInclusive<u64> = 1..=65535;
/// The timeouts we agree to, in seconds. RFC 2349 allows 255; a client that vanishes would then hold a transfer
/// for twenty minutes, so longer ones are not acknowledged, which the RFC leaves to the server.
const TIMEOUT_RANGE: std::ops::RangeInclusive<u64> = 1..=60;

/// How far a server goes along with what clients wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest block, in octets. 1468 fills an Ethernet frame of 1500 without fragments; below 8 counts as 8.
    pub block_size: u16,
    /// The most blocks in flight; 0 counts as 1.
    pub window: u16,
}

impl Default for Limits {
    /// 1468 octets, 64 blocks.
    fn default() -> Self {
        Self { block_size: 1468, window: 64 }
    }
}

/// What a client asks for beside the file; `None` is not mentioned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestedOptions {
    /// `blksize`, octets.
    pub block_size: Option<u16>,
    /// `tsize`: in a request any number, in an OACK the file's size in octets.
    pub size: Option<u64>,
    /// `timeout`, seconds.
    pub timeout: Option<u8>,
    /// `windowsize`, blocks.
    pub window: Option<u16>,
}

impl RequestedOptions {
    /// Reads options as sent. Unknown names, values that are no numbers or out of range, and second mentions are
    /// passed over, as if the client had not said them (RFC 2347 §2; echoing a value of −1 back, as some servers do,
    /// makes a client believe in it).
    #[must_use]
    pub fn read(options: &[(String, String)]) -> Self {
        Self {
            block_size: find(options, "blksize", &BLOCK_RANGE).and_then(|value| value.try_into().ok()),
            size: find(options, "tsize", &(0..=u64::MAX)),
            timeout: find(options, "timeout", &TIMEOUT_RANGE).and_then(|value| value.try_into().ok()),
            window: find(options, "windowsize", &WINDOW_RANGE).and_then(|value| value.try_into().ok()),
        }
    }

    /// The options in the order in which firmware sends them.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String)> {
        let named = [
            ("tsize", self.size.map(|value| value.to_string())),
            ("blksize", self.block_size.map(|value| value.to_string())),
            ("timeout", self.timeout.map(|value| value.to_string())),
            ("windowsize", self.window.map(|value| value.to_string())),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// What both sides go by from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegotiatedOptions {
    /// Octets in every block but the last; never 0.
    pub block_size: u16,
    /// Blocks sent before an ACK is due; never 0.
    pub window: u16,
    /// How long to wait before repeating, if the client chose.
    pub timeout: Option<Duration>,
    /// What the OACK says; empty means that there is no OACK and the first packet is DATA.
    pub said: RequestedOptions,
}

impl NegotiatedOptions {
    /// What a server with these limits answers to a wish for a file of `size` octets.
    ///
    /// `blksize` and `windowsize` may be answered with less than asked (RFC 2348, RFC 7440 §3), `timeout` only
    /// with the same value (RFC 2349).
    #[must_use]
    pub fn answer(wish: &RequestedOptions, size: u64, limits: Limits) -> Self {
        let block_size = wish.block_size.map(|asked| asked.min(limits.block_size.max(8)));
        let window = wish.window.map(|asked| asked.min(limits.window.max(1)));
        Self {
            block_size: block_size.unwrap_or(DEFAULT_BLOCK),
            window: window.unwrap_or(1),
            timeout: wish.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            said: RequestedOptions { block_size, window, size: wish.size.map(|_| size), timeout: wish.timeout },
        }
    }

    /// What a client goes by after an OACK, or `None` when the server says more than it was asked.
    #[must_use]
    pub fn accept(wish: &RequestedOptions, said: &RequestedOptions) -> Option<Self> {
        let fits =
            |said: Option<u16>, asked: Option<u16>| said.is_none_or(|said| asked.is_some_and(|asked| said <= asked));
        let same = said.timeout.is_none_or(|_| said.timeout == wish.timeout);
        if !fits(said.block_size, wish.block_size) || !fits(said.window, wish.window) || !same {
            return None;
        }
        Some(Self {
            block_size: said.block_size.unwrap_or(DEFAULT_BLOCK),
            window: said.window.unwrap_or(1),
            timeout: said.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            said: *said,
        })
    }
}

/// The first mention of `name` (in any case, RFC 2347 §2), if its value is a number in `range`.
fn find(options: &[(String, String)], name: &str, range: &std::ops::RangeInclusive<u64>) -> Option<u64> {
    let (_, value) = options.iter().find(|(said, _)| said.eq_ignore_ascii_case(name))?;
    // `parse` alone would take "+8".
    if !value.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().filter(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(options: &[(&str, &str)]) -> RequestedOptions {
        RequestedOptions::read(
            &options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_block_size_is_capped_and_the_cap_is_what_the_oack_says() {
        let agreed = NegotiatedOptions::answer(&wish(&[("BLKSIZE", "65464")]), 10, Limits::default());
        assert_eq!((agreed.block_size, agreed.said.block_size), (1468, Some(1468)));
        let agreed = NegotiatedOptions::answer(&wish(&[("blksize", "1428")]), 10, Limits::default());
        assert_eq!(agreed.said.list(), [("blksize".to_owned(), "1428".to_owned())]);
    }

    #[test]
    fn values_out_of_range_are_passed_over_and_not_echoed() {
        for (name, value) in [
            ("blksize", "7"),
            ("blksize", "65465"),
            ("blksize", "-1"),
            ("blksize", "+512"),
            ("blksize", ""),
            ("windowsize", "0"),
            ("windowsize", "65536"),
            ("timeout", "0"),
            ("timeout", "256"),
            ("timeout", "255"),
            ("tsize", "-1"),
            ("tsize", "99999999999999999999999"),
            ("blksize", "512 "),
            ("multicast", ""),
        ] {
            let agreed = NegotiatedOptions::answer(&wish(&[(name, value)]), 10, Limits::default());
            assert_eq!(agreed.said, RequestedOptions::default(), "{name}={value}");
            assert_eq!((agreed.block_size, agreed.window), (512, 1));
        }
    }

    #[test]
    fn tsize_is_answered_with_the_size_and_windowsize_is_capped() {
        let agreed = NegotiatedOptions::answer(
            &wish(&[("tsize", "0"), ("windowsize", "300"), ("timeout", "3")]),
            12345,
            Limits::default(),
        );
        assert_eq!(
            agreed.said,
            RequestedOptions { size: Some(12345), window: Some(64), timeout: Some(3), block_size: None }
        );
        assert_eq!(agreed.timeout, Some(Duration::from_secs(3)));
    }

    #[test]
    fn only_the_first_mention_of_an_option_counts() {
        assert_eq!(wish(&[("blksize", "1024"), ("blksize", "8")]).block_size, Some(1024));
        assert_eq!(wish(&[("blksize", "x"), ("blksize", "1024")]).block_size, None);
    }

    #[test]
    fn a_client_refuses_an_oack_that_says_more_than_it_asked() {
        let asked = RequestedOptions { block_size: Some(1024), ..RequestedOptions::default() };
        assert!(
            NegotiatedOptions::accept(
                &asked,
                &RequestedOptions { block_size: Some(1025), ..RequestedOptions::default() }
            )
            .is_none()
        );
        assert!(
            NegotiatedOptions::accept(&asked, &RequestedOptions { window: Some(1), ..RequestedOptions::default() })
                .is_none()
        );
        assert_eq!(NegotiatedOptions::accept(&asked, &RequestedOptions::default()).unwrap().block_size, 512);
    }
}
