//! Byte ranges (RFC 9110 §14): one range a request; several are answered with the whole file, as a server may.

/// What part of a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// From the first octet to the last one, both included.
    Range(u64, u64),
    /// Nothing of it: the range begins behind its end (416).
    Beyond,
}

/// Reads a `Range` header for a file of this size. What can not be read counts as not sent (RFC 9110 §14.2).
pub(crate) fn part(header: Option<&str>, size: u64) -> Part {
    let Some((first, last)) = header
        .and_then(|header| header.strip_prefix("bytes="))
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let end = size.saturating_sub(1);
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= size => Part::Beyond,
        (Ok(first), Ok(last)) if last >= first => Part::Range(first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => Part::Range(first, end),
        (Err(_), Ok(0)) if first.is_empty() => Part::Beyond,
        (Err(_), Ok(count)) if first.is_empty() && size > 0 => Part::Range(size.saturating_sub(count), end),
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_ask_for_a_part_is_read_as_the_standard_has_it() {
        for (header, wanted) in [
            (None, Part::Whole),
            (Some("bytes=0-499"), Part::Range(0, 499)),
            (Some("bytes=500-"), Part::Range(500, 999)),
            (Some("bytes=-200"), Part::Range(800, 999)),
            (Some("bytes=-2000"), Part::Range(0, 999)),
            (Some("bytes=900-5000"), Part::Range(900, 999)),
            (Some("bytes=1000-"), Part::Beyond),
            (Some("bytes=-0"), Part::Beyond),
            (Some("bytes=5-2"), Part::Whole),
            (Some("bytes=0-1,4-5"), Part::Whole),
            (Some("lines=1-2"), Part::Whole),
            (Some("bytes=x-"), Part::Whole),
        ] {
            assert_eq!(part(header, 1000), wanted, "{header:?}");
        }
        assert_eq!(part(Some("bytes=0-"), 0), Part::Beyond);
    }
}
