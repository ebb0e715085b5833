//! Transitions of undeploying and cleaning.

use super::{Effect as F, Event as E, NodeFacts, Phase, Stage, State as S, Step, Verb};

/// Transition of undeploying or cleaning, if there is one.
pub(super) fn step(state: S, event: E, facts: NodeFacts) -> Option<Step> {
    // A retired node returns to manageable, not to available.
    let ready = if facts.retired { S::Manageable } else { S::Available };
    Some(Ok(match (state, event) {
        (
            S::Active
            | S::Rescue
            | S::Deploying { stage: Stage::Boot }
            | S::Rescuing { stage: Stage::Boot }
            | S::Servicing { stage: Stage::Boot }
            | S::Failed { during: Phase::Deploy | Phase::Delete | Phase::Rescue | Phase::Unrescue | Phase::Service },
            E::Asked(Verb::Undeploy),
        ) => (S::Deleting, vec![F::Open(Phase::Delete), F::NewGeneration, F::RevokeBoot]),
        (S::Deleting, E::Finished) if facts.cleans_after_use => {
            (at(Stage::Prepare, false), vec![F::NewGeneration, F::ForgetDeployment])
        }
        (S::Deleting, E::Finished) => (ready, vec![F::NewGeneration, F::ForgetDeployment, F::Close]),
        (S::Deleting, E::GaveUp) => (S::Failed { during: Phase::Delete }, vec![F::Fail]),
        (S::Manageable, E::Asked(Verb::Provide)) if facts.cleans_before_use => {
            (at(Stage::Prepare, false), vec![F::Open(Phase::Clean), F::NewGeneration, F::RevokeBoot])
        }
        (S::Manageable, E::Asked(Verb::Provide)) => (S::Available, vec![]),
        (S::Manageable, E::Asked(Verb::Clean)) => {
            (at(Stage::Prepare, true), vec![F::Open(Phase::ManualClean), F::NewGeneration, F::RevokeBoot])
        }
        (S::Failed { during: Phase::Clean | Phase::ManualClean }, E::Asked(Verb::Manage)) => (S::Manageable, vec![]),
        (S::Cleaning { stage: Stage::Prepare, manual }, E::Prepared) => (at(Stage::Boot, manual), vec![]),
        (S::Cleaning { stage: Stage::Prepare | Stage::Boot, manual }, E::Called) => (at(Stage::Work, manual), vec![]),
        (S::Cleaning { stage: Stage::Boot, manual }, E::Again) => {
            (at(Stage::Prepare, manual), vec![F::NewGeneration, F::RevokeBoot])
        }
        (S::Cleaning { stage: Stage::Work, manual }, E::Worked) => {
            (at(Stage::Finish, manual), vec![F::NewGeneration, F::RevokeBoot])
        }
        (S::Cleaning { stage: Stage::Finish, manual: true }, E::Finished) => (S::Manageable, vec![F::Close]),
        (S::Cleaning { stage: Stage::Finish, manual: false }, E::Finished) => (ready, vec![F::Close]),
        (S::Cleaning { manual, .. }, E::GaveUp | E::Asked(Verb::Abort)) => {
            let during = if manual { Phase::ManualClean } else { Phase::Clean };
            (S::Failed { during }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        (S::Cleaning { stage: Stage::Work, manual }, E::Made) => (at(Stage::Work, manual), vec![F::CountSteps]),
        (S::Cleaning { stage: Stage::Work, manual: true }, E::Held) => (S::CleanHold, vec![F::CountSteps]),
        (S::Cleaning { stage: Stage::Work, manual }, E::Reboots) => {
            (at(Stage::Prepare, manual), vec![F::NewGeneration, F::RevokeBoot])
        }
        (S::CleanHold, E::Asked(Verb::Unhold)) => (at(Stage::Work, true), vec![]),
        (S::CleanHold, E::Asked(Verb::Abort)) => {
            (S::Failed { during: Phase::ManualClean }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        _ => return None,
    }))
}

fn at(stage: Stage, manual: bool) -> S {
    S::Cleaning { stage, manual }
}
