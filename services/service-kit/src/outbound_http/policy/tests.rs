use std::net::IpAddr;

use reqwest::Url;

use super::{super::target, AddressClass::*, *};

fn policy(allow: &[&str]) -> Policy {
    let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
    let internal = ["10.77.1.0/24", "10.77.2.0/24", "fd77::/64"].map(|text| text.parse().unwrap());
    Policy::new(allow, internal.into())
        .with_own(|address| ["192.0.2.10", "2001:db8::10"].iter().any(|own| own.parse() == Ok(address)))
}

/// What the policy makes of a URL whose host is an address.
fn class_of(policy: &Policy, purpose: Purpose, url: &str) -> Option<AddressClass> {
    let url = Url::parse(url).unwrap();
    let address = target::literal(&url).unwrap_or_else(|| panic!("{url} has no address"));
    policy.check(purpose, address, url.port_or_known_default().unwrap()).err().map(|refused| refused.class)
}

const OF_USERS: [Purpose; 5] =
    [Purpose::Image, Purpose::BootFile, Purpose::ConfigDrive, Purpose::ChecksumList, Purpose::Webhook];

/// URL, class by which it is refused, and the source.
const URLS: &[(&str, Option<AddressClass>, &str)] = &[
    ("http://198.51.100.7/", None, "a public server"),
    ("https://[2001:db8::7]/", None, "the same over IPv6"),
    ("http://10.0.0.9/debian.raw.gz", None, "RFC 1918: where a site's images are"),
    ("http://172.16.0.9/", None, "RFC 1918"),
    ("http://192.168.7.9/", None, "RFC 1918"),
    ("http://100.64.0.9/", None, "RFC 6598"),
    ("http://[fd12::9]/", None, "RFC 4193"),
    ("http://127.0.0.1:6385/", Some(Loopback), "RFC 1122 3.2.1.3"),
    ("http://127.255.255.254/", Some(Loopback), "the whole of 127/8"),
    ("http://127.1/", Some(Loopback), "WHATWG URL 3.5: two parts"),
    ("http://2130706433/", Some(Loopback), "WHATWG URL 3.5: one decimal number"),
    ("http://0x7f.0.0.1/", Some(Loopback), "WHATWG URL 3.5: hexadecimal"),
    ("http://0x7F000001/", Some(Loopback), "WHATWG URL 3.5: one hexadecimal number"),
    ("http://0177.0.0.1/", Some(Loopback), "WHATWG URL 3.5: octal"),
    ("http://017700000001/", Some(Loopback), "WHATWG URL 3.5: one octal number"),
    ("http://%31%32%37.0.0.1/", Some(Loopback), "WHATWG URL 3.5: percent-encoded"),
    ("http://127.0.0.1./", Some(Loopback), "WHATWG URL 3.5: a dot behind it"),
    ("http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", Some(Loopback), "UTS 46: full-width digits"),
    ("http://127\u{3002}0\u{3002}0\u{3002}1/", Some(Loopback), "UTS 46: ideographic full stops"),
    ("http://user@127.0.0.1/", Some(Loopback), "a user before the host"),
    ("http://[::1]/", Some(Loopback), "RFC 4291 2.5.3"),
    ("http://[0:0:0:0:0:0:0:1]/", Some(Loopback), "the same, long"),
    ("http://[::ffff:127.0.0.1]/", Some(Loopback), "RFC 4291 2.5.5.2: IPv4-mapped"),
    ("http://[::ffff:7f00:1]/", Some(Loopback), "the same in hexadecimal"),
    ("http://[::127.0.0.1]/", Some(Loopback), "RFC 4291 2.5.5.1: IPv4-compatible"),
    ("http://[::ffff:0:127.0.0.1]/", Some(Loopback), "RFC 2765 2.1: IPv4-translated"),
    ("http://[64:ff9b::127.0.0.1]/", Some(Loopback), "RFC 6052 2.1: NAT64"),
    ("http://[64:ff9b:1::a9fe:a9fe]/", Some(LinkLocal), "RFC 8215: local NAT64, /96"),
    ("http://[64:ff9b:1:7f00:0:100::]/", Some(Loopback), "RFC 8215 with RFC 6052 2.2: local NAT64, /48"),
    ("http://[64:ff9b:1::c633:6407]/", None, "RFC 8215: a public address"),
    ("http://[64:ff9b:1:c633:64:700::]/", None, "RFC 8215, /48: a public address"),
    ("http://[2002:7f00:1::]/", Some(Loopback), "RFC 3056 2: 6to4"),
    ("http://[2002:a9fe:a9fe::1]/", Some(LinkLocal), "RFC 3056 2: 6to4"),
    ("http://[2002:c633:6407::1]/", None, "6to4 of a public address"),
    ("http://[2001:0:c633:6407:0:0:8000:fffe]/", Some(Loopback), "RFC 4380 4: Teredo, the client inverted"),
    ("http://[2001:0:7f00:1::]/", Some(Loopback), "RFC 4380 4: Teredo, the server"),
    ("http://[2001:db8::5efe:7f00:1]/", Some(Loopback), "RFC 5214 6.1: ISATAP"),
    ("http://0.0.0.0/", Some(Unspecified), "Linux connects it to loopback"),
    ("http://0/", Some(Unspecified), "the same, short"),
    ("http://0.1.2.3/", Some(Unspecified), "RFC 1122 3.2.1.3"),
    ("http://[::]/", Some(Unspecified), "RFC 4291 2.5.2"),
    ("http://169.254.169.254/latest/meta-data/", Some(LinkLocal), "EC2, GCE, Azure, OpenStack"),
    ("http://169.254.170.2/", Some(LinkLocal), "ECS"),
    ("http://2852039166/", Some(LinkLocal), "169.254.169.254 as a number"),
    ("http://[fe80::1]/", Some(LinkLocal), "RFC 4291 2.5.6"),
    ("http://[febf::1]/", Some(LinkLocal), "the end of fe80::/10"),
    ("http://[fec0::1]/", Some(LinkLocal), "RFC 3879: site-local"),
    ("http://168.63.129.16/", Some(Metadata), "Azure WireServer"),
    ("http://100.100.100.200/", Some(Metadata), "Alibaba Cloud"),
    ("http://[fd00:ec2::254]/", Some(Metadata), "EC2 over IPv6"),
    ("http://224.0.0.1/", Some(Multicast), "RFC 5771"),
    ("http://[ff02::1]/", Some(Multicast), "RFC 4291 2.7"),
    ("http://255.255.255.255/", Some(Reserved), "RFC 919"),
    ("http://240.0.0.1/", Some(Reserved), "RFC 1112 4"),
    ("http://192.0.2.10:8081/", Some(ThisHost), "an address of this host"),
    ("http://[2001:db8::10]/", Some(ThisHost), "the same over IPv6"),
    ("http://[::ffff:192.0.2.10]/", Some(ThisHost), "the same, mapped"),
    ("http://10.77.1.101:9999/", Some(Internal), "an agent"),
    ("https://10.77.2.11/", Some(Internal), "a BMC"),
    ("https://[64:ff9b::10.77.2.11]/", Some(Internal), "a BMC behind NAT64"),
    ("http://[fd77::9]/", Some(Internal), "a provisioning network over IPv6"),
    ("http://10.77.3.1/", None, "the network beside it"),
];

