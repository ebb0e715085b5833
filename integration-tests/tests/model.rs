//! try
use integration_tests::model::{Fences, Mutant, Rules, Story, Tally, run};

fn some(name: &str, rules: Rules, from: u64, count: u64, stop: bool) {
    let begun = tokio::time::Instant::now();
    let mut tally = Tally::default();
    let mut bad = 0;
    for seed in from..from + count {
        let outcome = run(seed, rules, Story::Untold);
        tally += outcome.tally;
        if !outcome.violations.is_empty() {
            bad += 1;
            if bad <= 3 {
                println!(
                    "{name}: seed {seed} {}: {}",
                    seed - from,
                    outcome.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n   ")
                );
            }
            if stop {
                break;
            }
            if bad == 1 && std::env::var("TELL").is_ok() {
                let told = run(seed, rules, Story::Told);
                println!("{}", told.story.join("\n"));
            }
        }
    }
    println!("{name} bad {bad} of {} in {:?}", tally.schedules, begun.elapsed());
    if !stop {
        println!("{tally:#?}");
    }
}

#[test]
fn sound() {
    let count = std::env::var("COUNT").map_or(2000, |c| c.parse().unwrap());
    some("sound", Rules::sound(), 1, count, false);
    some("arm only", Rules::with(Fences::ArmOnly), 1, count, false);
    some("fence only", Rules::with(Fences::FenceOnly), 1, count, false);
}
#[test]
fn mutants() {
    let count = std::env::var("COUNT").map_or(3000, |c| c.parse().unwrap());
    for mutant in Mutant::ALL {
        some(&format!("{mutant:?}"), Rules::without(mutant), 1_000_000, count, true);
    }
}
