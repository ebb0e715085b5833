//! Schedules of the ownership protocol in a simulated world, and the mutants that its checker must catch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use integration_tests::fault::{number, tell};
use integration_tests::model::{Fences, Mutant, Rules, Story, Tally, run};
use tokio::time::Instant;

/// Where the seeds of mutants begin: other schedules than the sound world's.
const OTHERS: u64 = 1_000_000;
/// Schedules in which a mutant must be caught.
const BOUND: u64 = 20_000;

/// Runs schedules side by side; the first that the checker finds something in is told with all that happened.
fn hold(name: &str, rules: Rules, count: u64) -> Result<Tally> {
    let first = number("IRONMESH_SEED", 1);
    let begun = Instant::now();
    let (next, sum, bad) = (AtomicU64::new(first), Mutex::new(Tally::default()), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || bad.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        break;
                    }
                    let outcome = run(seed, rules, Story::Untold);
                    tally += outcome.tally;
                    if !outcome.violations.is_empty() {
                        *bad.lock().unwrap_or_else(PoisonError::into_inner) = Some((seed, outcome.violations));
                    }
                }
                *sum.lock().unwrap_or_else(PoisonError::into_inner) += tally;
            });
        }
    });
    if let Some((seed, violations)) = bad.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let told = run(seed, rules, Story::Told).story.join("\n");
        let wrong: Vec<_> = violations.iter().map(ToString::to_string).collect();
        anyhow::bail!("{name}, IRONMESH_SEED={seed}:\n{told}\n{}", wrong.join("\n"));
    }
    let tally = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(format_args!("{name}: {} schedules in {:.1?}\n{tally:#?}", tally.schedules, begun.elapsed()));
    Ok(tally)
}

#[test]
fn ten_thousand_schedules_have_one_owner_and_lose_nothing() -> Result<()> {
    let count = number("IRONMESH_SCHEDULES", 10_000);
    let all = hold("both fences", Rules::sound(), count)?;
    // Each fence does alone.
    hold("A alone", Rules::with(Fences::ArmOnly), count / 4)?;
    hold("F alone", Rules::with(Fences::FenceOnly), count / 4)?;
    // A world in which nothing happens would pass, too.
    let per = |number: usize| number / all.schedules.max(1);
    ensure!(per(all.acts) >= 5 && per(all.takeovers) >= 1 && per(all.rings) >= 3, "nothing happens: {all:?}");
    ensure!(all.fenced > 0 && all.killed > 0 && all.stopped > 0 && all.refused > 0 && all.refused_commands > 0);
    ensure!(all.hits * 2 >= all.faults, "{} of {} faults hit an act", all.hits, all.faults);
    Ok(())
}

#[test]
fn each_rule_that_is_left_out_is_caught() -> Result<()> {
    for mutant in Mutant::ALL {
        let begun = Instant::now();
        let caught = (OTHERS..OTHERS + BOUND).find_map(|seed| {
            let violations = run(seed, Rules::without(mutant), Story::Untold).violations;
            violations.first().map(|violation| (seed - OTHERS + 1, violation.to_string()))
        });
        let Some((after, violation)) = caught else {
            anyhow::bail!("{mutant:?} is not caught in {BOUND} schedules");
        };
        tell(format_args!("{mutant:?}: after {after} schedules, {:.1?}: {violation}", begun.elapsed()));
    }
    Ok(())
}
