//! Times and durations, as `google.protobuf.Timestamp` and `google.protobuf.Duration`.

pub use prost_types::{Duration as WireDuration, Timestamp as WireTime};

use std::time::Duration;

use domain::time::Timestamp;

use super::Invalid;

/// Seconds of 0001-01-01T00:00:00Z and of 9999-12-31T23:59:59Z: the range that `google.protobuf.Timestamp` allows.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// The longest duration that `google.protobuf.Duration` allows, in seconds: about 10,000 years.
const MAX_DURATION_SECONDS: i64 = 315_576_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Encodes a time. A time outside of the range of `google.protobuf.Timestamp` becomes the nearest one that is within.
#[must_use]
pub fn wire_time(time: Timestamp) -> WireTime {
    let seconds = time.millis().div_euclid(1000);
    let nanos = time.millis().rem_euclid(1000).saturating_mul(NANOS_PER_MILLI);
    if seconds < *SECONDS.start() {
        return WireTime { seconds: *SECONDS.start(), nanos: 0 };
    }
    if seconds > *SECONDS.end() {
        return WireTime { seconds: *SECONDS.end(), nanos: 999_000_000 };
    }
    WireTime { seconds, nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// Decodes a time. Our times have milliseconds; a smaller fraction is dropped.
///
/// # Errors
/// [`Invalid::Wrong`] if the time is outside of the range of `google.protobuf.Timestamp`.
pub fn time(field: &'static str, wire: WireTime) -> Result<Timestamp, Invalid> {
    if !SECONDS.contains(&wire.seconds) {
        return Err(Invalid::wrong(field, "must be between the years 1 and 9999"));
    }
    if !(0..1_000_000_000).contains(&wire.nanos) {
        return Err(Invalid::wrong(field, "nanos must be between 0 and 999,999,999"));
    }
    let millis = i64::from(wire.nanos) / NANOS_PER_MILLI;
    Ok(Timestamp::from_millis(wire.seconds.saturating_mul(1000).saturating_add(millis)))
}

/// Encodes a duration. A duration over 10,000 years becomes 10,000 years.
#[must_use]
pub fn wire_duration(duration: Duration) -> WireDuration {
    match i64::try_from(duration.as_secs()) {
        Ok(seconds) if seconds < MAX_DURATION_SECONDS => {
            WireDuration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0) }
        }
        _ => WireDuration { seconds: MAX_DURATION_SECONDS, nanos: 0 },
    }
}

/// Decodes a duration.
///
/// # Errors
/// [`Invalid::Wrong`] if the duration is negative or outside of the range of `google.protobuf.Duration`.
pub fn duration(field: &'static str, wire: WireDuration) -> Result<Duration, Invalid> {
    if wire.seconds < 0 || wire.nanos < 0 {
        return Err(Invalid::wrong(field, "must not be negative"));
    }
    if wire.seconds > MAX_DURATION_SECONDS || wire.nanos >= 1_000_000_000 {
        return Err(Invalid::wrong(field, "is out of range: at most 10,000 years, and nanos below 1,000,000,000"));
    }
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(wire.seconds), u32::try_from(wire.nanos)) else {
        return Err(Invalid::wrong(field, "must not be negative"));
    };
    Ok(Duration::new(seconds, nanos))
}

/// Decodes a duration of whole seconds.
///
/// # Errors
/// As [`duration`]; also if it has a fraction of a second or is longer than a century.
pub fn whole_seconds(field: &'static str, wire: WireDuration) -> Result<u32, Invalid> {
    let duration = duration(field, wire)?;
    if duration.subsec_nanos() > 0 {
        return Err(Invalid::wrong(field, "must be a whole number of seconds"));
    }
    u32::try_from(duration.as_secs()).map_err(|_| Invalid::wrong(field, "must be shorter than a century"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        for millis in [0, 1, 999, 1000, -1, -1000, -1001, 1_795_305_600_123, -62_135_596_800_000, 253_402_300_799_999] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(time("at", wire_time(at)), Ok(at), "{millis}");
            assert!((0..1_000_000_000).contains(&wire_time(at).nanos), "{millis}");
        }
    }

    #[test]
    fn a_time_outside_of_the_range_is_written_as_the_nearest_one() {
        for (millis, nearest) in [(i64::MAX, 253_402_300_799_999), (i64::MIN, -62_135_596_800_000)] {
            let wire = wire_time(Timestamp::from_millis(millis));
            assert_eq!(time("at", wire), Ok(Timestamp::from_millis(nearest)));
        }
    }

    #[test]
    fn an_invalid_time_is_refused_with_the_name_of_its_field() {
        let invalid = [
            (i64::MAX, 0),
            (i64::MIN, 0),
            (*SECONDS.end() + 1, 0),
            (*SECONDS.start() - 1, 0),
            (0, -1),
            (0, 1_000_000_000),
            (0, i32::MAX),
            (0, i32::MIN),
        ];
        for (seconds, nanos) in invalid {
            let error = time("expire_time", WireTime { seconds, nanos }).unwrap_err();
            assert!(error.to_string().starts_with("expire_time: "), "{seconds} {nanos}: {error}");
        }
    }

    #[test]
    fn a_duration_reads_back_as_it_was_written() {
        for length in
            [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1500), Duration::from_secs(1 << 32)]
        {
            assert_eq!(duration("timeout", wire_duration(length)), Ok(length));
        }
        let longest = wire_duration(Duration::MAX);
        assert_eq!(duration("timeout", longest).map(|length| length.as_secs()), Ok(315_576_000_000));
    }

    #[test]
    fn an_invalid_duration_is_refused_with_the_name_of_its_field() {
        let invalid = [
            (-1, 0),
            (0, -1),
            (1, -1),
            (i64::MIN, i32::MIN),
            (i64::MAX, 0),
            (MAX_DURATION_SECONDS + 1, 0),
            (0, 1_000_000_000),
            (0, i32::MAX),
        ];
        for (seconds, nanos) in invalid {
            let error = duration("queue_timeout", WireDuration { seconds, nanos }).unwrap_err();
            assert!(error.to_string().starts_with("queue_timeout: "), "{seconds} {nanos}: {error}");
        }
    }

    #[test]
    fn a_duration_of_whole_seconds_has_no_fraction_and_fits() {
        let read = |seconds, nanos| whole_seconds("timeout", WireDuration { seconds, nanos });
        assert_eq!(read(0, 0), Ok(0));
        assert_eq!(read(4_294_967_295, 0), Ok(u32::MAX));
        assert!(read(0, 1).is_err() && read(-1, 0).is_err() && read(4_294_967_296, 0).is_err());
    }
}
