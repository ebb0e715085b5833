//! What the head of a request tells of its sender, before credentials: which server it means, and whether a browser sends
//! it for a page of another site.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, Method, Version, header, request::Parts, uri::Authority};

/// Why a request is refused before its credentials are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// It does not name exactly one server (400).
    #[error("the request must have exactly one Host header, with a host and an optional port (RFC 9112 section 3.2)")]
    Host,
    /// It names a server that is none of ours, where the source of a request is all that is known of its sender (403).
    #[error(
        "the request is for a host that is not known here: without authentication, only requests for localhost and loopback \
         addresses are answered, so that a page whose name leads here (DNS rebinding) is not; name the host in \
         scheduler.rest_hosts, or authenticate users (scheduler.rest_users)"
    )]
    UnknownHost,
    /// A browser sends it for a page of another site (403).
    #[error(
        "a browser sends this change for a page of another site, with the credentials or from the host of its user; use a \
         command line or a library"
    )]
    CrossSite,
}

/// Checks a request before its credentials.
///
/// Browsers add a user's credentials, and reach loopback, for pages of any site. They tell so by `Sec-Fetch-Site` (W3C Fetch
/// Metadata), and older ones by `Origin` (RFC 6454 §7). Other clients send neither. Reads are let through: browsers do not
/// show the response to a page of another site.
///
/// # Errors
/// [`SenderError`]
pub(crate) fn check_sender(parts: &Parts) -> Result<(), SenderError> {
    let host = host(parts)?;
    if is_safe(&parts.method) {
        return Ok(());
    }
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text(header::ORIGIN.as_str())) {
        // `none`: typed by the user, or an extension.
        (Some("same-origin" | "none"), _) | (None, None) => Ok(()),
        (None, Some(origin)) if is_of_host(origin, host) => Ok(()),
        (Some(_), _) | (None, Some(_)) => Err(SenderError::CrossSite),
    }
}

/// Whether a method changes nothing (RFC 9110 §9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Checks that a request that is not authenticated is for a server that we are known by: a page of any site is its own site
/// for a browser, whatever its name leads to (DNS rebinding). `names` are known in addition to `localhost` and loopback
/// addresses. Clients that name no server (HTTP/1.0) are no browsers.
///
/// # Errors
/// [`SenderError::Host`], [`SenderError::UnknownHost`]
pub(crate) fn check_host(parts: &Parts, names: &[String]) -> Result<(), SenderError> {
    let Some(host) = host(parts)? else { return Ok(()) };
    let authority: Authority = host.parse().map_err(|_| SenderError::Host)?;
    let host = Host::of(authority.host());
    let is_known = host == Host::Name("localhost") || names.iter().any(|name| host == Host::of(name));
    if is_known || host.is_loopback() { Ok(()) } else { Err(SenderError::UnknownHost) }
}

/// A host, which can be written in several ways.
#[derive(Debug, Clone, Copy)]
enum Host<'h> {
    /// An address. IPv6 has several forms (RFC 4291 §2.2).
    Address(IpAddr),
    /// A name, without the dot of the root at its end (RFC 3986 §3.2.2).
    Name(&'h str),
}

impl<'h> Host<'h> {
    fn of(text: &'h str) -> Self {
        let in_brackets = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let name = text.strip_suffix('.').unwrap_or(text);
        let address = match in_brackets {
            Some(text) => text.parse().ok().map(|address: Ipv6Addr| IpAddr::from(address).to_canonical()),
            None => name.parse().ok().map(|address: Ipv4Addr| IpAddr::from(address)),
        };
        address.map_or(Self::Name(name), Self::Address)
    }

    const fn is_loopback(self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(_) => false,
        }
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            // Case does not count (RFC 9110 §4.2.3).
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::Address(_), Self::Name(_)) | (Self::Name(_), Self::Address(_)) => false,
        }
    }
}

/// Returns the server that a request means. Only HTTP/1.0 may leave it out; HTTP/2 has it in the target (RFC 9113 §8.3.1).
///
/// # Errors
/// [`SenderError::Host`]
pub fn host(parts: &Parts) -> Result<Option<&str>, SenderError> {
    let in_target = parts.uri.authority().map(Authority::as_str);
    let in_header = single(&parts.headers)?;
    let is_optional = parts.version < Version::HTTP_11 || (parts.version >= Version::HTTP_2 && in_target.is_some());
    if in_header.is_none() && !is_optional {
        return Err(SenderError::Host);
    }
    match in_target.or(in_header) {
        // The authority of `http:` has no user (RFC 9110 §4.2.4).
        Some(host) if host.contains('@') || host.parse::<Authority>().is_err() => Err(SenderError::Host),
        host => Ok(host),
    }
}