#[test]
fn what_a_user_names_reaches_no_loopback_link_local_own_or_internal_address_in_any_spelling() {
    let policy = policy(&[]);
    for (url, class, source) in URLS {
        for purpose in OF_USERS {
            assert_eq!(class_of(&policy, purpose, url), *class, "{purpose:?} {url}: {source}");
        }
    }
}

#[test]
fn bmcs_and_agents_may_be_on_internal_networks_and_nowhere_else_that_is_special() {
    let policy = policy(&[]);
    for (url, class, source) in URLS {
        for purpose in [Purpose::Redfish, Purpose::AgentCallback] {
            let expected = class.filter(|class| *class != Internal);
            assert_eq!(class_of(&policy, purpose, url), expected, "{purpose:?} {url}: {source}");
        }
    }
}

#[test]
fn a_stand_in_for_an_agent_may_be_on_loopback_and_nowhere_else_that_is_special() {
    let policy = policy(&[]);
    for (url, class, source) in URLS.iter().filter(|(_, class, _)| *class != Some(Loopback)) {
        assert_eq!(class_of(&policy, Purpose::StandInCallback, url), *class, "{url}: {source}");
    }
    for url in ["http://127.0.0.1:9999/", "https://127.0.0.1:6385/", "http://127.255.255.254/", "http://127.1/"] {
        assert_eq!(class_of(&policy, Purpose::StandInCallback, url), None, "{url}");
        assert_eq!(class_of(&policy, Purpose::AgentCallback, url), Some(Loopback), "{url}");
    }
}

#[test]
fn the_configuration_may_name_any_keystone_and_any_openid_provider() {
    let policy = policy(&[]);
    for (url, _, source) in URLS {
        for purpose in [Purpose::Keystone, Purpose::Jwks, Purpose::Login] {
            assert_eq!(class_of(&policy, purpose, url), None, "{purpose:?} {url}: {source}");
        }
    }
}

