//! Negotiation of options (RFC 2347 §3).

use std::time::Duration;

use crate::packet::MAX_PAYLOAD_OCTETS;

/// Block size without negotiation, in octets (RFC 1350 §2).
pub(crate) const DEFAULT_BLOCK_OCTETS: u16 = 512;
/// Valid block sizes, in octets (RFC 2348).
const BLOCK_OCTETS_RANGE: std::ops::RangeInclusive<u64> = 8..=MAX_PAYLOAD_OCTETS as u64;
/// Valid window sizes, in blocks (RFC 7440 §3).
const WINDOW_BLOCKS_RANGE: std::ops::RangeInclusive<u64> = 1..=65535;
/// Accepted timeouts, in seconds. RFC 2349 allows 255, with which a vanished client would hold a transfer for twenty minutes.
/// Longer timeouts are not acknowledged, which the RFC permits.
const TIMEOUT_SECONDS_RANGE: std::ops::RangeInclusive<u64> = 1..=10;

/// Limits of a server for requested options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum block size, in octets. 1468 fills an Ethernet frame of 1500 without fragmentation. Values below 8 count as 8.
    pub block_size: u16,
    /// Maximum number of blocks in flight. 0 counts as 1.
    pub window: u16,
}

impl Default for Limits {
    /// 1468 octets, 64 blocks.
    fn default() -> Self {
        Self { block_size: 1468, window: 64 }
    }
}

/// Options of a request or an OACK. `None` if the packet does not have the option.
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
    /// Parses options. Unknown options, repeated options, and values that are invalid or out of range are ignored (RFC 2347
    /// §2).
    #[must_use]
    pub fn read(options: &[(String, String)]) -> Self {
        Self {
            block_size: find(options, "blksize", &BLOCK_OCTETS_RANGE).and_then(|value| value.try_into().ok()),
            size: find(options, "tsize", &(0..=u64::MAX)),
            timeout: find(options, "timeout", &TIMEOUT_SECONDS_RANGE).and_then(|value| value.try_into().ok()),
            window: find(options, "windowsize", &WINDOW_BLOCKS_RANGE).and_then(|value| value.try_into().ok()),
        }
    }

    /// Returns the options in the order in which firmware sends them.
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

/// Options that both sides use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegotiatedOptions {
    /// Octets in every block but the last; never 0.
    pub block_size: u16,
    /// Blocks sent before an ACK is due; never 0.
    pub window: u16,
    /// Retransmission timeout, if the client requested one.
    pub timeout: Option<Duration>,
    /// Options in the OACK. If they are empty, there is no OACK and the first packet is DATA.
    pub oack: RequestedOptions,
}

impl NegotiatedOptions {
    /// Returns the response of a server to a request for a file of `size` octets.
    ///
    /// A server may reduce `blksize` and `windowsize` (RFC 2348, RFC 7440 §3), but not `timeout` (RFC 2349).
    #[must_use]
    pub fn answer(requested: &RequestedOptions, size: u64, limits: Limits) -> Self {
        let block_size = requested.block_size.map(|asked| asked.min(limits.block_size.max(8)));
        let window = requested.window.map(|asked| asked.min(limits.window.max(1)));
        Self {
            block_size: block_size.unwrap_or(DEFAULT_BLOCK_OCTETS),
            window: window.unwrap_or(1),
            timeout: requested.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            oack: RequestedOptions {
                block_size,
                window,
                size: requested.size.map(|_| size),
                timeout: requested.timeout,
            },
        }
    }

    /// Returns the options that a client uses after an OACK, or `None` if the OACK exceeds the request.
    #[must_use]
    pub fn accept(requested: &RequestedOptions, oack: &RequestedOptions) -> Option<Self> {
        let fits =
            |oack: Option<u16>, asked: Option<u16>| oack.is_none_or(|oack| asked.is_some_and(|asked| oack <= asked));
        let same = oack.timeout.is_none_or(|_| oack.timeout == requested.timeout);
        if !fits(oack.block_size, requested.block_size) || !fits(oack.window, requested.window) || !same {
            return None;
        }
        Some(Self {
            block_size: oack.block_size.unwrap_or(DEFAULT_BLOCK_OCTETS),
            window: oack.window.unwrap_or(1),
            timeout: oack.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            oack: *oack,
        })
    }
}

/// Returns the first option `name` (in any case, RFC 2347 §2), if its value is a number in `range`.
fn find(options: &[(String, String)], name: &str, range: &std::ops::RangeInclusive<u64>) -> Option<u64> {
    let (_, value) = options.iter().find(|(oack, _)| oack.eq_ignore_ascii_case(name))?;
    // `parse` alone would accept "+8".
    if !value.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().filter(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested(options: &[(&str, &str)]) -> RequestedOptions {
        RequestedOptions::read(
            &options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_oack_has_the_limited_block_size() {
        let agreed = NegotiatedOptions::answer(&requested(&[("BLKSIZE", "65464")]), 10, Limits::default());
        assert_eq!((agreed.block_size, agreed.oack.block_size), (1468, Some(1468)));
        let agreed = NegotiatedOptions::answer(&requested(&[("blksize", "1428")]), 10, Limits::default());
        assert_eq!(agreed.oack.list(), [("blksize".to_owned(), "1428".to_owned())]);
    }

    #[test]
    fn values_out_of_range_are_ignored_and_not_echoed() {
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
            ("timeout", "11"),
            ("tsize", "-1"),
            ("tsize", "99999999999999999999999"),
            ("blksize", "512 "),
            ("multicast", ""),
        ] {
            let agreed = NegotiatedOptions::answer(&requested(&[(name, value)]), 10, Limits::default());
            assert_eq!(agreed.oack, RequestedOptions::default(), "{name}={value}");
            assert_eq!((agreed.block_size, agreed.window), (512, 1));
        }
    }

    #[test]
    fn tsize_is_answered_with_the_size_and_windowsize_is_capped() {
        let agreed = NegotiatedOptions::answer(
            &requested(&[("tsize", "0"), ("windowsize", "300"), ("timeout", "3")]),
            12345,
            Limits::default(),
        );
        assert_eq!(
            agreed.oack,
            RequestedOptions { size: Some(12345), window: Some(64), timeout: Some(3), block_size: None }
        );
        assert_eq!(agreed.timeout, Some(Duration::from_secs(3)));
    }

    #[test]
    fn only_the_first_of_repeated_options_is_used() {
        assert_eq!(requested(&[("blksize", "1024"), ("blksize", "8")]).block_size, Some(1024));
        assert_eq!(requested(&[("blksize", "x"), ("blksize", "1024")]).block_size, None);
    }

    #[test]
    fn a_client_rejects_an_oack_that_exceeds_its_request() {
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
