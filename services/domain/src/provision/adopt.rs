//! The arrows of taking over a machine that already runs its system. None of them touches the machine.

use super::{Effect as F, Event as E, Phase, State as S, Step, Verb};

/// The arrow, where adopting has one.
pub(super) fn step(state: S, event: E) -> Option<Step> {
    let failed = S::Failed { during: Phase::Adopt };
    Some(Ok(match (state, event) {
        // Whatever the machine does from here on, it is not sent into an agent by us.
        (S::Manageable | S::Failed { during: Phase::Adopt }, E::Asked(Verb::Adopt)) => {
            (S::Adopting, vec![F::Open(Phase::Adopt), F::NewGeneration, F::RevokeBoot])
        }
        (S::Adopting, E::Answered) => (S::Active, vec![F::Close]),
        (S::Adopting, E::GaveUp) | (S::Adopting, E::Asked(Verb::Abort)) => (failed, vec![F::Fail]),
        // Until then the image that was named stands for the next try.
        (S::Failed { during: Phase::Adopt }, E::Asked(Verb::Manage)) => (S::Manageable, vec![F::ForgetDeployment]),
        _ => return None,
    }))
}
