//! Byte ranges (RFC 9110 §14). A request for several ranges is answered with the whole file, as the standard allows.

/// The requested part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestedRange {
    /// The whole file.
    Whole,
    /// From the first to the last byte, both inclusive.
    Range(u64, u64),
    /// The range starts after the end of the file (status 416).
    Unsatisfiable,
}

/// Parses a `Range` header for a file of this size. An invalid header is ignored (RFC 9110 §14.2).
pub(crate) fn requested_range(header: Option<&str>, size: u64) -> RequestedRange {
    let Some((first, last)) = header
        .and_then(|header| header.strip_prefix("bytes="))
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return RequestedRange::Whole;
    };
    let end = size.saturating_sub(1);
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= size => RequestedRange::Unsatisfiable,
        (Ok(first), Ok(last)) if last >= first => RequestedRange::Range(first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => RequestedRange::Range(first, end),
        (Err(_), Ok(0)) if first.is_empty() => RequestedRange::Unsatisfiable,
        (Err(_), Ok(count)) if first.is_empty() && size > 0 => RequestedRange::Range(size.saturating_sub(count), end),
        _ => RequestedRange::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_ask_for_a_part_is_read_as_the_standard_has_it() {
        for (header, wanted) in [
            (None, RequestedRange::Whole),
            (Some("bytes=0-499"), RequestedRange::Range(0, 499)),
            (Some("bytes=500-"), RequestedRange::Range(500, 999)),
            (Some("bytes=-200"), RequestedRange::Range(800, 999)),
            (Some("bytes=-2000"), RequestedRange::Range(0, 999)),
            (Some("bytes=900-5000"), RequestedRange::Range(900, 999)),
            (Some("bytes=1000-"), RequestedRange::Unsatisfiable),
            (Some("bytes=-0"), RequestedRange::Unsatisfiable),
            (Some("bytes=5-2"), RequestedRange::Whole),
            (Some("bytes=0-1,4-5"), RequestedRange::Whole),
            (Some("lines=1-2"), RequestedRange::Whole),
            (Some("bytes=x-"), RequestedRange::Whole),
        ] {
            assert_eq!(requested_range(header, 1000), wanted, "{header:?}");
        }
        assert_eq!(requested_range(Some("bytes=0-"), 0), RequestedRange::Unsatisfiable);
    }
}
