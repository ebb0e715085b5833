//! The arrows of taking a deployment down and making the disks forget.

use super::{Effect as F, Event as E, Phase, Stage, State as S, Step, Verb};

/// The arrow, where deleting or cleaning has one.
pub(super) fn step(state: S, event: E) -> Option<Step> {
    Some(Ok(match (state, event) {
        (S::Active | S::Failed { during: Phase::Deploy | Phase::Delete }, E::Asked(Verb::Undeploy)) => {
            (S::Deleting, vec![F::Open(Phase::Delete), F::NewGeneration, F::RevokeBoot])
        }
        (S::Deleting, E::Finished) => (at(Stage::Prepare), vec![F::NewGeneration, F::ForgetDeployment]),
        (S::Deleting, E::GaveUp) => (S::Failed { during: Phase::Delete }, vec![F::Fail]),
        (S::Failed { during: Phase::Clean }, E::Asked(Verb::Manage)) => (S::Manageable, vec![]),
        (S::Cleaning { stage: Stage::Prepare }, E::Prepared) => (at(Stage::Boot), vec![]),
        (S::Cleaning { stage: Stage::Prepare | Stage::Boot }, E::Called) => (at(Stage::Work), vec![]),
        (S::Cleaning { stage: Stage::Boot }, E::Again) => (at(Stage::Prepare), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Cleaning { stage: Stage::Work }, E::Worked) => (at(Stage::Finish), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Cleaning { stage: Stage::Finish }, E::Finished) => (S::Available, vec![F::Close]),
        (S::Cleaning { .. }, E::GaveUp) | (S::Cleaning { .. }, E::Asked(Verb::Abort)) => {
            (S::Failed { during: Phase::Clean }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        _ => return None,
    }))
}

fn at(stage: Stage) -> S {
    S::Cleaning { stage }
}