fn single(headers: &HeaderMap) -> Result<Option<&str>, SenderError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let first = hosts.next().map(|host| host.to_str().map_err(|_| SenderError::Host)).transpose()?;
    if hosts.next().is_some() { Err(SenderError::Host) } else { Ok(first) }
}

/// Whether an origin is that of the server itself. Behind a proxy that ends TLS the schemes differ.
fn is_of_host(origin: &str, host: Option<&str>) -> bool {
    let own = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    own.is_some_and(|own| host.is_some_and(|host| own.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(method: &str, target: &str, version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_names_exactly_one_valid_host() {
        const BAD: Result<(), SenderError> = Err(SenderError::Host);
        // Source, version, target, hosts, outcome.
        for (source, version, target, hosts, outcome) in [
            ("RFC 9112 §3.2", Version::HTTP_11, "/v1", &["h"][..], Ok(())),
            ("RFC 9110 §7.2, port", Version::HTTP_11, "/v1", &["h:6385"], Ok(())),
            ("RFC 3986 §3.2.2, IPv6", Version::HTTP_11, "/v1", &["[::1]:6385"], Ok(())),
            ("RFC 9112 §3.2, none", Version::HTTP_11, "/v1", &[], BAD),
            ("RFC 9112 §3.2, two", Version::HTTP_11, "/v1", &["a", "b"], BAD),
            ("RFC 9112 §3.2, the same twice", Version::HTTP_11, "/v1", &["a", "a"], BAD),
            ("CWE-79", Version::HTTP_11, "/v1", &["<b>"], BAD),
            ("RFC 9110 §4.2.4", Version::HTTP_11, "/v1", &["a@evil"], BAD),
            ("host header poisoning", Version::HTTP_11, "/v1", &["a/x"], BAD),
            ("CWE-113", Version::HTTP_11, "/v1", &["a%0d%0aX:y"], BAD),
            ("RFC 9112 §3.2.2", Version::HTTP_11, "http://a/v1", &["b"], Ok(())),
            ("RFC 1945", Version::HTTP_10, "/v1", &[], Ok(())),
            ("RFC 9113 §8.3.1", Version::HTTP_2, "http://a/v1", &[], Ok(())),
            ("RFC 9113 §8.3.1, a Host header instead", Version::HTTP_2, "/v1", &["a"], Ok(())),
            ("RFC 9113 §8.3.1, neither", Version::HTTP_2, "/v1", &[], BAD),
        ] {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(check_sender(&parts("GET", target, version, &headers)), outcome, "{source}: {target} {hosts:?}");
        }
    }

    #[test]
    fn without_authentication_only_requests_for_known_hosts_are_answered() {
        const UNKNOWN: Result<(), SenderError> = Err(SenderError::UnknownHost);
        let names = ["ironic.example", "[fd00::1]", "api.example.", "[::ffff:10.0.0.2]"].map(str::to_owned);
        // Source, version, target, host, outcome.
        for (source, version, target, host, outcome) in [
            ("curl, openstacksdk", Version::HTTP_11, "/v1", Some("localhost:6385"), Ok(())),
            ("RFC 9110 §4.2.3, case", Version::HTTP_11, "/v1", Some("LOCALHOST"), Ok(())),
            ("an address", Version::HTTP_11, "/v1", Some("127.0.0.1:6385"), Ok(())),
            ("RFC 1122 §3.2.1.3", Version::HTTP_11, "/v1", Some("127.8.9.10"), Ok(())),
            ("IPv6", Version::HTTP_11, "/v1", Some("[::1]:6385"), Ok(())),
            ("RFC 4291 §2.5.5.2", Version::HTTP_11, "/v1", Some("[::ffff:127.0.0.1]"), Ok(())),
            ("configured", Version::HTTP_11, "/v1", Some("Ironic.example:443"), Ok(())),
            ("configured, IPv6", Version::HTTP_11, "/v1", Some("[FD00::1]"), Ok(())),
            ("RFC 4291 §2.2, another form", Version::HTTP_11, "/v1", Some("[fd00:0:0:0:0:0:0:1]:6385"), Ok(())),
            ("RFC 4291 §2.2, zeros", Version::HTTP_11, "/v1", Some("[fd00:0000::0001]"), Ok(())),
            ("RFC 4291 §2.5.5.2, configured", Version::HTTP_11, "/v1", Some("10.0.0.2:6385"), Ok(())),
            ("RFC 3986 §3.2.2, the root's dot", Version::HTTP_11, "/v1", Some("localhost.:6385"), Ok(())),
            ("RFC 3986 §3.2.2, the root's dot", Version::HTTP_11, "/v1", Some("Ironic.example."), Ok(())),
            ("configured with the root's dot", Version::HTTP_11, "/v1", Some("api.example"), Ok(())),
            ("two dots are no name", Version::HTTP_11, "/v1", Some("localhost.."), UNKNOWN),
            ("another address, IPv6", Version::HTTP_11, "/v1", Some("[fd00::10]"), UNKNOWN),
            ("RFC 1945", Version::HTTP_10, "/v1", None, Ok(())),
            ("HTTP/2", Version::HTTP_2, "http://localhost:6385/v1", None, Ok(())),
            ("DNS rebinding", Version::HTTP_11, "/v1", Some("evil.example:6385"), UNKNOWN),
            ("DNS rebinding, HTTP/2", Version::HTTP_2, "http://evil.example/v1", None, UNKNOWN),
            ("DNS rebinding, HTTP/1.0", Version::HTTP_10, "/v1", Some("evil.example"), UNKNOWN),
            ("a target with a host", Version::HTTP_11, "http://evil.example/v1", Some("localhost"), UNKNOWN),
            ("a name that begins like ours", Version::HTTP_11, "/v1", Some("localhost.evil.example"), UNKNOWN),
            ("a name that begins like an address", Version::HTTP_11, "/v1", Some("127.0.0.1.nip.io"), UNKNOWN),
            ("a name below a known one", Version::HTTP_11, "/v1", Some("x.ironic.example"), UNKNOWN),
            ("0.0.0.0, which leads to this host", Version::HTTP_11, "/v1", Some("0.0.0.0:6385"), UNKNOWN),
            ("another address of the host", Version::HTTP_11, "/v1", Some("10.0.0.1:6385"), UNKNOWN),
        ] {
            let headers: Vec<_> = host.iter().map(|host| ("host", *host)).collect();
            let checked = check_host(&parts("GET", target, version, &headers), &names);
            assert_eq!(checked, outcome, "{source}: {target} {host:?}");
        }
    }

    #[test]
    fn a_change_for_a_page_of_another_site_is_refused() {
        const OTHER: Result<(), SenderError> = Err(SenderError::CrossSite);
        // Source, method, headers, outcome.
        for (source, method, headers, outcome) in [
            ("curl, openstacksdk", "POST", &[][..], Ok(())),
            ("Fetch Metadata §2.1", "POST", &[("sec-fetch-site", "cross-site"), ("origin", "http://evil")], OTHER),
            (
                "a neighbor's page may be evil",
                "PUT",
                &[("sec-fetch-site", "same-site"), ("origin", "http://x.h")],
                OTHER,
            ),
            ("the API's own page", "POST", &[("sec-fetch-site", "same-origin"), ("origin", "http://h")], Ok(())),
            ("an extension of the browser", "POST", &[("sec-fetch-site", "none")], Ok(())),
            ("a word of the future", "POST", &[("sec-fetch-site", "new")], OTHER),
            ("RFC 6454 §7.1", "POST", &[("origin", "http://evil")], OTHER),
            ("RFC 6454 §7.1, opaque", "DELETE", &[("origin", "null")], OTHER),
            ("RFC 6454 §7.1, prefix", "PATCH", &[("origin", "http://h.evil")], OTHER),
            ("RFC 6454 §7.1, another port", "PATCH", &[("origin", "http://h:80")], OTHER),
            ("an old browser on the API's own page", "POST", &[("origin", "http://h")], Ok(())),
            ("a proxy that ends TLS", "POST", &[("origin", "https://h")], Ok(())),
            ("RFC 9110 §9.2.1", "GET", &[("sec-fetch-site", "cross-site")], Ok(())),
        ] {
            let headers: Vec<_> = headers.iter().copied().chain([("host", "h")]).collect();
            let checked = check_sender(&parts(method, "/v1/nodes", Version::HTTP_11, &headers));
            assert_eq!(checked, outcome, "{source}: {method} {headers:?}");
        }
    }
}
