//! What an agent reports of its machine where that is all its work: bound, noted and done in one write.

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
    agent::{Callback, Inventory, Report},
    error::{Class, text},
};

use super::{Asked, Booting, Ironic, Said, Unsaid, report};
use crate::report::{merge, words};

/// Octets of a report in its agent's own words that are kept; of a longer one no more than what we understand is.
const KEPT: usize = 256 << 10;

impl Ironic {
    pub(super) async fn inspected(&self, asked: &Asked) -> Result<Said, Unsaid> {
        let uuid = asked.pairs.iter().rev().find(|(name, _)| name == "node_uuid").map(|(_, uuid)| uuid.as_str());
        let body = asked.body.as_object().cloned().unwrap_or_default();
        let said = Report::read(asked.version, uuid, body)?;
        let booting = self.booting(said.node_uuid.as_deref(), &said.addresses);
        let inspects = |booting: &Booting| booting.decision.value.work == Work::Inspect;
        let booting = booting.filter(inspects).ok_or_else(text::resource_not_found)?;
        let guard = self.begin_work(&booting)?;
        let answer = said.answer;
        let token = self.take(&guard, &booting, said).await?;
        Ok(Said {
            status: 202,
            body: Some(match answer {
                Callback::Uuid => json!({"uuid": booting.node}),
                Callback::Lookup => self.found(&booting, asked, Some(token)),
            }),
        })
    }

    /// Keeps a report. A second one of the same boot is answered as the first was, and changes nothing.
    async fn take(&self, guard: &WorkGuard, booting: &Booting, said: Report) -> Result<String, Unsaid> {
        let (node, rack, generation) = (booting.node, self.agents.rack, booting.generation());
        let token = self.token(booting)?;
        let view = self.agents.mesh.view();
        let known = view.get(&key::agent(rack, node));
        let is_bound = known.as_ref().filter(|known| known.value.generation == generation);
        if is_bound.is_some_and(|known| known.value.work != AgentWork::Underway) {
            return Ok(token);
        }
        let found: Inventory = serde_json::from_value(said.inventory.clone())
            .map_err(|error| Class::Invalid.says(format!("The inventory can not be read: {error}")))?;
        let hardware = report::hardware(&found);
        let described = words(&hardware);
        let at = clock::now();
        let failed = |text| AgentWork::Failed { failure: Failure { cause: Cause::AgentCrashed, text, at } };
        let work = said.error.map_or(AgentWork::Done { at }, |error| failed(format!("its ramdisk says: {error}")));
        let own_words = kept(said.inventory, Value::Object(said.rest));
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
        written.await.map_err(|error: mesh::Error| self.unsaid(node, &error.into()))?;
        self.agents.census.heard(node);
        self.agents.timeline.note(node, generation, Mark::AgentReport, described);
        match work {
            AgentWork::Failed { failure } => {
                self.agents.timeline.note(node, generation, Mark::AgentFailed, failure.text);
            }
            AgentWork::Done { .. } | AgentWork::Underway => {
                self.agents.timeline.note(node, generation, Mark::Inspected, "it speaks Ironic's protocol");
            }
        }
        Ok(token)
    }
}

/// The report in its agent's own words, where it is not too long to keep.
fn kept(inventory: Value, plugin_data: Value) -> Option<Reported> {
    let fits = |value: &Value| serde_json::to_vec(value).is_ok_and(|json| json.len() <= KEPT);
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
        let long = json!({"logs": "x".repeat(KEPT)});
        assert_eq!(kept(json!({}), long.clone()).unwrap().plugin_data, json!({}));
        assert!(kept(long, json!({})).is_none());
        assert_eq!(kept(json!({"cpu": 1}), json!({"a": 2})).unwrap().inventory, json!({"cpu": 1}));
    }
}
