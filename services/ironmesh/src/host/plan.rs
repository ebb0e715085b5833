//! Determines the child processes of a host and their configurations from `host.toml`. Pure.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
    sync::Arc,
};

use anyhow::Result;
use authority::ledger::Issuer;
use domain::service::Service;
use service_kit::{config::Common, outbound_http::OutboundConfig};

use super::{
    config::{HostConfig, RackConfig},
    ports,
};
use crate::{
    sealing,
    up::{BMC_CA_FOLDER, Child, Setting, format_config, setting},
};

/// A child process of a host.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) child: Child,
    /// Name of the rack that it serves; `None` for a scheduler-service.
    pub(crate) rack: Option<String>,
}

/// Returns all children of a host.
pub(crate) fn children(host: &HostConfig, data: &Path) -> Result<Vec<Planned>> {
    let set: Vec<Setting> = host.set.iter().map(|text| setting(text)).collect::<Result<_>>()?;
    let plan = Plan { host, data, set };
    let mut children = Vec::new();
    for rack in &host.racks {
        for service in &rack.services {
            children.push(plan.rack_service(rack, *service)?);
        }
    }
    children.extend(host.scheduler.as_ref().map(|scheduler| plan.scheduler(scheduler.rest)).transpose()?);
    Ok(children)
}

pub(crate) use authority::purpose::{certificate_name, etcd_certificate_name};

struct Plan<'a> {
    host: &'a HostConfig,
    data: &'a Path,
    set: Vec<Setting>,
}

