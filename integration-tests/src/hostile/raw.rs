//! Bytes over TCP, as no HTTP client would send them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Upper bound of every wait.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Maximum size of a response that is kept, in bytes.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// Two users, whose password is `right`.
pub const USERS: &str = "ann:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC
bob:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC
";

/// What came back before the peer closed the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The status of each response, without 1xx.
    pub statuses: Vec<u16>,
    /// All of it.
    pub text: String,
}

/// Header fields of a user with credentials, of the newest version of the API.
#[must_use]
pub fn as_user(name: &str) -> String {
    let credentials = BASE64_STANDARD.encode(format!("{name}:right"));
    format!("Authorization: Basic {credentials}\r\nX-OpenStack-Ironic-API-Version: 1.115\r\n")
}

/// A list of nodes for another user, after which the service closes the connection.
#[must_use]
pub fn others() -> String {
    format!("GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n", as_user("bob"))
}

/// Sends these bytes, while it reads, and reads until the service closes the connection.
///
/// # Errors
/// It does not close it.
pub async fn exchange(address: &str, bytes: &[u8]) -> Result<Exchange> {
    over(TcpStream::connect(address).await.with_context(|| address.to_owned())?, bytes).await
}

/// The same over an open connection.
///
/// # Errors
/// The service does not close it.
pub async fn over(stream: impl AsyncRead + AsyncWrite, bytes: &[u8]) -> Result<Exchange> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut got = Vec::new();
    // The service may close the connection while more is sent: no error of either direction matters.
    let sending = async {
        let _ = to.write_all(bytes).await;
        let _ = to.flush().await;
    };
    let reading = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let room = MAX_KEPT_BYTES.saturating_sub(got.len());
            got.extend(buffer.iter().take(count.min(room)));
        }
    };
    let both = async {
        tokio::pin!(sending, reading);
        tokio::select! {
            () = &mut reading => {}
            () = &mut sending => reading.await,
        }
    };
    timeout(PATIENCE, both).await.context("the service does not close the connection")?;
    let text = String::from_utf8_lossy(&got).into_owned();
    let codes = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok());
    let statuses = codes.filter(|code| *code >= 200).collect();
    Ok(Exchange { statuses, text })
}
