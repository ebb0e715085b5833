//! Tokens with which hosts join the datacenter.

use std::time::Duration;

use clap::{Args, Subcommand};
use domain::service::Service;
use proto::{
    api::v1::{
        CreateJoinTokenRequest, CreateJoinTokenResponse, DeleteJoinTokenRequest, JoinToken, ListJoinTokensRequest,
        ServiceKind,
    },
    convert::time::WireDuration,
};
use serde_json::Value;

use super::answered;
use crate::{
    call::Api,
    error::Error,
    human::{self, duration},
    json,
    once::once,
    output::Screen,
    table, words,
};

/// What can be asked of join tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token with which a host joins the datacenter.
    ///
    /// It allows what is named here and nothing else, for as many hosts as named, until it expires. The command that is shown is
    /// typed on the other host. The token is a secret that is not shown again.
    #[command(
        after_help = "Examples:\n  ironmesh token create --rack r7\n  ironmesh token create --rack r7 --services power,pxe \
                      --uses 2 --expires 2h\n  ironmesh token create --store --scheduler"
    )]
    Create(Create),
    /// List the tokens that have not expired, the one that expires first at the top.
    #[command(after_help = "Example:\n  ironmesh token list")]
    List,
    /// Delete a token. Hosts that joined with it stay.
    #[command(after_help = "Example:\n  ironmesh token delete 00000000-0000-4000-8000-000000000701")]
    Delete(Delete),
}

/// What a new token allows.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Name or id of the rack that the host serves.
    #[arg(long, required_unless_present_any = ["store", "scheduler"])]
    rack: Option<String>,
    /// The services of the rack that the host may run; left out: all. The names may be cut: power, pxe, storage, inventory.
    #[arg(long, value_name = "SERVICES", value_delimiter = ',', value_parser = service, requires = "rack")]
    services: Vec<Service>,
    /// Let the host run a member of the built-in store.
    #[arg(long)]
    store: bool,
    /// Let the host run a scheduler-service.
    #[arg(long)]
    scheduler: bool,
    /// How many hosts may join with it.
    #[arg(long, value_name = "HOSTS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// How long it is valid, such as 2h: from a minute to 30 days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    expires: Duration,
}

/// Which token.
#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// Its id, as token list shows it.
    token: String,
}

/// Reads the name of a service of a rack, whole or without its end.
fn service(word: &str) -> anyhow::Result<Service> {
    let leaves = Service::ALL.into_iter().filter(|service| *service != Service::Scheduler);
    let short = |service: &Service| service.name().trim_end_matches("-service");
    let found = leaves.into_iter().find(|service| word == service.name() || word == short(service));
    found.ok_or_else(|| anyhow::anyhow!("{word:?} is no service of a rack; they are power, pxe, storage and inventory"))
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: TokenCommand) -> Result<(), Error> {
    match command {
        TokenCommand::Create(Create { rack, services, store, scheduler, uses, expires }) => {
            let services = services.into_iter().map(|service| ServiceKind::from(service).into()).collect();
            let seconds = i64::try_from(expires.as_secs()).unwrap_or(i64::MAX);
            let lifetime = Some(WireDuration { seconds, nanos: 0 });
            let request = CreateJoinTokenRequest { rack, services, store, scheduler, uses, lifetime };
            let made = once(request, async |request| api.hosts().create_join_token(request).await).await?;
            let token = answered(made.token.clone())?;
            screen.show(
                || created(screen, &made, &token),
                || json::new_token(&made, &token, &join_command(&made, &token)),
            )
        }
        TokenCommand::List => {
            let tokens = api.hosts().list_join_tokens(ListJoinTokensRequest {}).await?.into_inner().tokens;
            screen.show(|| table_of(screen, &tokens), || tokens.iter().map(json::token).collect::<Value>())
        }
        TokenCommand::Delete(Delete { token }) => {
            let request = DeleteJoinTokenRequest { id: token.clone() };
            once(request, async |request| api.hosts().delete_join_token(request).await).await?;
            let told = serde_json::json!({ "id": token, "deleted": true });
            screen.show(|| format!("{token}: deleted"), || told)
        }
    }
}

/// What is typed on the host that joins.
fn join_command(made: &CreateJoinTokenResponse, token: &JoinToken) -> String {
    let mut command = format!("ironmesh join {} --token {}", made.authority, made.secret);
    for (is_allowed, option) in [(token.store, " --store"), (token.scheduler, " --scheduler")] {
        if is_allowed {
            command.push_str(option);
        }
    }
    command
}

fn created(screen: &Screen, made: &CreateJoinTokenResponse, token: &JoinToken) -> String {
    let hosts = if token.uses == 1 { "1 host".to_owned() } else { format!("{} hosts", token.uses) };
    let facts = [
        ("token", token.id.clone()),
        ("allows", allows(token)),
        ("for", hosts),
        ("until", human::at(token.expire_time).map(human::second).unwrap_or_default()),
    ];
    let command = join_command(made, token);
    format!("{}\n\nOn the host that is to join, as root:\n\n  {command}", table::facts(screen, facts))
}

/// What hosts may run.
fn allows(token: &JoinToken) -> String {
    let services: Vec<_> = token.services().map(|kind| words::service(kind).trim_end_matches("-service")).collect();
    let mut parts = Vec::new();
    if !services.is_empty() {
        let all = services.len() == Service::ALL.len() - 1;
        let services = if all { "all services".to_owned() } else { services.join(", ") };
        parts.push(format!("{}: {services}", human::rack(&token.rack)));
    }
    parts.extend(token.store.then(|| "store".to_owned()));
    parts.extend(token.scheduler.then(|| "scheduler".to_owned()));
    parts.join("; ")
}

fn table_of(screen: &Screen, tokens: &[JoinToken]) -> String {
    let row = |token: &JoinToken| {
        vec![
            token.id.clone(),
            allows(token),
            format!("{}/{}", token.hosts.len(), token.uses),
            human::ahead(screen.now(), token.expire_time),
        ]
    };
    table::list(screen, &["TOKEN", "ALLOWS", "USED", "EXPIRES"], tokens.iter().map(row))
}