#[test]
fn the_list_allows_exactly_what_it_contains() {
    for (allow, url, is_allowed) in [
        (&["127.0.0.0/8"][..], "http://127.0.0.1/", true),
        (&["127.0.0.0/8"], "http://[::ffff:127.0.0.1]/", true),
        (&["127.0.0.0/8"], "http://[::1]/", false),
        // An address that a translator makes of it is another one.
        (&["127.0.0.0/8"], "http://[64:ff9b::127.0.0.1]/", false),
        (&["127.0.0.2"], "http://127.0.0.1/", false),
        (&["127.0.0.2", "127.0.0.1"], "http://127.0.0.1/", true),
        (&["10.77.1.1"], "http://10.77.1.1/", true),
        (&["10.77.1.1"], "http://10.77.1.2/", false),
        (&["fe80::/10"], "http://[fe80::1]/", true),
        (&["0.0.0.0/0"], "http://169.254.169.254/", true),
        (&["0.0.0.0/0"], "http://[fe80::1]/", false),
    ] {
        assert_eq!(class_of(&policy(allow), Purpose::Image, url).is_none(), is_allowed, "{allow:?} {url}");
    }
}

#[test]
fn registered_addresses_are_internal_too() {
    let bmc: IpAddr = "10.9.9.9".parse().unwrap();
    let policy = policy(&[]).with_internal(Arc::new(move |address| address == bmc));
    assert_eq!(class_of(&policy, Purpose::Image, "https://10.9.9.9/"), Some(Internal));
    assert_eq!(class_of(&policy, Purpose::Redfish, "https://10.9.9.9/"), None);
    assert_eq!(class_of(&policy, Purpose::Image, "https://10.9.9.8/"), None);
}

#[test]
fn the_addresses_of_this_host_are_found() {
    let policy = Policy::default();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // No packet is sent. Without a route there is no address to find.
    if socket.connect("192.0.2.1:9").is_ok() {
        let own = socket.local_addr().unwrap().ip();
        assert_eq!(policy.check(Purpose::Image, own, 80).unwrap_err().class, ThisHost);
    }
}

#[test]
fn an_exception_with_a_port_is_for_this_port_alone() {
    let policy = policy(&["127.0.0.1:8000-8100", "[::1]:443", "10.77.1.9:80", "192.0.2.10"]);
    for (url, class, source) in [
        ("http://127.0.0.1:8000/", None, "the first port"),
        ("http://127.0.0.1:8100/", None, "the last port"),
        ("http://127.0.0.1:8101/", Some(Loopback), "the next port"),
        ("http://127.0.0.1/", Some(Loopback), "the usual port"),
        ("http://127.0.0.1:2379/", Some(Loopback), "etcd"),
        ("http://127.0.0.2:8000/", Some(Loopback), "another address"),
        ("https://[::1]/", None, "the usual port of https"),
        ("http://[::1]/", Some(Loopback), "the usual port of http"),
        ("http://[::ffff:127.0.0.1]:8000/", None, "RFC 4291 2.5.5.2: IPv4-mapped"),
        ("http://10.77.1.9/", None, "an internal server"),
        ("http://10.77.1.9:623/", Some(Internal), "its other ports"),
        ("http://192.0.2.10:9/", None, "an exception without a port is for all"),
    ] {
        assert_eq!(class_of(&policy, Purpose::Image, url), class, "{url}: {source}");
    }
}

#[test]
fn a_bmc_is_refused_where_no_bmc_is() {
    let policy = policy(&["127.0.0.1:8000"]);
    for (url, class, source) in [
        ("https://10.77.2.9/", None, "a BMC network"),
        ("https://198.51.100.7/", None, "another network"),
        ("https://[fd77::9]/", None, "a BMC network over IPv6"),
        ("http://127.0.0.1:2379/", Some(Loopback), "etcd of a small rack"),
        ("http://127.0.0.1:8000/", None, "a simulated BMC that the operator allowed"),
        ("http://169.254.169.254/", Some(LinkLocal), "a metadata service"),
        ("http://168.63.129.16/", Some(Metadata), "Azure's wire server"),
        ("https://192.0.2.10/", Some(ThisHost), "our own listeners"),
        ("https://0.0.0.0/", Some(Unspecified), "this host, as Linux reads it"),
        ("https://[::ffff:127.0.0.1]/", Some(Loopback), "RFC 4291 2.5.5.2: IPv4-mapped"),
    ] {
        assert_eq!(class_of(&policy, Purpose::Redfish, url), class, "{url}: {source}");
    }
}
