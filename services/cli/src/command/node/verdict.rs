//! Whether what was asked of a node has come true: pure, from the node as it is now.

use domain::failure::Cause;
use proto::{
    api::v1::{Node, ProvisionVerb},
    common::v1::Failure,
};

use super::show::parts;

/// How a node stands with what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is on its way.
    Underway,
    /// It is there.
    Reached,
    /// It came to rest elsewhere.
    Missed(Missed),
}

/// Why it is not there, and what next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) cause: String,
    pub(super) text: String,
    pub(super) next: String,
}

/// What was asked, as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// A move of its life: the state that it is to rest in, and the revision that the request left it at.
    Life { rests: &'static str, revision: u64 },
    /// Its power.
    Power { generation: u64 },
}

/// Where a verb ends; empty where it may end anywhere.
pub(super) const fn rests(verb: ProvisionVerb) -> &'static str {
    match verb {
        ProvisionVerb::Manage | ProvisionVerb::Inspect | ProvisionVerb::Clean => "manageable",
        ProvisionVerb::Provide | ProvisionVerb::Undeploy => "available",
        ProvisionVerb::Deploy
        | ProvisionVerb::Rebuild
        | ProvisionVerb::Adopt
        | ProvisionVerb::Service
        | ProvisionVerb::Unrescue => "active",
        ProvisionVerb::Rescue => "rescue",
        ProvisionVerb::Unspecified | ProvisionVerb::Abort | ProvisionVerb::Unhold => "",
    }
}

impl Goal {
    pub(super) fn judge(&self, node: &Node) -> Verdict {
        match self {
            Self::Life { rests, revision } => life(node, rests, *revision),
            Self::Power { generation } => power(node, *generation),
        }
    }
}

fn life(node: &Node, rests: &str, revision: u64) -> Verdict {
    let (_, observed) = parts(node);
    // A replica that lags shows the node as it was before the request.
    if node.revision < revision || observed.operation.is_some() {
        return Verdict::Underway;
    }
    if rests.is_empty() || observed.state == rests {
        return Verdict::Reached;
    }
    Verdict::Missed(missed(observed.last_failure, observed.next_step, || {
        format!("it ended in state {}; another client may have requested that", observed.state)
    }))
}

fn power(node: &Node, generation: u64) -> Verdict {
    let (_, observed) = parts(node);
    if node.generation > generation {
        return Verdict::Missed(missed(None, String::new(), || "a newer instruction replaced this one".to_owned()));
    }
    if observed.power_settled_generation < generation {
        return Verdict::Underway;
    }
    match observed.power_failure {
        None => Verdict::Reached,
        Some(failure) => {
            let cause = Cause::ALL.iter().find(|cause| cause.word() == failure.cause);
            let next = cause.map(|cause| cause.next_step().to_owned()).unwrap_or_default();
            Verdict::Missed(missed(Some(failure), next, String::new))
        }
    }
}

fn missed(failure: Option<Failure>, next: String, otherwise: impl FnOnce() -> String) -> Missed {
    match failure {
        Some(failure) => Missed { cause: failure.cause, text: failure.text, next },
        None => Missed { cause: String::new(), text: otherwise(), next: "see: ironmesh node show".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use proto::api::v1::{NodeObserved, Operation};

    use super::*;

    fn node(revision: u64, state: &str, operation: &str) -> Node {
        let operation = Operation { id: operation.to_owned(), ..Default::default() };
        let operation = Some(operation).filter(|operation| !operation.id.is_empty());
        let observed = NodeObserved { state: state.to_owned(), operation, ..Default::default() };
        Node { revision, generation: revision, observed: Some(observed), ..Default::default() }
    }

    #[test]
    fn a_life_is_judged_once_its_operation_has_ended() {
        let goal = Goal::Life { rests: rests(ProvisionVerb::Deploy), revision: 5 };
        assert_eq!(goal.judge(&node(5, "deploying", "op")), Verdict::Underway);
        assert_eq!(goal.judge(&node(9, "active", "")), Verdict::Reached);
        let Verdict::Missed(missed) = goal.judge(&node(9, "manageable", "")) else { panic!("it rests elsewhere") };
        assert!(missed.text.contains("manageable"));
    }

    #[test]
    fn a_replica_that_lags_decides_nothing() {
        let goal = Goal::Life { rests: rests(ProvisionVerb::Rebuild), revision: 5 };
        assert_eq!(goal.judge(&node(4, "active", "")), Verdict::Underway);
    }

    #[test]
    fn power_is_reached_when_the_instruction_has_ended_well() {
        let goal = Goal::Power { generation: 5 };
        let mut seen = node(5, "active", "");
        assert_eq!(goal.judge(&seen), Verdict::Underway);
        seen.observed.as_mut().unwrap().power_settled_generation = 5;
        assert_eq!(goal.judge(&seen), Verdict::Reached);
        let failure = Failure { cause: "BMC_SILENT".to_owned(), ..Default::default() };
        seen.observed.as_mut().unwrap().power_failure = Some(failure);
        let Verdict::Missed(missed) = goal.judge(&seen) else { panic!("it failed") };
        assert!(missed.next.contains("BMC"), "{missed:?}");
    }
}