impl Plan<'_> {
    fn rack_service(&self, rack: &RackConfig, service: Service) -> Result<Planned> {
        let name = certificate_name(service, &rack.name);
        let common = self.common(service, &rack.name, rack.slot, &name);
        let first = rack.addresses.first().copied().filter(|_| !rack.interface.is_empty());
        // Without a provisioning network each of these listeners uses a free port of loopback.
        let outside = first.unwrap_or(Ipv4Addr::LOCALHOST);
        let at = |port: u16| SocketAddr::from((outside, if first.is_some() { port } else { 0 }));
        let set = &self.set;
        let config = match service {
            Service::Power => {
                let power = power_service::Power {
                    bind: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
                    ca_folder: self.data.join(BMC_CA_FOLDER),
                    ..Default::default()
                };
                format_config(&power_service::Config { service: common, power, outbound: self.outbound() }, set)?
            }
            Service::Pxe => {
                let pxe = pxe_service::Pxe {
                    device: rack.interface.clone(),
                    address: outside,
                    http_port: at(ports::BOOT_FILES_PORT).port(),
                    ..Default::default()
                };
                format_config(&pxe_service::Config { service: common, pxe }, set)?
            }
            Service::Storage => {
                let storage = storage_service::Storage { http: at(ports::IMAGES_PORT), ..Default::default() };
                format_config(&storage_service::Config { service: common, storage, outbound: self.outbound() }, set)?
            }
            Service::Inventory => {
                let (agents, ironic) = (at(ports::AGENTS_PORT), at(ports::IRONIC_AGENTS_PORT));
                let inventory = inventory_service::Inventory { agents, ironic };
                format_config(&inventory_service::Config { service: common, inventory }, set)?
            }
            Service::Scheduler => return self.scheduler(SocketAddr::new(IpAddr::V4(outside), 0)),
        };
        Ok(self.planned(name, service, config, Some(rack.name.clone())))
    }

    fn scheduler(&self, rest: SocketAddr) -> Result<Planned> {
        let service = Service::Scheduler;
        let name = service.name().to_owned();
        let common = self.common(service, "", 0, &name);
        let scheduler = scheduler_service::Scheduler { rest, ..Default::default() };
        let outbound = self.outbound();
        let config = format_config(&scheduler_service::Config { service: common, scheduler, outbound }, &self.set)?;
        Ok(self.planned(name, service, config, None))
    }

    fn planned(&self, name: String, service: Service, config: String, rack: Option<String>) -> Planned {
        let data = self.data.join(&name);
        Planned { child: Child { name, service, data, config, runs: Arc::default() }, rack }
    }

    /// Users may not have the services request what is on the provisioning networks.
    fn outbound(&self) -> OutboundConfig {
        let networks = self.host.racks.iter().filter_map(|rack| {
            let first = rack.addresses.first()?;
            format!("{first}/{}", rack.prefix).parse().ok()
        });
        OutboundConfig { internal: networks.collect(), ..OutboundConfig::default() }
    }

    fn common(&self, service: Service, rack: &str, slot: u8, folder: &str) -> Common {
        let host = self.host;
        let certs = self.data.join("certs");
        let files = Issuer::Mesh.files(&certs, &certificate_name(service, rack));
        let for_etcd = Issuer::Etcd.files(&certs, &etcd_certificate_name(service, rack));
        Common {
            rack: rack.to_owned(),
            host: host.name.clone(),
            weight: host.weight,
            listen: SocketAddr::new(host.advertise, ports::grpc(service, slot)),
            monitor: SocketAddr::new(host.monitor, ports::monitor(service, slot)),
            etcd: host.etcd.clone(),
            etcd_discovery: host.built_in_etcd,
            data: self.data.join(folder),
            ca: files.ca,
            certificate: files.certificate,
            key: files.key,
            etcd_ca: for_etcd.ca,
            etcd_certificate: for_etcd.certificate,
            etcd_key: for_etcd.key,
            sealing_keys: sealing::file(self.data, service, rack),
            log: host.log.clone(),
            otlp: host.otlp.clone(),
            ..Common::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::config::tests::host;

    fn at<'t>(planned: &'t Planned, path: &str, table: &'t mut toml::Table) -> &'t toml::Value {
        *table = planned.child.config.parse().unwrap();
        let mut words = path.split('.');
        let first = table.get(words.next().unwrap()).unwrap();
        words.fold(first, |value, word| value.get(word).unwrap_or_else(|| panic!("{path} in {value}")))
    }

    #[test]
    fn a_host_of_two_racks_runs_each_service_once_a_rack_at_its_own_ports() {
        let r7 = RackConfig {
            interface: "eth1".to_owned(),
            addresses: vec!["10.77.1.1".parse().unwrap()],
            ..RackConfig::named("r7", 0)
        };
        let r8 = RackConfig { services: [Service::Power, Service::Inventory].into(), ..RackConfig::named("r8", 1) };
        let config = HostConfig {
            racks: vec![r7, r8],
            weight: 250,
            set: vec!["power.poll=7s".to_owned()],
            ..host("10.0.0.12".parse().unwrap())
        };
        let children = children(&config, Path::new("/d")).unwrap();
        let names: Vec<_> = children.iter().map(|planned| planned.child.name.as_str()).collect();
        let expected = [
            "r7-power-service",
            "r7-pxe-service",
            "r7-storage-service",
            "r7-inventory-service",
            "r8-power-service",
            "r8-inventory-service",
            "scheduler-service",
        ];
        assert_eq!(names, expected);
        for (name, key, value) in [
            ("r7-power-service", "service.listen", "10.0.0.12:7400"),
            ("r7-power-service", "service.monitor", "127.0.0.1:7500"),
            ("r7-power-service", "service.rack", "r7"),
            ("r7-power-service", "service.host", "h2"),
            ("r7-power-service", "service.data", "/d/r7-power-service"),
            ("r7-power-service", "service.certificate", "/d/certs/r7-power-service.pem"),
            ("r7-power-service", "service.etcd_key", "/d/certs/r7-power-service-etcd.key"),
            ("r7-power-service", "service.sealing_keys", "/d/certs/r7-power-service.sealing.keys"),
            ("r7-power-service", "power.poll", "7s"),
            ("r7-pxe-service", "pxe.device", "eth1"),
            ("r7-pxe-service", "pxe.address", "10.77.1.1"),
            ("r7-storage-service", "storage.http", "10.77.1.1:8081"),
            ("r7-inventory-service", "inventory.agents", "10.77.1.1:8443"),
            ("r7-inventory-service", "inventory.ironic", "10.77.1.1:6386"),
            ("r8-power-service", "service.listen", "10.0.0.12:7410"),
            ("r8-inventory-service", "service.listen", "10.0.0.12:7413"),
            ("r8-inventory-service", "inventory.agents", "127.0.0.1:0"),
            ("scheduler-service", "service.listen", "10.0.0.12:7390"),
            ("scheduler-service", "service.monitor", "127.0.0.1:7490"),
            ("scheduler-service", "service.rack", ""),
            ("scheduler-service", "service.certificate", "/d/certs/default-scheduler-service.pem"),
            ("scheduler-service", "service.sealing_keys", "/d/certs/sealing.keys"),
            ("scheduler-service", "scheduler.rest", "127.0.0.1:6385"),
        ] {
            let planned = children.iter().find(|planned| planned.child.name == name).unwrap();
            assert_eq!(at(planned, key, &mut toml::Table::new()).as_str(), Some(value), "{name} {key}");
        }
        for planned in &children {
            let mut table = toml::Table::new();
            assert_eq!(at(planned, "service.weight", &mut table).as_integer(), Some(250));
            assert_eq!(at(planned, "service.etcd_discovery", &mut table).as_bool(), Some(true));
        }
    }

    #[test]
    fn listeners_follow_the_addresses_of_the_host() {
        // Address of the host and of its monitor, and where the power-service of slot 3 and its monitor listen.
        for (advertise, monitor, listen, monitors) in [
            ("10.0.0.12", "127.0.0.1", "10.0.0.12:7430", "127.0.0.1:7530"),
            ("10.0.0.12", "10.0.0.12", "10.0.0.12:7430", "10.0.0.12:7530"),
            ("fd00::12", "127.0.0.1", "[fd00::12]:7430", "127.0.0.1:7530"),
            ("fd00::12", "::1", "[fd00::12]:7430", "[::1]:7530"),
            ("127.0.0.2", "127.0.0.2", "127.0.0.2:7430", "127.0.0.2:7530"),
            ("192.168.0.1", "0.0.0.0", "192.168.0.1:7430", "0.0.0.0:7530"),
        ] {
            let config = HostConfig {
                racks: vec![RackConfig { services: [Service::Power].into(), ..RackConfig::named("r7", 3) }],
                scheduler: None,
                monitor: monitor.parse().unwrap(),
                ..host(advertise.parse().unwrap())
            };
            let children = children(&config, Path::new("/d")).unwrap();
            let mut table = toml::Table::new();
            assert_eq!(at(&children[0], "service.listen", &mut table).as_str(), Some(listen), "{advertise}");
            assert_eq!(at(&children[0], "service.monitor", &mut table).as_str(), Some(monitors), "{monitor}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let config = HostConfig { set: vec!["power.pol=7s".to_owned()], ..host("10.0.0.12".parse().unwrap()) };
        let error = format!("{:#}", children(&config, Path::new("/d")).unwrap_err());
        assert!(error.contains("`pol`"), "{error}");
    }
}
