//! Transitions of servicing a node in use.

use super::{Effect as F, Event as E, Phase, Stage, State as S, Step, Verb};

/// Transition of servicing, if there is one.
pub(super) fn step(state: S, event: E) -> Option<Step> {
    Some(Ok(match (state, event) {
        (S::Active | S::ServiceHold | S::Failed { during: Phase::Service }, E::Asked(Verb::Service)) => {
            (at(Stage::Prepare), vec![F::Open(Phase::Service), F::NewGeneration, F::RevokeBoot])
        }
        (S::Servicing { stage: Stage::Prepare }, E::Prepared) => (at(Stage::Boot), vec![]),
        (S::Servicing { stage: Stage::Prepare | Stage::Boot }, E::Called) => (at(Stage::Work), vec![]),
        (S::Servicing { stage: Stage::Boot }, E::Again) => (at(Stage::Prepare), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Servicing { stage: Stage::Work }, E::Worked) => (at(Stage::Finish), vec![F::NewGeneration, F::RevokeBoot]),
        (S::Servicing { stage: Stage::Finish }, E::Finished) => (S::Active, vec![F::Close]),
        (S::Servicing { stage: Stage::Work }, E::Made) => (at(Stage::Work), vec![F::CountSteps]),
        (S::Servicing { stage: Stage::Work }, E::Held) => (S::ServiceHold, vec![F::CountSteps]),
        (S::Servicing { stage: Stage::Work }, E::Awaits) => (at(Stage::Boot), vec![]),
        (S::Servicing { stage: Stage::Work }, E::Reboots) => {
            (at(Stage::Prepare), vec![F::NewGeneration, F::RevokeBoot])
        }
        (S::ServiceHold, E::Asked(Verb::Unhold)) => (at(Stage::Work), vec![]),
        // The node returns to its use.
        (S::Servicing { stage: Stage::Boot | Stage::Work } | S::ServiceHold, E::Asked(Verb::Abort)) => {
            (at(Stage::Finish), vec![F::NewGeneration, F::RevokeBoot])
        }
        (S::Failed { during: Phase::Service }, E::Asked(Verb::Abort)) => (S::Active, vec![]),
        (S::Servicing { .. }, E::GaveUp) => {
            (S::Failed { during: Phase::Service }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        _ => return None,
    }))
}

fn at(stage: Stage) -> S {
    S::Servicing { stage }
}
