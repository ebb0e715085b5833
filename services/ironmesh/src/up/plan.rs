//! Which children a rack has, and what each is told.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
};

use anyhow::{Context as _, Result};
use domain::service::Service;
use service_kit::config::{Common, print};

use super::{Options, certs::Certs, child::Child};

/// The port of boot files on each replica's address; of images; of the agents' door.
const BOOT_FILES: u16 = 8080;
const IMAGES: u16 = 8081;
const AGENTS: u16 = 8443;

/// All children: one scheduler-service, and each rack service as often as asked for.
pub(crate) fn children(options: &Options, certs: &Certs, etcd: &str) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    for number in 1..=options.replicas {
        let address = options.address.get(usize::from(number) - 1).copied().filter(|_| options.network.is_some());
        for service in [Service::Power, Service::Pxe, Service::Storage, Service::Inventory] {
            children.push(child(options, certs, etcd, service, number, address)?);
        }
    }
    children.push(child(options, certs, etcd, Service::Scheduler, 1, None)?);
    Ok(children)
}

fn child(
    options: &Options,
    certs: &Certs,
    etcd: &str,
    service: Service,
    number: u8,
    address: Option<Ipv4Addr>,
) -> Result<Child> {
    let name = format!("{service}-{number}");
    let data = options.data.join(&name);
    let common = common(options, certs, etcd, service, &data);
    // Without a network of its own each door takes a free port of loopback.
    let outside = address.unwrap_or(Ipv4Addr::LOCALHOST);
    let at = |port: u16| SocketAddr::from((outside, if address.is_some() { port } else { 0 }));
    let config = match service {
        Service::Power => {
            let power =
                power_service::Power { bind: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), ..Default::default() };
            print(&power_service::Config { service: common, power })
        }
        Service::Pxe => {
            let pxe = pxe_service::Pxe {
                device: options.network.clone().unwrap_or_default(),
                address: outside,
                http_port: at(BOOT_FILES).port(),
                ..Default::default()
            };
            print(&pxe_service::Config { service: common, pxe })
        }
        Service::Storage => {
            let files_from = options.files_from.clone();
            let storage = storage_service::Storage { http: at(IMAGES), files_from };
            print(&storage_service::Config { service: common, storage })
        }
        Service::Inventory => {
            let inventory = inventory_service::Inventory { agents: at(AGENTS) };
            print(&inventory_service::Config { service: common, inventory })
        }
        Service::Scheduler => {
            let scheduler = scheduler(&options.scheduler).context("--scheduler")?;
            print(&scheduler_service::Config { service: common, scheduler })
        }
    };
    Ok(Child { name, service, data, config })
}

/// Reads `KEY=VALUE`; a value of digits alone is a number.
pub(crate) fn setting(text: &str) -> Result<(String, serde_json::Value)> {
    let (key, value) = text.split_once('=').context("must be KEY=VALUE, such as boot=4s")?;
    let value = value.parse::<u32>().map_or_else(|_| value.into(), Into::into);
    Ok((key.to_owned(), value))
}

/// The scheduler-service's table with what was set otherwise; a key that it does not have is named with those it has.
fn scheduler(settings: &[(String, serde_json::Value)]) -> Result<scheduler_service::Scheduler> {
    let mut table = serde_json::to_value(scheduler_service::Scheduler::default())?;
    for (key, value) in settings {
        if let Some(table) = table.as_object_mut() {
            table.insert(key.clone(), value.clone());
        }
    }
    Ok(serde_json::from_value(table)?)
}

fn common(options: &Options, certs: &Certs, etcd: &str, service: Service, data: &Path) -> Common {
    let files = certs.of(service);
    Common {
        rack: if service == Service::Scheduler { String::new() } else { options.rack.clone() },
        etcd: vec![etcd.to_owned()],
        data: data.to_owned(),
        ca: files.ca,
        certificate: files.certificate,
        key: files.key,
        sealing_key: certs.sealing_key.clone(),
        log: options.log.clone(),
        otlp: options.otlp.clone(),
        ..Common::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_of_the_scheduler_can_be_set_and_a_wrong_one_is_named() {
        let set = |texts: &[&str]| scheduler(&texts.iter().map(|text| setting(text).unwrap()).collect::<Vec<_>>());
        let table = set(&["boot=4s", "boots=1"]).unwrap();
        assert_eq!((table.boot, table.boots), (Duration::from_secs(4), 1));
        let default = scheduler_service::Scheduler::default();
        assert_eq!(table.agent, default.agent);
        assert!(set(&["boost=4s"]).unwrap_err().to_string().contains("`boost`"));
        setting("boot").unwrap_err();
    }
}
