//! Transitions of an adoption. None of them changes the machine.

use super::{Effect as F, Event as E, Phase, State as S, Step, Verb};

/// Transition of an adoption, if there is one.
pub(super) fn step(state: S, event: E) -> Option<Step> {
    let failed = S::Failed { during: Phase::Adopt };
    Some(Ok(match (state, event) {
        // From here on the machine is never booted into an agent.
        (S::Manageable | S::Failed { during: Phase::Adopt }, E::Asked(Verb::Adopt)) => {
            (S::Adopting, vec![F::Open(Phase::Adopt), F::NewGeneration, F::RevokeBoot])
        }
        (S::Adopting, E::Answered) => (S::Active, vec![F::Close]),
        (S::Adopting, E::GaveUp) | (S::Adopting, E::Asked(Verb::Abort)) => (failed, vec![F::Fail]),
        // Until then the named image is kept for the next attempt.
        (S::Failed { during: Phase::Adopt }, E::Asked(Verb::Manage)) => (S::Manageable, vec![F::ForgetDeployment]),
        _ => return None,
    }))
}
