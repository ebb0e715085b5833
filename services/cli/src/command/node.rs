//! Nodes: the machines under management.

pub mod bmc;
pub mod enrol;
mod follow;
pub mod history;
pub mod list;
mod outcome;
pub mod power;
pub mod provision;
pub mod show;
pub mod timeline;
mod verdict;
mod watch;

use clap::{Args, Subcommand};
use domain::provision::Verb;
use proto::api::v1::DeleteNodeRequest;
use serde_json::json;

use self::{
    enrol::{Create, Maintenance, Set},
    list::List,
    power::Power,
    provision::{Adopt, Deploy, Plain, Rescue, Stepped},
    timeline::Timeline,
};
use crate::{call::Api, error::Error, once::once, output::Screen};

/// What can be asked of nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Enroll a machine.
    ///
    /// The BMC is called over IPMI; its password is read from a file or from standard input, never from the command line,
    /// and kept sealed. The MACs are those of the NICs that it boots from. Next: ironmesh node manage.
    #[command(
        after_help = "Examples:\n  ironmesh node create n1 --bmc 10.77.2.11 --bmc-user admin --bmc-password-file ./bmc.password \\\n      \
                            --mac 52:54:00:00:00:01\n  pass bmc/n2 | ironmesh node create n2 --rack r1 --bmc bmc-n2.example:623 \
                            --bmc-user admin \\\n      --bmc-password-stdin --mac 52:54:00:00:00:02 --boot-mode uefi"
    )]
    Create(Create),
    /// List nodes: the state of each, and what it waits for or why it failed.
    #[command(
        after_help = "Examples:\n  ironmesh node list --rack r1 --state available --trait CUSTOM_GPU\n  ironmesh node list \
                            --name 'r1-*' --watch\n  ironmesh node list -o json | jq -r '.[] | \
                            select(.observed.state == \"active\") | .name'"
    )]
    List(List),
    /// Show a node: its configuration, its observed state, what it waits for, and the verbs that it accepts.
    #[command(after_help = "Example:\n  ironmesh node show n1")]
    Show(Named),
    /// Change a node; options that are left out change nothing.
    #[command(
        after_help = "Examples:\n  ironmesh node set n1 --bmc-user root --bmc-password-file ./new.password\n  ironmesh node \
                            set n1 --add-mac 52:54:00:00:00:09 --boot-mode uefi"
    )]
    Set(Set),
    /// Delete a node that is not in use.
    #[command(after_help = "Example:\n  ironmesh node undeploy n1 --wait && ironmesh node delete n1")]
    Delete(Named),
    /// Switch a node on or off.
    ///
    /// `cycle` switches the node on, or restarts it if it is on. Waits until the BMC confirms, unless --no-wait is given.
    #[command(after_help = "Examples:\n  ironmesh node power n1 on\n  ironmesh node power n1 cycle --timeout 5m")]
    Power(Power),
    /// Restart the BMC of a node, once; the machine goes on.
    ///
    /// For nodes with the driver ipmi. The BMC may not answer the next commands before it has started again. A restart
    /// whose outcome is not known is not repeated.
    #[command(after_help = "Examples:\n  ironmesh node bmc-reset n1\n  ironmesh node bmc-reset n1 --cold --timeout 5m")]
    BmcReset(bmc::Reset),
    /// Send a raw IPMI command to the BMC of a node, once.
    ///
    /// For nodes with the driver ipmi. What the command changes is not known to Ironmesh: one that switches the machine or
    /// sets its boot device is noticed later, or not at all. Data is stored sealed and never logged; read a command with a
    /// password from a file or from standard input.
    #[command(
        after_help = "Examples:\n  ironmesh node raw n1 0x00 0x04 15\n  pass bmc/set-password.raw | ironmesh node raw n1 \
                            --stdin"
    )]
    Raw(bmc::Raw),
    /// Check the BMC of an enrolled node; or take an available one out of use.
    #[command(after_help = "Example:\n  ironmesh node manage n1 n2 n3 --wait")]
    Manage(Plain),
    /// Put a manageable node into use: it may then be deployed.
    #[command(after_help = "Example:\n  ironmesh node provide n1 --wait")]
    Provide(Plain),
    /// Read the hardware of manageable nodes.
    ///
    /// Each machine is restarted and boots the agent from the network, which reports processor, memory, disks and NICs and
    /// touches no disk; then it is switched off. What was found is in ironmesh node show. MACs that no node has become
    /// ports of the node, without an address on the provisioning network (--remove-mac and --add-mac give one); a MAC that
    /// another node has stays there, and is remarked on. After a failure it may be asked for again, or the node be taken
    /// back with ironmesh node manage.
    #[command(
        after_help = "Examples:\n  ironmesh node inspect n1 --wait\n  ironmesh node inspect n1 n2 n3 --wait --timeout \
                            20m && ironmesh node show n1"
    )]
    Inspect(Plain),
    /// Adopt machines that already run their systems.
    ///
    /// A manageable node becomes active as it is: its BMC is asked whether it answers and how power stands, and is told
    /// nothing; nothing is booted, written or wiped. From then on it is a node like any other: an undeploy wipes its disks,
    /// a rebuild brings its image up again.
    #[command(
        after_help = "Examples:\n  ironmesh node adopt n1 --wait\n  ironmesh node adopt n1 n2 n3 --image debian-12 --wait"
    )]
    Adopt(Adopt),
    /// Deploy an image on nodes.
    ///
    /// The machine boots the agent from the network, which writes the image and the config drive to its disk, verified;
    /// then it boots from the disk. Several nodes are deployed at once. Without names, the nodes that the filter selects and
    /// that can be deployed now become a bulk (ironmesh bulk --help), which continues even if this command ends.
    #[command(
        after_help = "Examples:\n  ironmesh node deploy n1 --image debian-12 --wait\n  ironmesh node deploy n1 n2 n3 --image \
                            debian-12 --user-data ./cloud-init.yaml \\\n      --config-drive-file \
                            openstack/latest/vendor_data.json=./vendor.json --wait --timeout 20m\n  ironmesh node deploy \
                            --image debian-12 --count 20 --trait CUSTOM_GPU --canary 2 --wait"
    )]
    Deploy(Box<Deploy>),
    /// Deploy again on a node that has an image: the same image, unless another is named.
    #[command(after_help = "Example:\n  ironmesh node rebuild n1 --wait")]
    Rebuild(Box<Deploy>),
    /// Remove a deployment and wipe the disks.
    #[command(after_help = "Example:\n  ironmesh node undeploy n1 --wait")]
    Undeploy(Plain),
    /// Run the given cleaning steps on manageable nodes.
    ///
    /// Only these steps are run: no disk is wiped without deploy.erase_devices. The nodes end manageable.
    #[command(after_help = "Example:\n  ironmesh node clean n1 --step deploy.erase_devices_metadata --wait")]
    Clean(Stepped),
    /// Run the given service steps on active nodes, which end active.
    #[command(after_help = "Example:\n  ironmesh node service n1 --step firmware.update --wait")]
    Service(Stepped),
    /// Boot a rescue system on nodes in use.
    ///
    /// The password that its user logs in with is read from a file or from standard input, never from the command line.
    #[command(after_help = "Example:\n  ironmesh node rescue n1 --password-file ./rescue.password --wait")]
    Rescue(Rescue),
    /// Boot the deployed system again after a rescue.
    #[command(after_help = "Example:\n  ironmesh node unrescue n1 --wait")]
    Unrescue(Plain),
    /// Continue after a hold between two steps.
    #[command(after_help = "Example:\n  ironmesh node unhold n1")]
    Unhold(Plain),
    /// Put nodes into maintenance while operators work on them by hand, or end it.
    #[command(
        after_help = "Examples:\n  ironmesh node maintenance on n1 n2 --reason \"new fans\"\n  ironmesh node maintenance off \
                            n1 n2"
    )]
    Maintenance(Maintenance),
    /// Stop what is running on a node.
    #[command(after_help = "Example:\n  ironmesh node abort n1")]
    Abort(Plain),
    /// List a node's boots that are remembered: when each began, how long it took and what was seen last.
    #[command(after_help = "Example:\n  ironmesh node history n1")]
    History(Named),
    /// Draw a node's last boot: what was seen when, where the time went, and where it stopped.
    #[command(after_help = "Example:\n  ironmesh node timeline n1 --all")]
    Timeline(Timeline),
}

