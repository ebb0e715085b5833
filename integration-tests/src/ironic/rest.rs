//! A client of Ironic's REST API.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::WAIT_TIMEOUT;
use crate::mesh::Mesh;

/// Ironic's REST API of a mesh whose scheduler may be killed: its address is looked up for every request.
#[derive(Debug)]
pub struct Rest<'m> {
    target: Target<'m>,
    client: reqwest::Client,
}

/// The service that it calls.
#[derive(Debug)]
enum Target<'m> {
    /// The first scheduler, at its present address.
    Scheduler(&'m Mesh),
    /// The service at this address, as `http://host:port`.
    At(String),
}

impl<'m> Rest<'m> {
    /// A client of the first scheduler.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(mesh: &'m Mesh) -> Result<Self> {
        Ok(Self { target: Target::Scheduler(mesh), client: reqwest::Client::builder().no_proxy().build()? })
    }

    /// A client of the service at `address` (`http://host:port`).
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn at(address: &str) -> Result<Self> {
        Ok(Self { target: Target::At(address.to_owned()), client: reqwest::Client::builder().no_proxy().build()? })
    }

    async fn once(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let base = match &self.target {
            Target::Scheduler(mesh) => mesh.rest(1)?,
            Target::At(address) => address.clone(),
        };
        let url = format!("{base}/v1/{path}");
        let request = self.client.request(method.parse()?, url).header("X-OpenStack-Ironic-API-Version", "1.115");
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? }))
    }

    /// Sends a request until it is answered and not refused because of a conflict. Other errors are returned at once.
    ///
    /// # Errors
    /// The request is refused, or not answered in time.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            match self.once(method, path, body.as_ref()).await {
                Ok((status, answer)) if status < 400 => return Ok(answer),
                Ok((status, answer)) if !matches!(status, 409 | 503) || Instant::now() > until => {
                    bail!("{method} {path}: {status}: {answer}")
                }
                Err(error) if Instant::now() > until => return Err(error.context(format!("{method} {path}"))),
                Ok(_) | Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// The status of an answer.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn status(&self, method: &str, path: &str, body: Option<Value>) -> Result<u16> {
        self.once(method, path, body.as_ref()).await.map(|(status, _)| status)
    }

    /// Requests a transition of a node until it is accepted.
    ///
    /// # Errors
    /// It is refused, or not accepted in time.
    pub async fn provision(&self, node: &str, target: &str) -> Result<()> {
        let path = format!("nodes/{node}/states/provision");
        self.ask("PUT", &path, Some(json!({"target": target}))).await.map(drop)
    }

    /// Requests a transition once: a scheduler that dies may have accepted it without answering.
    pub async fn move_once(&self, node: &str, target: &str) -> bool {
        let body = json!({"target": target});
        let answer = self.once("PUT", &format!("nodes/{node}/states/provision"), Some(&body)).await;
        answer.is_ok_and(|(status, _)| status == 202)
    }

    /// Waits until a node is in a state and no operation runs on it.
    ///
    /// # Errors
    /// It does not reach it in time; the error has its last error.
    pub async fn reach(&self, node: &str, state: &str) -> Result<()> {
        self.reach_within(node, state, WAIT_TIMEOUT).await
    }

    /// The same, with this timeout.
    ///
    /// # Errors
    /// It does not reach it in time; the error has its last error.
    pub async fn reach_within(&self, node: &str, state: &str, timeout: Duration) -> Result<()> {
        let until = Instant::now() + timeout;
        loop {
            let now = self.ask("GET", &format!("nodes/{node}"), None).await?;
            if now["provision_state"] == state && now["reservation"].is_null() {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "{node} is {} and not {state}; its error: {}",
                now["provision_state"],
                now["last_error"]
            );
            sleep(Duration::from_millis(30)).await;
        }
    }
}
