//! Attacks from the provisioning network: a host that is no node sends DHCP, TFTP, HTTP, and calls of agents.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    bmc::USER,
    hostile::{
        self, Guard, agents,
        boot::{self, STRANGER, Segment},
        raw,
    },
    ironic::Rest,
    lab::{Lab, WAIT_TIMEOUT},
    machine::Spec,
    mesh::{Api, Options},
    rack::namespace::Namespace,
    record,
};
use serde_json::{Value, json};

/// Enrolls the node with a ramdisk that speaks Ironic's protocol, and lets it wait for its agent: the test is the agent.
async fn waits_for_agent(lab: &Lab, rest: &Rest<'_>) -> Result<String> {
    let machine = lab.machine("n1")?;
    let (kernel, _) = lab.file("ipa.kernel", b"a foreign kernel")?;
    let (ramdisk, _) = lab.file("ipa.initramfs", b"a ramdisk without an agent")?;
    let node = json!({"name": "n1", "driver": "ipmi", "driver_info": {
        "ipmi_address": machine.bmc_address, "ipmi_username": USER, "ipmi_password": machine.password(),
        "deploy_kernel": kernel, "deploy_ramdisk": ramdisk,
    }});
    let node = rest.ask("POST", "nodes", Some(node)).await?;
    let port = json!({"address": machine.mac.to_string(), "node_uuid": node["uuid"]});
    rest.ask("POST", "ports", Some(port)).await?;
    rest.provision("n1", "manage").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    let steps = json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "erase_devices"}]});
    rest.ask("PUT", "nodes/n1/states/provision", Some(steps)).await?;
    rest.reach_within("n1", "clean wait", WAIT_TIMEOUT).await?;
    Ok(node["uuid"].as_str().context("no id")?.to_owned())
}

/// On loopback the scheduler passes calls on, and answers once the machine has booted.
async fn first_token(rest: &Rest<'_>, lookup: &str, password: &str) -> Result<String> {
    let found = async {
        loop {
            match rest.ask("GET", lookup, None).await {
                Ok(found) => return found,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let found: Value = tokio::time::timeout(WAIT_TIMEOUT, found).await.context("the lookup is not answered")?;
    let token = found["config"]["agent_token"].as_str().unwrap_or_default().to_owned();
    ensure!(token.len() == 64 && !found.to_string().contains(password), "{found}");
    Ok(token)
}

async fn segment(lab: &Lab, api: &Api, tag: &str) -> Result<Segment> {
    let stranger = Namespace::named(&format!("im-{tag}-n2"));
    stranger.ip(&format!("address add {STRANGER}/24 dev eth0"))?;
    let address = |file: &str| {
        let path = lab.data().join(file);
        anyhow::Ok(fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
    };
    Ok(Segment {
        stranger,
        mac: lab.machine("n1")?.mac,
        api: api.clone(),
        store: record::store(&lab.data(), "scheduler-service-1").await?,
        data: lab.data(),
        http: address("pxe-service-1/http.address")?,
        agents: address("inventory-service-1/ironic.address")?,
        rest: address("scheduler-service-1/rest.address")?,
        node: String::new(),
        token: String::new(),
    })
}

#[test]
fn a_host_on_the_segment_that_is_no_node_gets_nothing_and_keeps_nothing_from_others() {
    let tag = "hostnet";
    let lab = Lab::up(tag, &[Spec::default(), Spec::default()], Options::default()).unwrap();
    lab.run(async |api, lab| {
        let rest = Rest::new(lab.mesh())?;
        let mut segment = segment(lab, &api, tag).await?;
        segment.node = waits_for_agent(lab, &rest).await?;
        let lookup = format!("lookup?addresses={}", segment.mac);
        segment.token = first_token(&rest, &lookup, &lab.machine("n1")?.password()).await?;
        let mut guard = Guard::new(lab.mesh(), &lab.data(), api, &raw::others()).await?;
        let called = async |sent: &_| agents::carry_out(&segment, sent).await;
        hostile::attack("agents", agents::TABLE, &mut guard, called).await?;
        // What is right is accepted, so that the others were refused for what they are.
        let beat = json!({"agent_token": segment.token, "callback_url": "https://10.77.1.100:9999",
            "agent_version": "13.0.0", "agent_verify_ca": "pem"});
        ensure!(rest.status("POST", &format!("heartbeat/{}", segment.node), Some(beat)).await? == 202);
        let sent = async |sent: &_| boot::carry_out(&segment, sent).await;
        hostile::attack("boot", boot::TABLE, &mut guard, sent).await
    })
    .unwrap();
}
