//! Sealing keys: each service has those of its purposes and rack, and they are rotated while nodes are in use.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use domain::service::Service;
use integration_tests::{
    bmc::USER,
    fleet::Fleet,
    ironic::Rest,
    mesh::{Api, Options, program},
    record,
};
use keyspace::{
    Store, key,
    seal::{KeyFile, Place, Purpose, RackNames, Sealer, usage},
};
use serde_json::json;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use wire_ipmi::chassis::Power;

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn keys_are_rotated_while_nodes_are_in_use_and_each_service_opens_its_own_secrets_only() {
    let options = Options { schedulers: 2, ..Options::default() };
    let fleet = Fleet::up("sealing", 2, &options).unwrap();
    fleet
        .run(async |mut api, fleet| {
            let rest = Rest::new(fleet.mesh())?;
            enroll(fleet, &rest, &mut api).await?;
            let store = record::store(&fleet.data(), "scheduler-service-1").await?;
            services_have_their_own_keys(fleet, &store).await?;
            rotates(fleet, &rest, &store).await?;
            services_have_their_own_keys(fleet, &store).await
        })
        .unwrap();
}

/// Enrolls a node over each API.
async fn enroll(fleet: &Fleet, rest: &Rest<'_>, api: &mut Api) -> Result<()> {
    let [first, second] = fleet.machines() else { bail!("not two machines") };
    let info = json!({
        "ipmi_address": first.address, "ipmi_username": USER, "ipmi_password": first.bmc.password(),
    });
    rest.ask("POST", "nodes", Some(json!({"name": "n1", "driver": "ipmi", "driver_info": info}))).await?;
    api.nodes.create_node(second.enrolment()).await?;
    rest.provision("n1", "manage").await?;
    rest.reach("n1", "manageable").await?;
    // The password of a node of the other API becomes one of driver_info, too.
    rest.ask(
        "PATCH",
        "nodes/n2",
        Some(json!([{"op": "add", "path": "/driver_info/ipmi_priv_level", "value": "ADMINISTRATOR"}])),
    )
    .await?;
    for node in ["n1", "n2"] {
        switch(rest, node, "power on").await?;
    }
    ensure!(fleet.machines().iter().all(|machine| machine.power() == Power::On));
    Ok(())
}

