//! Prints a value.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use keyspace::{key::ROOT, key_schema};

use super::Cat;

pub(super) async fn run(command: &Cat) -> Result<()> {
    let store = command.location.store().await?;
    let path = if command.path.starts_with('/') { command.path.clone() } else { format!("{ROOT}{}", command.path) };
    let pair = store.pair(&path).await.context("cannot read the store")?;
    let pair = pair.with_context(|| format!("there is no key {path}"))?;
    let text = key_schema::decompress(&pair.value).with_context(|| format!("cannot decompress the value of {path}"))?;
    let json = serde_json::from_slice::<serde_json::Value>(&text);
    let text = json.map_or(text, |json| format!("{json:#}").into_bytes());
    let mut out = std::io::stdout().lock();
    out.write_all(&text).and_then(|()| out.write_all(b"\n")).context("cannot write to standard output")
}
