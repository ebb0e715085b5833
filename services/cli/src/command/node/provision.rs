//! Provisioning verbs: applied to several nodes at once, and watched on request.

use std::{path::PathBuf, time::Duration};

use anyhow::{anyhow, bail};
use clap::{ArgGroup, Args};
use domain::provision::Verb;
use futures::future::join_all;
use proto::api::v1::{Node, ProvisionNodeRequest, ProvisionVerb, Step};
use tokio::time::Instant;

use super::{
    super::{
        answered,
        bulk::{Limits, Waiting, Wanted, begin},
        config_drive::config_drive,
        filter::Filter,
        secret::Source,
    },
    follow::{Board, follow},
    outcome::{Outcome, Telling},
    show::parts,
    verdict::{Goal, rests},
};
use crate::{call::Api, error::Error, human::duration, once::once, output::Screen};

/// Maximum number of bytes read from a password file.
const MAX_PASSWORD_BYTES: u64 = 1024;

/// A move that needs no more than names.
#[derive(Debug, Clone, Args)]
pub struct Plain {
    /// Names or ids of nodes.
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    waits: Waits,
}

/// Bringing an image up.
#[derive(Debug, Clone, Args)]
pub struct Deploy {
    /// Names or ids of nodes; left out: those that the filter selects and that accept the verb now.
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    limits: Limits,
    /// The image's name or id; left out: the node's current image.
    #[arg(long)]
    image: Option<String>,
    /// User data for cloud-init, which becomes openstack/latest/user_data in the config drive.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// A file in the config drive; may be repeated. At most 512 KiB in total.
    #[arg(long, value_name = "PATH_IN_DRIVE=FILE", value_parser = drive_file)]
    config_drive_file: Vec<(String, PathBuf)>,
    #[command(flatten)]
    waits: Waits,
}

/// Taking a running machine over.
#[derive(Debug, Clone, Args)]
pub struct Adopt {
    /// Names or ids of nodes.
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// The name or id of the image that runs there, for a later rebuild; left out: not known.
    #[arg(long)]
    image: Option<String>,
    #[command(flatten)]
    waits: Waits,
}

/// Steps on a machine.
#[derive(Debug, Clone, Args)]
pub struct Stepped {
    /// Names or ids of nodes.
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// A step, as deploy.erase_devices; may be repeated, and the order counts.
    #[arg(long = "step", required = true, value_name = "INTERFACE.STEP", value_parser = step)]
    steps: Vec<Step>,
    #[command(flatten)]
    waits: Waits,
}

/// Booting a rescue system.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("password").required(true).args(["password_file", "password_stdin"]))]
pub struct Rescue {
    /// Names or ids of nodes.
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// A file with the password; a line feed at its end is ignored.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password from standard input.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    waits: Waits,
}

/// Whether and how long to wait.
#[derive(Debug, Clone, Args)]
pub struct Waits {
    /// Wait until the nodes have reached the state, and show their progress.
    #[arg(short, long)]
    wait: bool,
    /// Maximum time to wait; work on the nodes continues after it.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration, requires = "wait")]
    timeout: Duration,
}

fn drive_file(text: &str) -> anyhow::Result<(String, PathBuf)> {
    match text.split_once('=') {
        Some((path, file)) if !path.is_empty() && !file.is_empty() => Ok((path.to_owned(), PathBuf::from(file))),
        _ => bail!("write it as PATH_IN_DRIVE=FILE, such as openstack/latest/vendor_data.json=./vendor.json"),
    }
}

pub(super) async fn plain(screen: &Screen, api: &Api, verb: Verb, plain: Plain) -> Result<(), Error> {
    let request = ProvisionNodeRequest { verb: ProvisionVerb::from(verb).into(), ..Default::default() };
    all(screen, api, plain.nodes, &request, &plain.waits).await
}

fn step(text: &str) -> anyhow::Result<Step> {
    match text.split_once('.') {
        Some((interface, step)) if !interface.is_empty() && !step.is_empty() => {
            Ok(Step { interface: interface.to_owned(), step: step.to_owned() })
        }
        _ => bail!("write it as INTERFACE.STEP, such as deploy.erase_devices"),
    }
}

