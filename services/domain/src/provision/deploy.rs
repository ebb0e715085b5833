//! Transitions of a deployment.

use super::{Effect as F, Event as E, Phase, Stage, State as S, Step, Verb};

/// Transition of a deployment, if there is one.
pub(super) fn step(state: S, event: E) -> Option<Step> {
    Some(Ok(match (state, event) {
        (S::Available, E::Asked(Verb::Deploy))
        | (S::Active | S::Failed { during: Phase::Deploy | Phase::Delete }, E::Asked(Verb::Rebuild))
        | (S::Failed { during: Phase::Deploy }, E::Asked(Verb::Deploy)) => {
            (at(Stage::Prepare), vec![F::Open(Phase::Deploy), F::NewGeneration, F::RevokeBoot])
        }
        (S::Deploying { stage: Stage::Prepare }, E::Prepared) => (at(Stage::Boot), vec![]),
        // An agent that calls while we still think of its boot as being prepared was booted by a step whose
        // write was lost: it is as good as any.
        (S::Deploying { stage: Stage::Prepare | Stage::Boot }, E::Called) => (at(Stage::Work), vec![]),
        (S::Deploying { stage: Stage::Boot }, E::Again) => (at(Stage::Prepare), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Deploying { stage: Stage::Work }, E::Worked) => (at(Stage::Finish), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Deploying { stage: Stage::Work }, E::Made) => (at(Stage::Work), vec![F::CountSteps]),
        (S::Deploying { stage: Stage::Work }, E::Held) => (S::DeployHold, vec![F::CountSteps]),
        (S::Deploying { stage: Stage::Work }, E::Reboots) => {
            (at(Stage::Prepare), vec![F::NewGeneration, F::RevokeBoot])
        }
        // The hold ends; the agent still runs.
        (S::DeployHold, E::Asked(Verb::Unhold)) => (at(Stage::Work), vec![]),
        (S::DeployHold, E::Asked(Verb::Abort)) => {
            (S::Failed { during: Phase::Deploy }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        (S::Deploying { stage: Stage::Finish }, E::Finished) => (S::Active, vec![F::Close]),
        (S::Deploying { .. }, E::GaveUp) | (S::Deploying { .. }, E::Asked(Verb::Abort)) => {
            (S::Failed { during: Phase::Deploy }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        _ => return None,
    }))
}

fn at(stage: Stage) -> S {
    S::Deploying { stage }
}
