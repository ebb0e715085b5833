//! The table of ports: settings of the shipped configuration, which a test of each service compares with its defaults.

use anyhow::{Context as _, Result};

use super::{markdown, rpcs::first_sentence};
use crate::files;

/// Setting with an address or a port, and its protocol.
struct Port {
    service: &'static str,
    setting: &'static str,
    protocol: &'static str,
}

const fn port(service: &'static str, setting: &'static str, protocol: &'static str) -> Port {
    Port { service, setting, protocol }
}

/// Settings of every service.
const COMMON: &[(&str, &str)] = &[("service.listen", "gRPC, mutual TLS"), ("service.monitor", "HTTP")];
/// Settings of one service.
const OWN: &[Port] = &[
    port("power-service", "power.bind", "UDP to BMCs (IPMI); Redfish: TCP from any port"),
    port("pxe-service", "pxe.dhcp_port", "UDP (DHCP)"),
    port("pxe-service", "pxe.tftp_port", "UDP (TFTP)"),
    port("pxe-service", "pxe.http_port", "HTTP"),
    port("storage-service", "storage.http", "HTTP"),
    port("inventory-service", "inventory.agents", "gRPC, TLS"),
    port("inventory-service", "inventory.ironic", "HTTP"),
    port("scheduler-service", "scheduler.rest", "HTTP, or HTTPS with `scheduler.rest_tls`"),
];

/// The addresses and ports of a service.
pub(super) fn table(service: &str) -> Result<String> {
    let path = format!("deploy/config/{service}.toml");
    let text = files::read(&path)?;
    let own = OWN.iter().filter(|port| port.service == service).map(|port| (port.setting, port.protocol));
    let mut rows = Vec::new();
    for (name, protocol) in COMMON.iter().copied().chain(own) {
        let Setting { default, comment } =
            setting(&text, name).with_context(|| format!("{path} has no setting {name}"))?;
        rows.push(vec![format!("`{name}`"), format!("`{default}`"), protocol.to_owned(), first_sentence(&comment)]);
    }
    Ok(markdown(&["setting", "default", "protocol", "what for"], &rows))
}

/// One line of a configuration.
struct Setting {
    default: String,
    /// Comment above it, or above its group of settings.
    comment: String,
}

fn setting(text: &str, name: &str) -> Option<Setting> {
    let (section, key) = name.split_once('.')?;
    let (_, rest) = text.split_once(&format!("[{section}]\n"))?;
    let mut comment = String::new();
    let mut fresh = true;
    for line in rest.lines().take_while(|line| !line.starts_with('[')) {
        if let Some(more) = line.strip_prefix('#') {
            if fresh {
                comment.clear();
            }
            comment = format!("{comment} {}", more.trim());
            fresh = false;
        } else if let Some((found, value)) = line.split_once(" = ") {
            if found == key {
                return Some(Setting { default: value.trim().trim_matches('"').to_owned(), comment });
            }
            fresh = true;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_the_comment_above_it_or_above_its_neighbors() {
        let text = "[a]\n# One.\nx = 1\n[b]\n# Two,\n# and three. Four.\nx = \"v:0\"\ny = 2\n";
        let found = |name| setting(text, name).map(|setting| (setting.default, first_sentence(&setting.comment)));
        assert_eq!(found("a.x"), Some(("1".to_owned(), "One.".to_owned())));
        assert_eq!(found("b.x"), Some(("v:0".to_owned(), "Two, and three.".to_owned())));
        assert_eq!(found("b.y"), Some(("2".to_owned(), "Two, and three.".to_owned())));
        assert_eq!(found("a.y"), None);
    }
}