pub(super) async fn stepped(screen: &Screen, api: &Api, verb: Verb, stepped: Stepped) -> Result<(), Error> {
    let request =
        ProvisionNodeRequest { verb: ProvisionVerb::from(verb).into(), steps: stepped.steps, ..Default::default() };
    all(screen, api, stepped.nodes, &request, &stepped.waits).await
}

pub(super) async fn rescue(screen: &Screen, api: &Api, rescue: Rescue) -> Result<(), Error> {
    let source = Source { what: "the rescue password", option: "--password-file", most: MAX_PASSWORD_BYTES };
    let password = source.read(rescue.password_file.as_deref(), rescue.password_stdin)?;
    let rescue_password = password.unwrap_or_default();
    let request = ProvisionNodeRequest { verb: ProvisionVerb::Rescue.into(), rescue_password, ..Default::default() };
    all(screen, api, rescue.nodes, &request, &rescue.waits).await
}

pub(super) async fn deploy(screen: &Screen, api: &Api, verb: Verb, deploy: Deploy) -> Result<(), Error> {
    let config_drive = config_drive(deploy.user_data, deploy.config_drive_file)?;
    let image = deploy.image.unwrap_or_default();
    let is_filtered = deploy.filter.clone().wire().is_some() || deploy.limits.is_said();
    if is_filtered && !deploy.nodes.is_empty() {
        return Err(anyhow!("name the nodes, or select them with a filter or a count; not both").into());
    }
    if is_filtered {
        let wanted = Wanted { verb, image, filter: deploy.filter, limits: deploy.limits, config_drive };
        let until = Instant::now() + deploy.waits.timeout;
        let waiting = if deploy.waits.wait { Waiting::Until(Some(until)) } else { Waiting::No };
        return begin(screen, api, wanted, waiting).await;
    }
    if deploy.nodes.is_empty() {
        return Err(
            anyhow!("name the nodes, or select them with a filter or a count, such as --state available").into()
        );
    }
    let request =
        ProvisionNodeRequest { verb: ProvisionVerb::from(verb).into(), image, config_drive, ..Default::default() };
    all(screen, api, deploy.nodes, &request, &deploy.waits).await
}

pub(super) async fn adopt(screen: &Screen, api: &Api, adopt: Adopt) -> Result<(), Error> {
    let (verb, image) = (ProvisionVerb::Adopt.into(), adopt.image.unwrap_or_default());
    let request = ProvisionNodeRequest { verb, image, ..Default::default() };
    all(screen, api, adopt.nodes, &request, &adopt.waits).await
}

async fn all(
    screen: &Screen,
    api: &Api,
    names: Vec<String>,
    request: &ProvisionNodeRequest,
    waits: &Waits,
) -> Result<(), Error> {
    let begun = Instant::now();
    // All are asked before the first is watched: streams would use up the connection's share of calls.
    let asked = join_all(names.iter().map(|name| ask(api, name, request))).await;
    let board = waits.wait.then(|| Board::new(screen, &names));
    let watched = names.iter().zip(asked).map(|(name, asked)| async {
        let node = match (asked, &board) {
            (Err(error), _) => return Outcome::Refused(error),
            (Ok(node), None) => return Outcome::Accepted(node),
            (Ok(node), Some(_)) => node,
        };
        let goal = Goal::Life { rests: rests(request.verb()), revision: node.revision };
        let Some(mut row) = board.as_ref().map(|board| board.row(name)) else { return Outcome::Accepted(node) };
        let ended = follow(api, &node.id, &goal, begun + waits.timeout, &mut row).await;
        row.end();
        Outcome::of(ended, begun.elapsed())
    });
    let outcomes: Vec<_> = names.iter().cloned().zip(join_all(watched).await).collect();
    let telling = Telling { api, state: |node| parts(node).1.state, timeout: waits.timeout };
    telling.tell(screen, &outcomes)
}

async fn ask(api: &Api, name: &str, request: &ProvisionNodeRequest) -> Result<Node, Error> {
    let request = ProvisionNodeRequest { node: name.to_owned(), ..request.clone() };
    answered(once(request, async |request| api.nodes().provision_node(request).await).await?.node)
}
