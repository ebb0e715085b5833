//! Handles inspection reports: binding the boot, storing the report and completing the work are one write.

use domain::{
    failure::{Cause, Failure},
    timeline::Mark,
};
use keyspace::{
    Expect, key,
    value::{AgentSeen, AgentWork, Reported, Work},
};
use mesh::WorkGuard;
use serde_json::{Value, json};
use service_kit::clock;
use wire_ironic::{
    agent::{Inventory, Report, ReportResponse},
    error::{Class, text},
};

use super::{AgentCall, AgentResponse, CallError, Ironic, PendingBoot, TOKEN_PLACEHOLDER, report};
use crate::report::{describe, merge};

/// Maximum size of a report stored in its original form, in bytes; of a larger one only the hardware is stored.
const MAX_STORED_BYTES: usize = 256 << 10;

impl Ironic {
    pub(super) async fn inspected(&self, call: &AgentCall) -> Result<AgentResponse, CallError> {
        let uuid = call.pairs.iter().rev().find(|(name, _)| name == "node_uuid").map(|(_, uuid)| uuid.as_str());
        let body = call.body.as_object().cloned().unwrap_or_default();
        let said = Report::read(call.version, uuid, body)?;
        let booting = self.booting(said.node_uuid.as_deref(), &said.addresses);
        let inspects = |booting: &PendingBoot| booting.decision.value.work == Work::Inspect;
        let booting = booting.filter(inspects).ok_or_else(text::resource_not_found)?;
        self.check_origin(call, booting.node)?;
        if !self.has_booted(&booting) {
            return Err(text::resource_not_found().into());
        }
        let guard = self.begin_work(&booting)?;
        let answer = said.response;
        let token = self.take(&guard, &booting, said).await?;
        Ok(AgentResponse {
            status: 202,
            body: Some(match answer {
                ReportResponse::Uuid => json!({"uuid": booting.node}),
                ReportResponse::Lookup => {
                    let token = token.unwrap_or_else(|| TOKEN_PLACEHOLDER.to_owned());
                    self.lookup_response(&booting, call, Some(token))?
                }
            }),
        })
    }

    /// Stores a report, and returns the boot's token if no agent has it yet. A repeated report of the same boot changes
    /// nothing.
    async fn take(&self, guard: &WorkGuard, booting: &PendingBoot, said: Report) -> Result<Option<String>, CallError> {
        let (node, rack, generation) = (booting.node, self.agents.rack, booting.generation());
        let token = self.token(booting)?;
        let view = self.agents.mesh.view();
        let known = view.get(&key::agent(rack, node));
        let is_bound = known.as_ref().filter(|known| known.value.generation == generation);
        if is_bound.is_some_and(|known| known.value.work != AgentWork::Underway) {
            return Ok(None);
        }
        let is_bound = is_bound.is_some();
        let found: Inventory = serde_json::from_value(said.inventory.clone())
            .map_err(|error| Class::Invalid.error(format!("The inventory is malformed: {error}")))?;
        let hardware = report::hardware(&found);
        let described = describe(&hardware);
        let at = clock::now();
        let failed = |text| AgentWork::Failed { failure: Failure { cause: Cause::AgentCrashed, text, at } };
        let work = said.error.map_or(AgentWork::Done { at }, |error| failed(format!("the ramdisk reports: {error}")));
        let own_words = storable(said.inventory, Value::Object(said.rest));
        let caller = Self::caller(booting, &token);
        let written = async {
            let claim = self.agents.mesh.claim(guard).await?;
            let seen = AgentSeen::bound(generation, caller.key, work.clone(), at, claim.instance());
            let before = view.get(&key::inventory(rack, node));
            let decided = Expect::Revision(booting.decision.revision);
            let mut change = self.agents.mesh.fenced(&claim).expect(&key::boot(rack, node), decided);
            change = change.put(&key::agent(rack, node), &seen, Expect::same(known.as_ref()))?;
            if let Some(merged) = merge(before.as_ref(), hardware, Some(generation), at, claim.instance()) {
                let inventory = keyspace::value::Inventory { reported: own_words, ..merged };
                change = change.put(&key::inventory(rack, node), &inventory, Expect::same(before.as_ref()))?;
            }
            self.agents.mesh.commit(change).await
        };
        written.await.map_err(|error: mesh::Error| self.call_error(node, &error.into()))?;
        self.agents.heartbeats.record(node);
        self.agents.timeline.note(node, generation, Mark::AgentReport, described);
        match work {
            AgentWork::Failed { failure } => {
                self.agents.timeline.note(node, generation, Mark::AgentFailed, failure.text);
            }
            AgentWork::Done { .. } | AgentWork::Underway => {
                self.agents.timeline.note(node, generation, Mark::Inspected, "ironic-python-agent");
            }
        }
        Ok((!is_bound).then_some(token))
    }
}

/// Returns the report in its original form, unless it is too large to store.
fn storable(inventory: Value, plugin_data: Value) -> Option<Reported> {
    let fits = |value: &Value| serde_json::to_vec(value).is_ok_and(|json| json.len() <= MAX_STORED_BYTES);
    if !fits(&inventory) {
        return None;
    }
    let plugin_data = if fits(&plugin_data) { plugin_data } else { json!({}) };
    Some(Reported { inventory, plugin_data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_report_that_is_too_long_its_additions_go_first() {
        let long = json!({"logs": "x".repeat(MAX_STORED_BYTES)});
        assert_eq!(storable(json!({}), long.clone()).unwrap().plugin_data, json!({}));
        assert!(storable(long, json!({})).is_none());
        assert_eq!(storable(json!({"cpu": 1}), json!({"a": 2})).unwrap().inventory, json!({"cpu": 1}));
    }
}
