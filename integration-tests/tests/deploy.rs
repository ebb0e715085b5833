//! The files in deploy/ are accepted by the services.

use std::{fmt::Debug, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use service_kit::config::{self, Config};

fn shipped(kind: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(kind).join(name)
}

fn is_default<C: Config + Default + PartialEq + Debug>(service: &str) -> Result<()> {
    let loaded: C = config::load(&shipped("config", &format!("{service}.toml")))?;
    let mut expected: toml::Table = config::print(&C::default()).parse()?;
    let own = |name: &str| toml::Value::from(format!("/etc/ironmesh/{service}/{name}"));
    let common = expected.get_mut("service").and_then(toml::Value::as_table_mut).context("no table [service]")?;
    common.insert("data".to_owned(), format!("/var/lib/ironmesh/{service}").into());
    for (key, name) in [
        ("certificate", "service.pem"),
        ("key", "service.key"),
        ("etcd_certificate", "etcd.pem"),
        ("etcd_key", "etcd.key"),
        ("sealing_keys", "sealing.keys"),
    ] {
        common.insert(key.to_owned(), own(name));
    }
    let printed: toml::Table = config::print(&loaded).parse()?;
    ensure!(printed == expected, "{service}.toml must say what holds without it, and where its own files are");
    let unit = fs::read_to_string(shipped("systemd", &format!("ironmesh-{service}.service")))?;
    let user = format!("ironmesh-{}", service.trim_end_matches("-service"));
    for line in [
        format!("ExecStart=/usr/bin/ironmesh {service} --config /etc/ironmesh/{service}.toml"),
        format!("User={user}"),
        format!("StateDirectory=ironmesh/{service}"),
        "UMask=0077".to_owned(),
        "LimitCORE=0".to_owned(),
    ] {
        ensure!(unit.lines().any(|found| found == line), "{service}: {line} is missing in its unit");
    }
    ensure!(fs::read_to_string(shipped("systemd", "ironmesh.sysusers"))?.contains(&format!("u {user} ")), "{user}");
    Ok(())
}

#[test]
fn each_example_configuration_equals_the_defaults_and_has_its_unit() -> Result<()> {
    is_default::<power_service::Config>("power-service")?;
    is_default::<pxe_service::Config>("pxe-service")?;
    is_default::<storage_service::Config>("storage-service")?;
    is_default::<inventory_service::Config>("inventory-service")?;
    is_default::<scheduler_service::Config>("scheduler-service")
}
