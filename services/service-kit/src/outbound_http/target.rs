//! Reads URLs that others name.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;

use super::error::OutboundError;

/// Parses a URL. The parser of the URL Standard (§3.5) writes the decimal, octal, hexadecimal and short forms of an IPv4
/// address as four decimal numbers, and refuses IPv6 zones.
pub(super) fn parse(text: &str) -> Result<Url, OutboundError> {
    domain::url_text::check(text)?;
    let url = Url::parse(text).map_err(|_| OutboundError::Url)?;
    check(&url)?;
    Ok(url)
}

/// Checks that a URL has a scheme that we request.
pub(super) fn check(url: &Url) -> Result<(), OutboundError> {
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(()) } else { Err(OutboundError::Url) }
}

/// Returns the host as an address, if it is one.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Returns the address of the host, if it needs no name server: literals, and names that always mean loopback
/// (RFC 6761 §6.3).
pub(super) fn known_address(url: &Url) -> Option<IpAddr> {
    let name = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    let is_local = name == "localhost" || name.ends_with(".localhost");
    literal(url).or_else(|| is_local.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// Returns host and port of a URL, for messages.
pub(super) fn host_and_port(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// Returns a URL without what may be secret in it: user, password, query and fragment. For messages and logs.
#[must_use]
pub fn redacted(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let text = url.get(..end).unwrap_or_default();
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", rest.strip_prefix(authority).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_a_message_has_no_secrets() {
        for (url, shown) in [
            ("https://h/a", "https://h/a"),
            ("https://ann:secret@h:8080/a/b?sig=x#y", "https://h:8080/a/b"),
            ("https://ann:se@cret@h/", "https://h/"),
            ("https://h/a@b", "https://h/a@b"),
            ("https://h?token=secret", "https://h"),
            ("file:///srv/images/a", "file:///srv/images/a"),
            ("ftp://h/kernel", "ftp://h/kernel"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    fn a_url_that_its_parser_would_change_is_not_requested() {
        for url in
            ["http://h/\r\n", "ht\ttp://h/", "\u{0}http://h/", "http://h/a b", "http://h\n.evil/", "http://h/\u{feff}"]
        {
            assert!(matches!(parse(url), Err(OutboundError::UrlText(_))), "{url:?}");
        }
        assert!(parse("https://bücher.example/ä?b#c").is_ok());
    }

    #[test]
    fn a_host_with_a_character_that_its_parser_removes_is_not_requested() {
        let mut removed = 0;
        for character in '\u{80}'..=char::MAX {
            let url = format!("http://go{character}od.example/");
            let is_removed = Url::parse(&url).is_ok_and(|url| url.host_str() == Some("good.example"));
            removed += u32::from(is_removed);
            assert!(!is_removed || matches!(parse(&url), Err(OutboundError::UrlText(_))), "U+{:04X}", character as u32);
        }
        assert!(removed > 200, "{removed}");
    }
}
