//! What racks, operators, hosts, datacenters and trust domains may be named: their names are parts of the identities in
//! certificates.

/// What the name of a rack must be, for error messages.
pub const RACK_NAME_RULE: &str = "must consist of lower-case letters, digits and dashes, and not be operator, dc, rack, \
                                  service, host, authority or default";
/// What the name of a host must be, for error messages.
pub const HOST_NAME_RULE: &str = "must consist of 1 to 63 lower-case letters, digits and dashes, begin and end with a letter \
                                  or digit, and not be operator, dc, rack, service, host, authority or default";
/// What the name of a datacenter must be, for error messages.
pub const DATACENTER_RULE: &str =
    "must consist of 1 to 63 lower-case letters, digits and dashes, and begin and end with a letter or digit";
/// What a trust domain must be, for error messages.
pub const TRUST_DOMAIN_RULE: &str = "must consist of 1 to 255 lower-case letters, digits, dots, dashes and underscores \
                                     (SPIFFE-ID §2.1)";

/// Words of the identities in certificates, which are no names of racks, hosts and operators.
const RESERVED: [&str; 7] = ["operator", "dc", "rack", "service", "host", "authority", "default"];

/// Returns whether `name` is a reserved word of the identities in certificates, in any case.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// Returns whether `name` is a label of a DNS name in lower case (RFC 1035 §2.3.1, RFC 1123 §2.1).
fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Returns whether `name` is a valid rack name: lower-case letters, digits and dashes, at most 63, as in a DNS label,
/// and no reserved word. A rack may have no name.
#[must_use]
pub fn is_rack_name(name: &str) -> bool {
    name.is_empty() || is_dns_label(name) && !is_reserved(name)
}

/// Returns whether `name` is a valid name of a host: a DNS label in lower case, and no reserved word.
#[must_use]
pub fn is_host_name(name: &str) -> bool {
    is_dns_label(name) && !is_reserved(name)
}

/// Returns whether `name` is a valid name of a datacenter: a DNS label in lower case.
#[must_use]
pub fn is_datacenter_name(name: &str) -> bool {
    is_dns_label(name)
}

/// Returns whether `name` is a trust domain (SPIFFE-ID §2.1).
#[must_use]
pub fn is_trust_domain(name: &str) -> bool {
    let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(is_legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_valid_for_racks_hosts_datacenters_and_trust_domains_by_their_rules() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        let (widest, too_wide) = ("a".repeat(255), "a".repeat(256));
        // The name, whether it is one of a rack, a host, a datacenter, a trust domain, and the source of the rule.
        for (name, rack, host, datacenter, domain, source) in [
            ("r1", true, true, true, true, "RFC 1035 §2.3.1"),
            ("7", true, true, true, true, "RFC 1123 §2.1: a digit may be the first"),
            ("a-b", true, true, true, true, "RFC 1035 §2.3.1"),
            (&long, true, true, true, true, "RFC 1035 §2.3.4: 63 octets"),
            (&longer, false, false, false, true, "RFC 1035 §2.3.4: 63 octets"),
            (&widest, false, false, false, true, "SPIFFE-ID §2.3: 255 bytes"),
            (&too_wide, false, false, false, false, "SPIFFE-ID §2.3: 255 bytes"),
            ("", true, false, false, false, "only a rack may have no name"),
            ("-a", false, false, false, true, "RFC 1035 §2.3.1"),
            ("a-", false, false, false, true, "RFC 1035 §2.3.1"),
            ("Fra1", false, false, false, false, "SPIFFE-ID §2.1: lower case"),
            ("example.org", false, false, false, true, "SPIFFE-ID §2.1"),
            ("a_b", false, false, false, true, "SPIFFE-ID §2.1"),
            ("a/b", false, false, false, false, "a separator"),
            ("a:1", false, false, false, false, "SPIFFE-ID §2.1: no port"),
            ("u@d", false, false, false, false, "SPIFFE-ID §2.1: no user information"),
            ("a%62", false, false, false, false, "SPIFFE-ID §2.1: no percent-encoding"),
            ("a b", false, false, false, false, "white space"),
            ("ü", false, false, false, false, "ASCII only"),
            ("host", false, false, true, true, "a reserved word"),
            ("authority", false, false, true, true, "a reserved word"),
            ("rack", false, false, true, true, "a reserved word"),
            ("default", false, false, true, true, "the label of the rack without a name"),
            ("hosts", true, true, true, true, "no reserved word"),
        ] {
            let found = (is_rack_name(name), is_host_name(name), is_datacenter_name(name), is_trust_domain(name));
            assert_eq!(found, (rack, host, datacenter, domain), "{name:?} ({source})");
        }
    }
}
