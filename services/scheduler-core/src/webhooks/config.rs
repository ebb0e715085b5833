//! Validates the specification of a webhook, and reads it for deliveries.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::secret::Secret;
use keyspace::{
    seal::{Sealer, open_text},
    value::{DeliveryInfo, TextOrSecret, WebhookSpec},
};
use reqwest::{Certificate, Url};
use wire_ironic::fields::{MASK, WEBHOOK, is_logical_name};

use super::{WebhookFormat, WebhookQuery};
use crate::{
    error::{InvalidWebhook, KEY_PREFIX, MAX_KEY_BYTES, MIN_KEY_BYTES},
    resource_store::Stored,
};

/// Configuration of a webhook's deliveries.
#[derive(Debug)]
pub(super) struct WebhookConfig {
    pub(super) url: Url,
    /// Key of the signature.
    pub(super) key: Secret,
    /// Bearer token.
    pub(super) token: Option<Secret>,
    /// Trusted CA certificates. Empty for those of the operating system.
    pub(super) ca: Vec<Certificate>,
    pub(super) query: Box<dyn WebhookQuery>,
}

/// Validates a webhook.
///
/// # Errors
/// [`InvalidWebhook`] says what is wrong and what to write instead.
pub(crate) fn check_webhook(format: &dyn WebhookFormat, webhook: &WebhookSpec) -> Result<(), InvalidWebhook> {
    if !is_logical_name(&webhook.name) {
        return Err(InvalidWebhook::Name(webhook.name.clone()));
    }
    for (field, text) in [("url", Some(&webhook.url)), ("query", webhook.query.as_ref())] {
        let max_chars = WEBHOOK.field(field).map_or(0, |row| row.max_chars);
        if text.is_some_and(|text| text.chars().count() > max_chars) {
            return Err(InvalidWebhook::TooLong { field, max_chars });
        }
    }
    // Not where stored ones are read: one of an earlier version goes on.
    domain::url_text::check(&webhook.url)?;
    parse_url(&webhook.url)?;
    format.compile(webhook.query.as_deref().unwrap_or_default())?;
    let info = DeliveryInfo::of(&webhook.delivery_info);
    if let Some(unknown) = info.unknown_key() {
        return Err(InvalidWebhook::UnknownKey(unknown.to_owned()));
    }
    match info.secret() {
        TextOrSecret::Sealed => {}
        TextOrSecret::Text(MASK) => return Err(InvalidWebhook::MaskedSecret),
        TextOrSecret::Text(text) => drop(parse_key(text)?),
        TextOrSecret::Absent | TextOrSecret::Other => return Err(InvalidWebhook::Secret),
    }
    match info.token() {
        TextOrSecret::Absent | TextOrSecret::Sealed => {}
        TextOrSecret::Text(text) if is_token(text) => {}
        TextOrSecret::Text(_) | TextOrSecret::Other => return Err(InvalidWebhook::Token),
    }
    match info.ca() {
        TextOrSecret::Absent => Ok(()),
        TextOrSecret::Text(pem) => parse_certificates(pem).map(drop),
        TextOrSecret::Sealed | TextOrSecret::Other => Err(InvalidWebhook::Ca),
    }
}

impl WebhookConfig {
    /// Reads a stored webhook and decrypts its secrets.
    ///
    /// # Errors
    /// The reason why the webhook cannot be used.
    pub(super) fn read(
        stored: &Stored<WebhookSpec>,
        sealer: &Sealer,
        format: &dyn WebhookFormat,
    ) -> Result<Self, InvalidWebhook> {
        let (webhook, place) = (stored.spec(), format!("{}/delivery_info", stored.id));
        let open = |name: &str| open_text(&webhook.delivery_info, &place, name, sealer);
        let secret = open("secret")?.ok_or(InvalidWebhook::NoSecret)?;
        let ca = webhook.delivery_info.text("ca");
        Ok(Self {
            url: parse_url(&webhook.url)?,
            key: parse_key(std::str::from_utf8(secret.expose()).unwrap_or_default())?,
            token: open("token")?,
            ca: ca.map(parse_certificates).transpose()?.unwrap_or_default(),
            query: format.compile(webhook.query.as_deref().unwrap_or_default())?,
        })
    }
}

fn parse_url(text: &str) -> Result<Url, InvalidWebhook> {
    let url = Url::parse(text).map_err(|source| InvalidWebhook::Url { url: text.to_owned(), source })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidWebhook::Scheme(text.to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidWebhook::Credentials);
    }
    Ok(url)
}

fn parse_key(text: &str) -> Result<Secret, InvalidWebhook> {
    let octets = text.strip_prefix(KEY_PREFIX).and_then(|text| STANDARD.decode(text).ok());
    let octets = octets.filter(|octets| (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&octets.len()));
    octets.map(Secret::new).ok_or(InvalidWebhook::Secret)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text != MASK && text.bytes().all(|octet| octet.is_ascii_graphic())
}

fn parse_certificates(pem: &str) -> Result<Vec<Certificate>, InvalidWebhook> {
    match Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err(InvalidWebhook::Ca),
    }
}
