//! The files in deploy/ are accepted by the services.

use std::{fmt::Debug, fs, path::PathBuf};

use anyhow::Result;
use service_kit::config::{self, Config};

fn shipped(kind: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(kind).join(name)
}

fn is_default<C: Config + PartialEq + Debug>(service: &str) -> Result<()> {
    let loaded: C = config::load(&shipped("config", &format!("{service}.toml")))?;
    assert_eq!(loaded, C::default(), "{service}.toml must say what holds without it");
    let unit = fs::read_to_string(shipped("systemd", &format!("ironmesh-{service}.service")))?;
    assert!(unit.contains(&format!("/usr/bin/ironmesh {service} --config /etc/ironmesh/{service}.toml")), "{unit}");
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
