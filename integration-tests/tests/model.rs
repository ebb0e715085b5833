//! Schedules of the ownership protocol in a simulated world, and the mutants that its checker must catch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use integration_tests::fault::{number, tell};
use integration_tests::model::{Fences, Mutant, Rules, Tally, Trace, run};
use tokio::time::Instant;

/// First seed of the mutants, whose schedules differ from those without broken rules.
const MUTANT_SEEDS: u64 = 1_000_000;
/// Number of schedules in which a mutant must be caught.
const BOUND: u64 = 20_000;

/// Runs schedules side by side until one has a result, and returns the result of the lowest seed that was run.
fn first<T: Send>(seeds: std::ops::Range<u64>, each: impl Fn(u64) -> Option<T> + Sync) -> Option<(u64, T)> {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(None::<(u64, T)>));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || found.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        break;
                    }
                    if let Some(result) = each(seed) {
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        if found.as_ref().is_none_or(|(earlier, _)| seed < *earlier) {
                            *found = Some((seed, result));
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs schedules in which nothing may be found. The trace of the first one in which something is found is printed.
fn find_nothing(name: &str, rules: Rules, count: u64) -> Result<Tally> {
    let (from, begun, sum) = (number("IRONMESH_SEED", 1), Instant::now(), Mutex::new(Tally::default()));
    let bad = first(from..from + count, |seed| {
        let outcome = run(seed, rules, Trace::Off);
        match outcome {
            Ok(outcome) => {
                *sum.lock().unwrap_or_else(PoisonError::into_inner) += outcome.tally;
                (!outcome.violations.is_empty()).then(|| outcome.violations.iter().map(ToString::to_string).collect())
            }
            Err(error) => Some(vec![error.to_string()]),
        }
    });
    if let Some((seed, violations)) = bad {
        let trace = run(seed, rules, Trace::Recorded)?.trace.join("\n");
        anyhow::bail!("{name}, IRONMESH_SEED={seed}:\n{trace}\n{}", violations.join("\n"));
    }
    let tally = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(format_args!("{name}: {} schedules in {:.1?}\n{tally:#?}", tally.schedules, begun.elapsed()));
    Ok(tally)
}

#[test]
fn ten_thousand_schedules_have_one_owner_and_lose_nothing() -> Result<()> {
    let count = number("IRONMESH_SCHEDULES", 10_000);
    let all = find_nothing("both fences", Rules::sound(), count)?;
    // Each fence suffices alone.
    find_nothing("A alone", Rules::with(Fences::ArmOnly), count / 4)?;
    find_nothing("F alone", Rules::with(Fences::FenceOnly), count / 4)?;
    // A world in which nothing happens would pass, too.
    let per = |number: usize| number / all.schedules.max(1);
    ensure!(per(all.acts) >= 5 && per(all.takeovers) >= 1 && per(all.rings) >= 3, "nothing happens: {all:?}");
    ensure!(all.fenced > 0 && all.killed > 0 && all.stopped > 0 && all.refused > 0 && all.refused_commands > 0);
    ensure!(all.hits * 5 >= all.faults * 2, "{} of {} faults hit an act", all.hits, all.faults);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_schedule_event_by_event() -> Result<()> {
    for seed in 1..=20 {
        for rules in [Rules::sound(), Rules::with(Fences::ArmOnly), Rules::without(Mutant::EarlyAck)] {
            let (once, again) = (run(seed, rules, Trace::Recorded)?, run(seed, rules, Trace::Recorded)?);
            ensure!(once.trace.len() > 100, "seed {seed}: {} events", once.trace.len());
            let differs = once.trace.iter().zip(&again.trace).find(|(once, again)| once != again);
            ensure!(differs.is_none(), "seed {seed}: {differs:#?}");
            ensure!(once == again, "seed {seed}: {rules:?}");
            let untraced = run(seed, rules, Trace::Off)?.tally;
            ensure!(once.tally == untraced, "seed {seed}: {rules:?}: {:#?} {untraced:#?}", once.tally);
        }
    }
    Ok(())
}

#[test]
fn each_rule_that_is_broken_is_caught() -> Result<()> {
    let (from, bound) = (number("IRONMESH_SEED", MUTANT_SEEDS), number("IRONMESH_SCHEDULES", BOUND));
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let begun = Instant::now();
        let caught = first(from..from + bound, |seed| {
            let violations = run(seed, Rules::without(mutant), Trace::Off).ok()?.violations;
            violations.first().map(ToString::to_string)
        });
        let Some((seed, violation)) = caught else {
            missed.push(mutant);
            continue;
        };
        tell(format_args!("{mutant:?}: after {} schedules, {:.1?}: {violation}", seed - from + 1, begun.elapsed()));
    }
    ensure!(missed.is_empty(), "not caught in {bound} schedules: {missed:?}");
    Ok(())
}
