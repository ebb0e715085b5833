//! What the commands for the store read of a host's `host.toml`.

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use authority::etcd_address::client_urls;

/// The host of a data directory.
#[derive(Debug, Deserialize)]
pub(super) struct HostFile {
    pub(super) name: String,
    pub(super) advertise: IpAddr,
    /// etcd's members, unless the host has one.
    #[serde(default)]
    etcd: Vec<String>,
}

impl HostFile {
    /// Returns `None` for the data directory of an `ironmesh up`.
    pub(super) fn read(data: &Path) -> Result<Option<Self>> {
        let file = data.join("host.toml");
        if !file.exists() {
            return Ok(None);
        }
        let shown = file.display();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
        toml::from_str(&text).map(Some).with_context(|| format!("{shown} is no host's"))
    }

    /// Returns members of etcd to ask.
    pub(super) fn members(&self) -> Vec<String> {
        if self.etcd.is_empty() { client_urls(self.advertise) } else { self.etcd.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_host_are_its_own_or_those_that_it_names() {
        let address = "advertise = \"10.0.0.1\"";
        for (text, expected) in [
            (None, None),
            (Some(format!("name = \"h1\"\n{address}")), Some("https://10.0.0.1:2379")),
            (Some(format!("name = \"h1\"\n{address}\netcd = []")), Some("https://10.0.0.1:2379")),
            (Some(format!("name = \"h1\"\n{address}\netcd = [\"https://e:2379\"]")), Some("https://e:2379")),
            (
                Some(format!("name = \"h1\"\n{address}\nother = 1\n[[rack]]\nname = \"r\"")),
                Some("https://10.0.0.1:2379"),
            ),
            (Some("name = \"h1\"\nadvertise = \"::1\"".to_owned()), Some("https://[::1]:2379")),
        ] {
            let data = tempfile::tempdir().unwrap();
            if let Some(text) = &text {
                fs::write(data.path().join("host.toml"), text).unwrap();
            }
            let members = HostFile::read(data.path()).unwrap().map(|file| file.members().join(","));
            assert_eq!(members.as_deref(), expected, "{text:?}");
        }
    }
}