/// Which node.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name or id.
    node: String,
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: NodeCommand) -> Result<(), Error> {
    match command {
        NodeCommand::Create(create) => enrol::create(screen, api, create).await,
        NodeCommand::List(list) => list::run(screen, api, list).await,
        NodeCommand::Show(Named { node }) => show::one(screen, api, node).await,
        NodeCommand::Set(set) => enrol::set(screen, api, set).await,
        NodeCommand::Delete(Named { node }) => delete(screen, api, node).await,
        NodeCommand::Power(power) => power::run(screen, api, power).await,
        NodeCommand::BmcReset(reset) => bmc::reset(screen, api, reset).await,
        NodeCommand::Raw(raw) => bmc::raw(screen, api, raw).await,
        NodeCommand::Manage(plain) => provision::plain(screen, api, Verb::Manage, plain).await,
        NodeCommand::Provide(plain) => provision::plain(screen, api, Verb::Provide, plain).await,
        NodeCommand::Inspect(plain) => provision::plain(screen, api, Verb::Inspect, plain).await,
        NodeCommand::Adopt(adopt) => provision::adopt(screen, api, adopt).await,
        NodeCommand::Deploy(deploy) => provision::deploy(screen, api, Verb::Deploy, *deploy).await,
        NodeCommand::Rebuild(deploy) => provision::deploy(screen, api, Verb::Rebuild, *deploy).await,
        NodeCommand::Undeploy(plain) => provision::plain(screen, api, Verb::Undeploy, plain).await,
        NodeCommand::Clean(stepped) => provision::stepped(screen, api, Verb::Clean, stepped).await,
        NodeCommand::Service(stepped) => provision::stepped(screen, api, Verb::Service, stepped).await,
        NodeCommand::Rescue(rescue) => provision::rescue(screen, api, rescue).await,
        NodeCommand::Unrescue(plain) => provision::plain(screen, api, Verb::Unrescue, plain).await,
        NodeCommand::Unhold(plain) => provision::plain(screen, api, Verb::Unhold, plain).await,
        NodeCommand::Maintenance(maintenance) => enrol::maintain(screen, api, maintenance).await,
        NodeCommand::Abort(plain) => provision::plain(screen, api, Verb::Abort, plain).await,
        NodeCommand::History(Named { node }) => history::run(screen, api, node).await,
        NodeCommand::Timeline(timeline) => timeline::run(screen, api, timeline).await,
    }
}

async fn delete(screen: &Screen, api: &Api, node: String) -> Result<(), Error> {
    once(DeleteNodeRequest { node: node.clone(), ..Default::default() }, async |request| {
        api.nodes().delete_node(request).await
    })
    .await?;
    screen.show(|| format!("{node}: deleted"), || json!({ "node": node, "deleted": true }))
}
