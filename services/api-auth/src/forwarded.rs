//! The client of a request that came through proxies.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Maximum number of hops that are read; more than that no site has.
const MAX_HOPS: usize = 32;

/// The client of a request: the peer of the connection, or whom trusted proxies name.
///
/// Each proxy appends the address from which it was called, to `X-Forwarded-For` or to `Forwarded` (RFC 7239 §4). What stands
/// to the left of an address that is not trusted may be invented, so the last one that is not trusted is the client. If it has
/// no address, or if a request has both headers and they disagree, the client is the last proxy whose address is certain.
#[must_use]
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let through = |hops: Vec<Option<IpAddr>>| {
        let mut client = peer;
        for hop in hops.into_iter().rev().take(MAX_HOPS) {
            let Some(address) = hop else { return client };
            client = address;
            if !is_trusted(&client) {
                return client;
            }
        }
        client
    };
    let in_x = elements(headers, "x-forwarded-for").map(|hops| through(hops.iter().map(|hop| address(hop)).collect()));
    let in_forwarded =
        elements(headers, "forwarded").map(|hops| through(hops.iter().map(|hop| forwarded_for(hop)).collect()));
    match (in_x, in_forwarded) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

/// The elements of a list in all headers of a name, in order; `None` if there is no such header.
fn elements(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    let elements = lines.iter().flat_map(|line| line.split(',')).map(|element| element.trim().to_owned());
    (!lines.is_empty()).then(|| elements.collect())
}

/// The address in an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value.trim());
    let value = named.next()?;
    // Twice is an error (RFC 7239 §4).
    if named.next().is_some() {
        return None;
    }
    address(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<std::net::Ipv6Addr>().ok().filter(|_| is_port).map(|v6| IpAddr::V6(v6).to_canonical());
    }
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.split_once(':').filter(|(_, port)| is_port(port)).and_then(|(v4, _)| v4.parse().ok());
    plain.or_else(with_port).map(|address| address.to_canonical())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/24", "fd00:1::/64"].iter().map(|network| network.parse().unwrap()).collect();
        const X: &str = "x-forwarded-for";
        const F: &str = "forwarded";
        for (source, peer, headers, client) in [
            ("no proxy", "192.0.2.1", &[][..], "192.0.2.1"),
            ("a stranger names another", "192.0.2.1", &[(X, "203.0.113.9")], "192.0.2.1"),
            ("a stranger names another, RFC 7239", "192.0.2.1", &[(F, "for=203.0.113.9")], "192.0.2.1"),
            ("a proxy that names none", "10.0.0.1", &[], "10.0.0.1"),
            ("HAProxy option forwardfor", "10.0.0.1", &[(X, "203.0.113.9")], "203.0.113.9"),
            ("two proxies", "10.0.0.1", &[(X, "203.0.113.9, 10.0.0.2")], "203.0.113.9"),
            ("CWE-348: the client invents one", "10.0.0.1", &[(X, "1.1.1.1, 203.0.113.9")], "203.0.113.9"),
            ("the client invents a proxy", "10.0.0.1", &[(X, "1.1.1.1, 10.0.0.3, 203.0.113.9")], "203.0.113.9"),
            ("a request of a proxy", "10.0.0.1", &[(X, "10.0.0.3")], "10.0.0.3"),
            ("two headers", "10.0.0.1", &[(X, "1.1.1.1"), (X, "203.0.113.9")], "203.0.113.9"),
            ("two headers of two proxies", "10.0.0.1", &[(X, "203.0.113.9"), (X, "10.0.0.2")], "203.0.113.9"),
            ("Azure: with a port", "10.0.0.1", &[(X, "203.0.113.9:49152")], "203.0.113.9"),
            ("IPv6", "fd00:1::1", &[(X, "2001:db8::9")], "2001:db8::9"),
            ("IPv6 in brackets", "fd00:1::1", &[(X, "[2001:db8::9]:443")], "2001:db8::9"),
            ("RFC 4291 §2.5.5.2", "::ffff:10.0.0.1", &[(X, "::ffff:203.0.113.9")], "203.0.113.9"),
            ("RFC 7239 §4", "10.0.0.1", &[(F, "for=192.0.2.60;proto=http;by=203.0.113.43")], "192.0.2.60"),
            ("RFC 7239 §4, IPv6", "10.0.0.1", &[(F, "For=\"[2001:db8:cafe::17]:4711\"")], "2001:db8:cafe::17"),
            ("RFC 7239 §7.1", "10.0.0.1", &[(F, "for=192.0.2.43, for=\"[2001:db8:cafe::17]\"")], "2001:db8:cafe::17"),
            ("RFC 7239 §6.2, unknown", "10.0.0.1", &[(F, "for=192.0.2.43, for=unknown")], "10.0.0.1"),
            ("RFC 7239 §6.3, obfuscated", "10.0.0.1", &[(F, "for=_hidden, for=10.0.0.2")], "10.0.0.2"),
            ("RFC 7239 §4, twice", "10.0.0.1", &[(F, "for=192.0.2.43;for=192.0.2.44")], "10.0.0.1"),
            ("both, alike", "10.0.0.1", &[(X, "203.0.113.9"), (F, "for=203.0.113.9")], "203.0.113.9"),
            ("both, one invented", "10.0.0.1", &[(X, "203.0.113.9"), (F, "for=1.1.1.1")], "10.0.0.1"),
            ("no address", "10.0.0.1", &[(X, "localhost")], "10.0.0.1"),
            ("empty", "10.0.0.1", &[(X, "")], "10.0.0.1"),
            ("an empty element", "10.0.0.1", &[(X, "203.0.113.9,")], "10.0.0.1"),
            ("a port that is none", "10.0.0.1", &[(X, "203.0.113.9:99999")], "10.0.0.1"),
            ("brackets that do not end", "10.0.0.1", &[(X, "[2001:db8::9")], "10.0.0.1"),
        ] {
            let header = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            };
            let mut map = HeaderMap::new();
            for (name, value) in headers.iter().map(header) {
                map.append(name, value);
            }
            let found = self::client(peer.parse().unwrap(), &map, &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{source}: {peer} {headers:?}");
            if peer.parse::<IpAddr>().unwrap().is_ipv4() {
                assert_eq!(self::client(peer.parse().unwrap(), &map, &[]).to_string(), peer, "{source}, none trusted");
            }
        }
    }
}
