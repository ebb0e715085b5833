//! Which requests go through the configured proxy.

use std::sync::Arc;

use reqwest::Url;

use super::{range::AddressRange, target};

/// Hosts that are reached without the proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct NoProxy(Arc<[Entry]>);

#[derive(Debug)]
enum Entry {
    Everything,
    /// A name and its subdomains.
    Name(String),
    Range(AddressRange),
}

impl NoProxy {
    /// Reads the entries: `*`, an address, a network, or a name, with or without a leading dot, as curl reads `NO_PROXY`.
    pub(super) fn new(entries: &[String]) -> Self {
        let entry = |text: &String| match (text.trim(), text.trim().parse()) {
            ("*", _) => Entry::Everything,
            (_, Ok(range)) => Entry::Range(range),
            (name, Err(_)) => Entry::Name(name.trim_matches('.').to_ascii_lowercase()),
        };
        Self(entries.iter().filter(|text| !text.trim().is_empty()).map(entry).collect())
    }

    /// Returns whether a URL is requested without the proxy.
    pub(super) fn contains(&self, url: &Url) -> bool {
        let address = target::literal(url);
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        self.0.iter().any(|entry| match entry {
            Entry::Everything => true,
            Entry::Range(range) => address.is_some_and(|address| range.contains(address)),
            Entry::Name(name) => {
                address.is_none()
                    && host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_name_with_its_subdomains_an_address_or_a_network() {
        let no_proxy = NoProxy::new(&["Example.com", ".internal", "10.0.0.0/8", "192.0.2.1", " "].map(str::to_owned));
        for (url, is_direct) in [
            ("http://example.com/", true),
            ("https://www.EXAMPLE.com:8443/", true),
            ("http://example.com./", true),
            ("http://badexample.com/", false),
            ("http://keystone.internal:5000/", true),
            ("http://internal/", true),
            ("http://10.1.2.3/", true),
            ("http://0x0a010203/", true),
            ("http://11.1.2.3/", false),
            ("http://192.0.2.1/", true),
            ("http://github.com/", false),
        ] {
            assert_eq!(no_proxy.contains(&Url::parse(url).unwrap()), is_direct, "{url}");
        }
        assert!(NoProxy::new(&["*".to_owned()]).contains(&Url::parse("http://h/").unwrap()));
    }
}
