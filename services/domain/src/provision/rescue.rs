//! Transitions of rescue and unrescue.

use super::{Effect as F, Event as E, Phase, Stage, State as S, Step, Verb};

/// Transition of rescue or unrescue, if there is one.
pub(super) fn step(state: S, event: E) -> Option<Step> {
    Some(Ok(match (state, event) {
        (
            S::Active | S::Rescue | S::Failed { during: Phase::Rescue | Phase::Unrescue | Phase::Service },
            E::Asked(Verb::Rescue),
        ) => (at(Stage::Prepare), vec![F::Open(Phase::Rescue), F::NewGeneration, F::RevokeBoot]),
        (S::Rescuing { stage: Stage::Prepare }, E::Prepared) => (at(Stage::Boot), vec![]),
        (S::Rescuing { stage: Stage::Prepare | Stage::Boot }, E::Called) => (at(Stage::Work), vec![]),
        (S::Rescuing { stage: Stage::Boot }, E::Again) => (at(Stage::Prepare), vec![F::NewGeneration, F::RevokeBoot]),
        // The rescue system keeps running.
        (S::Rescuing { stage: Stage::Work }, E::Worked) => (S::Rescue, vec![F::Close]),
        (S::Rescuing { .. }, E::GaveUp | E::Asked(Verb::Abort)) => {
            (S::Failed { during: Phase::Rescue }, vec![F::Fail, F::NewGeneration, F::RevokeBoot])
        }
        (S::Rescue | S::Failed { during: Phase::Rescue | Phase::Unrescue }, E::Asked(Verb::Unrescue)) => {
            let back = S::Unrescuing { stage: Stage::Finish };
            (back, vec![F::Open(Phase::Unrescue), F::NewGeneration, F::RevokeBoot])
        }
        (S::Unrescuing { .. }, E::Finished) => (S::Active, vec![F::Close]),
        (S::Unrescuing { .. }, E::GaveUp) => (S::Failed { during: Phase::Unrescue }, vec![F::Fail]),
        _ => return None,
    }))
}

fn at(stage: Stage) -> S {
    S::Rescuing { stage }
}