async fn switch(rest: &Rest<'_>, node: &str, target: &str) -> Result<()> {
    let path = format!("nodes/{node}");
    rest.ask("PUT", &format!("{path}/states/power"), Some(json!({"target": target}))).await?;
    let until = Instant::now() + WAIT_TIMEOUT;
    loop {
        let shown = rest.ask("GET", &path, None).await?;
        if shown["power_state"] == target && shown["target_power_state"].is_null() {
            ensure!(shown["last_error"].is_null(), "{shown}");
            return Ok(());
        }
        ensure!(Instant::now() < until, "{node} is not {target}: {shown}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Runs `ironmesh store seal-key` and returns what it prints.
async fn seal_key(data: &Path, words: &[&str]) -> Result<String> {
    let (verb, words) = words.split_first().context("no verb")?;
    let mut command = Command::new(program()?);
    command.args(["store", "seal-key", verb, "--data"]).arg(data).args(words).stdin(Stdio::null());
    let output = command.kill_on_drop(true).output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(output.status.success(), "{verb}: {}", text(&output.stderr));
    Ok(text(&output.stdout))
}

/// Repeats a command until it succeeds. Returns how it was refused before, if it was.
async fn until_done(data: &Path, words: &[&str]) -> Result<String> {
    let until = Instant::now() + WAIT_TIMEOUT;
    let mut refused = String::new();
    loop {
        match seal_key(data, words).await {
            Ok(_) => return Ok(refused),
            Err(error) if Instant::now() < until => refused = error.to_string(),
            Err(error) => return Err(error),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn rotates(fleet: &Fleet, rest: &Rest<'_>, store: &Store) -> Result<()> {
    let data = fleet.data();
    let before = KeyFile::load(&data.join("certs/sealing.keys"))?;
    let (is_over, switched) = (AtomicBool::new(false), AtomicUsize::new(0));
    let use_nodes = async {
        while !is_over.load(Ordering::Relaxed) {
            for (node, target) in [("n1", "power off"), ("n2", "power off"), ("n1", "power on"), ("n2", "power on")] {
                switch(rest, node, target).await?;
                switched.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    let rotate = async {
        for (purpose, retires_early) in [(Purpose::Bmc, true), (Purpose::Specification, false)] {
            let old = before.keys.iter().find(|key| key.purpose == purpose).context("no key")?.id.as_str();
            let next = seal_key(&data, &["rotate", "--purpose", purpose.name()]).await?;
            let again =
                seal_key(&data, &["rotate", "--purpose", purpose.name()]).await.err().context("a second next key")?;
            ensure!(again.to_string().contains(&next), "{again}");
            ensure!(seal_key(&data, &["retire", old]).await.is_err(), "the active key was retired");
            let refused = until_done(&data, &["activate", &next]).await?;
            ensure!(refused.is_empty() || refused.contains("has not reached"), "{refused}");
            if retires_early {
                // The old key is not retired while a record needs it: the command names the records.
                let refused = retire_refused(&data, old).await?;
                ensure!(refused.contains("/node") && refused.contains("reseal"), "{refused}");
            }
            until_done(&data, &["reseal"]).await?;
            until_done(&data, &["retire", old]).await?;
            let list = seal_key(&data, &["list"]).await?;
            ensure!(!list.contains(old) && list.contains(&next), "{list}");
            ensure!(!usage(store).await?.contains_key(old));
        }
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    };
    let outcome: (Result<()>, Result<()>) = tokio::join!(use_nodes, async {
        let outcome = rotate.await;
        is_over.store(true, Ordering::Relaxed);
        outcome
    });
    outcome.1?;
    outcome.0?;
    ensure!(switched.load(Ordering::Relaxed) > 0);
    // With the new keys alone.
    for (node, target) in [("n1", "power off"), ("n2", "power off")] {
        switch(rest, node, target).await?;
    }
    ensure!(fleet.machines().iter().all(|machine| machine.power() == Power::Off));
    Ok(())
}

/// Retires a key until it is refused because of records, and no longer because a scheduler uses the key.
async fn retire_refused(data: &Path, id: &str) -> Result<String> {
    let until = Instant::now() + WAIT_TIMEOUT;
    loop {
        let refused = seal_key(data, &["retire", id]).await.err().context("a key in use was retired")?.to_string();
        if !refused.contains("still seal with") || Instant::now() >= until {
            return Ok(refused);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Checks what the key file of each leaf opens of what the store has.
async fn services_have_their_own_keys(fleet: &Fleet, store: &Store) -> Result<()> {
    let certs = fleet.data().join("certs");
    let racks = store.list(&key::racks()).await?;
    let [(_, rack)] = racks.as_slice() else { bail!("not one rack") };
    let rack = rack.value.id;
    let names = RackNames::Known(BTreeMap::from([(rack, String::new())]));
    let root = KeyFile::load(&certs.join("sealing.keys"))?;
    let scheduler = Sealer::new(root.clone(), names.clone());
    let mut passwords = BTreeMap::new();
    for (path, held) in
        store.list_pairs(&key::node_prefix(rack)).await?.0.into_iter().map(|pair| (pair.path.clone(), pair))
    {
        let Some(key::Parsed::Intent { node, .. }) = key::parse(&path) else { continue };
        passwords.insert(node, held.read::<keyspace::value::Intent>()?.value.bmc.context("no BMC")?.password);
    }
    ensure!(passwords.len() == 2, "{passwords:?}");
    let strange = root.for_service(Service::Power, "r2")?;
    for (node, password) in &passwords {
        let drive = Place::config_drive(rack, *node);
        let (token, bmc) = (Place::boot_token(rack, *node), Place::bmc_password(rack, *node));
        let sealed = [password.clone(), scheduler.seal(&token, b"token")?, scheduler.seal(&drive, b"files")?];
        for (service, opens) in [
            (Service::Power, [true, false, false]),
            (Service::Pxe, [false, true, false]),
            (Service::Inventory, [false, true, true]),
        ] {
            let file = KeyFile::of_service(&certs.join(format!("default-{service}.sealing.keys")), service, "")?;
            let sealer = Sealer::new(file, names.clone());
            for ((place, sealed), opens) in [&bmc, &token, &drive].into_iter().zip(&sealed).zip(opens) {
                ensure!(sealer.open(place, sealed).is_ok() == opens, "{service}: {place}");
            }
        }
        ensure!(Sealer::new(strange.clone(), names.clone()).open(&bmc, password).is_err(), "another rack's keys");
        let renamed = RackNames::Known(BTreeMap::from([(rack, "r2".to_owned())]));
        ensure!(Sealer::new(strange.clone(), renamed).open(&bmc, password).is_err(), "another rack's keys");
    }
    ensure!(!certs.join("default-storage-service.sealing.keys").exists());
    Ok(())
}
