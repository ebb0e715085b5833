//! Racks: their networks, what their machines boot, and their replicas.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use domain::net::Subnet;
use proto::api::v1::{
    CreateRackRequest, DeleteRackRequest, GetRackRequest, ListRacksRequest, Rack, Replica, UpdateRackRequest,
};
use serde_json::Value;

use super::{answered, repeat};
use crate::{
    call::Api,
    error::Error,
    human::{self, ago},
    json,
    once::once,
    output::Screen,
    pages, table, words,
};

/// What can be asked of racks.
#[derive(Debug, Subcommand)]
pub enum RackCommand {
    /// Create a rack.
    ///
    /// Its provisioning network is where its machines boot: the pxe-service answers DHCP there, with one server identifier
    /// for all replicas. Kernel and ramdisk are images that boot the agent; they are registered first.
    #[command(
        after_help = "Example:\n  ironmesh rack create r1 --subnet 10.77.1.0/24 --first 10.77.1.100 --last 10.77.1.199 \\\n      \
                            --server-identifier 10.77.1.1 --router 10.77.1.254 --kernel agent-kernel --ramdisk agent-ramdisk"
    )]
    Create(Create),
    /// List racks.
    #[command(after_help = "Examples:\n  ironmesh rack list --watch\n  ironmesh rack list -o json | jq '.[].name'")]
    List(List),
    /// Show a rack: its network, what its machines boot, who serves it, and MACs that belong to no node.
    ///
    /// A machine that asks for an address and is not enrolled appears among the unknown MACs.
    #[command(after_help = "Example:\n  ironmesh rack show r1")]
    Show(Named),
    /// Change a rack; options that are left out change nothing.
    ///
    /// Nodes that boot from now on get the new kernel, ramdisk and arguments.
    #[command(after_help = "Example:\n  ironmesh rack set r1 --kernel agent-kernel-2 --ramdisk agent-ramdisk-2")]
    Set(Set),
    /// Delete a rack that has no nodes, no hosts and no running services. Its name is free then.
    #[command(after_help = "Example:\n  ironmesh rack delete r1")]
    Delete(Named),
}

/// How racks are listed.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Show the list again whenever it changes, until it is interrupted.
    #[arg(long)]
    watch: bool,
}

/// Which rack.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name or id; left out: the rack whose name is empty.
    #[arg(default_value = "", hide_default_value = true)]
    rack: String,
}

/// A new rack.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name: lower-case letters, digits, dashes.
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    boots: Boots,
}

/// Changes to a rack.
#[derive(Debug, Clone, Args)]
pub struct Set {
    #[command(flatten)]
    rack: Named,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    boots: Boots,
}

/// Its provisioning network.
#[derive(Debug, Clone, Args)]
pub struct Network {
    /// The provisioning network, as 10.77.1.0/24.
    #[arg(long, value_name = "NETWORK")]
    subnet: Option<Subnet>,
    /// The first address that machines may have.
    #[arg(long, value_name = "ADDRESS")]
    first: Option<Ipv4Addr>,
    /// The last address that machines may have.
    #[arg(long, value_name = "ADDRESS")]
    last: Option<Ipv4Addr>,
    /// The way out of the network, told to machines.
    #[arg(long, value_name = "ADDRESS")]
    router: Option<Ipv4Addr>,
    /// The DHCP server identifier, one for all replicas of the pxe-service (RFC 2132 §9.7): an address that nothing else
    /// has, which the leader of them holds.
    #[arg(long, value_name = "ADDRESS")]
    server_identifier: Option<Ipv4Addr>,
}

/// What its machines boot from the network.
#[derive(Debug, Clone, Args)]
pub struct Boots {
    /// The image of the agent's kernel.
    #[arg(long, value_name = "IMAGE")]
    kernel: Option<String>,
    /// The image of the agent's ramdisk.
    #[arg(long, value_name = "IMAGE")]
    ramdisk: Option<String>,
    /// Added to the kernel's command line.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    kernel_arguments: Option<String>,
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: RackCommand) -> Result<(), Error> {
    match command {
        RackCommand::Create(create) => {
            let request = new(create);
            show(screen, &answered(once(request, async |request| api.racks().create_rack(request).await).await?.rack)?)
        }
        RackCommand::List(List { watch }) => {
            let page = async |page_token| {
                let request = ListRacksRequest { page_token, ..Default::default() };
                let answer = api.racks().list_racks(request).await?.into_inner();
                Ok((answer.racks, answer.next_page_token))
            };
            let json = |racks: &Vec<Rack>| racks.iter().map(json::rack).collect::<Value>();
            if watch {
                let ask = async || pages::all(page).await;
                return repeat::watch(screen, ask, |racks| table_of(screen, racks), json).await;
            }
            let racks = pages::all(page).await?;
            screen.show(|| table_of(screen, &racks), || json(&racks))
        }
        RackCommand::Delete(Named { rack }) => {
            let request = DeleteRackRequest { rack: rack.clone(), ..Default::default() };
            once(request, async |request| api.racks().delete_rack(request).await).await?;
            let told = serde_json::json!({ "name": rack, "deleted": true });
            screen.show(|| format!("{}: deleted", human::rack(&rack)), || told)
        }
        RackCommand::Show(Named { rack }) => {
            show(screen, &answered(api.racks().get_rack(GetRackRequest { rack }).await?.into_inner().rack)?)
        }
        RackCommand::Set(set) => show(
            screen,
            &answered(once(change(set), async |request| api.racks().update_rack(request).await).await?.rack)?,
        ),
    }
}

