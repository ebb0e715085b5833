//! Webhooks: notify receivers of changes to nodes.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use proto::api::v1::{
    CreateWebhookRequest, DeleteWebhookRequest, GetWebhookRequest, ListWebhooksRequest, UpdateWebhookRequest, Webhook,
};
use serde_json::Value;

use super::{answered, secret::Source};
use crate::{
    call::Api,
    error::Error,
    human::{ago, moment},
    json,
    once::once,
    output::Screen,
    pages, table,
};

/// Octets of a file that are read.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What can be asked of webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// List webhooks, oldest first, and whether their receivers accept notifications.
    #[command(after_help = "Example:\n  ironmesh webhook list")]
    List,
    /// Show a webhook.
    #[command(after_help = "Example:\n  ironmesh webhook show cmdb")]
    Show(Named),
    /// Create a webhook, which notifies a receiver of changes to nodes from now on.
    ///
    /// Each event is an HTTP request, signed as the Standard Webhooks specification requires. A receiver that was not
    /// reachable gets the state as it is later. A notification may arrive twice, with the same webhook-id.
    #[command(
        after_help = "Example:\n  (printf whsec_; openssl rand -base64 32) > secret\n  ironmesh webhook create cmdb \
                            https://cmdb.example/hook --secret-file secret \\\n      --query 'resource_class=big&fields=uuid,name,provision_state'"
    )]
    Create(Create),
    /// Change a webhook, or disable it and enable it again.
    ///
    /// A webhook that is enabled again sends the differences since its last delivery.
    #[command(after_help = "Example:\n  ironmesh webhook set cmdb --enabled false")]
    Set(Set),
    /// Delete a webhook.
    #[command(after_help = "Example:\n  ironmesh webhook delete cmdb")]
    Delete(Named),
}

/// Which webhook.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name or id.
    webhook: String,
}

/// A new one.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name.
    name: String,
    /// Where events are sent to.
    url: String,
    /// A file with the signing secret: whsec_ and 24 to 64 bytes in base64. It is not shown again.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    #[command(flatten)]
    more: More,
}

/// What is to be different.
#[derive(Debug, Clone, Args)]
pub struct Set {
    /// Its name or id.
    webhook: String,
    /// Where events are sent to.
    #[arg(long)]
    url: Option<String>,
    /// A file with the signing secret: whsec_ and 24 to 64 bytes in base64. It is not shown again.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Whether notifications are sent.
    #[arg(long)]
    enabled: Option<bool>,
    #[command(flatten)]
    more: More,
}

/// What need not be said.
#[derive(Debug, Clone, Args)]
pub struct More {
    /// Which nodes it is about, and which of their fields: what stands behind the question mark of the REST API's list of
    /// nodes. Empty: all of all.
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// A file with a bearer token that the receiver wants. It is not shown again.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with certificates (PEM) that vouch for the receiver; left out: the operating system's CAs.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

fn read(what: &'static str, option: &'static str, file: Option<&Path>) -> Result<Option<String>, Error> {
    Ok(Source { what, option, most: MAX_FILE_BYTES }.read(file, false)?)
}

impl More {
    fn token(&self) -> Result<Option<String>, Error> {
        read("the token", "--token-file", self.token_file.as_deref())
    }

    fn ca(&self) -> Result<Option<String>, Error> {
        read("the certificates", "--ca-file", self.ca_file.as_deref())
    }
}

fn secret(file: Option<&Path>) -> Result<Option<String>, Error> {
    read("the secret", "--secret-file", file)
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: WebhookCommand) -> Result<(), Error> {
    let show = |one: Webhook| screen.show(|| shown(screen, &one), || json::webhook(&one));
    match command {
        WebhookCommand::List => {
            let page = async |page_token| {
                let request = ListWebhooksRequest { page_token, ..Default::default() };
                let answer = api.webhooks().list_webhooks(request).await?.into_inner();
                Ok((answer.webhooks, answer.next_page_token))
            };
            let all = pages::all(page).await?;
            screen.show(|| table_of(screen, &all), || all.iter().map(json::webhook).collect::<Value>())
        }
        WebhookCommand::Show(Named { webhook }) => {
            let answer = api.webhooks().get_webhook(GetWebhookRequest { webhook }).await?.into_inner();
            show(answered(answer.webhook)?)
        }
        WebhookCommand::Create(Create { name, url, secret_file, more }) => {
            let request = CreateWebhookRequest {
                name,
                url,
                query: more.query.clone().unwrap_or_default(),
                secret: secret(Some(&secret_file))?.unwrap_or_default(),
                token: more.token()?.unwrap_or_default(),
                ca: more.ca()?.unwrap_or_default(),
            };
            let answer = once(request, async |request| api.webhooks().create_webhook(request).await).await?;
            show(answered(answer.webhook)?)
        }
        WebhookCommand::Set(Set { webhook, url, secret_file, enabled, more }) => {
            let (token, ca, secret) = (more.token()?, more.ca()?, secret(secret_file.as_deref())?);
            let query = more.query;
            let request =
                UpdateWebhookRequest { webhook, url, query, secret, token, ca, enabled, ..Default::default() };
            let answer = once(request, async |request| api.webhooks().update_webhook(request).await).await?;
            show(answered(answer.webhook)?)
        }
        WebhookCommand::Delete(Named { webhook }) => {
            let request = DeleteWebhookRequest { webhook: webhook.clone(), ..Default::default() };
            once(request, async |request| api.webhooks().delete_webhook(request).await).await?;
            let told = serde_json::json!({ "webhook": webhook, "deleted": true });
            screen.show(|| format!("{webhook}: deleted"), || told)
        }
    }
}

fn table_of(screen: &Screen, all: &[Webhook]) -> String {
    let row = |one: &Webhook| {
        vec![
            one.name.clone(),
            one.url.clone(),
            standing(one).to_owned(),
            ago(screen.now(), one.last_delivery_time),
            one.reason.clone(),
        ]
    };
    table::list(screen, &["WEBHOOK", "RECEIVER", "STANDS", "LAST TOOK", "BECAUSE"], all.iter().map(row))
}

const fn standing(one: &Webhook) -> &'static str {
    match (one.enabled, one.failure_start_time) {
        (false, _) => "disabled",
        (true, None) => "told",
        (true, Some(_)) => "failing",
    }
}

fn shown(screen: &Screen, one: &Webhook) -> String {
    let at = |time| moment(screen.now(), time);
    let facts = vec![
        ("webhook", one.name.clone()),
        ("stands", standing(one).to_owned()),
        ("because", one.reason.clone()),
        ("failing since", at(one.failure_start_time)),
        ("last took", at(one.last_delivery_time)),
        ("receiver", one.url.clone()),
        ("query", one.query.clone()),
        ("id", one.id.clone()),
        ("since", at(one.create_time)),
    ];
    table::facts(screen, facts)
}
