//! Parses and validates the configuration of a webhook.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::secret::Secret;
use keyspace::{
    seal::{Sealer, open_text},
    value::WebhookSpec,
};
use reqwest::{Certificate, Url};
use serde_json::Value;
use wire_ironic::{
    error::{Class, Error},
    fields::{MASK, NODE},
    query::{self, List, Shape},
    version::Version,
};

use scheduler_core::resource_store::Stored;

/// Prefix of a key of the Standard Webhooks specification.
const KEY_PREFIX: &str = "whsec_";
/// Length of a key, in bytes.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys of `delivery_info`.
const DELIVERY_INFO_KEYS: &[&str] = &["secret", "token", "ca"];
/// Paging and sorting parameters, which do not apply to webhooks.
const PAGING_PARAMETERS: &[&str] = &["limit", "marker", "sort_key", "sort_dir", "detail"];

/// Configuration of a webhook.
#[derive(Debug)]
pub(super) struct WebhookConfig {
    pub(super) url: Url,
    /// Key of the signature.
    pub(super) key: Secret,
    /// Bearer token.
    pub(super) token: Option<Secret>,
    /// Trusted CA certificates. Empty for those of the operating system.
    pub(super) ca: Vec<Certificate>,
    pub(super) list: List,
}

/// Validates the fields of a webhook.
///
/// # Errors
/// 400: what is wrong and what to write instead.
pub(super) fn check(webhook: &WebhookSpec) -> Result<(), Error> {
    let invalid = |why: String| Class::Invalid.error(why);
    url(&webhook.url).map_err(invalid)?;
    list(webhook.query.as_deref().unwrap_or_default())?;
    let info = webhook.delivery_info.as_map();
    if let Some(unknown) = info.keys().find(|key| !DELIVERY_INFO_KEYS.contains(&key.as_str())) {
        return Err(invalid(format!(
            "delivery_info has {unknown:?}, which is none of {}",
            DELIVERY_INFO_KEYS.join(", ")
        )));
    }
    match info.get("secret") {
        // Already sealed.
        Some(Value::Object(_)) => {}
        Some(Value::String(text)) if text == MASK => {
            return Err(invalid(format!("delivery_info/secret is {MASK}, which stands where a secret is not shown")));
        }
        secret => drop(key(secret.and_then(Value::as_str).unwrap_or_default()).map_err(invalid)?),
    }
    match info.get("token") {
        None | Some(Value::Object(_)) => {}
        Some(Value::String(text)) if is_token(text) => {}
        Some(_) => {
            return Err(invalid("delivery_info/token must be text of printable ASCII without spaces".to_owned()));
        }
    }
    match info.get("ca") {
        None => Ok(()),
        Some(ca) => certificates(ca.as_str().unwrap_or_default()).map(drop).map_err(invalid),
    }
}

impl WebhookConfig {
    /// Reads the stored fields of a webhook and decrypts its secrets.
    ///
    /// # Errors
    /// The reason why the webhook cannot be used.
    pub(super) fn read(stored: &Stored<WebhookSpec>, sealer: &Sealer) -> Result<Self, String> {
        let (webhook, place) = (stored.spec(), format!("{}/delivery_info", stored.id));
        let open = |name: &str| {
            let opened = open_text(&webhook.delivery_info, &place, name, sealer);
            opened.map_err(|error| service_kit::status::chain(&error))
        };
        let secret = open("secret")?.ok_or("it has no secret")?;
        let ca = webhook.delivery_info.text("ca");
        Ok(Self {
            url: url(&webhook.url)?,
            key: key(std::str::from_utf8(secret.expose()).unwrap_or_default())?,
            token: open("token")?,
            ca: ca.map(certificates).transpose()?.unwrap_or_default(),
            list: list(webhook.query.as_deref().unwrap_or_default()).map_err(|error| error.text)?,
        })
    }
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|why| format!("url {text:?} is no address: {why}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("url {text:?} must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url must not have a user or a password in it: everybody who lists webhooks would read them; \
                    give a token in delivery_info"
            .to_owned());
    }
    Ok(url)
}

fn key(text: &str) -> Result<Secret, String> {
    let octets = text.strip_prefix(KEY_PREFIX).and_then(|text| STANDARD.decode(text).ok());
    match octets.filter(|octets| KEY_LENGTH.contains(&octets.len())) {
        Some(octets) => Ok(Secret::new(octets)),
        None => Err(format!(
            "delivery_info must have a secret that signs what is sent: {KEY_PREFIX} and then {} to {} octets in base64, as \
             `openssl rand -base64 32` makes them",
            KEY_LENGTH.start(),
            KEY_LENGTH.end()
        )),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text != MASK && text.bytes().all(|octet| octet.is_ascii_graphic())
}

fn certificates(pem: &str) -> Result<Vec<Certificate>, String> {
    match Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err("delivery_info/ca must be certificates in PEM".to_owned()),
    }
}

/// Parses a query. Without `fields` nodes are sent with all their fields.
fn list(text: &str) -> Result<List, Error> {
    let nowhere = |why| Class::Invalid.error(format!("query {text:?}: {why}"));
    let url = Url::parse(&format!("http://nodes/?{text}")).map_err(|why| nowhere(why.to_string()))?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if let Some((name, _)) = pairs.iter().find(|(name, _)| PAGING_PARAMETERS.contains(&name.as_str())) {
        return Err(nowhere(format!(
            "a webhook is told of all nodes that its filters leave, so that {name} says nothing"
        )));
    }
    let shape = if pairs.iter().any(|(name, _)| name == "fields") { Shape::Plain } else { Shape::Detail };
    query::list(&NODE, Version::MAX, shape, &pairs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn refusal(fields: Value) -> String {
        check(&serde_json::from_value(fields).unwrap()).map_or_else(|error| error.text, |()| String::new())
    }

    #[test]
    fn a_valid_webhook_is_accepted() {
        for query in ["", "provision_state=active", "fields=uuid,name&owner=me&maintenance=false"] {
            let info = json!({"secret": SECRET, "token": "abc.def"});
            let fields = json!({"url": "https://there:8443/hook?x=1", "delivery_info": info, "query": query});
            assert_eq!(refusal(fields), "", "{query}");
        }
    }

    #[test]
    fn an_invalid_field_is_rejected_and_named() {
        let with = |name: &str, value: Value| {
            let mut fields = json!({"url": "https://there/", "delivery_info": {"secret": SECRET}, "query": ""});
            fields[name] = value;
            refusal(fields)
        };
        for (name, value, says) in [
            ("url", json!("there"), "is no address"),
            ("url", json!("file:///etc/passwd"), "https://"),
            ("url", json!("https://ann:pw@there/"), "token in delivery_info"),
            ("delivery_info", json!({}), "openssl rand"),
            ("delivery_info", json!({"secret": "whsec_c2hvcnQ="}), "24 to 64"),
            ("delivery_info", json!({"secret": MASK}), "not shown"),
            ("delivery_info", json!({"secret": SECRET, "passwd": "x"}), "\"passwd\""),
            ("delivery_info", json!({"secret": SECRET, "token": "a b"}), "printable"),
            ("delivery_info", json!({"secret": SECRET, "ca": "x"}), "PEM"),
            ("query", json!("colour=red"), "colour"),
            ("query", json!("limit=3"), "limit says nothing"),
            ("query", json!("fields=nothing"), "nothing"),
        ] {
            let text = with(name, value.clone());
            assert!(text.contains(says), "{name} {value}: {text:?}");
        }
    }
}
