//! Microversions: negotiation, and version headers.

mod collection;

pub use collection::{Collection, collections};

use crate::error::{Class, Error};

/// Version header of Ironic.
pub const HEADER: &str = "X-OpenStack-Ironic-API-Version";
/// Version header of OpenStack. It takes precedence over [`HEADER`] and is not sent in responses.
pub const SHARED_HEADER: &str = "OpenStack-API-Version";
/// Header with the oldest version, in every response of a known path.
pub const MINIMUM_HEADER: &str = "X-OpenStack-Ironic-API-Minimum-Version";
/// Header with the newest version, in every response of a known path.
pub const MAXIMUM_HEADER: &str = "X-OpenStack-Ironic-API-Maximum-Version";
/// First minor version in which `.json` at the end of a path is part of a name.
const SUFFIX_IN_NAME_SINCE: u16 = 91;

/// Microversion: `1.N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u16);

impl Version {
    /// Oldest version.
    pub const MIN: Self = Self(1);
    /// Newest version.
    pub const MAX: Self = Self(115);

    /// Returns `1.minor`, if that version exists.
    #[must_use]
    pub const fn new(minor: u16) -> Option<Self> {
        if minor >= Self::MIN.0 && minor <= Self::MAX.0 { Some(Self(minor)) } else { None }
    }

    /// Number after the dot.
    #[must_use]
    pub const fn minor(self) -> u16 {
        self.0
    }

    /// Returns whether this version has the features of `1.minor`.
    #[must_use]
    pub const fn has(self, minor: u16) -> bool {
        self.0 >= minor
    }

    /// Returns all versions, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::MIN.0..=Self::MAX.0).map(Self)
    }

    /// Returns the version headers of a response in this version.
    #[must_use]
    pub fn headers(self) -> [(&'static str, String); 3] {
        let [minimum, maximum] = range_headers();
        [minimum, maximum, (HEADER, self.to_string())]
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// Error for an unsupported version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct VersionError {
    /// Error response.
    pub error: Error,
    /// Version headers, from which clients read the range. Empty if the requested version is malformed.
    pub headers: Vec<(&'static str, String)>,
}

/// Determines the version of a request.
///
/// `own` and `shared` are the values of [`HEADER`] and [`SHARED_HEADER`]. Without either, it is the oldest version, because
/// old scripts rely on its behavior.
///
/// # Errors
/// 406 in the format of the router, with the version headers of the response.
pub fn negotiate(own: Option<&str>, shared: Option<&str>) -> Result<Version, VersionError> {
    let requested = shared.and_then(baremetal_version).or(own).map_or("", str::trim);
    if requested.is_empty() {
        return Ok(Version::MIN);
    }
    if requested.eq_ignore_ascii_case("latest") {
        return Ok(Version::MAX);
    }
    let Some((major, minor)) = numbers(requested) else {
        let error = Class::NotAcceptable.router_error(format!("Invalid value for {HEADER} header"));
        return Err(VersionError { error, headers: Vec::new() });
    };
    let known = (major == 1).then_some(minor).and_then(|minor| Version::new(u16::try_from(minor).ok()?));
    known.ok_or_else(|| out_of_range(major, minor))
}

/// Removes the suffix `.json` of a path, which requests before 91 may have.
///
/// `named` is the version in the request's headers. Without one, the suffix stays.
#[must_use]
pub fn without_suffix(named: Option<Version>, path: &str) -> &str {
    match named {
        Some(version) if !version.has(SUFFIX_IN_NAME_SINCE) => path.strip_suffix(".json").unwrap_or(path),
        Some(_) | None => path,
    }
}

/// Returns the version for this service in the shared header, which may have versions for other services too.
fn baremetal_version(shared: &str) -> Option<&str> {
    shared.split(',').find_map(|entry| {
        let (service, version) = entry.trim().split_once(char::is_whitespace)?;
        (service == "baremetal").then(|| version.trim())
    })
}

/// Parses a version: exactly two numbers.
fn numbers(requested: &str) -> Option<(u64, u64)> {
    let (major, minor) = requested.split_once('.')?;
    Some((number(major)?, number(minor)?))
}

fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn out_of_range(major: u64, minor: u64) -> VersionError {
    let range = format!("The supported version range is: [{}, {}].", Version::MIN, Version::MAX);
    let text = if major == 1 {
        format!("Version {major}.{minor} was requested but the minor version is not supported by this service. {range}")
    } else {
        format!(
            "Mutually exclusive versions requested. Version {major}.{minor} requested but not supported by this \
             service. {range}"
        )
    };
    VersionError { error: Class::NotAcceptable.router_error(text), headers: range_headers().to_vec() }
}

fn range_headers() -> [(&'static str, String); 2] {
    [(MINIMUM_HEADER, Version::MIN.to_string()), (MAXIMUM_HEADER, Version::MAX.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minor(own: Option<&str>, shared: Option<&str>) -> Option<u16> {
        negotiate(own, shared).ok().map(Version::minor)
    }

    #[test]
    fn a_request_without_version_has_the_oldest_one() {
        assert_eq!(minor(None, None), Some(1));
        assert_eq!(minor(Some(""), None), Some(1));
        assert_eq!(minor(None, Some("compute 2.1")), Some(1));
    }

    #[test]
    fn the_shared_header_wins() {
        assert_eq!(minor(Some("1.20"), Some("compute 2.1, baremetal 1.60")), Some(60));
        assert_eq!(minor(Some("1.20"), Some("compute 2.1")), Some(20));
    }

    #[test]
    fn latest_is_the_newest_in_any_case() {
        assert_eq!(minor(Some("LaTeSt"), None), Some(115));
    }

    #[test]
    fn the_error_for_a_malformed_version_has_no_range() {
        for (requested, headers) in
            [("1.0", 2), ("1.116", 2), ("2.1", 2), ("abc", 0), ("1", 0), ("1.10.1", 0), ("1.-1", 0)]
        {
            let refused = negotiate(Some(requested), None).unwrap_err();
            assert_eq!((refused.error.status, refused.headers.len()), (406, headers), "{requested}");
        }
    }

    #[test]
    fn a_suffix_is_a_part_of_the_name_from_91() {
        assert_eq!(without_suffix(Version::new(90), "nodes/n.json"), "nodes/n");
        assert_eq!(without_suffix(Version::new(91), "nodes/n.json"), "nodes/n.json");
        assert_eq!(without_suffix(None, "nodes/n.json"), "nodes/n.json");
    }

    proptest::proptest! {
        #[test]
        fn any_headers_are_a_version_or_a_406(own in ".*", shared in ".*") {
            if let Err(refused) = negotiate(Some(&own), Some(&shared)) {
                proptest::prop_assert_eq!(refused.error.status, 406);
            }
        }
    }
}
