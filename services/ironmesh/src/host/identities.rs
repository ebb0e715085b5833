//! The certificates and sealing keys of the host that has the keys of the CAs.

use std::path::Path;

use anyhow::{Context as _, Result};
use authority::{
    issue::{Attempts, Ensured, Wanted, Why, ensure_all},
    ledger::{Issuer, Subject},
    purpose::{Purpose, Roles, SubjectOf},
    realm_file,
};
use keyspace::{access, value::HostRack};
use service_kit::tls::{Files, Identity, Realm};

use super::config::HostConfig;
use crate::{
    console::say,
    pem_files::{ADMINISTRATOR, OPERATOR},
    sealing,
};

/// Name of the authority's certificate, as that of its files.
const AUTHORITY: &str = "authority";

/// Whether the keys of the CAs are in a data directory.
pub(crate) fn has_ca(data: &Path) -> bool {
    data.join("certs/ca.key").exists()
}

/// Returns the files of a certificate of the host.
pub(crate) fn files(data: &Path, purpose: &Purpose) -> Files {
    purpose.issuer().files(&data.join("certs"), &purpose.file_name())
}

/// Returns the files of the authority's certificate.
pub(crate) fn authority(data: &Path) -> Files {
    Issuer::Mesh.files(&data.join("certs"), AUTHORITY)
}

/// Returns the files of the host's member of etcd.
pub(crate) fn etcd_member(data: &Path) -> Files {
    files(data, &Purpose::EtcdMember)
}

/// Returns the files of the host as a user of etcd.
pub(crate) fn host_for_etcd(data: &Path) -> Files {
    files(data, &Purpose::HostForEtcd)
}

/// Returns the realm of a host's identities.
pub(crate) fn realm(host: &HostConfig) -> Result<Realm> {
    Ok(Realm::new(&host.trust_domain, &host.datacenter)?)
}

/// Returns what a host runs.
pub(crate) fn roles(host: &HostConfig) -> Roles {
    let racks = host.racks.iter();
    let rack = |rack: &super::config::RackConfig| HostRack {
        rack: rack.name.clone(),
        services: rack.services.clone(),
        slot: rack.slot,
    };
    Roles { racks: racks.map(rack).collect(), store: host.store, scheduler: host.scheduler.is_some() }
}

/// Returns the certificates that the host with the CAs must have.
pub(crate) fn wanted(host: &HostConfig, realm: &Realm) -> Vec<Wanted> {
    let of_host = roles(host).purposes().into_iter().map(|purpose| {
        let subject = match purpose.subject(&host.name, host.advertise) {
            SubjectOf::Identity(identity) => Subject::Identity(identity.uri(realm)),
            SubjectOf::EtcdUser(user) => Subject::EtcdUser(user),
            SubjectOf::Hosts(hosts) => Subject::Hosts(hosts),
        };
        Wanted { name: purpose.file_name(), issuer: purpose.issuer(), subject }
    });
    let wanted = |name: &str, issuer, subject| Wanted { name: name.to_owned(), issuer, subject };
    let own = [
        wanted(OPERATOR, Issuer::Mesh, Subject::Identity(Identity::admin("admin").uri(realm))),
        wanted(ADMINISTRATOR, Issuer::Etcd, Subject::EtcdUser(access::ADMINISTRATOR.to_owned())),
        wanted(AUTHORITY, Issuer::Mesh, Subject::Identity(Identity::Authority.uri(realm))),
    ];
    of_host.chain(own).collect()
}

/// Creates what is missing, and replaces what cannot be used or is due.
pub(crate) fn prepare(data: &Path, host: &HostConfig) -> Result<()> {
    let (folder, realm) = (data.join("certs"), realm(host)?);
    realm_file::create(&folder, &realm)?;
    let Ensured { made, lacking, warnings } = ensure_all(&folder, &wanted(host, &realm), &mut Attempts::default())?;
    for made in made.into_iter().filter(|made| made.why != Why::Missing) {
        say(&format!(
            "made certificate {}, valid until {}: {}",
            made.entry.name, made.entry.validity.not_after, made.why
        ));
    }
    warnings.iter().for_each(|warning| say(warning));
    if let Some(error) = lacking {
        return Err(error);
    }
    // The keys of the schedulers first: those of racks follow from them.
    let racks: Vec<&str> = host.racks.iter().map(|rack| rack.name.as_str()).collect();
    sealing::prepare_all(data, &racks).context("cannot prepare the sealing keys")
}

#[cfg(test)]
mod tests {
    use domain::service::Service;

    use super::*;
    use crate::host::config::{RackConfig, tests::host};

    #[test]
    fn the_host_with_the_cas_has_certificates_for_what_it_runs() {
        let v4 = "10.0.0.11".parse().unwrap();
        let names = |config: &HostConfig| -> Vec<String> {
            wanted(config, &Realm::default()).into_iter().map(|one| one.name).collect()
        };
        let empty = HostConfig { racks: Vec::new(), scheduler: None, ..host(v4) };
        let r7 = RackConfig { services: [Service::Power].into(), ..RackConfig::named("r7", 0) };
        let (host_names, own) = (["host", "host-etcd"], ["operator", "etcd-root", "authority"]);
        for (case, config, of_roles) in [
            ("nothing", empty.clone(), &[][..]),
            ("the store", HostConfig { store: true, ..empty.clone() }, &["etcd-member"]),
            ("a rack", HostConfig { racks: vec![r7], ..empty.clone() }, &["r7-power-service", "r7-power-service-etcd"]),
            (
                "a scheduler",
                HostConfig { racks: Vec::new(), ..host(v4) },
                &["default-scheduler-service", "default-scheduler-service-etcd"],
            ),
        ] {
            assert_eq!(names(&config), [&host_names[..], of_roles, &own].concat(), "{case}");
        }
    }
}
