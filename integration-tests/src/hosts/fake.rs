//! Nodes that do not exist (`fake-hardware`), deployed over and over through the REST API of a host's scheduler.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::HostMesh;
use crate::ironic::Rest;

/// Where a scheduler answers Ironic's REST API to programs on its own host.
const REST: &str = "http://127.0.0.1:6385";
/// Maximum time for a node to reach a state: its rack may be cut off for a minute.
const REACH: Duration = Duration::from_secs(180);

/// Nodes of one rack.
#[derive(Debug, Clone)]
pub struct FakeNodes {
    /// Their names.
    pub names: Vec<String>,
    rack: String,
}

/// Result of a loop of deployments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Number of deployments that were completed.
    pub deployed: usize,
    /// The longest time from the request to the node's state, of one operation.
    pub longest: Duration,
}

impl FakeNodes {
    /// Names `count` nodes of a rack, such as `r7-1`.
    #[must_use]
    pub fn of(rack: &str, count: usize) -> Self {
        Self { names: (1..=count).map(|number| format!("{rack}-{number}")).collect(), rack: rack.to_owned() }
    }

    /// Enrolls them, and makes them available.
    ///
    /// # Errors
    /// A request is refused, or a node does not reach a state.
    pub async fn enroll(&self, rest: &Rest<'_>) -> Result<()> {
        for name in &self.names {
            let node = json!({
                "driver": "fake-hardware", "name": name, "conductor_group": self.rack, "resource_class": "small",
            });
            rest.ask("POST", "nodes", Some(node)).await?;
            rest.provision(name, "manage").await?;
        }
        for name in &self.names {
            rest.reach_within(name, "manageable", REACH).await?;
            rest.provision(name, "provide").await?;
        }
        self.all_reach(rest, "available").await
    }

    /// Deploys all of them.
    ///
    /// # Errors
    /// A node fails, or does not become active.
    pub async fn deploy(&self, rest: &Rest<'_>) -> Result<()> {
        self.bring(rest, "active", "active").await.map(drop)
    }

    /// Undeploys all of them.
    ///
    /// # Errors
    /// A node fails, or does not become available.
    pub async fn undeploy(&self, rest: &Rest<'_>) -> Result<()> {
        self.bring(rest, "deleted", "available").await.map(drop)
    }

    /// Deploys and undeploys all of them until `ends` says so, and once at least. No operation may fail.
    ///
    /// # Errors
    /// An operation fails, or a node does not reach its state.
    pub async fn deploy_until(&self, rest: &Rest<'_>, mut ends: impl FnMut() -> bool) -> Result<Rounds> {
        let mut rounds = Rounds::default();
        loop {
            for (target, state) in [("active", "active"), ("deleted", "available")] {
                let longest = self.bring(rest, target, state).await?;
                rounds.longest = rounds.longest.max(longest);
            }
            rounds.deployed += self.names.len();
            if ends() {
                return Ok(rounds);
            }
        }
    }

    /// Requests a transition of all, and waits for its end. Returns the longest time of a node.
    async fn bring(&self, rest: &Rest<'_>, target: &str, state: &str) -> Result<Duration> {
        let mut begun = Vec::new();
        for name in &self.names {
            begun.push(Instant::now());
            rest.provision(name, target).await?;
        }
        let mut left: Vec<_> = self.names.iter().zip(begun).collect();
        let (mut longest, until) = (Duration::ZERO, Instant::now() + REACH);
        while !left.is_empty() {
            let nodes = self.list(rest).await?;
            left.retain(|(name, begun)| {
                let done = nodes.iter().any(|node| node["name"] == ***name && is_settled(node, state));
                longest = if done { longest.max(begun.elapsed()) } else { longest };
                !done
            });
            for node in nodes.iter().filter(|node| node["provision_state"].as_str().is_some_and(has_failed)) {
                ensure!(
                    !self.names.iter().any(|name| node["name"] == **name),
                    "{} is in {}: {}",
                    node["name"],
                    node["provision_state"],
                    node["last_error"]
                );
            }
            ensure!(Instant::now() < until, "not {state} within {REACH:?}: {left:?}; {nodes:?}");
            sleep(Duration::from_millis(30)).await;
        }
        Ok(longest)
    }

    /// Waits until all of them are in a state.
    ///
    /// # Errors
    /// One is not in time.
    pub async fn all_reach(&self, rest: &Rest<'_>, state: &str) -> Result<()> {
        for name in &self.names {
            rest.reach_within(name, state, REACH).await?;
        }
        Ok(())
    }

    async fn list(&self, rest: &Rest<'_>) -> Result<Vec<Value>> {
        let path = "nodes?fields=name,provision_state,reservation,last_error&limit=1000";
        let answer = rest.ask("GET", path, None).await?;
        answer["nodes"].as_array().cloned().context("an answer without nodes")
    }
}

fn is_settled(node: &Value, state: &str) -> bool {
    node["provision_state"] == state && node["reservation"].is_null()
}

fn has_failed(state: &str) -> bool {
    state == "error" || state.ends_with("failed")
}

impl HostMesh {
    /// Runs `work` on a host with the REST API of its scheduler.
    ///
    /// # Errors
    /// Errors of `work`.
    pub fn with_rest<T: Send>(
        &self,
        host: &str,
        work: impl AsyncFnOnce(&Rest<'static>) -> Result<T> + Send,
    ) -> Result<T> {
        let place = self.host(host)?.place();
        place.enter(async || {
            let rest = Rest::at(REST)?;
            work(&rest).await
        })?
    }
}
