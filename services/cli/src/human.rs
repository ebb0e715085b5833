//! Times, sizes and other values, formatted for people and parsed from arguments.

use std::time::Duration;

use anyhow::anyhow;
use domain::time::Timestamp;
use proto::convert::{self, time::WireTime};

/// A text without characters that would command the terminal: firmware and agents choose some of what we show.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Returns the text, or a dash if it is empty.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// The name of a rack, which may be empty.
pub(crate) fn rack(name: &str) -> String {
    if name.is_empty() { "(default)".to_owned() } else { name.to_owned() }
}

/// A length of time to one or two figures.
pub(crate) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", length.as_secs_f64()),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Decodes a time of an answer; `None` if it is absent or invalid.
pub(crate) fn at(time: Option<WireTime>) -> Option<Timestamp> {
    convert::time::time("time", time?).ok()
}

/// Formats how long ago a time was; empty if the time is absent.
pub(crate) fn ago(now: Timestamp, time: Option<WireTime>) -> String {
    let Some(at) = at(time) else { return String::new() };
    let seconds = now.since(at).as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} m ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Formats how far ahead a time is; empty if the time is absent.
pub(crate) fn ahead(now: Timestamp, time: Option<WireTime>) -> String {
    let Some(at) = at(time) else { return String::new() };
    let seconds = at.since(now).as_secs();
    match seconds {
        0..120 => format!("in {seconds} s"),
        120..7200 => format!("in {} m", seconds / 60),
        7200..172_800 => format!("in {} h", seconds / 3600),
        _ => format!("in {} d", seconds / 86_400),
    }
}

/// Formats a time with its age; empty if the time is absent.
pub(crate) fn moment(now: Timestamp, time: Option<WireTime>) -> String {
    at(time).map(|at| format!("{} ({})", second(at), ago(now, time))).unwrap_or_default()
}

/// Formats a time to the second, in UTC.
pub(crate) fn second(at: Timestamp) -> String {
    let text = Timestamp::from_millis(at.millis().div_euclid(1000).saturating_mul(1000)).to_string();
    text.replace(".000Z", "Z").replace('T', " ")
}

/// Octets, in the largest unit that they fill; empty where there are none.
pub(crate) fn size(octets: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.iter().find(|(_, bits)| octets >> bits > 0);
    match unit {
        _ if octets == 0 => String::new(),
        None => format!("{octets} B"),
        Some((name, bits)) => {
            let tenths = (u128::from(octets) * 10) >> bits;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

/// Reads a length of time such as `10m` or `1h 30m`.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    humantime_serde::re::humantime::parse_duration(text)
        .map_err(|error| anyhow!("{error}; write it as 90s, 10m or 1h30m"))
}

/// Reads a length of time in whole seconds.
pub(crate) fn seconds(text: &str) -> anyhow::Result<u32> {
    u32::try_from(duration(text)?.as_secs()).map_err(|_| anyhow!("that is longer than a century; write a shorter time"))
}

/// Reads a size such as `512`, `24MiB` or `2 GiB`.
pub(crate) fn octets(text: &str) -> anyhow::Result<u64> {
    let wrong = || anyhow!("{text:?} is not a size such as 25165824, 24MiB or 2GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let bits = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << bits).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_and_read_well() {
        assert_eq!(octets("24MiB").unwrap(), 24 << 20);
        assert_eq!(octets("2 GiB").unwrap(), 2 << 30);
        assert_eq!(size(24 << 20), "24.0 MiB");
        assert_eq!(size(1536 << 20), "1.5 GiB");
        assert_eq!(size(0), "");
        for wrong in ["", "MiB", "12XB", "99999999999TiB", "-1"] {
            assert!(octets(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        let now = Timestamp::from_millis(1_000_000_000);
        let ago = |millis| ago(now, Some(convert::time::wire_time(Timestamp::from_millis(millis))));
        assert_eq!(ago(999_995_000), "5 s ago");
        assert_eq!(ago(999_000_000), "16 m ago");
        assert_eq!(ago(900_000_000), "27 h ago");
        assert_eq!(super::ago(now, None), "");
    }

    #[test]
    fn firmware_texts_cannot_control_the_terminal() {
        assert_eq!(clean("PXE\u{1b}[2J\u{7}"), "PXE\u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn a_length_of_time_reads_as_people_write_it() {
        assert_eq!(seconds("10m").unwrap(), 600);
        assert_eq!(seconds("0s").unwrap(), 0);
        assert!(duration("soon").is_err());
    }
}
