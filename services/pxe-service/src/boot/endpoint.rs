//! Address of a service, as boot scripts name it.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// Where a service is reached, as `host:port`. It is safe as the authority of a URL within an iPXE script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

/// Error for a text that is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address and a port, such as 10.77.1.1:8080")]
pub(crate) struct ParseEndpointError;

impl Endpoint {
    /// Returns the host without the port; an IPv6 address is in brackets.
    pub(crate) fn host(&self) -> &str {
        self.0.rsplit_once(':').map_or(&self.0, |(host, _)| host)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(ParseEndpointError)?;
        let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_ipv6 = inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
        let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
        if !host.is_empty() && (is_name || is_ipv6) && is_port {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseEndpointError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_port_is_an_endpoint() {
        for (text, host) in [
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("pxe-1.r7.example:8080", Some("pxe-1.r7.example")),
            ("[2001:db8::1]:80", Some("[2001:db8::1]")),
            ("10.0.0.1", None),
            (":80", None),
            ("10.0.0.1:0", None),
            ("10.0.0.1:+80", None),
            ("10.0.0.1:65536", None),
            ("10.0.0.1:80\nshell", None),
            ("a b:80", None),
            ("a/../b:80", None),
            ("user@a:80", None),
            ("${net0/next-server}:80", None),
            ("2001:db8::1:80", None),
            ("[x]:80", None),
        ] {
            assert_eq!(text.parse::<Endpoint>().ok().as_ref().map(Endpoint::host), host, "{text:?}");
        }
    }
}
