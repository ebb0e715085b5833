//! Credentials of the REST API that were forged, changed, or meant for others.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Attack, raw};

/// Issuer and audience in tokens of an OpenID provider.
pub const ISSUER: &str = "https://id.example";
/// See [`ISSUER`].
pub const AUDIENCE: &str = "ironmesh";

/// A value of the `Authorization` header.
#[derive(Debug, Clone, Copy)]
pub enum Credentials {
    /// The token of this name, which `clients/issuer.py` makes.
    Token(&'static str),
    /// This text.
    Text(&'static str),
    /// A text of this many bytes.
    Long(usize),
}

const fn token(name: &'static str, source: &'static str, token: &'static str) -> Attack<Credentials> {
    Attack { name, source, how: Credentials::Token(token) }
}

const fn text(name: &'static str, source: &'static str, text: &'static str) -> Attack<Credentials> {
    Attack { name, source, how: Credentials::Text(text) }
}

/// The attacks. Each must be answered with 401.
pub const TABLE: &[Attack<Credentials>] = &[
    token("The token has expired", "RFC 7519 §4.1.4", "expired"),
    token("The token is not valid yet", "RFC 7519 §4.1.5", "early"),
    token("The token does not expire", "RFC 8725 §3.10", "endless"),
    token("The token is for another audience", "RFC 7519 §4.1.3", "elsewhere"),
    token("The token is of another issuer", "RFC 7519 §4.1.1", "other issuer"),
    token("The token is not signed", "RFC 8725 §2.1, CVE-2015-9235", "unsigned"),
    token("The token's algorithm is none in mixed case", "CVE-2020-28042", "unsigned in mixed case"),
    token("The token is signed with a shared secret", "RFC 8725 §2.1", "shared"),
    token("The token is signed with the public key as a shared secret", "CVE-2016-5431", "public key as secret"),
    token("The claims were changed", "RFC 7515 §5.2", "changed"),
    token("The signature is of zeros", "CVE-2022-21449, psychic signatures", "zeros"),
    token("The signature is missing", "RFC 7515 §5.2", "cut"),
    token("The token brings its own key", "CVE-2018-0114", "own key"),
    token("The token names a place for its key", "RFC 8725 §3.10", "own key set"),
    token("The id of the key is a path", "RFC 8725 §3.10, CWE-22", "path as key id"),
    token("The token has a critical extension", "RFC 7515 §4.1.11", "critical"),
    token("The key of one algorithm is used with another", "RFC 8725 §3.1", "other algorithm"),
    text("The password is right and the name is empty", "RFC 7617 §2", "Basic OnJpZ2h0"),
    text("The name is another one's hash", "RFC 7617 §2", "Basic JDJiJDA0OnJpZ2h0"),
    text("The credentials are not base64", "RFC 7617 §2", "Basic ####"),
    text("The credentials are for an unknown scheme", "RFC 9110 §11.4", "Digest username=\"ann\""),
    Attack { name: "The token has 40,000 bytes", source: "RFC 9110 §5.4", how: Credentials::Long(40_000) },
];

/// Makes the keys of an OpenID provider, writes the public ones into the file `keys`, and returns tokens by name, made by
/// PyJWT.
///
/// # Errors
/// `target/keystone`, which scripts/test installs, is not there.
pub fn issued(keys: &Path) -> Result<BTreeMap<String, String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(folder.join("../target/keystone/bin/python"));
    let output = command.arg(folder.join("clients/issuer.py")).arg(keys).args([ISSUER, AUDIENCE]).output();
    let output = output.context("target/keystone is not there; scripts/test installs it")?;
    ensure!(output.status.success(), "issuer.py: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("issuer.py")
}

/// Asks for the nodes with the credentials of a row.
///
/// # Errors
/// What did not hold.
pub async fn carry_out(address: &str, tokens: &BTreeMap<String, String>, credentials: Credentials) -> Result<String> {
    let value = match credentials {
        Credentials::Token(name) => format!("Bearer {}", tokens.get(name).with_context(|| name.to_owned())?),
        Credentials::Text(text) => text.to_owned(),
        Credentials::Long(size) => format!("Bearer {}", "a".repeat(size)),
    };
    let request = format!("GET /v1/nodes HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: {value}\r\n\r\n");
    let answer = raw::exchange(address, request.as_bytes()).await?;
    ensure!(answer.statuses == [401], "{}", answer.text);
    ensure!(answer.text.contains("www-authenticate"), "no challenge: {}", answer.text);
    Ok("401".to_owned())
}

/// A valid token is accepted, so that the others are refused for what they are.
///
/// # Errors
/// It is not.
pub async fn control(address: &str, tokens: &BTreeMap<String, String>) -> Result<()> {
    let valid = tokens.get("admin").context("no token")?;
    let request =
        format!("GET /v1/nodes HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {valid}\r\n\r\n");
    let answer = raw::exchange(address, request.as_bytes()).await?;
    ensure!(answer.statuses == [200], "a valid token is refused: {}", answer.text);
    Ok(())
}