fn text<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn new(create: Create) -> CreateRackRequest {
    let Create { name, network, boots } = create;
    CreateRackRequest {
        name,
        subnet: text(network.subnet).unwrap_or_default(),
        first_address: text(network.first).unwrap_or_default(),
        last_address: text(network.last).unwrap_or_default(),
        router: text(network.router).unwrap_or_default(),
        server_identifier: text(network.server_identifier).unwrap_or_default(),
        kernel: boots.kernel.unwrap_or_default(),
        ramdisk: boots.ramdisk.unwrap_or_default(),
        kernel_arguments: boots.kernel_arguments.unwrap_or_default(),
    }
}

fn change(set: Set) -> UpdateRackRequest {
    let Set { rack, network, boots } = set;
    UpdateRackRequest {
        rack: rack.rack,
        kernel: boots.kernel,
        ramdisk: boots.ramdisk,
        kernel_arguments: boots.kernel_arguments,
        subnet: text(network.subnet),
        first_address: text(network.first),
        last_address: text(network.last),
        router: text(network.router),
        server_identifier: text(network.server_identifier),
        ..Default::default()
    }
}

fn table_of(screen: &Screen, racks: &[Rack]) -> String {
    let row = |rack: &Rack| {
        let range = if rack.subnet.is_empty() {
            String::new()
        } else {
            format!("{} - {}", rack.first_address, rack.last_address)
        };
        vec![
            human::rack(&rack.name),
            rack.subnet.clone(),
            range,
            rack.kernel.clone(),
            rack.ramdisk.clone(),
            rack.replicas.len().to_string(),
            rack.unknown_macs.len().to_string(),
        ]
    };
    let heading = ["RACK", "SUBNET", "ADDRESSES", "KERNEL", "RAMDISK", "REPLICAS", "UNKNOWN MACS"];
    table::list(screen, &heading, racks.iter().map(row))
}

fn show(screen: &Screen, rack: &Rack) -> Result<(), Error> {
    screen.show(|| drawn(screen, rack), || json::rack(rack))
}

fn drawn(screen: &Screen, rack: &Rack) -> String {
    let range =
        if rack.subnet.is_empty() { String::new() } else { format!("{} to {}", rack.first_address, rack.last_address) };
    let mut text = table::facts(
        screen,
        [
            ("rack", human::rack(&rack.name)),
            ("id", rack.id.clone()),
            ("subnet", rack.subnet.clone()),
            ("addresses", range),
            ("router", rack.router.clone()),
            ("server identifier", rack.server_identifier.clone()),
            ("kernel", rack.kernel.clone()),
            ("ramdisk", rack.ramdisk.clone()),
            ("kernel arguments", rack.kernel_arguments.clone()),
        ],
    );
    if rack.replicas.is_empty() {
        let name = if rack.name.is_empty() { "\"\"" } else { &rack.name };
        text.push_str(&format!(
            "\n\nNo host serves this rack. Let one join:\n\n  ironmesh token create --rack {name}\n\nand type on it what this \
             shows."
        ));
    } else {
        text.push_str("\n\n");
        text.push_str(&replicas(screen, rack));
        text.push_str(&leaving(screen, rack));
    }
    if !rack.unknown_macs.is_empty() {
        let rows = rack.unknown_macs.iter();
        let rows =
            rows.map(|mac| vec![mac.mac.clone(), ago(screen.now(), mac.last_request_time), mac.firmware.clone()]);
        text.push_str("\n\nMACs that asked for an address and belong to no node:\n\n");
        text.push_str(&table::list(screen, &["MAC", "SEEN", "FIRMWARE"], rows));
    }
    text
}

/// What keeps a replica from having its share of the nodes, in a word.
fn state(rack: &Rack, replica: &Replica) -> String {
    let ring = rack.rings.iter().find(|ring| ring.service == replica.service);
    let behind = ring.is_some_and(|ring| replica.acknowledged < ring.epoch);
    if replica.stopping {
        "stopping".to_owned()
    } else if behind {
        "letting go".to_owned()
    } else {
        String::new()
    }
}

/// Instances that left a ring and have not released all of their nodes.
fn leaving(screen: &Screen, rack: &Rack) -> String {
    let all = rack.rings.iter().flat_map(|ring| ring.leaving.iter().map(move |leaving| (ring, leaving)));
    let lines = all.map(|(ring, leaving)| {
        let how = if leaving.present { "it still has its lease" } else { "its lease is gone" };
        let instance: String = leaving.instance.chars().take(8).collect();
        format!(
            "\n{} {instance} is leaving since {}: {how}.",
            words::service(ring.service()),
            ago(screen.now(), leaving.leave_time)
        )
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

fn replicas(screen: &Screen, rack: &Rack) -> String {
    let word = |is: bool, word: &str| if is { word.to_owned() } else { String::new() };
    let rows = rack.replicas.iter().map(|replica| {
        vec![
            words::service(replica.service()).to_owned(),
            replica.instance.chars().take(8).collect(),
            replica.host.clone(),
            replica.endpoint.clone(),
            word(replica.leader, "yes"),
            replica.owns.to_string(),
            state(rack, replica),
        ]
    });
    table::list(screen, &["SERVICE", "INSTANCE", "HOST", "ENDPOINT", "LEADER", "OWNS", "STATE"], rows)
}
